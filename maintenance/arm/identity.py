"""The managed identity's bearer token, held until it should be refreshed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import httpx
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError

from maintenance.domain.errors import IdentityUnavailable
from maintenance.domain.redaction import redact

TOKEN_TIMEOUT = 30.0
REFRESH_BEFORE_EXPIRY = 300.0
# The credential has a cache of its own, which it passes over only for a token with claims. A managed identity's token
# has none to ask for, so these are not sent anywhere.
ANOTHER_TOKEN: TokenRequestOptions = {"claims": "{}"}


class TokenSource(Protocol):
    """What is used of `azure.identity.aio.ManagedIdentityCredential`."""

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo: ...


class ManagedIdentityAuth(httpx.Auth):
    """Puts the identity's token on requests to ARM, and holds it until it should be refreshed.

    For any httpx client. `ArmClient` asks for the `token` itself: an asynchronous generator for each call costs more
    than all else that is done here. `scope`: what the token is for, as `https://management.azure.com/.default`. `now`
    is epoch seconds. Raises IdentityUnavailable where the token endpoint gives none.
    """

    def __init__(self, credential: TokenSource, scope: str, *, now: Callable[[], float] = time.time) -> None:
        self._credential = credential
        self._scope = scope
        self._now = now
        self._held: AccessTokenInfo | None = None
        self._refused = False
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self.token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            self.refused(token)

    async def token(self) -> str:
        """The token for one call."""
        held = self._fresh() or await self._fetch()
        return held.token

    def refused(self, token: str) -> None:
        """ARM answered 401 to this token: revoked, perhaps; the next call comes with another."""
        if self._held is not None and self._held.token == token:
            self._held = None
            self._refused = True

    def _fresh(self) -> AccessTokenInfo | None:
        held = self._held
        if held is None:
            return None
        refresh_at = held.refresh_on or held.expires_on - REFRESH_BEFORE_EXPIRY
        return held if self._now() < refresh_at else None

    async def _fetch(self) -> AccessTokenInfo:
        async with self._lock:
            if held := self._fresh():
                return held
            try:
                async with asyncio.timeout(TOKEN_TIMEOUT):
                    options = ANOTHER_TOKEN if self._refused else None
                    fetched = await self._credential.get_token_info(self._scope, options=options)
            except (AzureError, TimeoutError) as error:
                held = self._held
                if held is not None and self._now() < held.expires_on:
                    return held
                raise IdentityUnavailable(_explain(error)) from None
            self._held = fetched
            self._refused = False
            return fetched


def _explain(error: Exception) -> str:
    told = redact(str(error).partition("\n")[0])[:300] or type(error).__name__
    return f"The managed identity got no token: {told}"
