"""ARM as a small model in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from maintenance.domain.errors import ArmError, RefusedError
from maintenance.domain.instances import NO_TAGS, Instance, Tags
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Reading,
    Running,
    Submission,
    Succeeded,
    Unreported,
)
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet
from tests.support.crash_point import CrashPoint, HandClock
from tests.support.samples import ENDPOINT, SUBSCRIPTION, completed, eligible, in_progress

# ARM took it, and its answer was lost; it never reached ARM.
LOST = Ambiguous(ErrorDetail("ReadTimeout", "No answer from ARM."))
UNSENT = Ambiguous(ErrorDetail("WriteTimeout", "The request may not have reached ARM."))


class FakeArm:
    """One scale set. By default each POST is taken and done after `duration`; answers put into `post_answers`,
    `poll_answers` and `view_answers` are given first. `lag`: how old is what the views show."""

    def __init__(
        self, clock: HandClock, crash_point: CrashPoint, instances: Sequence[Instance], *, duration: float = 90
    ) -> None:
        self._clock = clock
        self._crash_point = crash_point
        self._views = {instance.instance_id: instance for instance in instances}
        self._history: list[tuple[datetime, Instance]] = []
        self.lag = timedelta(0)
        self.duration = timedelta(seconds=duration)
        self._busy: dict[str, datetime] = {}
        self._operations: dict[str, datetime] = {}
        self.post_answers: list[Submission | Exception | None] = []
        self.poll_answers: list[Reading | Exception] = []
        self.view_answers: list[ArmError | list[Instance]] = []
        self.flexible = False
        self.tags = NO_TAGS
        self.tag_reads = 0
        self.at_once = False
        self.posted: list[tuple[str, ...] | None] = []
        self.posted_at: list[datetime] = []
        self.maintained: Counter[str] = Counter()
        self.wrongly_posted: list[str] = []
        self.most_down = 0
        self.polls = 0
        self.slow = False
        self.polling = 0
        self.most_polls_at_once = 0
        self.looks = 0

    async def perform_maintenance(self, scale_set: ScaleSet, instance_ids: Sequence[str] | None) -> Submission:
        self._crash_point.step("POST is sent")
        self._mature()
        self.posted.append(None if instance_ids is None else tuple(instance_ids))
        self.posted_at.append(self._clock())
        answer = self.post_answers.pop(0) if self.post_answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is None or answer is LOST:
            url = self._begin(list(self._views) if instance_ids is None else list(instance_ids))
            answer = answer or (Succeeded() if self.at_once else Accepted(url))
            self._mature()
        self._crash_point.step("POST is answered")
        return answer

    async def perform_vm_maintenance(self, scale_set: ScaleSet, vm_name: str) -> Submission:
        return await self.perform_maintenance(scale_set, (vm_name,))

    async def is_flexible(self, scale_set: ScaleSet) -> bool:
        return self.flexible

    async def read_tags(self, scale_set: ScaleSet) -> Tags:
        self.tag_reads += 1
        return self.tags

    async def read_operation(self, scale_set: ScaleSet, call: Call) -> Reading:
        self._crash_point.step("poll")
        self.polls += 1
        self.polling += 1
        self.most_polls_at_once = max(self.most_polls_at_once, self.polling)
        if self.slow:
            # Whoever may poll at the same time does so now.
            await asyncio.sleep(0)
        self.polling -= 1
        answer = self.poll_answers.pop(0) if self.poll_answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        ends = self._operations.get(call.url or "")
        if ends is None:
            return Unreported(ErrorDetail("NotFound", "No such operation."))
        return Succeeded() if ends <= self._clock() else Running("inprogress")

    async def list_instances(self, scale_set: ScaleSet, *, flexible: bool = False) -> list[Instance]:
        self._crash_point.step("read")
        if self.flexible and not flexible:
            raise RefusedError("list", ErrorDetail("BadRequest", "Not for Flexible sets."), status=400)
        self.looks += 1
        if self.view_answers:
            answer = self.view_answers.pop(0)
            if isinstance(answer, ArmError):
                raise answer
            return answer
        self._mature()
        seen = dict(self._views)
        for changed_at, before in reversed(self._history):
            if changed_at > self._clock() - self.lag:
                seen[before.instance_id] = before
        return list(seen.values())

    def _begin(self, ids: list[str]) -> str:
        now = self._clock()
        for instance_id in ids:
            status = self._views[instance_id].maintenance
            if status is None or not status.allowed:
                self.wrongly_posted.append(instance_id)
            self.maintained[instance_id] += 1
            self._show(in_progress(instance_id, now), now)
            self._busy[instance_id] = now + self.duration
        self.most_down = max(self.most_down, len(self._busy))
        number = len(self._operations) + 1
        url = f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/operations/{number}?s=secret"
        self._operations[url] = now + self.duration
        return url

    def _mature(self) -> None:
        now = self._clock()
        for instance_id, ends in list(self._busy.items()):
            if ends <= now:
                self._show(completed(instance_id, ends), ends)
                del self._busy[instance_id]

    def _show(self, instance: Instance, at: datetime) -> None:
        self._history.append((at, self._views[instance.instance_id]))
        self._views[instance.instance_id] = instance


def all_eligible(count: int) -> list[Instance]:
    return [eligible(str(number)) for number in range(count)]
