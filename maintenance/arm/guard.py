"""Guard as a decorator of the gateway: where the app must not start anything, no call that leads to a start is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from maintenance.arm.throttling import Gateway
from maintenance.domain.errors import BusUnavailable, RefusedError, TransientError
from maintenance.domain.instances import Instance, ScaleSetSummary
from maintenance.domain.observations import ErrorDetail, Reading, Refused, Submission, Throttled
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet

# Why nothing may be started; empty where nothing forbids it. Raises BusUnavailable where that cannot be known.
Check = Callable[[], Awaitable[Sequence[str]]]
CODE = "UnsafeNamespace"


class GuardedGateway:
    """Gateway that starts nothing, and lists nothing to be started, while `check` gives a reason; one per process.

    Then submissions are `Refused`, and listings raise RefusedError. Where the check is not possible, both are to be
    tried again. Operations that run are read all the same.
    """

    def __init__(self, gateway: Gateway, check: Check) -> None:
        self._gateway = gateway
        self._check = check

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        return await self._refused() or await self._gateway.perform_maintenance(scale_set, instance_ids)

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return await self._refused() or await self._gateway.perform_vm_maintenance(scale_set, vm_name)

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        return await self._gateway.read_operation(scale_set, call)

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        await self._raise_if_refused(f"read {scale_set}")
        return await self._gateway.is_flexible(scale_set)

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        await self._raise_if_refused(f"list the instances of {scale_set}")
        return await self._gateway.list_instances(scale_set, flexible=flexible)

    async def list_scale_sets(self, subscription_id: str) -> list[ScaleSetSummary]:
        await self._raise_if_refused(f"list the scale sets of subscription {subscription_id}")
        return await self._gateway.list_scale_sets(subscription_id)

    async def _refused(self) -> Submission | None:
        try:
            reasons = await self._check()
        except BusUnavailable as error:
            # Nothing was sent, and it is to be tried again: what a lock of another write amounts to, too.
            return Throttled(_unknown(error), whole_subscription=False)
        return Refused(_forbidden(reasons), 403) if reasons else None

    async def _raise_if_refused(self, doing: str) -> None:
        try:
            reasons = await self._check()
        except BusUnavailable as error:
            raise TransientError(doing, _unknown(error)) from None
        if reasons:
            raise RefusedError(doing, _forbidden(reasons))


def _forbidden(reasons: Sequence[str]) -> ErrorDetail:
    text = "; ".join(reasons)
    return ErrorDetail(CODE, f"Nothing is started, since the Service Bus namespace is not safe for it: {text}.")


def _unknown(error: BusUnavailable) -> ErrorDetail:
    return ErrorDetail("ServiceBusUnavailable", str(error))
