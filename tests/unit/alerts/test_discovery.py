"""Alerts and discoveries from the queue: the views read, the requests sent, and the retries scheduled."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any, cast

import pytest

from maintenance.alerts.discovery import Discoverer
from maintenance.alerts.messages import DISCOVERY, REQUEST, Discovery, batch
from maintenance.alerts.receiver import AlertReceiver
from maintenance.alerts.rules import AlertRules
from maintenance.arm.throttling import Gateway, ThrottlingGateway
from maintenance.domain.errors import ArmError, BusUnavailable, RefusedError, ThrottledError, TransientError
from maintenance.domain.instances import NO_TAGS, Instance, ScaleSetSummary, Tags
from maintenance.domain.messages import Envelope
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Reply
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.operations.records import read_reply
from maintenance.policies.tags import of_properties
from maintenance.requests.schema import read_request
from maintenance.requests.tags import read_tag_policy
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.alert_payloads import ALERTED, health, scale_set_id
from tests.support.crash_point import CrashPoint, HandClock
from tests.support.fake_bus import FakeBus, Message, delivery_of
from tests.support.samples import NOW, completed, eligible, without_maintenance

ORIGIN = "0123456789abcdef0123"
BUSY = ErrorDetail("OperationNotAllowed", "too many requests")


class FakeSubscription:
    """Scale sets of a subscription. `failures` are raised once each, by call: "list", or the name of a scale set."""

    def __init__(self) -> None:
        self.listed: list[ScaleSetSummary] = []
        self.instances: dict[str, list[Instance]] = {}
        self.failures: dict[str, list[ArmError]] = {}
        self.reads: Counter[str] = Counter()
        self.read_as_flexible: set[str] = set()

    def add(
        self,
        name: str,
        *instances: Instance,
        group: str = "shop",
        location: str = "westeurope",
        flexible: bool = False,
        tags: Tags = NO_TAGS,
    ) -> None:
        self.listed.append(ScaleSetSummary(ScaleSet(ALERTED, group, name), location, flexible, tags))
        self.instances[name] = list(instances)

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        self._read("list")
        return [each for each in self.listed if each.scale_set.subscription_id == subscription_id.lower()]

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        raise AssertionError("they are listed")

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return any(each.flexible for each in self.listed if each.scale_set == scale_set)

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self._read(scale_set.name)
        if flexible:
            self.read_as_flexible.add(scale_set.name)
        return self.instances[scale_set.name]

    def _read(self, name: str) -> None:
        self.reads[name] += 1
        if self.failures.get(name):
            raise self.failures[name].pop(0)


class OperationsQueue:
    """The operations queue, as far as it brings discoveries; requests that they lead to are left in it."""

    def __init__(self, *scopes: Scope, **settings: Any) -> None:
        self.clock = HandClock()
        self.arm = FakeSubscription()
        crash_point = CrashPoint()
        self.bus = FakeBus(self.clock, crash_point)
        self.settings = Settings(
            service_bus=ServiceBusConnection(namespace="ns"), allowed_scopes=scopes or (Scope(ALERTED),), **settings
        )
        arm = ThrottlingGateway(
            cast(Gateway, self.arm), default_pause=self.settings.timing.min_poll, monotonic=self.clock.seconds
        )
        self.discoverer = Discoverer(arm, self.bus, self.settings, read_tags=read_tag_policy, now=self.clock)

    @property
    def messages(self) -> list[Message]:
        return self.bus.operations_queue.messages

    def send(self, document: object, message_id: str = "sent") -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.bus.operations_queue.send(Message(body, message_id, self.clock(), {"traceparent": "t"}, subject=DISCOVERY))

    async def handle(self) -> None:
        """Handle every discovery until none is left."""
        for _ in range(100):
            waiting = [each for each in self.messages if each.subject == DISCOVERY]
            if not waiting:
                return
            self.clock.time = max(self.clock.time, min(each.due for each in waiting))
            self.bus.operations_queue.activate()
            for message in waiting:
                if message.due <= self.clock.time:
                    message.deliveries += 1
                    message.locked_until = self.clock.time + timedelta(minutes=5)
                    await self.discoverer.handle(delivery_of(message))
                    self.bus.operations_queue.settle(message)
        raise AssertionError("it does not end")

    @property
    def requests(self) -> list[Message]:
        return [each for each in self.messages if each.subject == REQUEST]

    @property
    def rejections(self) -> list[Reply]:
        return [read_reply(each.body) for each in self.messages if each.subject == "reply"]

    @property
    def requested(self) -> dict[str, tuple[str, ...] | None]:
        read = [read_request(Envelope(body=b""), json.loads(each.body)) for each in self.requests]
        return {request.scale_set.name: request.instance_ids for request in read}

    @property
    def problems(self) -> list[str]:
        return [message for reply in self.rejections for _, message, _ in reply.problems]


def discovery(**fields: Any) -> dict[str, Any]:
    return {"discover": {"subscriptionId": ALERTED, "origin": ORIGIN, **fields}}


async def test_discovery_requests_eligible_instances_of_each_scale_set() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"), completed("1"), without_maintenance("2"), eligible("5"))
    queue.arm.add("idle", without_maintenance("0"))
    queue.arm.add("done", completed("0"))
    queue.arm.add("flex", eligible("vm_a"), flexible=True)
    queue.arm.add("empty")
    queue.send(discovery(reason="planned"))
    await queue.handle()
    assert queue.requested == {"web": ("0", "5"), "flex": ("vm_a",)}
    assert queue.arm.read_as_flexible == {"flex"}
    assert queue.rejections == []
    for message in queue.requests:
        assert message.message_id == json.loads(message.body)["requestId"]
        assert message.properties["traceparent"] == "t"
        assert json.loads(message.body)["reason"] == "planned"


async def test_discovery_is_limited_to_impacted_and_allowed_regions() -> None:
    queue = OperationsQueue(alerts=AlertRules(regions=("West Europe", "East US 2")))
    for name, location in {"web": "westeurope", "us": "eastus2", "uk": "uksouth", "jp": "japaneast"}.items():
        queue.arm.add(name, eligible("0"), location=location)
    queue.send(discovery(regions=["westeurope", "uksouth"]))
    await queue.handle()
    assert set(queue.requested) == {"web"}
    queue.send(discovery(), "everywhere")
    await queue.handle()
    assert set(queue.requested) == {"web", "us"}


async def test_discovery_reads_no_views_outside_allowed_scopes() -> None:
    queue = OperationsQueue(Scope(ALERTED, "shop", "web"), Scope(ALERTED, "mail"))
    queue.arm.add("web", eligible("0"))
    queue.arm.add("api", eligible("0"))
    queue.arm.add("inbound", eligible("0"), group="MAIL")
    queue.send(discovery())
    await queue.handle()
    assert set(queue.requested) == {"web", "inbound"}
    assert "api" not in queue.arm.reads


async def test_discovery_in_subscription_outside_allowed_scopes_is_rejected() -> None:
    queue = OperationsQueue(Scope("22222222-2222-4222-8222-222222222222"))
    queue.send(discovery())
    await queue.handle()
    assert "MAINTENANCE_ALLOWED_SCOPES" in queue.problems[0]
    assert not queue.arm.reads


async def test_discovery_of_scale_sets_outside_allowed_scopes_is_rejected() -> None:
    queue = OperationsQueue(Scope(ALERTED, "shop", "web"))
    queue.send(discovery(scaleSets=[scale_set_id("web"), scale_set_id("api")]))
    await queue.handle()
    assert len(queue.problems) == 1
    assert not queue.arm.reads


async def test_discovery_without_instance_views_is_rejected() -> None:
    queue = OperationsQueue(read_instance_views=False)
    queue.send(discovery())
    await queue.handle()
    assert "instance views" in queue.problems[0]


async def test_discovered_requests_have_rollout_and_dry_run_of_the_app() -> None:
    queue = OperationsQueue(alerts=AlertRules(rollout={"byUpdateDomain": True}, dry_run=True))
    queue.arm.add("web", eligible("0"))
    queue.send(discovery())
    await queue.handle()
    (message,) = queue.requests
    assert json.loads(message.body)["dryRun"] is True
    assert json.loads(message.body)["rollout"] == {"byUpdateDomain": True}


async def test_throttled_scale_sets_are_retried_after_retry_after() -> None:
    queue = OperationsQueue()
    for name in ("api", "batch", "web"):
        queue.arm.add(name, eligible("0"))
    queue.arm.failures["batch"] = [
        ThrottledError("list instances", BUSY, status=429, retry_after=timedelta(minutes=20))
    ]
    queue.send(discovery())
    (first,) = queue.bus.operations_queue.take(1)
    await queue.discoverer.handle(delivery_of(first))
    queue.bus.operations_queue.settle(first)
    (retry,) = [each for each in queue.messages if each.subject == DISCOVERY]
    assert retry.due >= NOW + timedelta(minutes=20)
    left = json.loads(retry.body)["discover"]["scaleSets"]
    assert scale_set_id("batch") in left
    assert not {scale_set_id(name) for name in queue.requested} & set(left)
    await queue.handle()
    assert set(queue.requested) == {"api", "batch", "web"}
    assert queue.rejections == []


async def test_throttled_list_is_retried_once_after_retry_after() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"))
    queue.arm.failures["list"] = [ThrottledError("list instances", BUSY, status=429, retry_after=timedelta(minutes=5))]
    queue.send(discovery())
    queue.send(discovery(regions=["westeurope"]), "another")
    await queue.handle()
    assert set(queue.requested) == {"web"}
    assert queue.arm.reads["list"] == 3
    assert queue.bus.operations_queue.dropped == [queue.requests[0].message_id]


async def test_transient_error_is_retried_until_deadline_and_then_published() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"))
    queue.arm.failures["web"] = [
        TransientError("list instances", ErrorDetail("Timeout", "No response.")) for _ in range(1000)
    ]
    queue.send(discovery())
    await queue.handle()
    assert queue.clock.time - NOW >= queue.settings.default_deadline
    assert queue.problems == ["could not be carried out in time: Timeout: No response."]
    assert 10 < queue.arm.reads["web"] < 100


async def test_denied_scale_set_is_published_after_all_others_are_done() -> None:
    queue = OperationsQueue()
    for name in ("api", "batch", "gone", "web"):
        queue.arm.add(name, eligible("0"))
    denied = ErrorDetail("AuthorizationFailed", "needs the permission to read")
    queue.arm.failures["api"] = [RefusedError("list the instances of shop/api", denied, status=403)]
    queue.arm.failures["gone"] = [RefusedError("list instances", ErrorDetail("ResourceNotFound", "gone"), status=404)]
    queue.arm.failures["batch"] = [TransientError("list instances", ErrorDetail("Timeout", "No response."))]
    queue.send(discovery())
    await queue.handle()
    assert set(queue.requested) == {"batch", "web"}
    assert queue.problems == [
        "cannot list the instances of shop/api: AuthorizationFailed: needs the permission to read"
    ]


async def test_denied_list_is_published() -> None:
    queue = OperationsQueue()
    queue.arm.failures["list"] = [RefusedError("list", ErrorDetail("AuthorizationFailed", "no"), status=403)]
    queue.send(discovery())
    await queue.handle()
    assert queue.problems == ["cannot list: AuthorizationFailed: no"]


async def test_event_of_a_discovery_names_it_as_the_response_to_its_alert_did() -> None:
    queue = OperationsQueue()
    queue.arm.add("api", eligible("0"))
    queue.arm.failures["api"] = [RefusedError("list", ErrorDetail("AuthorizationFailed", "no"), status=403)]
    response = await AlertReceiver(queue.bus, AlertRules()).respond(json.dumps(health()).encode(), {})
    await queue.handle()
    (known_as,) = response.document["requestIds"]
    assert [reply.request_id for reply in queue.rejections] == [known_as]


async def test_discovery_of_250_scale_sets_is_done_in_batches() -> None:
    queue = OperationsQueue()
    for number in range(250):
        queue.arm.add(f"set{number}", *([eligible("0")] if number % 5 == 0 else []), flexible=number % 2 == 0)
    queue.send(discovery())
    await queue.handle()
    assert len(queue.requested) == 50
    assert queue.arm.reads["list"] == 1
    assert max(count for name, count in queue.arm.reads.items()) == 1
    assert len(queue.arm.read_as_flexible) == 125


async def test_redelivered_discovery_sends_no_request_twice() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"))
    for message_id in ("sent", "sent again", "and again"):
        queue.send(discovery(), message_id)
        await queue.handle()
    assert len(queue.requests) == 1
    assert queue.bus.operations_queue.dropped == [queue.requests[0].message_id] * 2


async def test_discovery_whose_requests_cannot_be_sent_raises() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"))
    queue.send(discovery())
    queue.bus.down.add("operations")
    (message,) = queue.bus.operations_queue.take(1)
    with pytest.raises(BusUnavailable):
        await queue.discoverer.handle(delivery_of(message))


@pytest.mark.parametrize("wrong", [{"discover": {}}, {"discover": None}, {**discovery(), "reason": "x"}])
async def test_malformed_discovery_is_rejected(wrong: dict[str, Any]) -> None:
    queue = OperationsQueue()
    queue.send(wrong)
    await queue.handle()
    assert queue.problems
    assert queue.requests == []


async def test_parts_of_an_update_or_of_the_real_run_have_ids_of_their_own() -> None:
    sets = [ScaleSet(ALERTED, "shop", f"s{n}") for n in range(16)]
    first = Discovery(subscription_id=ALERTED, origin=ORIGIN, reason="first")
    rules = AlertRules()
    ids = {
        batch(first, sets, rules).message_id,
        batch(first, sets, AlertRules(dry_run=True)).message_id,
        batch(Discovery(subscription_id=ALERTED, origin=ORIGIN, reason="update"), sets, rules).message_id,
    }
    assert len(ids) == 3
    assert batch(first, sets, rules).message_id in ids


async def test_alert_over_the_requests_queue_leads_to_what_it_leads_to_over_http() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"))
    queue.arm.add("us", eligible("0"), location="eastus2")
    queue.arm.add("uk", eligible("0"), location="uksouth")
    receiver = AlertReceiver(queue.bus, queue.settings.alerts)
    await receiver.handle(Envelope(body=b""), health())
    await queue.handle()
    assert set(queue.requested) == {"web", "us"}
    envelope = {"specversion": "1.0", "type": "alert", "data": health(stage="Active")}
    assert receiver.recognizes(envelope)
    await receiver.handle(Envelope(body=b""), envelope)
    await queue.handle()
    assert len(queue.requests) == 4


async def test_ignored_alert_over_the_requests_queue_sends_nothing() -> None:
    queue = OperationsQueue()
    await AlertReceiver(queue.bus, queue.settings.alerts).handle(Envelope(body=b""), health(stage="Resolved"))
    assert queue.messages == []


async def test_discovery_leaves_out_what_is_excluded_and_rejects_tags_that_cannot_be_read() -> None:
    queue = OperationsQueue()
    queue.arm.add("web", eligible("0"))
    queue.arm.add("db", eligible("0"), tags=Tags(exclude="true"))
    queue.arm.add("api", eligible("0"), tags=Tags(windows="Saturdays", rollout="slow"))
    queue.send(discovery())
    await queue.handle()
    assert queue.requested == {"web": ("0",)}
    assert queue.arm.reads == {"list": 1, "web": 1}
    (rejection,) = queue.rejections
    assert [field for field, _, _ in rejection.problems] == [
        "shop/api, tag maintenance-windows",
        "shop/api, tag maintenance-rollout",
    ]


@pytest.mark.parametrize("others", [0, 40])
async def test_tags_that_were_listed_come_with_the_request(others: int) -> None:
    queue = OperationsQueue()
    tags = Tags(windows='[{"schedule": "0 22 * * SAT", "duration": "PT6H"}]', rollout='{"byUpdateDomain": true}')
    queue.arm.add("web", eligible("0"), tags=tags)
    for number in range(others):
        queue.arm.add(f"other{number}", eligible("0"))
    # A part that is read later still knows them.
    queue.arm.failures["web"] = [ThrottledError("list", BUSY, status=429)]
    queue.send(discovery())
    await queue.handle()
    assert len(queue.requests) == 1 + others
    known = {json.loads(each.body)["resourceId"].split("/")[-1]: each.properties for each in queue.requests}
    assert of_properties(known.pop("web")) == tags
    assert all(of_properties(properties) == NO_TAGS for properties in known.values())
    assert all(each.properties["traceparent"] == "t" for each in queue.requests)
