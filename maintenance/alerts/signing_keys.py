"""Lets in who calls with a token: fetches the issuer's signing keys, and checks the token with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import httpx
import jwt

from maintenance.alerts.receiver import AlertResponse, problem_response
from maintenance.alerts.token_rules import TokenRules
from maintenance.alerts.webhook_token import InvalidTokenError, bearer_token, check_token, key_id
from maintenance.arm.responses import ArmResponse
from maintenance.domain.errors import ProblemsError
from maintenance.domain.formats import read_json

logger = logging.getLogger(__name__)
# Of one fetch of the keys, in seconds. Action groups give up after 10, and send again.
FETCH_TIMEOUT = 8.0
# Seconds between two fetches. An unknown key id may be a new key, or an invention that shall not make us call out.
LEAST_AGE = 300.0
# Seconds after which keys are fetched again even if they are known: a key that was withdrawn must go.
GREATEST_AGE = 86_400.0
# Seconds after a fetch that failed in which nobody waits for another.
PAUSE = 10.0
MAX_KEYS = 256 * 1024


class KeysUnavailableError(Exception):
    """The signing keys cannot be fetched now."""


class KeyTransport(Protocol):
    """What is used of `arm.transport.AiohttpTransport`. Raises httpx.TransportError."""

    async def exchange(self, method: str, url: str, headers: Mapping[str, str]) -> ArmResponse: ...


class SigningKeys:
    """The issuer's keys by id, fetched when one is missing or they are old. `monotonic` returns seconds."""

    def __init__(self, url: str, transport: KeyTransport, *, monotonic: Callable[[], float]) -> None:
        self._url = url
        self._transport = transport
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._failed_at: float | None = None

    async def get(self, kid: str) -> jwt.PyJWK | None:
        """The key of this id, None if the issuer has none. Raises KeysUnavailableError."""
        async with self._lock:
            now = self._monotonic()
            age = None if self._fetched_at is None else now - self._fetched_at
            missing = kid not in self._keys and (age is None or age >= LEAST_AGE)
            if missing or (age is not None and age >= GREATEST_AGE):
                if self._failed_at is not None and now - self._failed_at < PAUSE:
                    raise KeysUnavailableError(f"{self._url} did not respond less than {PAUSE:g} seconds ago")
                try:
                    self._keys = await self._fetch()
                except KeysUnavailableError:
                    self._failed_at = self._monotonic()
                    raise
                self._fetched_at, self._failed_at = self._monotonic(), None
            return self._keys.get(kid)

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                response = await self._transport.exchange("GET", self._url, {"Accept": "application/json"})
            if response.status != 200:
                raise KeysUnavailableError(f"{self._url} responded with status {response.status}")
            listed = read_json(response.body, MAX_KEYS).get("keys")
        except (httpx.TransportError, TimeoutError) as error:
            raise KeysUnavailableError(f"{self._url} does not respond ({type(error).__name__})") from None
        except ProblemsError:
            raise KeysUnavailableError(f"{self._url} did not respond with a JSON object") from None
        keys = [key for each in (listed if isinstance(listed, list) else []) if (key := _read_key(each)) is not None]
        if not keys:
            raise KeysUnavailableError(f"{self._url} lists no key that can be used")
        return {key.key_id: key for key in keys if key.key_id}


def _read_key(entry: object) -> jwt.PyJWK | None:
    """An RSA key for signatures; None for what is something else, which others may use."""
    if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(entry, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


class TokenGate:
    """Decides by its token who may send an alert. `now` gives aware times."""

    def __init__(self, rules: TokenRules, keys: SigningKeys, *, now: Callable[[], datetime]) -> None:
        self._rules = rules
        self._keys = keys
        self._now = now

    async def rejection(self, authorization: str) -> AlertResponse | None:
        """None for who may send an alert; else 401 with the reason, or 503 where the keys cannot be read. Never raises
        on account of what was sent."""
        try:
            token = bearer_token(authorization)
            kid = key_id(token)
            key = await self._keys.get(kid)
            if key is None:
                raise InvalidTokenError("The token is signed with a key that its issuer does not list.")
            check_token(token, key, self._rules, now=self._now())
        except InvalidTokenError as error:
            logger.warning("An alert was refused: %s", error)
            return problem_response(401, "Unauthorized", str(error))
        except KeysUnavailableError as error:
            logger.error("An alert could not be checked: %s", error)
            return problem_response(503, "Service Unavailable", "The signing keys cannot be read now.", retry=True)
        return None
