"""Any answer of ARM's, in any order, at any time: what holds of the lifecycle all the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from maintenance.operations.outbox import dispatch

from maintenance.domain.coordination import CancellationMarker, Entry, Lease
from maintenance.domain.instances import Instance, InstanceState
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Refused,
    Running,
    Succeeded,
    Throttled,
    Unreadable,
    Unreported,
)
from maintenance.domain.operation import Operation, Phase, Result, Rollout, Status
from maintenance.lifecycle.actions import Action, End, PollOperation, Post, ReadViews, Rules, TakeLease, Wait
from maintenance.lifecycle.events import ended
from maintenance.operations.records import read_record, write_record
from tests.support.machine import EVERYWHERE, Machine
from tests.support.samples import (
    LONG_AGO,
    NOW,
    OPERATION_URL,
    SCALE_SET,
    aborted,
    completed,
    eligible,
    in_progress,
    new_operation,
    seconds,
    without_maintenance,
)

IDS = ("0", "1", "2", "3", "4")
MOST_STEPS = 20
WRONG = ErrorDetail("Wrong", "Something went wrong.")
SPANS = st.one_of(st.none(), st.sampled_from([0, 1, 17, 60, 1200, 86_400]).map(seconds))
SUBMISSIONS = st.one_of(
    st.builds(Accepted, st.sampled_from([OPERATION_URL, None]), retry_after=SPANS),
    st.just(Succeeded()),
    st.builds(Failed, st.just(WRONG), st.booleans()),
    st.builds(Throttled, st.just(WRONG), SPANS),
    st.builds(Refused, st.just(WRONG), st.sampled_from([307, 400, 401, 403, 404, 409])),
    st.builds(Ambiguous, st.just(WRONG), SPANS),
)
READINGS = st.one_of(
    st.builds(Running, st.just("inprogress"), SPANS, st.sampled_from([None, OPERATION_URL + "&moved=1"])),
    st.just(Succeeded()),
    st.builds(Failed, st.just(WRONG), st.booleans()),
    st.builds(Throttled, st.just(WRONG), SPANS),
    st.builds(Unreadable, st.just(WRONG), SPANS),
    st.just(Unreported(WRONG)),
)
KIND_READINGS = st.sampled_from([Succeeded(), Failed(WRONG), Running("inprogress")])


def views_of(instance_id: str, now: datetime) -> list[Instance]:
    """Everything that a view may show of an instance."""
    number = int(instance_id)
    return [
        eligible(instance_id, update_domain=number % 2),
        eligible(instance_id, changed_at=now),
        eligible(instance_id, changed_at=None),
        in_progress(instance_id, now),
        completed(instance_id, LONG_AGO),
        completed(instance_id, now),
        replace(completed(instance_id, now), healthy=False),
        replace(completed(instance_id, now), power="stopped"),
        aborted(instance_id, LONG_AGO),
        aborted(instance_id, now),
        without_maintenance(instance_id),
    ]


@dataclass(frozen=True)
class Known:
    """What the queue holds, and what the story so far tells about it. A run that dies loses what it added."""

    record: bytes
    due: datetime
    ids: frozenset[str] = frozenset()
    planned: frozenset[str] | None = None
    arm_failed: bool = False
    in_flight: frozenset[str] = field(default=frozenset())


class AnyAnswerAtAnyTime(RuleBasedStateMachine):
    """One operation, from its first look to its end."""

    @initialize(
        named=st.one_of(st.none(), st.lists(st.sampled_from(IDS), min_size=1, unique=True).map(tuple)),
        size=st.sampled_from([None, 1, 2, "50%"]),
        by_domain=st.booleans(),
        pause=st.sampled_from([0, 300]),
        may_fail=st.integers(0, 2),
        strict=st.booleans(),
        dry_run=st.sampled_from([False, False, False, True]),
        views=st.sampled_from([True, True, True, False]),
        queue=st.booleans(),
        minutes=st.sampled_from([1, 10, 360]),
    )
    def begin(
        self,
        *,
        named: tuple[str, ...] | None,
        size: int | str | None,
        by_domain: bool,
        pause: int,
        may_fail: int,
        strict: bool,
        dry_run: bool,
        views: bool,
        queue: bool,
        minutes: int,
    ) -> None:
        self.lifecycle = Machine(Rules(allowed_scopes=EVERYWHERE, views=views, queue_rollouts=queue))
        rollout = Rollout(
            max_instances_per_wave=size,
            by_update_domain=by_domain,
            pause_between_waves=seconds(pause),
            max_failed_instances=may_fail,
        )
        operation = new_operation(
            targets=named,
            rollout=rollout if views else Rollout(max_failed_instances=may_fail),
            reject_ineligible=strict,
            dry_run=dry_run,
            deadline=NOW + timedelta(minutes=minutes),
        )
        self.targets = named
        self.deadline = operation.deadline
        self.now = NOW
        self.known = self.before = Known(write_record(operation), NOW, frozenset({operation.message_id}))
        self.end: bytes | None = None

    @precondition(lambda self: self.end is None)
    @rule(
        data=st.data(),
        late=st.sampled_from([0, 0, 1, 40, 400, 30_000]),
        again=st.sampled_from([False, False, True]),
        kindly=st.booleans(),
    )
    def runs(self, data: st.DataObject, late: int, *, again: bool, kindly: bool) -> None:
        """The record is delivered, or delivered again after a run that died before it could settle it.

        `kindly`: the answers lead on, far into the story; others find its corners.
        """
        self.kindly = kindly
        if again:
            self.known = self.before
        self.now = max(self.now, self.known.due) + seconds(late)
        self.before = self.known
        self.may_have_started = again
        self.seen: dict[str, Instance] = {}
        operation = read_record(self.known.record)
        step = self.lifecycle.resume(operation, self.now, may_have_started=again)
        for _ in range(MOST_STEPS):
            assert read_record(write_record(step.operation)) == step.operation
            if isinstance(step, Wait):
                self.waits(step)
                return
            if isinstance(step, End):
                self.ends(step)
                return
            step = self.answer(step, data)
        raise AssertionError(f"a run without an end: {step}")

    @precondition(lambda self: self.end is not None)
    @rule(late=st.sampled_from([0, 60, 30_000]))
    def is_told_again(self, late: int) -> None:
        """The record of an end is delivered after all: it says the same, and nothing else is done."""
        step = self.lifecycle.resume(read_record(self.known.record), self.now + seconds(late), may_have_started=True)
        assert isinstance(step, End)
        assert step.events[-1].to_json() == self.end
        assert dispatch(step, self.now).persist is None

    def answer(self, step: ReadViews | TakeLease | PollOperation | Post, data: st.DataObject) -> Action:
        match step:
            case ReadViews(operation=operation):
                return self.look(operation, data)
            case TakeLease(operation=operation):
                notices = [self.notice("req-1", 2), *([self.notice("other", 1)] if data.draw(st.booleans()) else [])]
                if len(notices) > 1:
                    self.known = replace(self.known, planned=None)
                return self.lifecycle.lease_taken(step, notices, self.now, may_have_started=self.may_have_started)
            case PollOperation(operation=operation, calls=calls):
                assert all(call.url for call in calls)
                readings = [(call, data.draw(KIND_READINGS if self.kindly else READINGS)) for call in calls]
                for call, reading in readings:
                    if isinstance(reading, Failed):
                        self.known = replace(self.known, arm_failed=True)
                    if isinstance(reading, (Succeeded, Failed, Unreported)):
                        self.known = replace(self.known, in_flight=self.known.in_flight - set(call.instance_ids))
                return self.lifecycle.polled(operation, readings, self.now)
            case Post(operation=operation, instance_ids=ids):
                self.may_be_posted(operation, ids)
                submission = Accepted(OPERATION_URL) if self.kindly else data.draw(SUBMISSIONS)
                if isinstance(submission, Failed):
                    self.known = replace(self.known, arm_failed=True)
                if isinstance(submission, Accepted) and submission.url:
                    self.known = replace(self.known, in_flight=self.known.in_flight | set(ids or ()))
                return self.lifecycle.submitted(operation, [(ids, submission)], self.now)

    def look(self, operation: Operation, data: st.DataObject) -> Action:
        transient_error = data.draw(st.sampled_from([*[""] * 8, "unseen", "denied"]))
        if transient_error == "unseen" and not self.kindly:
            return self.lifecycle.unavailable(operation, WRONG, self.now, retry_after=data.draw(SPANS))
        if transient_error == "denied" and not self.kindly:
            return self.lifecycle.denied(operation, WRONG, self.now)
        kinds = range(-1, len(views_of("0", self.now)))
        alike = data.draw(st.one_of(st.none(), st.sampled_from([0, 3, 5, *kinds])))
        if self.kindly:
            alike = 5 if operation.phase is Phase.TRACKING else 0
        instances = []
        for i in IDS:
            kind = data.draw(st.sampled_from(kinds)) if alike is None else alike
            if kind >= 0:
                instances.append(views_of(i, self.now)[kind])
        self.seen = {instance.instance_id: instance for instance in instances}
        notices: list[Entry] = []
        if operation.phase is not Phase.TRACKING and not self.kindly:
            what = data.draw(st.sampled_from([*[""] * 8, "canceled", "held"]))
            if what == "canceled":
                notices = [CancellationMarker("req-1", SCALE_SET.key, self.deadline, 3)]
            elif what == "held":
                notices = [self.notice("other", 1)]
        step = self.lifecycle.views_read(
            operation, instances, self.now, may_have_started=self.may_have_started, entries=notices
        )
        if (
            operation.phase is Phase.PLANNING
            and step.operation.targets is None
            and (step.operation.waves or step.operation.outcomes)
        ):
            self.known = replace(self.known, planned=frozenset(self.targets or self.seen))
        return step

    def notice(self, request_id: str, number: int) -> Lease:
        return Lease(request_id, SCALE_SET.key, self.deadline, number)

    def may_be_posted(self, operation: Operation, ids: tuple[str, ...] | None) -> None:
        assert not operation.dry_run
        assert operation.phase is Phase.POSTING
        assert self.now < self.deadline
        if not self.lifecycle.rules.views:
            assert ids == self.targets
            return
        assert ids, "no names would mean all"
        assert set(ids) <= set(operation.current_wave)
        assert len(set(ids)) == len(ids)
        assert not set(ids) & set(operation.outcomes), "posted once settled"
        assert not set(ids) & self.known.in_flight, "posted while ARM works on it"
        assert {self.seen[i].state for i in ids} == {InstanceState.ELIGIBLE}
        size = operation.rollout.max_instances_per_wave
        if isinstance(size, int):
            assert len(operation.current_wave) <= size

    def waits(self, step: Wait) -> None:
        operation = step.operation
        assert operation.status is None
        assert self.now <= step.due <= max(self.now, self.deadline)
        assert operation.message_id not in self.known.ids, "duplicate detection would drop it"
        self.known = replace(
            self.known,
            record=write_record(replace(operation, outbox=())),
            due=step.due,
            ids=self.known.ids | {operation.message_id},
        )

    def ends(self, step: End) -> None:
        operation = step.operation
        results = {i: outcome.result for i, outcome in operation.outcomes.items()}
        counted = set(results.values())
        bad = counted & {Result.FAILED, Result.UNKNOWN, Result.NOT_ATTEMPTED}
        assert operation.message_id not in self.known.ids, "duplicate detection would drop it"
        assert operation.phase is Phase.FINISHED
        assert (operation.error is None) == (operation.status in (Status.SUCCEEDED, Status.NOTHING_TO_DO))
        match operation.status:
            case Status.SUCCEEDED:
                assert not bad
                assert not self.known.arm_failed, "ARM said that it failed"
            case Status.NOTHING_TO_DO:
                assert Result.COMPLETED not in counted
                assert operation.dry_run or not bad
            case Status.PARTIALLY_SUCCEEDED:
                assert Result.COMPLETED in counted
            case Status.FAILED:
                assert Result.COMPLETED not in counted
            case Status.TIMED_OUT:
                assert self.now >= self.deadline
            case Status.REJECTED:
                assert Result.COMPLETED not in counted or self.may_have_started
        assert operation.dry_run or Result.WOULD_MAINTAIN not in counted
        if self.targets is not None:
            assert set(results) == set(self.targets)
        elif self.known.planned is not None and self.lifecycle.rules.views:
            assert set(results) == set(self.known.planned)
        else:
            assert results == {}
        told = [event.event_id for event in step.events]
        assert told.count("req-1:ended") == 1
        assert told[-1] == "req-1:ended"
        assert ended(operation).to_json() == step.events[-1].to_json()
        self.end = step.events[-1].to_json()
        self.known = replace(self.known, record=write_record(operation), due=self.now)


TestAnyAnswerAtAnyTime = AnyAnswerAtAnyTime.TestCase
TestAnyAnswerAtAnyTime.settings = settings(
    derandomize=True,
    max_examples=200,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
