"""Scale sets of the demo besides the example environment: those of the alert, of rollouts, and of what waits."""

from __future__ import annotations

from datetime import timedelta

from sandbox.resource_manager import (
    EXAMPLE_RESOURCE_GROUP,
    EXAMPLE_SUBSCRIPTION_ID,
    InstanceSeed,
    ResourceManager,
    ScaleSetSeed,
)

GROUP = "mail"
PLANNED = ("inbound", "outbound")
NOT_PLANNED = "archive"
WAITING = ("checkout", "search")


def seed_alerted(arm: ResourceManager, *, duration: timedelta) -> None:
    """Place the scale sets of planned_maintenance.json, two instances each; each maintenance takes `duration`."""
    for name in (*PLANNED, NOT_PLANNED):
        instances = tuple(
            InstanceSeed(
                str(number),
                update_domain=number,
                state="eligible" if name in PLANNED else "not-planned",
                duration=duration,
            )
            for number in range(2)
        )
        arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, GROUP, name, location="northeurope", instances=instances))


def seed_waiting(arm: ResourceManager) -> None:
    """Two scale sets of two instances, whose maintenance is kept waiting."""
    for name in WAITING:
        instances = tuple(InstanceSeed(each, duration=timedelta(seconds=0.8)) for each in ("0", "1"))
        arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, name, instances=instances))


def seed_rollouts(arm: ResourceManager) -> None:
    """Two scale sets of twelve over three update domains; in `fragile` the maintenance of one instance fails."""
    for name, failing in (("fleet", None), ("fragile", "5")):
        instances = [
            InstanceSeed(
                str(number),
                update_domain=number // 4,
                duration=timedelta(seconds=0.8),
                outcome="Failed" if str(number) == failing else "Succeeded",
            )
            for number in range(12)
        ]
        arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, name, instances=tuple(instances)))
