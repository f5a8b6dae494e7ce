"""The instances of a scale set as they were some time ago: what reads show where views lag."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from copy import copy
from datetime import datetime, timedelta

from sandbox.resource_manager.compute.instances import Instance


class LaggingView:
    """Copies of the instances, each change of which shows only `lag` after it took place.

    It begins with the instances as they are: before a scale set was there, nobody could read it.
    """

    def __init__(self, lag: timedelta, instances: Mapping[str, Instance]) -> None:
        self._lag = lag
        self._shown = {instance_id: copy(each) for instance_id, each in instances.items()}
        self._changes: deque[tuple[datetime, str, Instance | None]] = deque()

    def changed(self, instance_id: str, instance: Instance | None, when: datetime) -> None:
        """An instance has changed, come, or (None) gone. Times never go backwards."""
        self._changes.append((when, instance_id, None if instance is None else copy(instance)))

    def instances(self, now: datetime) -> Mapping[str, Instance]:
        """The instances as they are shown now."""
        while self._changes and self._changes[0][0] + self._lag <= now:
            _, instance_id, instance = self._changes.popleft()
            if instance is None:
                self._shown.pop(instance_id, None)
            else:
                self._shown[instance_id] = instance
        return self._shown
