"""Alerts that come with a token: real signed JWTs against a JWKS on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from maintenance.alerts.signing_keys import LEAST_AGE, PAUSE, SigningKeys, TokenGate
from maintenance.alerts.token_rules import ACTION_GROUPS, WEBHOOK_ROLE, TokenRules
from maintenance.arm.transport import AiohttpTransport
from maintenance.domain.errors import SettingsError
from maintenance.settings import alerts_come_with_token, read_settings

TENANT = "22222222-2222-4222-8222-222222222222"
AUDIENCE = "33333333-3333-4333-8333-333333333333"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEEDED = {
    "ServiceBusConnection__fullyQualifiedNamespace": "ns.servicebus.windows.net",
    "MAINTENANCE_ALLOWED_SCOPES": TENANT,
}


class Issuer:
    """A token issuer on loopback that counts how often its keys are read."""

    def __init__(self) -> None:
        self.reads = 0
        self.status = 200
        self.seconds = 1000.0
        self.kids = ["key-1"]
        self.url = ""

    async def serve(self, _: web.Request) -> web.Response:
        self.reads += 1
        keys = [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": kid} for kid in self.kids]
        return web.json_response({"keys": [{"kty": "EC"}, *keys]}, status=self.status)

    def token(self, key: Any = KEY, *, kid: str = "key-1", algorithm: str = "RS256", **changes: Any) -> str:
        claims = {
            "iss": f"{self.url}/{TENANT}/v2.0",
            "aud": AUDIENCE,
            "tid": TENANT,
            "azp": ACTION_GROUPS,
            "roles": [WEBHOOK_ROLE],
            "nbf": int((NOW - timedelta(minutes=1)).timestamp()),
            "exp": int((NOW + timedelta(hours=1)).timestamp()),
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[Issuer]:
    found = Issuer()
    app = web.Application()
    app.router.add_get(f"/{TENANT}/discovery/v2.0/keys", found.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest_asyncio.fixture
async def gate(issuer: Issuer) -> AsyncIterator[TokenGate]:
    transport = AiohttpTransport(limit=2)
    rules = TokenRules(tenant=TENANT, audiences=(AUDIENCE,), authority=issuer.url)
    keys = SigningKeys(rules.keys_url, transport, monotonic=lambda: issuer.seconds)
    yield TokenGate(rules, keys, now=lambda: NOW)
    await transport.aclose()


async def status(gate: TokenGate, authorization: str) -> int | None:
    refusal = await gate.rejection(authorization)
    return None if refusal is None else refusal.status


async def test_token_of_an_action_group_is_let_in_and_keys_are_read_once(issuer: Issuer, gate: TokenGate) -> None:
    assert await status(gate, f"Bearer {issuer.token()}") is None
    assert await status(gate, f"bearer {issuer.token()}") is None
    assert issuer.reads == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.microsoftonline.com/other/v2.0"},
        {"aud": "api://other"},
        {"tid": AUDIENCE},
        {"azp": AUDIENCE},
        {"azp": None, "appid": ACTION_GROUPS},
        {"roles": ["Reader"]},
        {"roles": None},
        {"roles": WEBHOOK_ROLE},
        {"exp": int((NOW - timedelta(minutes=6)).timestamp())},
        {"exp": None},
        {"nbf": int((NOW + timedelta(minutes=6)).timestamp())},
        {"key": OTHER},
        {"key": "a shared secret that is long enough for it", "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
        {"kid": "key-2"},
    ],
    # Without values: the key and the times are others in each process of pytest-xdist.
    ids="-".join,
)
async def test_token_with_one_wrong_thing_is_refused(issuer: Issuer, gate: TokenGate, changes: dict[str, Any]) -> None:
    assert await status(gate, f"Bearer {issuer.token(**changes)}") == 401


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic eDp5", "Bearer a.b.c", "Bearer " + "a" * 20_000])
async def test_what_is_no_token_is_refused_without_reading_keys(
    issuer: Issuer, gate: TokenGate, authorization: str
) -> None:
    assert await status(gate, authorization) == 401
    assert issuer.reads == 0


async def test_new_key_is_read_but_invented_ids_do_not_call_out_again(issuer: Issuer, gate: TokenGate) -> None:
    assert await status(gate, f"Bearer {issuer.token()}") is None
    issuer.kids.append("key-2")
    for _ in range(3):
        assert await status(gate, f"Bearer {issuer.token(kid='key-2')}") == 401
    assert issuer.reads == 1
    issuer.seconds += LEAST_AGE
    assert await status(gate, f"Bearer {issuer.token(kid='key-2')}") is None
    assert issuer.reads == 2


async def test_issuer_that_fails_lets_nobody_in_and_is_asked_again_later(issuer: Issuer, gate: TokenGate) -> None:
    issuer.status = 500
    assert await status(gate, f"Bearer {issuer.token()}") == 503
    issuer.status = 200
    assert await status(gate, f"Bearer {issuer.token()}") == 503
    issuer.seconds += PAUSE
    assert await status(gate, f"Bearer {issuer.token()}") is None
    assert issuer.reads == 2


def test_token_settings_are_read_together() -> None:
    names = {"MAINTENANCE_ALERT_TOKEN_AUDIENCE": AUDIENCE, "MAINTENANCE_ALERT_TOKEN_TENANT": TENANT}
    assert read_settings({**NEEDED, **names}).alert_tokens == TokenRules(tenant=TENANT, audiences=(AUDIENCE,))
    assert read_settings(NEEDED).alert_tokens is None
    for name, value in names.items():
        with pytest.raises(SettingsError):
            read_settings({**NEEDED, name: value})


@pytest.mark.parametrize("audience", ["", " ", "\t"])
def test_blank_audience_leaves_the_function_key_on(audience: str) -> None:
    environment = {**NEEDED, "MAINTENANCE_ALERT_TOKEN_AUDIENCE": audience}
    assert not alerts_come_with_token(environment)
    assert read_settings(environment).alert_tokens is None
