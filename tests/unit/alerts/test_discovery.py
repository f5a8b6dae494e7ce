"""Alerts and discoveries that come over the queue: what is looked at, what is asked for, and what comes again."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any, cast

import pytest

from maintenance.alerts.discovery import Discoverer
from maintenance.alerts.receiver import AlertReceiver
from maintenance.alerts.rules import AlertRules
from maintenance.arm.throttling import Gateway, ThrottlingGateway
from maintenance.arm.views import read_scale_set_summary
from maintenance.domain.errors import ArmError, RefusedError, ThrottledError, TransientError
from maintenance.domain.instances import Instance, ScaleSetSummary
from maintenance.domain.messages import Envelope
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.lifecycle.actions import Rules
from maintenance.operations.runner import Runner
from maintenance.requests.handler import RequestHandler
from maintenance.requests.schema import read_request
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.alert_payloads import ALERTED, health, payload, scale_set_id, targeting
from tests.support.fakes import CrashPoint, FakeArm, FakeBus, FakeCoordinationQueue, HandClock, Message, envelope_of
from tests.support.samples import NOW, completed, eligible, without_maintenance

ORIGIN = "0123456789abcdef0123"
BUSY = ErrorDetail("OperationNotAllowed", "too many requests")


class FakeSubscription:
    """Scale sets of a subscription by name. `failures` are raised, once each, by what is asked: "list", or a name."""

    def __init__(self) -> None:
        self.listed: list[ScaleSetSummary] = []
        self.instances: dict[str, list[Instance]] = {}
        self.failures: dict[str, list[ArmError]] = {}
        self.asked: Counter[str] = Counter()
        self.asked_as_flexible: set[str] = set()

    def add(
        self, name: str, *instances: Instance, group: str = "shop", location: str = "westeurope", flexible: bool = False
    ) -> None:
        self.listed.append(ScaleSetSummary(ScaleSet(ALERTED, group, name), location, flexible))
        self.instances[name] = list(instances)

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        self._ask("list")
        return [each for each in self.listed if each.scale_set.subscription_id == subscription_id.lower()]

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return any(each.flexible for each in self.listed if each.scale_set == scale_set)

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self._ask(scale_set.name)
        if flexible:
            self.asked_as_flexible.add(scale_set.name)
        return self.instances[scale_set.name]

    def _ask(self, name: str) -> None:
        self.asked[name] += 1
        if self.failures.get(name):
            raise self.failures[name].pop(0)


class Post:
    """The handler of the requests queue, with all that it hands on to."""

    def __init__(self, *scopes: Scope, **settings: Any) -> None:
        self.clock = HandClock()
        self.arm = FakeSubscription()
        crash_point = CrashPoint()
        self.bus = FakeBus(self.clock, crash_point)
        self.settings = Settings(
            service_bus=ServiceBusConnection(namespace="ns"), allowed_scopes=scopes or (Scope(ALERTED),), **settings
        )
        board = FakeCoordinationQueue(crash_point)
        runner = Runner(
            FakeArm(self.clock, crash_point, []),
            Rules(allowed_scopes=self.settings.allowed_scopes, timing=self.settings.timing),
            coordination=board,
            now=self.clock,
        )
        discoverer = Discoverer(
            ThrottlingGateway(cast(Gateway, self.arm), default_pause=self.settings.timing.min_poll, now=self.clock),
            self.bus,
            self.settings,
            now=self.clock,
        )
        others = (AlertReceiver(self.bus, self.settings.alerts), discoverer)
        self.handler = RequestHandler(runner, self.bus, self.settings, now=self.clock, routes=others)

    def send(self, document: object, message_id: str = "sent") -> None:
        self.bus.requests.send(Message(json.dumps(document).encode(), message_id, self.clock(), {"traceparent": "t"}))

    async def handle(self) -> None:
        """Every alert and every discovery, until none is left; requests are left on the queue."""
        for _ in range(100):
            waiting = [each for each in self.bus.requests.messages if each not in self.requests]
            if not waiting:
                return
            self.clock.time = max(self.clock.time, min(each.due for each in waiting))
            for message in waiting:
                if message.due <= self.clock.time:
                    message.deliveries += 1
                    await self.handler.handle(envelope_of(message))
                    self.bus.requests.settle(message)
        raise AssertionError("it does not come to an end")

    @property
    def requests(self) -> list[Message]:
        return [each for each in self.bus.requests.messages if b"resourceId" in each.body]

    @property
    def asked_for(self) -> dict[str, tuple[str, ...] | None]:
        read = [read_request(Envelope(body=b""), json.loads(each.body)) for each in self.requests]
        return {request.scale_set.name: request.instance_ids for request in read}

    @property
    def problems(self) -> list[str]:
        assert len(self.bus.ends) <= 1
        return [problem["message"] for event in self.bus.ends for problem in event.data["problems"]]


def discovery(**fields: Any) -> dict[str, Any]:
    return {"discover": {"subscriptionId": ALERTED, "origin": ORIGIN, **fields}}


async def test_each_scale_set_with_planned_maintenance_is_asked_for_by_its_eligible_instances() -> None:
    post = Post()
    post.arm.add("web", eligible("0"), completed("1"), without_maintenance("2"), eligible("5"))
    post.arm.add("idle", without_maintenance("0"))
    post.arm.add("done", completed("0"))
    post.arm.add("flex", eligible("vm_a"), flexible=True)
    post.arm.add("empty")
    post.send(discovery(reason="planned"))
    await post.handle()
    assert post.asked_for == {"web": ("0", "5"), "flex": ("vm_a",)}
    assert post.arm.asked_as_flexible == {"flex"}
    assert post.bus.published == []
    for message in post.requests:
        assert message.message_id == json.loads(message.body)["requestId"]
        assert message.properties["traceparent"] == "t"
        assert json.loads(message.body)["reason"] == "planned"


async def test_only_impacted_regions_are_looked_at_and_only_those_the_app_allows() -> None:
    post = Post(alerts=AlertRules(regions=("West Europe", "East US 2")))
    for name, location in {"web": "westeurope", "us": "eastus2", "uk": "uksouth", "jp": "japaneast"}.items():
        post.arm.add(name, eligible("0"), location=location)
    post.send(discovery(regions=["westeurope", "uksouth"]))
    await post.handle()
    assert set(post.asked_for) == {"web"}
    post.send(discovery(), "everywhere")
    await post.handle()
    assert set(post.asked_for) == {"web", "us"}


async def test_scale_sets_beyond_the_allowed_scopes_are_not_even_looked_at() -> None:
    post = Post(Scope(ALERTED, "shop", "web"), Scope(ALERTED, "mail"))
    post.arm.add("web", eligible("0"))
    post.arm.add("api", eligible("0"))
    post.arm.add("inbound", eligible("0"), group="MAIL")
    post.send(discovery())
    await post.handle()
    assert set(post.asked_for) == {"web", "inbound"}
    assert "api" not in post.arm.asked


async def test_a_subscription_beyond_the_allowed_scopes_is_rejected() -> None:
    post = Post(Scope("22222222-2222-4222-8222-222222222222"))
    post.send(discovery())
    await post.handle()
    assert "MAINTENANCE_ALLOWED_SCOPES" in post.problems[0]
    assert not post.arm.asked


async def test_named_scale_sets_beyond_the_allowed_scopes_are_rejected() -> None:
    post = Post(Scope(ALERTED, "shop", "web"))
    post.send(discovery(scaleSets=[scale_set_id("web"), scale_set_id("api")]))
    await post.handle()
    assert len(post.problems) == 1
    assert not post.arm.asked


async def test_without_instance_views_nothing_can_be_found() -> None:
    post = Post(read_instance_views=False)
    post.send(discovery())
    await post.handle()
    assert "instance views" in post.problems[0]


async def test_rollout_and_dry_run_are_those_of_the_app() -> None:
    post = Post(alerts=AlertRules(rollout={"byUpdateDomain": True}, dry_run=True))
    post.arm.add("web", eligible("0"))
    post.send(discovery())
    await post.handle()
    (message,) = post.requests
    assert json.loads(message.body)["dryRun"] is True
    assert json.loads(message.body)["rollout"] == {"byUpdateDomain": True}


async def test_what_was_throttled_comes_again_by_itself_when_arm_says() -> None:
    post = Post()
    for name in ("api", "batch", "web"):
        post.arm.add(name, eligible("0"))
    post.arm.failures["batch"] = [ThrottledError("look", BUSY, status=429, retry_after=timedelta(minutes=20))]
    post.send(discovery())
    first = post.bus.requests.messages[0]
    first.deliveries = 1
    await post.handler.handle(envelope_of(first))
    post.bus.requests.settle(first)
    (clone,) = [each for each in post.bus.requests.messages if each not in post.requests]
    assert clone.message_id == "sent:r1"
    assert clone.due >= NOW + timedelta(minutes=20)
    left = json.loads(clone.body)["discover"]["scaleSets"]
    assert scale_set_id("batch") in left
    assert not {scale_set_id(name) for name in post.asked_for} & set(left)
    await post.handle()
    assert set(post.asked_for) == {"api", "batch", "web"}
    assert post.bus.published == []


async def test_a_list_that_was_throttled_comes_again_and_is_left_alone_until_then() -> None:
    post = Post()
    post.arm.add("web", eligible("0"))
    post.arm.failures["list"] = [ThrottledError("look", BUSY, status=429, retry_after=timedelta(minutes=5))]
    post.send(discovery())
    post.send(discovery(regions=["westeurope"]), "another")
    await post.handle()
    assert set(post.asked_for) == {"web"}
    assert post.arm.asked["list"] == 3
    assert post.bus.requests.dropped == [post.requests[0].message_id]


async def test_passing_trouble_is_tried_until_the_deadline_and_then_told() -> None:
    post = Post()
    post.arm.add("web", eligible("0"))
    post.arm.failures["web"] = [TransientError("look", ErrorDetail("Timeout", "No answer.")) for _ in range(1000)]
    post.send(discovery())
    await post.handle()
    assert post.clock.time - NOW >= post.settings.default_deadline
    assert post.problems == ["could not be carried out in time: Timeout: No answer."]
    assert 10 < post.arm.asked["web"] < 100


async def test_what_may_not_be_seen_is_told_once_all_else_is_done() -> None:
    post = Post()
    for name in ("api", "batch", "gone", "web"):
        post.arm.add(name, eligible("0"))
    denied = ErrorDetail("AuthorizationFailed", "needs the permission to read")
    post.arm.failures["api"] = [RefusedError("list the instances of shop/api", denied, status=403) for _ in range(2)]
    post.arm.failures["gone"] = [RefusedError("look", ErrorDetail("ResourceNotFound", "gone"), status=404)]
    post.arm.failures["batch"] = [TransientError("look", ErrorDetail("Timeout", "No answer."))]
    post.send(discovery())
    await post.handle()
    assert set(post.asked_for) == {"batch", "web"}
    assert post.problems == ["cannot list the instances of shop/api: AuthorizationFailed: needs the permission to read"]


async def test_a_list_that_may_not_be_seen_is_told() -> None:
    post = Post()
    post.arm.failures["list"] = [RefusedError("list", ErrorDetail("AuthorizationFailed", "no"), status=403)]
    post.send(discovery())
    await post.handle()
    assert post.problems == ["cannot list: AuthorizationFailed: no"]


async def test_a_large_estate_is_looked_at_in_parts() -> None:
    post = Post()
    for number in range(250):
        post.arm.add(f"set{number}", *([eligible("0")] if number % 5 == 0 else []), flexible=number % 2 == 0)
    post.send(discovery())
    await post.handle()
    assert len(post.asked_for) == 50
    assert post.arm.asked["list"] == 1
    assert max(count for name, count in post.arm.asked.items()) == 1
    assert len(post.arm.asked_as_flexible) == 125


async def test_a_discovery_that_is_delivered_again_asks_for_nothing_twice() -> None:
    post = Post()
    post.arm.add("web", eligible("0"))
    post.send(discovery())
    await post.handle()
    for count, message_id in enumerate(("sent again", "and again"), 2):
        message = Message(json.dumps(discovery()).encode(), message_id, post.clock(), deliveries=count)
        await post.handler.handle(envelope_of(message))
    assert len(post.requests) == 1
    assert post.bus.requests.dropped == [post.requests[0].message_id] * 2


async def test_a_bus_that_takes_nothing_raises_so_that_nothing_is_lost() -> None:
    post = Post()
    post.arm.add("web", eligible("0"))
    post.send(discovery())
    post.bus.down.add("requests")
    (message,) = post.bus.requests.messages
    with pytest.raises(Exception, match="requests is down"):
        await post.handler.handle(envelope_of(message))


@pytest.mark.parametrize("wrong", [{"discover": {}}, {"discover": None}, {**discovery(), "reason": "x"}])
async def test_a_discovery_that_is_none_is_rejected(wrong: dict[str, Any]) -> None:
    post = Post()
    post.send(wrong)
    await post.handle()
    assert post.problems
    assert post.bus.requests.messages == []


async def test_an_alert_over_the_queue_leads_to_the_same_as_over_http() -> None:
    post = Post()
    post.arm.add("web", eligible("0"))
    post.arm.add("us", eligible("0"), location="eastus2")
    post.arm.add("uk", eligible("0"), location="uksouth")
    post.send(health())
    await post.handle()
    assert set(post.asked_for) == {"web", "us"}
    post.send({"specversion": "1.0", "type": "alert", "data": health(stage="Active")}, "in an event")
    await post.handle()
    assert len(post.requests) == 4
    post.send(targeting(scale_set_id("api"), custom={"maintenance": "perform"}), "metric")
    await post.handle()
    assert post.asked_for["api"] is None
    assert post.bus.published == []


async def test_an_alert_that_calls_for_nothing_leaves_the_queue_without_a_word() -> None:
    post = Post()
    post.send(payload("testaction_common_metric"))
    await post.handle()
    assert post.bus.requests.messages == []
    assert post.bus.published == []


async def test_an_alert_larger_than_a_request_may_be_is_understood_and_a_bad_one_is_rejected_once() -> None:
    post = Post()
    post.send(health(communication="<p>" * 50_000))
    await post.handle()
    assert post.arm.asked["list"] == 1
    assert post.bus.published == []
    post.send({"schemaId": "azureMonitorCommonAlertSchema", "data": []}, "bad")
    await post.handle()
    assert post.problems == ["must be an object"]


def test_a_listed_scale_set_is_read_whatever_its_letter_case() -> None:
    document = {
        "id": scale_set_id().upper(),
        "location": "West Europe",
        "properties": {"orchestrationMode": "FLEXIBLE"},
    }
    assert read_scale_set_summary(document) == ScaleSetSummary(
        ScaleSet(ALERTED, "SHOP", "WEB"), "westeurope", flexible=True
    )
    assert not read_scale_set_summary({"id": scale_set_id()}).flexible
    with pytest.raises(LookupError):
        read_scale_set_summary({"location": "westeurope"})
