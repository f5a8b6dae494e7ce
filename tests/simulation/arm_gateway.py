"""What a simulated process has in place of its connection to ARM: in the product's own `ThrottlingGateway`."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta

from maintenance.domain.errors import RefusedError, ThrottledError, TransientError, UntrustedUrl
from maintenance.domain.instances import Instance, ScaleSetSummary, Tags
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Reading,
    Refused,
    Running,
    Submission,
    Throttled,
    Unreadable,
    Unreported,
)
from maintenance.domain.operation import Call, Operation
from maintenance.domain.resources import ScaleSet
from tests.simulation.faults import Fault
from tests.simulation.process import Process
from tests.simulation.resource_manager import SimulatedScaleSet

# The record that is being delivered, for whoever has to know on whose account a call is made.
RUN: ContextVar[Operation | None] = ContextVar("RUN", default=None)
CALL_TIMEOUT = 45.0
# Faults of a POST that come after it was sent.
AFTER = ("kill after", "raise after", "freeze after", "blackout", "lost, done", "late")
SIMULATED = ErrorDetail("Simulated", "simulated")
NOT_DONE: dict[str, Submission] = {
    "refuse 400": Refused(SIMULATED, 400),
    "refuse 404": Refused(SIMULATED, 404),
    "refuse 409": Refused(SIMULATED, 409),
    "denied": Refused(SIMULATED, 403),
    "no token": Refused(ErrorDetail("Unauthorized", "simulated"), 401),
    "conflict": Throttled(SIMULATED, timedelta(seconds=20), whole_subscription=False),
    "throttle": Throttled(SIMULATED, timedelta(seconds=200)),
    "no connection": Throttled(SIMULATED, whole_subscription=False),
    "lost, not done": Ambiguous(SIMULATED),
    "raise before": Ambiguous(SIMULATED),
    "raise halfway": Ambiguous(SIMULATED),
    "failed": Failed(SIMULATED),
}


class Arm:
    """In place of `arm.resource_manager.ResourceManager`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._simulation = process.simulation

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        return await self._post(self._simulation.simulated(scale_set), instance_ids)

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return await self._post(self._simulation.simulated(scale_set), [vm_name])

    async def _post(self, simulated: SimulatedScaleSet, names: Sequence[str] | None) -> Submission:
        self._process.posting += 1
        try:
            return await self._call(simulated, names)
        finally:
            self._process.posting -= 1

    async def _call(self, simulated: SimulatedScaleSet, names: Sequence[str] | None) -> Submission:
        simulation, process = self._simulation, self._process
        operation = RUN.get()
        assert operation is not None
        simulation.promises.posting(operation, tuple(names or ()), process)
        fault = simulation.faults.meet("post")
        effect = fault.effect if fault else ""
        if fault is not None and effect not in AFTER:
            if effect in ("kill before", "freeze before", "slow"):
                await process.before(fault, _timeout, None)
            else:
                simulation.met(fault, process)
        if effect in NOT_DONE or simulation.is_out("arm"):
            await asyncio.sleep(CALL_TIMEOUT if effect.startswith("lost") else simulation.latency())
            answer = NOT_DONE.get(effect, Ambiguous(SIMULATED))
            simulation.promises.not_taken(operation, tuple(names or ()), answer)
            return answer
        # On the wire: whatever becomes of the process, ARM gets it.
        got: asyncio.Future[Submission] = simulation.loop.create_future()
        delay = simulation.latency() + (CALL_TIMEOUT + fault.seconds if fault and effect == "late" else 0.0)
        simulation.loop.call_later(delay, self._arrive, simulated, operation, names, got, context=contextvars.Context())
        if fault is not None and effect in ("lost, done", "late"):
            simulation.met(fault, process)
            await asyncio.sleep(CALL_TIMEOUT)
            return Ambiguous(SIMULATED)
        answer = await got
        if fault is None:
            return answer
        if effect in ("kill after", "freeze after", "blackout"):
            await process.after(fault, _timeout)
        elif effect == "raise after":
            simulation.met(fault, process)
            return Ambiguous(SIMULATED)
        elif effect == "no url" and isinstance(answer, Accepted):
            return replace(answer, url=None)
        elif effect == "untrusted" and isinstance(answer, Accepted):
            raise UntrustedUrl("elsewhere", "simulated")
        return answer

    def _arrive(
        self,
        simulated: SimulatedScaleSet,
        operation: Operation,
        names: Sequence[str] | None,
        got: asyncio.Future[Submission],
    ) -> None:
        answer, taken = simulated.post(operation.run_id, names)
        if taken:
            self._simulation.promises.taken(operation, simulated, taken)
        else:
            self._simulation.promises.not_taken(operation, tuple(names or ()), answer)
        if not got.done():
            got.set_result(answer)

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        simulated = self._simulation.simulated(scale_set)

        def effect(fault: Fault | None) -> Reading:
            reading = simulated.poll(call.url or "")
            if fault is None:
                return reading
            running = isinstance(reading, Running)
            match fault.effect:
                case "throttle":
                    reading = Throttled(SIMULATED, timedelta(seconds=100))
                case "unreadable":
                    reading = Unreadable(SIMULATED)
                case "forbidden":
                    reading = Unreported(SIMULATED)
                case "untrusted":
                    self._simulation.met(fault, self._process)
                    raise UntrustedUrl("elsewhere", "simulated")
                case "gone" if not running:
                    reading = Unreported(SIMULATED, gone=True)
                case "failed" if not running:
                    reading = Failed(SIMULATED)
                case "canceled" if not running:
                    reading = Failed(SIMULATED, canceled=True)
                case _:
                    return reading
            self._simulation.met(fault, self._process)
            return reading

        try:
            reading = await self._process.call_with_fault("poll", "arm", effect, _timeout)
        except TransientError:
            return Unreadable(SIMULATED)
        operation = RUN.get()
        if isinstance(reading, Failed) and operation is not None:
            self._simulation.promises.truth.reported_failed(operation)
        return reading

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        simulated = self._simulation.simulated(scale_set)
        return await self._process.call("mode", "arm", lambda: simulated.plan.flexible, _timeout)

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        raise NotImplementedError

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        simulated = self._simulation.simulated(scale_set)
        asked_at = self._simulation.loop.time()

        def effect(fault: Fault | None) -> list[Instance]:
            if simulated.plan.flexible and not flexible:
                raise RefusedError("list", ErrorDetail("BadRequest", "not for Flexible sets"), status=400)
            if fault is not None:
                self._fail_list(fault)
            shown = self._simulation.views(simulated)
            if fault is not None and fault.effect == "unreported":
                self._simulation.met(fault, self._process)
                shown = self._simulation.without_some_views(shown)
            return shown

        shown = await self._process.call_with_fault("list", "arm", effect, _timeout)
        self._process.views_asked_at[scale_set.key] = asked_at
        return shown

    def _fail_list(self, fault: Fault) -> None:
        match fault.effect:
            case "throttle":
                self._simulation.met(fault, self._process)
                raise ThrottledError("list", SIMULATED, status=429, retry_after=timedelta(seconds=150))
            case "error":
                self._simulation.met(fault, self._process)
                raise TransientError("list", SIMULATED, status=503)
            case "refuse 403":
                self._simulation.met(fault, self._process)
                raise RefusedError("list", SIMULATED, status=403)

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        raise NotImplementedError


def _timeout() -> Exception:
    return TransientError("simulated", SIMULATED)
