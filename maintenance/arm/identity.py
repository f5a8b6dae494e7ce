"""Bearer token of the managed identity, cached until it should be refreshed."""

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
# The credential has its own cache, which it bypasses only for a token with claims. A managed identity's token has no
# claims, so these are not sent anywhere.
ANOTHER_TOKEN: TokenRequestOptions = {"claims": "{}"}


class TokenSource(Protocol):
    """The part of `azure.identity.aio.ManagedIdentityCredential` that is used."""

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo: ...


class ManagedIdentityAuth(httpx.Auth):
    """httpx authentication with the token of a managed identity.

    `ArmClient` calls `token` instead: an asynchronous generator for each call costs more than everything else here.
    `scope` is the token's scope, for example `https://management.azure.com/.default`. `now` returns epoch seconds.
    Raises IdentityUnavailable if the token endpoint issues no token.
    """

    def __init__(self, credential: TokenSource, scope: str, *, now: Callable[[], float] = time.time) -> None:
        self._credential = credential
        self._scope = scope
        self._now = now
        self._cached: AccessTokenInfo | None = None
        self._bypass_cache = False
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self.token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            self.invalidate(token)

    async def token(self) -> str:
        """The token for one call, from the cache or fetched."""
        token = self._fresh() or await self._fetch()
        return token.token

    def invalidate(self, token: str) -> None:
        """Discard a token that ARM refused with 401, since it may be revoked; the next call fetches another."""
        if self._cached is not None and self._cached.token == token:
            self._cached = None
            self._bypass_cache = True

    def _fresh(self) -> AccessTokenInfo | None:
        cached = self._cached
        if cached is None:
            return None
        refresh_at = cached.refresh_on or cached.expires_on - REFRESH_BEFORE_EXPIRY
        return cached if self._now() < refresh_at else None

    async def _fetch(self) -> AccessTokenInfo:
        async with self._lock:
            if cached := self._fresh():
                return cached
            try:
                async with asyncio.timeout(TOKEN_TIMEOUT):
                    options = ANOTHER_TOKEN if self._bypass_cache else None
                    fetched = await self._credential.get_token_info(self._scope, options=options)
            except (AzureError, TimeoutError) as error:
                cached = self._cached
                if cached is not None and self._now() < cached.expires_on:
                    return cached
                raise IdentityUnavailable(_explain(error)) from None
            self._cached = fetched
            self._bypass_cache = False
            return fetched


def _explain(error: Exception) -> str:
    reason = redact(str(error).partition("\n")[0])[:300] or type(error).__name__
    return f"No token for the managed identity: {reason}"
