"""What mutations put in place of parts of the product: each breaks one rule. Used by `mutations` alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from maintenance.coordination.pauses import covers
from maintenance.domain import message_ids
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Operation
from maintenance.operations.instance_views import InstanceViews
from maintenance.operations.runner import Runner
from maintenance.requests import handler
from tests.simulation import worker
from tests.simulation.gateways import CoordinationClient

Original = Any
# What is patched: an object, the name in it, and what makes the new value of the original.
Patch = tuple[object, str, Callable[[Original], Any]]
FAR = float("inf")


def timing(**changes: Any) -> Patch:
    def change(settings: Original) -> Any:
        return replace(settings, timing=replace(settings.timing, **changes))

    return worker, "SETTINGS", change


def always(value: Any) -> Callable[[Original], Any]:
    return lambda original: lambda *args, **kwargs: value


def nothing(original: Original) -> Any:
    async def nothing(*args: Any, **kwargs: Any) -> int:
        return 0

    return nothing


def without_confirmation(original: Original) -> Any:
    async def submit(self: Runner, action: Any, decided_at: Any, settle: Any, views: Any) -> Any:
        async def sure() -> bool:
            await settle()
            return True

        return await original(self, action, decided_at, sure, views)

    return submit


def act_then_complete(original: Original) -> Any:
    async def submit(self: Runner, action: Any, decided_at: Any, settle: Any, views: Any) -> Any:
        async def later() -> bool:
            return True

        concluded = await original(self, action, decided_at, later, views)
        await settle()
        return concluded

    return submit


def without_intent(original: Original) -> Any:
    async def submit(self: Runner, action: Any, decided_at: Any, settle: Any, views: Any) -> Any:
        schedule = self._bus.schedule

        async def unscheduled(record: Any) -> int:
            return 0

        self._bus.schedule = unscheduled  # type: ignore[method-assign]
        try:
            return await original(self, action, decided_at, settle, views)
        finally:
            self._bus.schedule = schedule  # type: ignore[method-assign]

    return submit


def complete_then_send(original: Original) -> Any:
    async def settle(deliveries: Any, units: Any, tick: Any) -> None:
        for unit in units:
            await deliveries.complete(unit.delivery)
        await original(deliveries, units, tick)

    return settle


def answer_before_marker(original: Original) -> Any:
    async def handle(self: handler.RequestHandler, envelope: Envelope) -> None:
        controls, put = self._controls, []
        coordination = controls._coordination

        class Later:
            read, cancel = coordination.read, coordination.cancel

            async def put(self, entry: Any) -> None:
                put.append(entry)

        controls._coordination = Later()
        try:
            await original(self, envelope)
        finally:
            controls._coordination = coordination
        for entry in put:
            await coordination.put(entry)

    return handle


def only_one_page(original: Original) -> Any:
    async def peek(self: CoordinationClient, *, max_message_count: int, sequence_number: int) -> Any:
        page = await original(self, max_message_count=max_message_count, sequence_number=sequence_number)
        self._process.entries_asked_at = self._began
        return page if sequence_number == 1 else []

    return peek


class Anything:
    """The lease of whoever looks."""

    instances = None
    run_id = type("", (), {"__ne__": lambda *_: False, "__eq__": lambda *_: True, "__hash__": lambda _: 0})()


def run_of_request(original: Original) -> Any:
    def run_id(self: Envelope) -> str:
        try:
            own = json.loads(self.body).get("requestId", "")
        except (ValueError, AttributeError):
            own = ""
        return message_ids.short_hash(str(own or self.message_id), length=32)

    return property(run_id)


def by_phase(original: Original) -> Any:
    return property(lambda self: f"{message_ids.record(self.run_id, self.number)}:{self.phase}:{len(self.owed)}")


def no_longer_planned(original: Original) -> Any:
    def plan(rules: Any, operation: Operation, state_read: Any, now: Any, **kwargs: Any) -> Any:
        if state_read.instances is not None and operation.planned:
            operation = replace(operation, planned=False, wave=0, waves=())
        return original(rules, operation, state_read, now, **kwargs)

    return plan


def with_argument(number: int, value: Any) -> Callable[[Original], Any]:
    """The same, with another value for one of its arguments."""
    return lambda original: lambda *args, **kwargs: original(*args[:number], value, *args[number + 1 :], **kwargs)


def keyword(**values: Any) -> Callable[[Original], Any]:
    return lambda original: lambda *args, **kwargs: original(*args, **{**kwargs, **values})


def fewest(most: int | None, eligible: Any, instances: Any) -> Any:
    return tuple(eligible)[:most]


def without(field: str, number: int, value: Any) -> Callable[[Original], Any]:
    def change(original: Original) -> Any:
        def changed(*args: Any, **kwargs: Any) -> Any:
            args = (*args[:number], replace(args[number], **{field: value}), *args[number + 1 :])
            return original(*args, **kwargs)

        return changed

    return change


def of_any_set(original: Original) -> Any:
    def cancellation(entries: Any, scale_set: str, request_id: str, enqueued_at: Any) -> Any:
        # Pauses have a scope.
        named = [each for each in entries if hasattr(each, "scale_set")]
        renamed = [replace(each, scale_set=scale_set) for each in named]
        return original(renamed, scale_set, request_id, enqueued_at)

    return cancellation


def of_any_wave(original: Original) -> Any:
    def proceed_for(entries: Any, scale_set: str, request_id: str, wave: int, enqueued_at: Any) -> Any:
        found = (original(entries, scale_set, request_id, each, enqueued_at) for each in range(1, 9))
        return next((each for each in found if each is not None), None)

    return proceed_for


def of_any_time(original: Original) -> Any:
    def proceed_for(entries: Any, scale_set: str, request_id: str, wave: int, enqueued_at: Any) -> Any:
        return original(entries, scale_set, request_id, wave, enqueued_at - timedelta(days=9))

    return proceed_for


def still_open(original: Original) -> Any:
    """The next wave's gate is as open as the last one's."""

    def close_wave(rules: Any, cleared: Operation, operation: Operation, now: Any, **kwargs: Any) -> Any:
        closed = original(rules, cleared, operation, now, **kwargs)
        following = replace(closed.operation, gate_open=operation.gate_open)
        return replace(closed, operation=following)

    return close_wave


def of_any_content(original: Original) -> Any:
    def leases_of(entries: Any, scale_set: str) -> Any:
        return [replace(each, content="") for each in original(entries, scale_set)]

    return leases_of


def up(original: Original) -> Any:
    return property(lambda self: self.reported and original.fget(self))


def eligible_if_unreported(original: Original) -> Any:
    return property(lambda self: original.fget(replace(self, reported=True)))


def no_age(original: Original) -> Any:
    async def of(self: InstanceViews, scale_set: Any, *, newer_than: Any = None, **options: Any) -> Any:
        self._max_age = FAR
        return await original(self, scale_set, **options)

    return of


def shared_for_ever(original: Original) -> Any:
    def views(self: Runner) -> Any:
        if not hasattr(self, "shared"):
            self.shared = original(self)  # type: ignore[attr-defined]
        return self.shared  # type: ignore[attr-defined]

    return views


def post_late(original: Original) -> Any:
    return lambda self, operation, ids, until: original(self, operation, ids, FAR)


def whenever(original: Original) -> Any:
    """A resume that ends pauses whenever their messages came."""
    return lambda resume, pause: covers(resume.scope, pause.scope)


def long_in_line(original: Original) -> Any:
    """Every run took its place long ago."""
    return lambda rules, operation, entries, now: replace(operation, leased_at=now - timedelta(hours=1))
