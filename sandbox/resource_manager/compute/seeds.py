"""Seeds: scale sets and instances to place in the sandbox, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Literal, Protocol

State = Literal["eligible", "in-progress", "completed", "retry-later", "aborted", "window-closed", "not-planned"]
"""Where an instance stands in its maintenance, and what the instance view says of it:

| state | isCustomerInitiatedMaintenanceAllowed | lastOperationResultCode |
|---|---|---|
| eligible | true | None |
| in-progress | false | None |
| completed | false | MaintenanceCompleted |
| retry-later | true | RetryLater |
| aborted | false | MaintenanceAborted |
| window-closed | false | None |
| not-planned | the whole maintenanceRedeployStatus is absent | |
"""

Outcome = Literal["Succeeded", "Failed", "RetryLater", "Aborted"]
"""How a maintenance ends: the operation is `Succeeded`, `Failed`, `Failed`, `Canceled`;
the instance `completed`, `aborted`, `retry-later`, `aborted`."""

ResultCode = Literal["RetryLater", "MaintenanceAborted", "MaintenanceCompleted"]
"""lastOperationResultCode, where there is one."""

Hiding = Literal["null", "missing"]
"""How a listing leaves out the instance view of an instance: `"instanceView": null`, or not named at all."""

OrchestrationMode = Literal["Uniform", "Flexible"]


def camel_case(name: str) -> str:
    """`resource_group_name` → `resourceGroupName`: the names in JSON."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


# Read by pydantic when a dataclass comes or goes as JSON: field names as in the REST API, and none that is not known.
AS_JSON: dict[str, Any] = {"alias_generator": camel_case, "extra": "forbid"}


@dataclass(frozen=True)
class InstanceSeed:
    """One instance of a scale set.

    Attributes:
        instance_id: decimal digits in a Uniform set; the VM's name in a Flexible one.
        update_domain: the platform update domain; None = it is not reported.
        fault_domain: the platform fault domain.
        state: see `State`. `in-progress` = already begun when it is seeded, ends after `duration`.
        duration: how long its maintenance takes; None = the resource manager's default.
        outcome: how it ends. Several: one for each maintenance in turn, the last one stays.
        power_state: before and after maintenance: running, stopped, deallocated …
        power_state_after: the power state after maintenance, if another one.
        vm_health: what the application health extension says; None = there is none.
        health_recovers_after: how long after its maintenance the instance is unhealthy, if it has a health;
            `timedelta.max` = for ever.
        window_closes_after: how long, from the seeding, customers may begin the maintenance themselves. The window
            opened 35 days before it closes.

    Another campaign, and none any more:
        earlier_result: the lastOperationResultCode that an earlier campaign left. It shows while the instance is
            `eligible`.
        changed_before: how long before the seeding its status changed last.
        planned_again_after: from the end of a maintenance, after that time the next campaign begins: the instance is
            `eligible`, with the result of the one before and a window of its own.
        status_gone_after: from the end of a maintenance, after that time the instance view has no
            maintenanceRedeployStatus any more: it is `not-planned`.
        withdrawn_after: the same, from the seeding; of an instance under maintenance, when that ends.

    And its view:
        provisioning_state: before and after maintenance, and but for updates.
        provisioning_state_after: the provisioning state after maintenance, if another one.
        view_hidden: how listings leave out its instance view.
        view_hidden_times: in so many listings; None = in all.
    """

    instance_id: str
    update_domain: int | None = 0
    fault_domain: int = 0
    state: State = "eligible"
    duration: timedelta | None = None
    outcome: Outcome | tuple[Outcome, ...] = "Succeeded"
    power_state: str = "running"
    power_state_after: str | None = None
    vm_health: Literal["healthy", "unhealthy"] | None = None
    health_recovers_after: timedelta = timedelta(0)
    window_closes_after: timedelta = timedelta(days=34)
    earlier_result: ResultCode | None = None
    changed_before: timedelta = timedelta(days=60)
    planned_again_after: timedelta | None = None
    status_gone_after: timedelta | None = None
    withdrawn_after: timedelta | None = None
    provisioning_state: Literal["Succeeded", "Failed"] = "Succeeded"
    provisioning_state_after: Literal["Succeeded", "Failed"] | None = None
    view_hidden: Hiding | None = None
    view_hidden_times: int | None = 1

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_JSON


@dataclass(frozen=True)
class ScaleSetSeed:
    """One scale set with its instances.

    Attributes:
        view_lag: reads show its instances as they were that long ago, while performMaintenance decides by how they
            are; None = the resource manager's lag.
        one_write_at_a_time: performMaintenance is refused (409 `Conflict`) while any other write is under way on the
            scale set: maintenance or an update of another instance.
        tags: shown where the scale set is read or listed.
        unknown_instance_status: of the error for a call that names an instance that there is not (any more).
    """

    subscription_id: str
    resource_group_name: str
    name: str
    location: str = "westeurope"
    orchestration_mode: OrchestrationMode = "Uniform"
    instances: tuple[InstanceSeed, ...] = ()
    view_lag: timedelta | None = None
    one_write_at_a_time: bool = False
    unknown_instance_status: Literal[400, 404] = 400
    page_size: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_JSON


class TakesSeeds(Protocol):
    """Whatever scale sets can be placed in."""

    def seed(self, scale_set: ScaleSetSeed) -> None: ...


EXAMPLE_SUBSCRIPTION_ID = "11111111-1111-4111-8111-111111111111"
EXAMPLE_RESOURCE_GROUP = "shop"


def seed_example(resource_manager: TakesSeeds, *, duration: timedelta = timedelta(seconds=4)) -> None:
    """Place the example environment that `python -m sandbox up` and the demo use.

    In resource group `shop`: `web` (6 instances over 3 update domains, all eligible, ids not dense), `api` (4,
    all eligible), `batch` (2 eligible, 1 completed, 1 not planned), `idle` (3, nothing planned), and `flex`
    (Flexible orchestration, 3 VMs, all eligible). Each maintenance takes about `duration`, a little more for each
    next instance, so that they are seen to end one after the other.

    The instances of `web` come in pages of 4, and those of `flex` in pages of 2: Azure's have about 50, and what
    reads only the first page of a scale set should fail here, too.
    """

    def place(
        name: str, *instances: InstanceSeed, mode: OrchestrationMode = "Uniform", page_size: int | None = None
    ) -> None:
        resource_manager.seed(
            ScaleSetSeed(
                EXAMPLE_SUBSCRIPTION_ID,
                EXAMPLE_RESOURCE_GROUP,
                name,
                orchestration_mode=mode,
                instances=instances,
                page_size=page_size,
            )
        )

    def lasting(position: int) -> timedelta:
        return duration * (1 + 0.15 * position)

    def eligible(instance_ids: list[str], domain: Callable[[int], int]) -> list[InstanceSeed]:
        return [
            InstanceSeed(each, update_domain=domain(at), fault_domain=at % 2, duration=lasting(at))
            for at, each in enumerate(instance_ids)
        ]

    place("web", *eligible(["0", "1", "3", "4", "6", "7"], lambda at: at // 2), page_size=4)
    place("api", *eligible(["0", "1", "2", "5"], lambda at: at))
    place(
        "batch",
        *eligible(["0", "2"], lambda at: at),
        InstanceSeed("3", update_domain=2, state="completed"),
        InstanceSeed("4", update_domain=3, state="not-planned"),
    )
    place("idle", *(InstanceSeed(str(at), update_domain=at, state="not-planned") for at in range(3)))
    place("flex", *eligible(["flex_a1", "flex_b2", "flex_c3"], lambda _: 0), mode="Flexible", page_size=2)
