"""Receiver of alerts: the HTTP response to the sender, and the messages it sends to the queue."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maintenance.alerts.messages import Discovery, read_discovery
from maintenance.alerts.receiver import AlertReceiver, AlertResponse
from maintenance.alerts.rules import AlertRules
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.messages import MAX_ALERT, Envelope
from maintenance.domain.operation import Rollout
from maintenance.domain.resources import Scope
from maintenance.requests.schema import read_request
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.alert_payloads import ALERTED, NAMES, TESTS, health, payload, scale_set_id, targeting
from tests.support.crash_point import CrashPoint, HandClock
from tests.support.fake_bus import FakeBus

REFUSED = Path(__file__).parents[2] / "data" / "alerts" / "refused"
PERFORM = {"maintenance": "perform"}
MARKED = AlertRules(custom_property=True)


class Receiver:
    """Receiver of alerts with a fake queue."""

    def __init__(self, rules: AlertRules | None = None) -> None:
        self.clock = HandClock()
        self.bus = FakeBus(self.clock, CrashPoint())
        connection = ServiceBusConnection(namespace="ns")
        self.settings = Settings(service_bus=connection, allowed_scopes=(Scope(ALERTED),), alerts=rules or AlertRules())
        self.receiver = AlertReceiver(self.bus, self.settings.alerts)

    async def post(self, document: object, **headers: str) -> AlertResponse:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.receiver.respond(body, headers)

    @property
    def queued(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.bus.operations_queue.messages]


@pytest.mark.parametrize("name", ["event_grid_array_of_one", "event_grid_validation"])
async def test_event_grids_post_is_refused_with_the_one_reason_that_helps(name: str) -> None:
    response = await Receiver().post((REFUSED / f"{name}.json").read_bytes())
    (problem,) = response.document["problems"]
    assert (response.status, problem["field"]) == (400, "body")
    assert "deliver to the requests queue" in problem["message"]


async def test_planned_maintenance_is_accepted_with_id_of_discovery() -> None:
    receiver = Receiver()
    response = await receiver.post(health(), Traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    (message,) = receiver.bus.operations_queue.messages
    assert (response.status, response.content_type) == (202, "application/json")
    assert response.document["requestIds"] == [message.message_id]
    assert "VL4T-9X8" in response.document["reason"]
    assert message.properties["traceparent"].startswith("00-0af7")  # type: ignore[union-attr] # it is text
    discovery = read_discovery(json.loads(message.body))
    assert discovery.subscription_id == ALERTED
    assert discovery.regions == ("eastus2", "westeurope")


async def test_alert_on_scale_sets_is_accepted_with_ids_of_requests() -> None:
    receiver = Receiver(MARKED)
    response = await receiver.post(
        targeting(scale_set_id("web"), f"{scale_set_id('api')}/virtualMachines/2", custom=PERFORM)
    )
    messages = receiver.bus.operations_queue.messages
    requests = [read_request(Envelope(body=b""), json.loads(message.body)) for message in messages]
    assert response.status == 202
    assert response.document["requestIds"] == [message.message_id for message in messages]
    assert [request.request_id for request in requests] == response.document["requestIds"]
    assert [request.scale_set.name for request in requests] == ["web", "api"]
    assert [request.instance_ids for request in requests] == [None, ("2",)]
    assert all(not request.dry_run for request in requests)
    assert {request.rollout for request in requests} == {Rollout(max_instances_per_wave="20%", by_update_domain=True)}
    assert len({message.correlation_id for message in messages}) == 1


async def test_alert_cannot_change_rollout_or_dry_run() -> None:
    receiver = Receiver(AlertRules(rollout={"maxInstancesPerWave": 3}, dry_run=True, custom_property=True))
    hostile = {**PERFORM, "dryRun": "false", "rollout": "{}", "MAINTENANCE_ALLOWED_SCOPES": "/", "instanceIds": "9"}
    document = targeting(scale_set_id(), custom=hostile)
    document["data"].update(dryRun=False, rollout={}, resourceId=scale_set_id("api"))
    document.update(dryRun=False, instanceIds=["1"])
    await receiver.post(document)
    (queued,) = receiver.queued
    assert queued["dryRun"] is True
    assert queued["rollout"] == {"maxInstancesPerWave": 3}
    assert set(queued) == {"requestId", "resourceId", "rollout", "dryRun", "reason"}


@pytest.mark.parametrize("document", [health(), targeting(scale_set_id(), custom=PERFORM)])
async def test_request_after_dry_run_is_not_a_duplicate(document: dict[str, Any]) -> None:
    dry = await Receiver(AlertRules(dry_run=True, custom_property=True)).post(document)
    real = await Receiver(MARKED).post(document)
    assert dry.status == real.status == 202
    assert dry.document["requestIds"] != real.document["requestIds"]


@pytest.mark.parametrize("name", TESTS)
async def test_test_alert_returns_status_test(name: str) -> None:
    receiver = Receiver()
    response = await receiver.post(payload(name))
    assert (response.status, response.document["status"], response.document["requestIds"]) == (200, "test", [])
    assert receiver.queued == []


async def test_ignored_alert_returns_the_reason() -> None:
    response = await Receiver().post(payload("common_metric_static"))
    assert (response.status, response.document["status"]) == (200, "ignored")
    assert "Resolved" in response.document["reason"]


async def test_redelivered_alert_sends_same_message_and_update_sends_another() -> None:
    receiver = Receiver()
    first = await receiver.post(health())
    again = await receiver.post(health())
    update = await receiver.post(health(essentials={"alertId": "update"}))
    assert first.document == again.document
    assert update.document["requestIds"] != first.document["requestIds"]
    assert len(receiver.bus.operations_queue.messages) == 2
    assert len({read_discovery(each).origin for each in receiver.queued}) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"restart everything", "body"),
        (b"[]", "body"),
        (b'"azureMonitorCommonAlertSchema"', "body"),
        (b"\xff\xfe", "body"),
        (b'{"schemaId": NaN}', "body"),
        (b"[" * 100_000, "body"),
        (b'{"schemaId":' + b"[" * 64 + b"]" * 64 + b"}", "body"),
        (b'{"schemaId":' + b"[" * 990 + b"]" * 990 + b"}", "body"),
        (b'{"schemaId": 1, "schemaId": 2}', "schemaId"),
        (b'{"subscriptionId": "x"}', "schemaId"),
        (b'{"schemaId": "azureMonitorCommonAlertSchema", "data": null}', "data"),
    ],
)
async def test_malformed_alert_returns_400_with_problems(body: bytes, field: str) -> None:
    receiver = Receiver()
    response = await receiver.post(body)
    document = json.loads(response.body)
    assert (response.status, response.content_type) == (400, "application/problem+json")
    assert (document["status"], document["title"], document["type"]) == (400, "Bad Request", "about:blank")
    assert field in {problem["field"] for problem in document["problems"]}
    assert receiver.queued == []


async def test_alert_for_thousands_of_foreign_subscriptions_puts_nothing_on_the_queue() -> None:
    receiver = Receiver()
    strangers = [f"/subscriptions/{number:08d}-4444-4444-8444-444444444444" for number in range(4_500)]
    response = await receiver.post(health(essentials={"alertTargetIDs": strangers}))
    assert (response.status, response.document["status"], receiver.queued) == (200, "ignored", [])
    assert response.document["outsideAllowedScopes"] == 4_500
    own = await receiver.post(health(essentials={"alertTargetIDs": [*strangers, f"/subscriptions/{ALERTED}"]}))
    assert (own.status, len(receiver.queued)) == (202, 1)


async def test_payload_over_limit_returns_413() -> None:
    response = await Receiver().post(health(communication="x" * MAX_ALERT))
    assert (response.status, response.content_type) == (413, "application/problem+json")
    assert (await Receiver().post(health(communication="<p>" * 60_000))).status == 202


async def test_queue_down_returns_503_with_retry_after() -> None:
    receiver = Receiver()
    receiver.bus.down.add("operations")
    response = await receiver.post(health())
    assert (response.status, response.headers["Retry-After"]) == (503, "30")
    receiver.bus.down.clear()
    assert (await receiver.post(health())).status == 202


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for name, value in below for place in _places(value, (*path, name)))]


@st.composite
def _damaged(draw: st.DrawFn) -> Any:
    """A sample payload with some values replaced by any JSON, or removed."""
    document = payload(draw(st.sampled_from(NAMES)))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(_places(document)[1:]))
        parent = document
        for step in path:
            parent = parent[step] if isinstance(parent, list) or step in parent else {}
        if isinstance(parent, dict):
            parent[last] = draw(JSON)
    return document


def _respond(document: Any) -> AlertResponse:
    rules = AlertRules(rules=("restart-on-degraded-host", "instance degraded"))
    return asyncio.run(Receiver(rules).post(json.dumps(document).encode()))


@given(document=JSON | st.fixed_dictionaries({"schemaId": JSON, "data": JSON}))
@hypothesis_settings(derandomize=True, max_examples=150)
def test_any_json_returns_200_or_400(document: Any) -> None:
    assert _respond(document).status in (200, 400)


@given(document=_damaged())
@hypothesis_settings(derandomize=True, max_examples=150)
def test_any_damaged_payload_returns_a_response(document: Any) -> None:
    response = _respond(document)
    assert response.status in (200, 202, 400)
    json.loads(response.body)
    assert (response.status == 202) is bool(response.document.get("requestIds"))


# Discovery messages


GOOD: dict[str, Any] = {"subscriptionId": ALERTED, "origin": "0123456789abcdef0123"}


def test_discovery_round_trips() -> None:
    discovery = Discovery(subscription_id=ALERTED, origin="0123456789abcdef0123", regions=("westeurope",), reason="ä")
    assert read_discovery(json.loads(discovery.to_json())) == discovery
    everywhere = replace(discovery, regions=None)
    assert read_discovery(json.loads(everywhere.to_json())) == everywhere


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dryRun": False}, "discover.dryRun"),
        ({"rollout": {}}, "discover.rollout"),
        ({"subscriptionId": "mine"}, "discover.subscriptionId"),
        ({"origin": "x y"}, "discover.origin"),
        ({"origin": 12345678901234567890}, "discover.origin"),
        ({"regions": []}, "discover.regions"),
        ({"regions": ["West Europe"]}, "discover.regions.0"),
        ({"scaleSets": []}, "discover.scaleSets"),
        ({"scaleSets": [f"/subscriptions/{ALERTED}"]}, "discover.scaleSets.0"),
        ({"scaleSets": [scale_set_id()] * 101}, "discover.scaleSets"),
        ({"scaleSets": [scale_set_id().replace("4111", "4222")]}, "discover.scaleSets"),
        ({"reason": "x" * 1001}, "discover.reason"),
    ],
)
def test_invalid_discovery_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_discovery({"discover": {**GOOD, **change}})
    assert field in {problem.field for problem in refused.value.problems}


def test_invalid_discovery_reports_every_problem() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_discovery({"schemaVersion": 2, "other": 1, "discover": {"origin": 1}})
    fields = {problem.field for problem in refused.value.problems}
    assert fields == {"schemaVersion", "other", "discover.origin", "discover.subscriptionId"}
