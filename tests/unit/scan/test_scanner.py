"""Scans through their messages: what is read how often, told once a day, read later, and told as not scanned."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from maintenance.arm.throttling import Gateway, ThrottlingGateway
from maintenance.domain.errors import BusUnavailable, RefusedError, ThrottledError, TransientError
from maintenance.domain.instances import ScaleSetSummary
from maintenance.domain.messages import Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Reply
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.operations.records import read_reply
from maintenance.scan.messages import SCAN, Scan, read_scan, to_scan_record
from maintenance.scan.scanner import PART, Scanner
from maintenance.settings import ServiceBusConnection, Settings
from tests.support.alert_payloads import ALERTED
from tests.support.crash_point import CrashPoint, HandClock
from tests.support.fake_bus import FakeBus, FakeCoordinationQueue, Message, delivery_of
from tests.support.samples import NOW, eligible, without_maintenance
from tests.unit.alerts.test_discovery import FakeSubscription

BUSY = ErrorDetail("OperationNotAllowed", "too many requests")
DENIED = RefusedError("list the instances", ErrorDetail("AuthorizationFailed", "no"), status=403)
GONE = RefusedError("list the instances", ErrorDetail("NotFound", "gone"), status=404)


class Scans:
    """The timer, and the operations queue as far as it brings scans."""

    def __init__(self, mode: str = "report", *scopes: Scope) -> None:
        self.clock = HandClock()
        self.arm = FakeSubscription()
        crash_point = CrashPoint()
        self.bus = FakeBus(self.clock, crash_point)
        self.coordination = FakeCoordinationQueue(self.clock, crash_point)
        settings = Settings(
            service_bus=ServiceBusConnection(namespace="ns"),
            allowed_scopes=scopes or (Scope(ALERTED),),
            scan_mode=mode,  # type: ignore[arg-type] # of the parameters above
        )
        arm = ThrottlingGateway(
            cast(Gateway, self.arm), default_pause=settings.timing.min_poll, monotonic=self.clock.seconds
        )
        self.scanner = Scanner(arm, self.bus, self.coordination, settings, now=self.clock)

    @property
    def messages(self) -> list[Message]:
        return self.bus.operations_queue.messages

    async def handle(self) -> None:
        """Handle every scan until none is left."""
        while waiting := [each for each in self.messages if each.subject == SCAN]:
            self.clock.time = max(self.clock.time, min(each.due for each in waiting))
            self.bus.operations_queue.activate()
            for message in [each for each in waiting if each.due <= self.clock.time]:
                message.locked_until = self.clock.time + timedelta(minutes=5)
                await self.scanner.handle(delivery_of(message))
                self.bus.operations_queue.settle(message)

    @property
    def told(self) -> list[str]:
        return [str(event.data["vmScaleSetName"]) for event in self.bus.events.values()]

    @property
    def requested(self) -> list[str]:
        found = [json.loads(each.body) for each in self.messages if each.subject == "request"]
        return [each["resourceId"].rpartition("/")[2] for each in found]

    @property
    def rejections(self) -> list[Reply]:
        return [read_reply(each.body) for each in self.messages if each.subject == "reply"]


async def test_each_scale_set_is_listed_once_and_told_once_a_day() -> None:
    scans = Scans("request")
    for number in range(2 * PART):
        scans.arm.add(f"s{number:02}", eligible("0") if number % 2 else without_maintenance("0"))
    for _ in range(2):
        await scans.scanner.begin()
        await scans.handle()
    assert set(scans.arm.reads.values()) == {1}
    assert sorted(scans.told) == [f"s{number:02}" for number in range(1, 2 * PART, 2)]
    assert sorted(scans.requested) == sorted(scans.told)
    scans.clock.time = NOW + timedelta(days=1)
    await scans.scanner.begin()
    await scans.handle()
    assert len(scans.told) == len(scans.requested) == 2 * PART


async def test_scan_that_is_off_reads_and_sends_nothing() -> None:
    scans = Scans("off")
    assert await scans.scanner.begin() == 0
    scans.bus.operations_queue.send(
        _message(to_scan_record(Scan(subscription_id=ALERTED, day="2026-01-31", begun=NOW)))
    )
    await scans.handle()
    assert (scans.messages, dict(scans.arm.reads)) == ([], {})


async def test_nothing_beside_the_allowed_scopes_is_read() -> None:
    scans = Scans("request", Scope(ALERTED, "shop", "web"), Scope(ALERTED, "shop", "api"))
    for name in ("web", "api", "db"):
        scans.arm.add(name, eligible("0"))
    assert await scans.scanner.begin() == 1
    await scans.handle()
    assert scans.arm.reads == {"list": 1, "api": 1, "web": 1}
    # Nor what a message names that somebody else has sent.
    part = (ScaleSetSummary(ScaleSet(ALERTED, "shop", "db"), "westeurope"),)
    forged = to_scan_record(Scan(subscription_id=ALERTED, day="2026-01-31", begun=NOW, parts=part))
    scans.bus.operations_queue.send(_message(forged))
    await scans.handle()
    assert scans.arm.reads["db"] == 0


async def test_throttled_scan_calls_nobody_before_its_pause_is_over_and_goes_on_with_what_is_left() -> None:
    scans = Scans()
    for number in range(12):
        scans.arm.add(f"s{number:02}", eligible("0"))
    busy = ThrottledError("read", BUSY, status=429, retry_after=timedelta(minutes=20))
    scans.arm.failures = {"list": [busy], "s03": [busy]}
    await scans.scanner.begin()
    await scans.handle()
    assert scans.clock() >= NOW + timedelta(minutes=40)
    assert sorted(scans.told) == [f"s{number:02}" for number in range(12)]
    # One listing too many of what was throttled, and none of what follows it in the pause.
    assert scans.arm.reads == {"list": 2, "s03": 2, **{f"s{number:02}": 1 for number in range(12) if number != 3}}


async def test_what_cannot_be_scanned_in_time_is_told_by_name() -> None:
    scans = Scans()
    scans.arm.add("web", eligible("0"))
    scans.arm.add("api", eligible("0"))
    scans.arm.failures = {"web": [TransientError("list the instances", BUSY, status=503)] * 500}
    await scans.scanner.begin()
    await scans.handle()
    (rejection,) = scans.rejections
    assert scans.told == ["api"]
    assert [(value or "").rpartition("/")[2] for _, _, value in rejection.problems] == ["web"]
    assert scans.clock() - NOW < timedelta(hours=7)


async def test_subscription_that_may_not_be_listed_is_told_at_once() -> None:
    scans = Scans()
    scans.arm.failures = {"list": [DENIED]}
    await scans.scanner.begin()
    await scans.handle()
    assert [value for _, _, value in scans.rejections[0].problems] == [f"/subscriptions/{ALERTED}"]


async def test_scale_set_that_may_not_be_read_is_told_and_one_that_is_gone_is_not() -> None:
    scans = Scans("request")
    scans.arm.add("web", eligible("0"))
    scans.arm.add("api", eligible("0"))
    scans.arm.failures = {"web": [DENIED], "api": [GONE]}
    await scans.scanner.begin()
    await scans.handle()
    (event,) = scans.bus.events.values()
    assert event.data["vmScaleSetName"] == "web"
    assert [each["kind"] for each in event.data["hindrances"]] == ["Unreadable"]
    assert scans.requested == []


async def test_delivery_that_cannot_publish_asks_for_nothing_and_fails() -> None:
    scans = Scans("request")
    scans.arm.add("web", eligible("0"))
    scans.bus.down.add("events")
    await scans.scanner.begin()
    with pytest.raises(BusUnavailable):
        await scans.handle()
    assert scans.requested == []


async def test_nothing_due_costs_no_look_at_the_coordination_queue() -> None:
    scans = Scans()
    scans.arm.add("idle", without_maintenance("0"))
    scans.coordination.down = True
    await scans.scanner.begin()
    await scans.handle()
    assert scans.messages == []


def test_scan_is_read_as_it_was_written() -> None:
    parts = (ScaleSetSummary(ScaleSet(ALERTED, "shop", "web"), "westeurope", flexible=True),)
    scan = Scan(subscription_id=ALERTED, day="2026-01-31", begun=NOW, parts=parts, attempt=3)
    for each in (scan, replace(scan, parts=None)):
        assert read_scan(json.loads(to_scan_record(each).body)) == each


async def test_message_that_is_no_scan_is_rejected_once() -> None:
    scans = Scans()
    scans.bus.operations_queue.send(Message(b'{"scan": {"subscriptionId": 1}}', "x", NOW, subject=SCAN))
    await scans.handle()
    assert [field for field, _, _ in scans.rejections[0].problems] == ["scan"]


def _message(record: Record) -> Message:
    return Message(record.body, record.message_id, NOW, subject=record.subject)
