"""What planned_maintenance.json tells of: scale sets in North Europe, of which two have maintenance planned."""

from __future__ import annotations

from datetime import timedelta

from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID, InstanceSeed, ResourceManager, ScaleSetSeed

GROUP = "mail"
PLANNED = ("inbound", "outbound")
NOT_PLANNED = "archive"


def seed_alerted(arm: ResourceManager, *, duration: timedelta) -> None:
    """Place them, two instances each; maintenance of one takes `duration`."""
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
