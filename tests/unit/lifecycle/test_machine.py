"""Any observation, in any order, at any time: what holds of the state machine all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from maintenance.coordination.entries import CancellationMarker, Entry, Lease, leases_of
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
from maintenance.lifecycle.actions import (
    Action,
    Continue,
    Delivered,
    Denied,
    Done,
    LeaseReleased,
    LeaseTaken,
    LeaveToJudge,
    NotTheOne,
    Observation,
    OperationRead,
    Poll,
    Read,
    ReleaseLease,
    StateRead,
    Submit,
    Submitted,
    TakeLease,
    Unavailable,
    Untrusted,
)
from maintenance.lifecycle.events import ended, owed_events
from maintenance.lifecycle.machine import next_action
from maintenance.lifecycle.rules import Rules
from maintenance.operations.records import read_record, write_record
from tests.support.machine import EVERYWHERE, lease, marker, others_lease
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
MOST_ACTIONS = 8
WRONG = ErrorDetail("Wrong", "Something went wrong.")
SPANS = st.sampled_from([None, 0, 1, 17, 60, 1200, 86_400]).map(lambda span: None if span is None else seconds(span))
SUBMISSIONS = st.one_of(
    st.builds(Accepted, st.sampled_from([OPERATION_URL, None]), retry_after=SPANS),
    st.just(Succeeded()),
    st.builds(Failed, st.just(WRONG), st.booleans()),
    st.builds(Throttled, st.just(WRONG), SPANS),
    st.builds(Refused, st.just(WRONG), st.sampled_from([307, 400, 401, 403, 404, 409])),
    st.builds(Ambiguous, st.just(WRONG), SPANS),
    st.none(),
)
READINGS = st.one_of(
    st.builds(Running, st.just("inprogress"), SPANS, st.sampled_from([None, OPERATION_URL + "&moved=1"])),
    st.just(Succeeded()),
    st.builds(Failed, st.just(WRONG), st.booleans()),
    st.builds(Throttled, st.just(WRONG), SPANS),
    st.builds(Unreadable, st.just(WRONG), SPANS),
    st.builds(Unreported, st.just(WRONG), st.booleans()),
)
KIND_READINGS = st.sampled_from([Succeeded(), Succeeded(), Running("inprogress")])
UNTOUCHED, DONE = 0, 6


def views_of(instance_id: str, now: datetime) -> list[Instance]:
    """Everything that a view may show of an instance."""
    number = int(instance_id)
    return [
        eligible(instance_id, update_domain=number % 2),
        eligible(instance_id, changed_at=now),
        eligible(instance_id, changed_at=None),
        eligible(instance_id, provisioning="failed"),
        in_progress(instance_id, now),
        completed(instance_id, LONG_AGO),
        completed(instance_id, now),
        replace(completed(instance_id, now), healthy=False),
        replace(completed(instance_id, now), power="stopped"),
        aborted(instance_id, LONG_AGO),
        aborted(instance_id, now),
        without_maintenance(instance_id),
        eligible(instance_id, reported=False),
    ]


class AnyObservationAtAnyTime(RuleBasedStateMachine):
    """One run; each rule is one delivery of its current record."""

    @initialize(
        named=st.none() | st.lists(st.sampled_from([*IDS, "9"]), min_size=1, unique=True).map(tuple),
        rollout=st.builds(
            Rollout,
            max_instances_per_wave=st.sampled_from([None, 1, 2, "50%"]),
            by_update_domain=st.booleans(),
            pause_between_waves=st.sampled_from([0, 300, 3000]).map(seconds),
            max_failed_instances=st.sampled_from([0, 0, 2]),
        ),
        kindly=st.booleans(),
        views=st.sampled_from([True, True, True, False]),
        flexible=st.sampled_from([False, False, True]),
        odd=st.sampled_from(["", "", "", "", "dry run", "reject", "later", "no waiting"]),
        hours=st.sampled_from([1, 6]),
    )
    def begin(
        self,
        *,
        named: tuple[str, ...] | None,
        rollout: Rollout,
        kindly: bool,
        views: bool,
        flexible: bool,
        odd: str,
        hours: int,
    ) -> None:
        if not views:
            rollout = Rollout()
        self.app = Rules(allowed_scopes=EVERYWHERE, views=views, wait_for_lease=odd != "no waiting")
        self.kindly, self.flexible = kindly, flexible and views
        self.targets = named
        self.now = NOW
        self.operation = new_operation(
            targets=named,
            rollout=rollout,
            dry_run=odd == "dry run",
            reject_ineligible=odd == "reject",
            resume_at=NOW + seconds(1500) if odd == "later" else None,
            deadline=NOW + timedelta(hours=hours),
        )
        self.seen: StateRead | None = None
        self.leased = False
        self.end: bytes | None = None
        self.over = False

    @rule(late=st.sampled_from([0, 0, 1, 90, 4000]), data=st.data())
    def record_is_delivered(self, late: int, data: st.DataObject) -> None:
        self.now += seconds(0 if self.kindly else late)
        if self.over:
            self.next(self.operation, Delivered(redelivered=True))
            return
        if self.operation.phase is Phase.END:
            told = ended(self.operation).to_json()
            assert self.end in (None, told), "an end says the same each time"
            self.end = told
        elif data.draw(st.integers(0, 3)):
            # Its events could be published.
            owed_events(self.operation)
            self.operation = replace(self.operation, owed=())
        redelivered = not self.kindly and data.draw(st.integers(0, 5)) == 0
        action = self.next(self.operation, Delivered(redelivered))
        for _ in range(MOST_ACTIONS):
            match action:
                case Continue():
                    self.goes_on(action, self.operation.number + 1)
                    return
                case Done():
                    assert self.operation.phase in (Phase.END, Phase.REST)
                    self.over = True
                    return
                case LeaveToJudge():
                    raise AssertionError("there is no JUDGE without a Submit")
                case Submit():
                    assert not redelivered
                    self.submits(action, data)
                    return
            action = self.next(action.operation, self.observation(action, data))
        raise AssertionError(f"no end of actions: {action}")

    def next(self, operation: Operation, observation: Observation) -> Action:
        action = next_action(self.app, operation, observation, self.now)
        assert action.operation.run_id == self.operation.run_id
        if self.operation.phase in (Phase.END, Phase.REST):
            assert not isinstance(action, (Submit, TakeLease, Poll)), "nothing is started after the end"
            assert action.operation.phase in (Phase.END, Phase.REST)
            assert action.operation.outcomes == self.operation.outcomes
        return action

    def observation(self, action: Read | TakeLease | Poll | ReleaseLease, data: st.DataObject) -> Observation:
        trouble = "" if self.kindly else data.draw(st.sampled_from([*[""] * 12, "unavailable", "unauthorized"]))
        if trouble:
            return Unavailable(WRONG, data.draw(SPANS), 401 if trouble == "unauthorized" else None)
        match action:
            case Read():
                assert self.app.views or not action.views
                if action.views and not self.kindly and data.draw(st.integers(0, 20)) == 0:
                    return Denied(WRONG)
                return self.read_state(action, data)
            case TakeLease():
                assert not action.operation.dry_run
                self.leased = True
                self.seen = replace(action.state_read, entries=self.entries(data))
                return LeaseTaken(self.seen)
            case Poll():
                assert action.calls
                assert all(call.url and call.ended is None for call in action.calls)
                if not self.kindly and data.draw(st.integers(0, 20)) == 0:
                    return Untrusted(WRONG)
                return OperationRead([(call, data.draw(self.readings)) for call in action.calls])
            case ReleaseLease():
                return LeaseReleased(data.draw(st.booleans()))

    @property
    def readings(self) -> st.SearchStrategy[Any]:
        return KIND_READINGS if self.kindly else READINGS

    def entries(self, data: st.DataObject) -> list[Entry]:
        if self.kindly:
            return [lease(number=2)] if self.leased else []
        own = [lease(number=2)] if self.leased and data.draw(st.integers(0, 8)) else []
        strangers = st.sampled_from([*[None] * 6, others_lease(1), others_lease(3), marker(), lease("e" * 32, 1)])
        other = data.draw(strangers)
        return [*own, *([other] if other else [])]

    def read_state(self, action: Read, data: st.DataObject) -> StateRead:
        instances: list[Instance] | None = None
        if action.views:
            kinds = range(-1, len(views_of("0", self.now)))
            alike = data.draw(st.none() | st.sampled_from([UNTOUCHED, UNTOUCHED, DONE, *kinds]))
            if self.kindly:
                alike = DONE if self.operation.phase in (Phase.TRACK, Phase.REST) else None
            instances = []
            for instance_id in IDS:
                kind = alike
                if self.kindly and alike is None:
                    outcome = self.operation.outcomes.get(instance_id)
                    kind = DONE if outcome is not None and outcome.result is Result.COMPLETED else UNTOUCHED
                elif kind is None:
                    kind = data.draw(st.sampled_from(kinds))
                if kind >= 0:
                    instances.append(views_of(instance_id, self.now)[kind])
        entries = self.entries(data) if action.coordination else []
        self.seen = StateRead(entries, instances, self.flexible, self.now, self.now if action.views else None)
        return self.seen

    def submits(self, action: Submit, data: st.DataObject) -> None:
        if action.instead is None:
            self.may_be_posted(action)
        judge, record = action.judge, self.operation
        assert (judge.phase, judge.number, action.due) == (
            Phase.JUDGE,
            record.number + 1,
            self.now + self.app.timing.settle,
        )
        if not self.kindly and data.draw(st.integers(0, 6)) == 0:
            conclusion = self.next(action.operation, NotTheOne())
        elif action.instead is not None:
            assert action.groups == ()
            conclusion = action.instead
        else:
            answers = st.just(Accepted(OPERATION_URL)) if self.kindly else SUBMISSIONS
            posted = [(group, data.draw(answers)) for group in action.groups]
            untrusted = not self.kindly and data.draw(st.integers(0, 20)) == 0
            conclusion = self.next(action.operation, Untrusted(WRONG) if untrusted else Submitted(posted, self.now))
        match conclusion:
            case Continue():
                self.goes_on(conclusion, record.number + 2)
            case LeaveToJudge():
                self.operation, self.now = read_record(write_record(judge)), action.due
            case _:
                raise AssertionError(f"{conclusion} after a POST")

    def may_be_posted(self, action: Submit) -> None:
        operation, seen = action.operation, self.seen
        assert operation.phase is Phase.POST
        assert not operation.dry_run
        assert self.end is None
        assert self.now < operation.deadline
        assert seen is not None
        assert not any(isinstance(each, CancellationMarker) for each in seen.entries)
        held = leases_of(seen.entries, SCALE_SET.key)
        assert held, "without a lease"
        assert held[0].run_id == operation.run_id, "not the first"
        if not self.app.views:
            assert action.groups == (self.targets,)
            return
        ids = [instance_id for group in action.groups for instance_id in group or ()]
        assert ids, "no names would mean all"
        assert len(set(ids)) == len(ids)
        assert tuple(ids) == operation.batch
        assert self.targets is None or set(ids) <= set(self.targets), "not asked for"
        assert set(ids) <= set(operation.current_wave)
        assert not set(ids) & set(operation.outcomes), "posted once settled"
        by_id = {instance.instance_id: instance for instance in seen.instances or ()}
        assert {by_id[i].state for i in ids} == {InstanceState.ELIGIBLE}
        assert all(by_id[i].baseline == operation.baseline[i] for i in ids), "changed since it was planned"
        limit = operation.rollout.max_instances_per_wave
        if isinstance(limit, int):
            down = {i for i, instance in by_id.items() if instance.is_down}
            assert len(down | set(ids)) <= limit
        if operation.flexible:
            assert all(len(group or ()) == 1 for group in action.groups)
        event("posted")

    def goes_on(self, action: Continue, number: int) -> None:
        operation = action.operation
        assert operation.number == number
        assert self.now <= action.due <= self.now + self.app.timing.slice
        again = read_record(write_record(operation))
        assert again == operation
        if operation.phase is Phase.END and self.operation.phase is not Phase.END:
            self.ends(operation)
        self.operation, self.now = again, action.due

    def ends(self, operation: Operation) -> None:
        results = {i: outcome.result for i, outcome in operation.outcomes.items()}
        counted = set(results.values())
        bad = counted & {Result.FAILED, Result.UNKNOWN, Result.NOT_ATTEMPTED}
        event(f"ended: {operation.status}")
        assert (operation.error is None) == (operation.status in (Status.SUCCEEDED, Status.NOTHING_TO_DO))
        match operation.status:
            case Status.SUCCEEDED:
                assert not bad
            case Status.NOTHING_TO_DO:
                assert Result.COMPLETED not in counted
                assert operation.dry_run or not bad
            case Status.PARTIALLY_SUCCEEDED:
                assert Result.COMPLETED in counted
            case Status.FAILED:
                assert Result.COMPLETED not in counted
            case Status.TIMED_OUT:
                assert self.now >= operation.deadline
            case Status.REJECTED | Status.DUPLICATE:
                assert Result.COMPLETED not in counted
                assert operation.started_at is None
                return
        assert operation.dry_run or Result.WOULD_MAINTAIN not in counted
        if self.targets is not None and not (operation.dry_run and not self.app.views):
            assert set(results) == set(self.targets)
        assert {i for wave in operation.waves for i in wave} <= set(results) or not self.app.views
        if Result.COMPLETED in counted:
            assert operation.started_at is not None


def test_lease_of_the_sample_run_is_its_own() -> None:
    assert isinstance(lease(), Lease)
    assert lease().run_id == new_operation().run_id


TestAnyObservationAtAnyTime = AnyObservationAtAnyTime.TestCase
TestAnyObservationAtAnyTime.settings = settings(
    derandomize=True,
    max_examples=250,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
)
