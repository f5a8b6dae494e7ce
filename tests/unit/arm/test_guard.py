from __future__ import annotations

from typing import cast

import pytest

from maintenance.arm.guard import CODE, LONGEST_WAIT, GuardedGateway
from maintenance.arm.throttling import Gateway
from maintenance.domain.errors import BusUnavailable, RefusedError, TransientError
from maintenance.domain.instances import Instance
from maintenance.domain.observations import Accepted, Reading, Refused, Submission, Succeeded, Throttled
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet

WEB = ScaleSet("11111111-1111-4111-8111-111111111111", "shop", "web")
CALL = Call(("0",), "https://management.azure.com/x")


class Azure:
    """Gateway that notes what it is called for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: object) -> Submission:
        self.calls.append("post")
        return Accepted(None)

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        self.calls.append("post")
        return Accepted(None)

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        self.calls.append("poll")
        return Succeeded()

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self.calls.append("list")
        return []


def guarded(answer: str | Exception | None) -> tuple[Azure, GuardedGateway]:
    async def check() -> tuple[str, ...]:
        if isinstance(answer, Exception):
            raise answer
        return (answer,) if answer else ()

    azure = Azure()
    return azure, GuardedGateway(cast(Gateway, azure), check)


async def test_safe_namespace_lets_every_call_through() -> None:
    azure, gateway = guarded(None)
    await gateway.list_instances(WEB)
    assert isinstance(await gateway.perform_maintenance(WEB, ("0",)), Accepted)
    assert isinstance(await gateway.perform_vm_maintenance(WEB, "a"), Accepted)
    assert azure.calls == ["list", "post", "post"]


async def test_unsafe_namespace_is_refused_with_the_reason_and_running_operations_are_read() -> None:
    azure, gateway = guarded("queue q has no duplicate detection")
    for submission in (await gateway.perform_maintenance(WEB, None), await gateway.perform_vm_maintenance(WEB, "a")):
        assert isinstance(submission, Refused)
        assert submission.error.code == CODE
        assert "queue q has no duplicate detection" in submission.error.message
    for listing in (gateway.list_instances(WEB), gateway.is_flexible(WEB), gateway.list_scale_sets("s")):
        with pytest.raises(RefusedError, match="queue q has no duplicate detection"):
            await listing
    assert isinstance(await gateway.read_operation(WEB, CALL), Succeeded)
    assert azure.calls == ["poll"]


async def test_check_that_is_not_possible_starts_nothing_and_is_tried_again() -> None:
    azure, gateway = guarded(BusUnavailable("no response"))
    submission = await gateway.perform_maintenance(WEB, ("0",))
    assert isinstance(submission, Throttled)
    assert not submission.whole_subscription
    with pytest.raises(TransientError):
        await gateway.list_instances(WEB)
    assert azure.calls == []


async def test_post_that_waited_long_for_the_check_is_not_sent_and_the_next_one_is() -> None:
    """Without instance views nothing is read before a POST that would have had the check made."""
    azure, seconds, answers = Azure(), [100.0], [LONGEST_WAIT + 1, LONGEST_WAIT, 0.0]

    async def check() -> tuple[str, ...]:
        seconds[0] += answers.pop(0)
        return ()

    gateway = GuardedGateway(cast(Gateway, azure), check, monotonic=lambda: seconds[0])
    late = await gateway.perform_maintenance(WEB, ("0",))
    assert isinstance(late, Throttled)
    assert (late.whole_subscription, azure.calls) == (False, [])
    assert "took more than 5 s" in late.error.message
    assert isinstance(await gateway.perform_vm_maintenance(WEB, "a"), Accepted)
    assert isinstance(await gateway.perform_maintenance(WEB, ("0",)), Accepted)
