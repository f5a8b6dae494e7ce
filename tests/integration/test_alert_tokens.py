"""Alerts without a key, end to end: the real function app, real signed tokens, and an issuer's keys over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from maintenance.worker import worker
from sandbox.functions_host import FunctionsHost, load_app, read_host_json
from tests.support.alert_payloads import health
from tests.support.connections import close_forgotten
from tests.support.entities import OPERATIONS
from tests.support.environment import Environment, environment
from tests.support.limit import LIMIT
from tests.support.token_issuer import AUDIENCE, OTHER, TENANT, TokenIssuer, token_issuer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT = Path(__file__).parent.parent.parent
KEY = "the-key-that-nobody-asks-for"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class App:
    """The function app with a secure webhook, and the issuer that it believes."""

    services: Environment
    http: httpx.AsyncClient
    issuer: TokenIssuer

    async def post(self, tracking_id: str, **headers: str) -> httpx.Response:
        return await self.http.post("/api/alerts", json=health(trackingId=tracking_id), headers=headers)

    def messages(self) -> list[str]:
        return [each.message_id for each in self.services.bus.peek(OPERATIONS)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app() -> AsyncIterator[App]:
    with environment() as services, pytest.MonkeyPatch.context() as patch:
        async with token_issuer(now) as issuer:
            settings = services.app_settings(
                POLL_SCHEDULE="0 0 0 1 1 *",
                MAINTENANCE_ALERT_TOKEN_AUDIENCE=AUDIENCE,
                MAINTENANCE_ALERT_TOKEN_TENANT=TENANT,
                MAINTENANCE_ALERT_TOKEN_AUTHORITY=issuer.url,
            )
            for name, value in settings.items():
                patch.setenv(name, value)
            worker.cache_clear()
            host = FunctionsHost(
                load_app(PROJECT), environment=settings, host_json=read_host_json(PROJECT), function_key=KEY
            )
            async with host, httpx.AsyncClient(base_url=host.http_endpoint or "", timeout=LIMIT) as http:
                yield App(services, http, issuer)
            await worker().close()
        worker.cache_clear()
        await close_forgotten(services.bus)


async def test_alert_with_a_token_of_an_action_group_is_on_the_queue_without_any_key(app: App) -> None:
    answer = await app.post("TOKEN-1", Authorization=f"Bearer {app.issuer.token()}")
    assert answer.status_code == 202
    assert app.messages() == answer.json()["requestIds"]
    assert app.issuer.reads == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "api://other"},
        {"roles": ["Reader"]},
        {"exp": int((now() - timedelta(minutes=6)).timestamp())},
        {"key": OTHER},
    ],
    # Without values: the key and the times are others in each process of pytest-xdist.
    ids="-".join,
)
async def test_alert_with_a_wrong_token_is_refused_and_leads_to_no_message(app: App, changes: dict[str, Any]) -> None:
    before = app.messages()
    answer = await app.post("TOKEN-2", Authorization=f"Bearer {app.issuer.token(**changes)}")
    assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized")
    assert app.messages() == before


async def test_alert_with_the_function_key_alone_is_refused(app: App) -> None:
    before = app.messages()
    assert (await app.post("TOKEN-3", **{"x-functions-key": KEY})).status_code == 401
    assert app.messages() == before


async def test_principal_header_that_app_service_would_set_is_not_believed(app: App) -> None:
    claims = json.dumps({"claims": [{"typ": "roles", "val": "ActionGroupsSecureWebhook"}]})
    assert (await app.post("TOKEN-4", **{"x-ms-client-principal": claims})).status_code == 401
