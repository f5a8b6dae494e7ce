"""Token of the managed identity: never asked for through a proxy, and whatever goes wrong is "no token now"."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import ClientAuthenticationError

from maintenance.arm.identity import ManagedIdentityAuth, managed_identity
from maintenance.domain.errors import IdentityUnavailable
from tests.support.loopback_server import listening

SCOPE = "https://management.azure.com/.default"


@asynccontextmanager
async def server(answer: bytes, seen: list[bytes]) -> AsyncIterator[str]:
    """Server that records the heads of requests and gives each the same JSON; yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + answer)
        await writer.drain()

    async with listening(serve) as endpoint:
        yield endpoint


def response(**changes: Any) -> bytes:
    expires_on = str(int(time.time()) + 3600)
    document = {"access_token": "token", "expires_on": expires_on, "resource": SCOPE, "token_type": "Bearer"}
    return json.dumps({**document, **changes}).encode()


async def test_token_endpoint_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    by_proxy: list[bytes] = []
    async with server(response(), asked) as endpoint, server(b"{}", by_proxy) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret-of-the-host")
        for client_id in (None, "11111111-2222-3333-4444-555555555555"):
            async with managed_identity(client_id) as credential:
                assert (await credential.get_token_info(SCOPE)).token == "token"
                assert (await credential.get_token(SCOPE)).token == "token"
    assert by_proxy == []
    assert all(b"secret-of-the-host" in head for head in asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_on": "11/25/2026 16:00:00 +00:00"},
        {"expires_on": "2026-11-25T16:00:00Z"},
        {"expires_on": None},
        {"expires_on": {}},
        {"expires_on": "soon"},
    ],
)
async def test_odd_expiry_is_no_token_now(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    async with server(response(**changes), []) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        async with managed_identity(None) as credential:
            # As Service Bus's SDK calls it.
            with pytest.raises(ClientAuthenticationError):
                await credential.get_token_info(SCOPE)
            with pytest.raises(ClientAuthenticationError):
                await credential.get_token(SCOPE)
            with pytest.raises(IdentityUnavailable):
                await ManagedIdentityAuth(credential, SCOPE).token()


class OddCredential:
    """Credential that raises or returns what it is given."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome  # type: ignore[return-value]


ODD: dict[str, object] = {
    "ValueError": ValueError("time data '11/25/2026' does not match"),
    "KeyError": KeyError("access_token"),
    "TypeError": TypeError("int() argument must be a string"),
    "AttributeError": AttributeError("'NoneType' object has no attribute 'get'"),
    "RuntimeError": RuntimeError("Session is closed"),
    "OSError": OSError("no route"),
    "an error without text": LookupError(),
    "no token at all": None,
    "an empty token": AccessTokenInfo("", 3600),
    "a token with a line break": AccessTokenInfo("a\r\nHost: evil.example", 3600),
    "a token that is not ASCII": AccessTokenInfo("tökén", 3600),
    "an expiry as text": AccessTokenInfo("token", "3600"),  # type: ignore[arg-type]
    "an expiry that is no number": AccessTokenInfo("token", math.nan),  # type: ignore[arg-type]
    "no expiry": AccessTokenInfo("token", None),  # type: ignore[arg-type]
    "a refresh time as text": AccessTokenInfo("token", 3600, refresh_on="soon"),  # type: ignore[arg-type]
}


async def test_response_that_does_not_repeat_the_resource_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(response())
    del document["resource"]
    async with server(json.dumps(document).encode(), []) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        async with managed_identity(None) as credential:
            assert await ManagedIdentityAuth(credential, SCOPE).token() == "token"


@pytest.mark.parametrize("outcome", ODD.values(), ids=ODD.keys())
async def test_whatever_a_credential_gives_is_no_token_now(outcome: object) -> None:
    credential = OddCredential(outcome)
    auth = ManagedIdentityAuth(credential, SCOPE, now=lambda: 0.0)
    with pytest.raises(IdentityUnavailable, match="No token for the managed identity: "):
        await auth.token()
    credential.outcome = AccessTokenInfo("token", 3600)
    assert await auth.token() == "token", "tried again"


async def test_known_token_outlasts_an_odd_response() -> None:
    time_now = 0.0
    credential = OddCredential(AccessTokenInfo("token", 3600, refresh_on=1800))
    auth = ManagedIdentityAuth(credential, SCOPE, now=lambda: time_now)
    await auth.token()
    credential.outcome, time_now = ValueError("odd"), 2000.0
    assert await auth.token() == "token"


async def test_cancellation_is_not_taken_for_a_missing_token() -> None:
    with pytest.raises(asyncio.CancelledError):
        await ManagedIdentityAuth(OddCredential(asyncio.CancelledError()), SCOPE).token()
