"""An alert is answered in time whatever the link to Service Bus does."""

from __future__ import annotations

import gc
import json

import azure.functions as func
import pytest

from maintenance.settings import read_settings
from maintenance.worker import ALERT_LIMIT, Worker
from tests.support.alert_payloads import health
from tests.support.connections import close_forgotten
from tests.support.entities import OPERATIONS
from tests.support.environment import environment


def post(document: object) -> func.HttpRequest:
    return func.HttpRequest("POST", "/api/alerts", headers={}, body=json.dumps(document).encode())


def test_limit_is_below_what_action_groups_wait() -> None:
    assert ALERT_LIMIT < 10


# The SDK does not close the sockets of connections that the other side has reset.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_alert_on_unresponsive_bus_gets_503_and_leads_to_one_message_when_sent_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with environment() as services:
        for name, value in services.identity.environment.items():
            monkeypatch.setenv(name, value)
        services.bus.faults.stop_responding()
        worker = Worker(read_settings(services.app_settings()), alert_limit=0.1, **services.worker_options)
        answer = await worker.receive_alert(post(health(trackingId="SILENT-1")))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
        assert json.loads(answer.get_body())["title"] == "Service Unavailable"
        assert "An alert got 503" in caplog.text
        services.bus.faults.reset()
        await worker.close()

        worker = Worker(read_settings(services.app_settings()), **services.worker_options)
        for _ in range(2):
            answer = await worker.receive_alert(post(health(trackingId="SILENT-1")))
            assert answer.status_code == 202
        assert [each.message_id for each in services.bus.peek(OPERATIONS)] == json.loads(answer.get_body())[
            "requestIds"
        ]
        await worker.close()
        await close_forgotten(services.bus)
    gc.collect()  # here, where its warnings are ignored, and not in another module's test
