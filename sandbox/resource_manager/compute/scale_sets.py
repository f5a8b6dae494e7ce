"""Scale sets, and where they are found: by subscription, resource group and name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.resource_manager import errors
from sandbox.resource_manager.compute.instances import Instance
from sandbox.resource_manager.compute.lagging_view import LaggingView
from sandbox.resource_manager.compute.seeds import ScaleSetSeed

_Key = tuple[str, str, str]


def _key(subscription_id: str, resource_group_name: str, name: str) -> _Key:
    # ARM compares all of these without letter case.
    return subscription_id.lower(), resource_group_name.lower(), name.lower()


def _key_of(seed: ScaleSetSeed) -> _Key:
    return _key(seed.subscription_id, seed.resource_group_name, seed.name)


@dataclass(eq=False)
class ScaleSet:
    """A scale set as it is now; `instances` by id, in the order of the seed. `writes` of others are under way on it."""

    seed: ScaleSetSeed
    instances: dict[str, Instance] = field(default_factory=dict)
    lagging: LaggingView | None = None
    writes: int = 0

    @property
    def flexible(self) -> bool:
        return self.seed.orchestration_mode == "Flexible"

    @property
    def resource_id(self) -> str:
        return (
            f"/subscriptions/{self.seed.subscription_id}/resourceGroups/{self.seed.resource_group_name}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.seed.name}"
        )

    def shown(self, now: datetime) -> Mapping[str, Instance]:
        """The instances as reads show them: where views lag, as they were some time ago."""
        return self.instances if self.lagging is None else self.lagging.instances(now)

    def instance(self, instance_id: str, shown_at: datetime | None = None) -> Instance:
        """As it is, or as reads show it at a time. Raises ArmError if there is none."""
        instances = self.instances if shown_at is None else self.shown(shown_at)
        found = instances.get(instance_id)
        if found is None and self.flexible:
            # VM names, unlike numbers, have letter case, and ARM ignores it.
            found = next((each for name, each in instances.items() if name.lower() == instance_id.lower()), None)
        if found is None:
            raise errors.no_instance(instance_id, self.seed.unknown_instance_status)
        return found

    def lag(self, by: timedelta) -> None:
        """Reads show its instances as they were that long ago, beginning with the present; 0 = as they are."""
        self.lagging = LaggingView(by, self.instances) if by > timedelta(0) else None

    def changed(self, instance: Instance, when: datetime) -> None:
        """An instance has changed."""
        instance_id = instance.seed.instance_id
        # One that was removed, or replaced, goes on for a while where nobody looks.
        if self.lagging is not None and self.instances.get(instance_id) is instance:
            self.lagging.changed(instance_id, instance, when)

    def remove(self, instance_id: str, when: datetime) -> None:
        """An instance is gone. Raises KeyError if there is none."""
        del self.instances[instance_id]
        if self.lagging is not None:
            self.lagging.changed(instance_id, None, when)


class ScaleSets:
    """All scale sets."""

    def __init__(self) -> None:
        self._sets: dict[_Key, ScaleSet] = {}

    def __iter__(self) -> Iterator[ScaleSet]:
        return iter(self._sets.values())

    def __contains__(self, scale_set: ScaleSet) -> bool:
        """Whether it is there still, and no other has its name."""
        return self._sets.get(_key_of(scale_set.seed)) is scale_set

    def add(self, scale_set: ScaleSet) -> None:
        """Add one; another of the same name is replaced."""
        self._sets[_key_of(scale_set.seed)] = scale_set

    def within(self, subscription_id: str, resource_group_name: str | None = None) -> list[ScaleSet]:
        """Those of a subscription or of a resource group in it. Raises ArmError if there is none."""
        subscription = subscription_id.lower()
        found = [each for key, each in self._sets.items() if key[0] == subscription]
        if not found:
            raise errors.no_subscription(subscription_id)
        if resource_group_name is None:
            return found
        found = [each for each in found if each.seed.resource_group_name.lower() == resource_group_name.lower()]
        if not found:
            raise errors.no_resource_group(resource_group_name)
        return found

    def named(self, subscription_id: str, resource_group_name: str, name: str) -> ScaleSet:
        """Raises ArmError, naming the first of the three that does not exist."""
        found = self._sets.get(_key(subscription_id, resource_group_name, name))
        if found is not None:
            return found
        self.within(subscription_id, resource_group_name)
        raise errors.no_resource("virtualMachineScaleSets", name, resource_group_name)

    def virtual_machine(
        self, subscription_id: str, resource_group_name: str, name: str, shown_at: datetime | None = None
    ) -> tuple[ScaleSet, Instance]:
        """A VM of a Flexible scale set, as it is or as reads show it at a time.

        Instances of Uniform sets are not VMs of their own. Raises ArmError.
        """
        for scale_set in self.within(subscription_id, resource_group_name):
            if scale_set.flexible:
                instances = scale_set.instances if shown_at is None else scale_set.shown(shown_at)
                for instance in instances.values():
                    if instance.vm_name.lower() == name.lower():
                        return scale_set, instance
        raise errors.no_resource("virtualMachines", name, resource_group_name)
