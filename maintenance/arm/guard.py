"""Guard as a decorator of the gateway: where the app must not start anything, no call that leads to a start is made."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from maintenance.arm.throttling import Gateway
from maintenance.domain.errors import BusUnavailable, RefusedError, TransientError
from maintenance.domain.instances import Instance, ScaleSetSummary, Tags
from maintenance.domain.observations import ErrorDetail, Reading, Refused, Submission, Throttled
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet

# Why nothing may be started; empty where nothing forbids it. Raises BusUnavailable where that cannot be known.
Check = Callable[[], Awaitable[Sequence[str]]]
CODE = "UnsafeNamespace"
# Seconds. A POST is sent while what was read before it is young enough, and the first check of a process may take a
# minute where Service Bus is slow; it usually takes half a second.
LONGEST_WAIT = 5.0


class GuardedGateway:
    """Gateway that starts nothing, and lists nothing to be started, while `check` gives a reason; one per process.

    Then submissions are `Refused`, and listings raise RefusedError. Where the check is not possible, both are to be
    tried again; so is a submission that waited for it too long. Operations that run are read all the same.
    `monotonic` gives seconds.
    """

    def __init__(self, gateway: Gateway, check: Check, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._check = check
        self._monotonic = monotonic

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        return await self._refused() or await self._gateway.perform_maintenance(scale_set, instance_ids)

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return await self._refused() or await self._gateway.perform_vm_maintenance(scale_set, vm_name)

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        return await self._gateway.read_operation(scale_set, call)

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        await self._raise_if_refused(f"read {scale_set}")
        return await self._gateway.is_flexible(scale_set)

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        await self._raise_if_refused(f"read the tags of {scale_set}")
        return await self._gateway.read_tags(scale_set)

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        await self._raise_if_refused(f"list the instances of {scale_set}")
        return await self._gateway.list_instances(scale_set, flexible=flexible)

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        await self._raise_if_refused(f"list the scale sets of subscription {subscription_id}")
        return await self._gateway.list_scale_sets(subscription_id)

    async def _refused(self) -> Submission | None:
        began = self._monotonic()
        try:
            reasons = await self._check()
        except BusUnavailable as error:
            # Nothing was sent, and it is to be tried again: what a lock of another write amounts to, too.
            return Throttled(_unknown(str(error)), whole_subscription=False)
        if reasons:
            return Refused(_forbidden(reasons), 403)
        if self._monotonic() - began > LONGEST_WAIT:
            late = (
                f"checking the namespace took more than {LONGEST_WAIT:g} s: what was read before may be too old by now"
            )
            return Throttled(_unknown(late), whole_subscription=False)
        return None

    async def _raise_if_refused(self, doing: str) -> None:
        try:
            reasons = await self._check()
        except BusUnavailable as error:
            raise TransientError(doing, _unknown(str(error))) from None
        if reasons:
            raise RefusedError(doing, _forbidden(reasons))


def _forbidden(reasons: Sequence[str]) -> ErrorDetail:
    text = "; ".join(reasons)
    return ErrorDetail(CODE, f"Nothing is started, since the Service Bus namespace is not safe for it: {text}.")


def _unknown(why: str) -> ErrorDetail:
    return ErrorDetail("ServiceBusUnavailable", why)
