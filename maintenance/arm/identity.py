"""Bearer token of the managed identity, cached until it should be refreshed."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential

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


def managed_identity(client_id: str | None) -> ManagedIdentityCredential:
    """Credential of the app's managed identity: the user-assigned one with `client_id`, otherwise the system's.

    Its token endpoint is on this machine and is given a secret header, so it is never asked through a proxy of the
    environment. Whatever it raises is an `AzureError`, for the SDKs that it is handed to.
    """
    # Of the SDK's own sources of tokens, some bring a callback of their own.
    of_app_service = all(os.environ.get(name) for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"))
    options: dict[str, Any] = {"_content_callback": _complete} if of_app_service else {}
    return _ManagedIdentity(client_id=client_id, use_env_settings=False, **options)


def _complete(response: dict[str, Any]) -> None:
    """Not every endpoint repeats the resource that was asked for. azure-identity 1.27 needs it as a key of its cache,
    and raises KeyError without."""
    response.setdefault("resource", "")


class _ManagedIdentity(ManagedIdentityCredential):
    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        try:
            info: AccessTokenInfo = await super().get_token_info(*scopes, options=options)
        except AzureError:
            raise
        except Exception as error:
            raise ClientAuthenticationError(_reason(error)) from None
        return info

    async def get_token(
        self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **kwargs: Any
    ) -> AccessToken:
        try:
            token: AccessToken = await super().get_token(*scopes, claims=claims, tenant_id=tenant_id, **kwargs)
        except AzureError:
            raise
        except Exception as error:
            raise ClientAuthenticationError(_reason(error)) from None
        return token


class ManagedIdentityAuth:
    """The token of a managed identity, for the Authorization header of each call.

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
                    fetched = _checked(await self._credential.get_token_info(self._scope, options=options))
            # An endpoint with an odd response makes the SDK raise errors of any kind.
            except Exception as error:
                cached = self._cached
                if cached is not None and self._now() < cached.expires_on:
                    return cached
                raise IdentityUnavailable(f"No token for the managed identity: {_reason(error)}") from None
            self._cached = fetched
            self._bypass_cache = False
            return fetched


def _checked(token: AccessTokenInfo) -> AccessTokenInfo:
    """The token, if it can be sent, and when it expires. Raises ValueError, TypeError or AttributeError."""
    if not (token.token and token.token.isascii() and token.token.isprintable()):
        raise ValueError("the token is empty or not printable")
    if not math.isfinite(token.expires_on) or not math.isfinite(token.refresh_on or 0):
        raise ValueError("the token has no time of expiry")
    return token


def _reason(error: Exception) -> str:
    name = type(error).__name__
    text = redact(str(error).partition("\n")[0])[:300]
    if isinstance(error, AzureError):
        return text or name
    return f"{name}: {text}" if text else name
