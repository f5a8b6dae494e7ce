"""Alerts that come with a token: real signed JWTs against a JWKS on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from maintenance.alerts.signing_keys import LEAST_AGE, PAUSE, SigningKeys, TokenGate
from maintenance.alerts.token_rules import ACTION_GROUPS, WEBHOOK_ROLE, TokenRules
from maintenance.arm.transport import AiohttpTransport
from maintenance.domain.errors import SettingsError
from maintenance.settings import alerts_come_with_token, read_settings
from tests.support.token_issuer import AUDIENCE, OTHER, TENANT, TokenIssuer, token_issuer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NEEDED = {
    "ServiceBusConnection__fullyQualifiedNamespace": "ns.servicebus.windows.net",
    "MAINTENANCE_ALLOWED_SCOPES": TENANT,
}


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[TokenIssuer]:
    async with token_issuer(lambda: NOW) as found:
        yield found


@pytest.fixture
def seconds() -> list[float]:
    """The monotonic clock of the gate, in its only place."""
    return [1000.0]


@pytest_asyncio.fixture
async def gate(issuer: TokenIssuer, seconds: list[float]) -> AsyncIterator[TokenGate]:
    transport = AiohttpTransport(limit=2)
    rules = TokenRules(tenant=TENANT, audiences=(AUDIENCE,), authority=issuer.url)
    keys = SigningKeys(rules.keys_url, transport, monotonic=lambda: seconds[0])
    yield TokenGate(rules, keys, now=lambda: NOW)
    await transport.aclose()


async def status(gate: TokenGate, authorization: str) -> int | None:
    refusal = await gate.rejection(authorization)
    return None if refusal is None else refusal.status


async def test_token_of_an_action_group_is_let_in_and_keys_are_read_once(issuer: TokenIssuer, gate: TokenGate) -> None:
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
async def test_token_with_one_wrong_thing_is_refused(
    issuer: TokenIssuer, gate: TokenGate, changes: dict[str, Any]
) -> None:
    assert await status(gate, f"Bearer {issuer.token(**changes)}") == 401


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic eDp5", "Bearer a.b.c", "Bearer " + "a" * 20_000])
async def test_what_is_no_token_is_refused_without_reading_keys(
    issuer: TokenIssuer, gate: TokenGate, authorization: str
) -> None:
    assert await status(gate, authorization) == 401
    assert issuer.reads == 0


async def test_new_key_is_read_but_invented_ids_do_not_call_out_again(
    issuer: TokenIssuer, gate: TokenGate, seconds: list[float]
) -> None:
    assert await status(gate, f"Bearer {issuer.token()}") is None
    issuer.kids.append("key-2")
    for _ in range(3):
        assert await status(gate, f"Bearer {issuer.token(kid='key-2')}") == 401
    assert issuer.reads == 1
    seconds[0] += LEAST_AGE
    assert await status(gate, f"Bearer {issuer.token(kid='key-2')}") is None
    assert issuer.reads == 2


async def test_issuer_that_fails_lets_nobody_in_and_is_called_again_later(
    issuer: TokenIssuer, gate: TokenGate, seconds: list[float]
) -> None:
    issuer.status = 500
    assert await status(gate, f"Bearer {issuer.token()}") == 503
    issuer.status = 200
    assert await status(gate, f"Bearer {issuer.token()}") == 503
    seconds[0] += PAUSE
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
