"""What the sender of an alert is told, and what goes onto the queue."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maintenance.alerts.messages import Discovery, read_discovery
from maintenance.alerts.receiver import AlertReceiver, Answer
from maintenance.alerts.rules import AlertRules
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.messages import MAX_ALERT, Envelope
from maintenance.domain.operation import Rollout
from maintenance.domain.resources import Scope
from maintenance.requests.schema import read_request
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.alert_payloads import ALERTED, NAMES, TESTS, health, payload, scale_set_id, targeting
from tests.support.fakes import CrashPoint, FakeBus, HandClock

PERFORM = {"maintenance": "perform"}


class Desk:
    """A receiver of alerts, and the queue behind it."""

    def __init__(self, rules: AlertRules | None = None) -> None:
        self.clock = HandClock()
        self.bus = FakeBus(self.clock, CrashPoint())
        connection = ServiceBusConnection(namespace="ns")
        self.settings = Settings(service_bus=connection, allowed_scopes=(Scope(ALERTED),), alerts=rules or AlertRules())
        self.receiver = AlertReceiver(self.bus, self.settings.alerts)

    async def post(self, document: object, **headers: str) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.receiver.answer(body, headers)

    @property
    def queued(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.bus.requests.messages]


async def test_planned_maintenance_is_accepted_with_the_id_of_its_discovery() -> None:
    desk = Desk()
    answer = await desk.post(health(), Traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    (message,) = desk.bus.requests.messages
    assert (answer.status, answer.content_type) == (202, "application/json")
    assert answer.document["requestIds"] == [message.message_id]
    assert "VL4T-9X8" in answer.document["reason"]
    assert message.properties["traceparent"].startswith("00-0af7")  # type: ignore[union-attr] # it is text
    discovery = read_discovery(json.loads(message.body))
    assert discovery.subscription_id == ALERTED
    assert discovery.regions == ("eastus2", "westeurope")


async def test_an_alert_on_scale_sets_is_accepted_with_the_ids_of_its_requests() -> None:
    desk = Desk()
    answer = await desk.post(targeting(scale_set_id("web"), f"{scale_set_id('api')}/virtualMachines/2", custom=PERFORM))
    messages = desk.bus.requests.messages
    requests = [read_request(Envelope(body=b""), json.loads(message.body)) for message in messages]
    assert answer.status == 202
    assert answer.document["requestIds"] == [message.message_id for message in messages]
    assert [request.request_id for request in requests] == answer.document["requestIds"]
    assert [request.scale_set.name for request in requests] == ["web", "api"]
    assert [request.instance_ids for request in requests] == [None, ("2",)]
    assert all(not request.dry_run for request in requests)
    assert {request.rollout for request in requests} == {Rollout(max_instances_per_wave="20%", by_update_domain=True)}
    assert len({message.correlation_id for message in messages}) == 1


async def test_rollout_and_dry_run_are_the_rules_own_and_nothing_in_an_alert_changes_them() -> None:
    desk = Desk(AlertRules(rollout={"maxInstancesPerWave": 3}, dry_run=True))
    sneaky = {**PERFORM, "dryRun": "false", "rollout": "{}", "MAINTENANCE_ALLOWED_SCOPES": "/", "instanceIds": "9"}
    document = targeting(scale_set_id(), custom=sneaky)
    document["data"].update(dryRun=False, rollout={}, resourceId=scale_set_id("api"))
    document.update(dryRun=False, instanceIds=["1"])
    await desk.post(document)
    (queued,) = desk.queued
    assert queued["dryRun"] is True
    assert queued["rollout"] == {"maxInstancesPerWave": 3}
    assert set(queued) == {"requestId", "resourceId", "rollout", "dryRun", "reason"}


@pytest.mark.parametrize("document", [health(), targeting(scale_set_id(), custom=PERFORM)])
async def test_a_dry_run_does_not_stand_in_the_way_of_the_real_one(document: dict[str, Any]) -> None:
    dry = await Desk(AlertRules(dry_run=True)).post(document)
    real = await Desk().post(document)
    assert dry.status == real.status == 202
    assert dry.document["requestIds"] != real.document["requestIds"]


@pytest.mark.parametrize("name", TESTS)
async def test_a_test_alert_is_answered_as_one(name: str) -> None:
    desk = Desk()
    answer = await desk.post(payload(name))
    assert (answer.status, answer.document["status"], answer.document["requestIds"]) == (200, "test", [])
    assert desk.queued == []


async def test_where_nothing_is_to_be_done_the_reason_is_told() -> None:
    answer = await Desk().post(payload("common_metric_static"))
    assert (answer.status, answer.document["status"]) == (200, "ignored")
    assert "Resolved" in answer.document["reason"]


async def test_the_same_alert_twice_is_on_the_queue_once_and_an_update_looks_again() -> None:
    desk = Desk()
    first = await desk.post(health())
    again = await desk.post(health())
    update = await desk.post(health(essentials={"alertId": "update"}))
    assert first.document == again.document
    assert update.document["requestIds"] != first.document["requestIds"]
    assert len(desk.bus.requests.messages) == 2
    assert len({read_discovery(each).origin for each in desk.queued}) == 1


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
        (b'{"schemaId": 1, "schemaId": 2}', "schemaId"),
        (b'{"subscriptionId": "x"}', "schemaId"),
        (b'{"schemaId": "azureMonitorCommonAlertSchema", "data": null}', "data"),
    ],
)
async def test_what_is_no_alert_is_answered_by_its_problems(body: bytes, field: str) -> None:
    desk = Desk()
    answer = await desk.post(body)
    document = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert (document["status"], document["title"], document["type"]) == (400, "Bad Request", "about:blank")
    assert field in {problem["field"] for problem in document["problems"]}
    assert desk.queued == []


async def test_a_payload_over_the_stated_size_is_refused_unread() -> None:
    answer = await Desk().post(health(communication="x" * MAX_ALERT))
    assert (answer.status, answer.content_type) == (413, "application/problem+json")
    assert (await Desk().post(health(communication="<p>" * 60_000))).status == 202


async def test_a_queue_that_takes_nothing_is_answered_by_a_status_that_senders_try_again_on() -> None:
    desk = Desk()
    desk.bus.down.add("requests")
    answer = await desk.post(health())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    desk.bus.down.clear()
    assert (await desk.post(health())).status == 202


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
def _spoilt(draw: st.DrawFn) -> Any:
    """A payload of which some places hold anything at all, or nothing."""
    document = payload(draw(st.sampled_from(NAMES)))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(_places(document)[1:]))
        parent = document
        for step in path:
            parent = parent[step] if isinstance(parent, list) or step in parent else {}
        if isinstance(parent, dict):
            parent[last] = draw(JSON)
    return document


def _answered(document: Any) -> Answer:
    rules = AlertRules(rules=("restart-on-degraded-host", "instance degraded"))
    return asyncio.run(Desk(rules).post(json.dumps(document).encode()))


@given(document=JSON | st.fixed_dictionaries({"schemaId": JSON, "data": JSON}))
@hypothesis_settings(derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_answered(document: Any) -> None:
    assert _answered(document).status in (200, 400)


@given(document=_spoilt())
@hypothesis_settings(derandomize=True, max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_payload_that_was_spoilt_is_answered(document: Any) -> None:
    answer = _answered(document)
    assert answer.status in (200, 202, 400)
    json.loads(answer.body)
    assert (answer.status == 202) is bool(answer.document.get("requestIds"))


# The message that looks for scale sets


GOOD: dict[str, Any] = {"subscriptionId": ALERTED, "origin": "0123456789abcdef0123"}


def test_a_discovery_is_read_as_it_was_written() -> None:
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
def test_a_discovery_is_read_strictly(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_discovery({"discover": {**GOOD, **change}})
    assert field in {problem.field for problem in refused.value.problems}


def test_all_problems_of_a_discovery_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_discovery({"schemaVersion": 2, "other": 1, "discover": {"origin": 1}})
    fields = {problem.field for problem in refused.value.problems}
    assert fields == {"schemaVersion", "other", "discover.origin", "discover.subscriptionId"}
