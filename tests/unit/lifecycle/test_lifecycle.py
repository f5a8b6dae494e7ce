"""What comes next for a request: told as stories, with the time moved by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from maintenance.domain.coordination import Lease
from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Reading,
    Refused,
    Running,
    Submission,
    Succeeded,
    Throttled,
    Unreadable,
    Unreported,
)
from maintenance.domain.operation import Operation, Phase, Result, Rollout, Status
from maintenance.lifecycle.actions import Action, End, PollOperation, Post, ReadViews, Rules, TakeLease, Wait
from tests.support.machine import EVERYWHERE, Machine
from tests.support.samples import (
    NOW,
    OPERATION_URL,
    aborted,
    completed,
    eligible,
    in_progress,
    new_operation,
    seconds,
    without_maintenance,
)

BROKEN = ErrorDetail("HostBroken", "The host broke.")
BUSY = ErrorDetail("TooManyRequests", "Later, please.")
GONE = ErrorDetail("NotFound", "The operation is not kept any more.")
TAKEN = Accepted(OPERATION_URL)
ALL = [eligible("0"), eligible("1"), eligible("2")]
ONE_BY_ONE = Rollout(max_instances_per_wave=1)


class Story:
    """One operation through its runs; `now` moves only by hand, or to when the operation is due."""

    def __init__(self, operation: Operation | None = None, *, views: bool = True) -> None:
        self.lifecycle = Machine(Rules(allowed_scopes=EVERYWHERE, views=views))
        self.operation = operation or new_operation()
        self.now = NOW
        self.events: list[str] = []
        self.step: Action | None = None
        self.posted: list[tuple[str, ...] | None] = []

    def begins(self, *, may_have_started: bool = False) -> Story:
        """A run begins, or the same run again: what the last one decided is lost."""
        self.may_have_started = may_have_started
        return self._to(self.lifecycle.resume(self.operation, self.now, may_have_started=may_have_started))

    def sees(self, *instances: Instance) -> Story:
        assert isinstance(self.step, ReadViews), self.step
        return self._to(
            self.lifecycle.views_read(self.step.operation, instances, self.now, may_have_started=self.may_have_started)
        )

    def posts(self, submission: Submission) -> Story:
        assert isinstance(self.step, Post), self.step
        self.posted.append(self.step.instance_ids)
        return self._to(self.lifecycle.submitted(self.step.operation, [(self.step.instance_ids, submission)], self.now))

    def polls(self, *readings: Reading) -> Story:
        assert isinstance(self.step, PollOperation), self.step
        pairs = list(zip(self.step.calls, readings, strict=True))
        return self._to(self.lifecycle.polled(self.step.operation, pairs, self.now))

    def cannot_see(self, retry_after: timedelta | None = None) -> Story:
        assert isinstance(self.step, ReadViews), self.step
        return self._to(self.lifecycle.unavailable(self.step.operation, BUSY, self.now, retry_after=retry_after))

    def may_not_see(self) -> Story:
        assert isinstance(self.step, ReadViews), self.step
        return self._to(self.lifecycle.denied(self.step.operation, BROKEN, self.now))

    def comes_again(self, *, may_have_started: bool = False) -> Story:
        """The record is kept, and delivered when due."""
        assert isinstance(self.step, Wait), self.step
        self.operation, self.now = self.step.operation, self.step.due
        return self.begins(may_have_started=may_have_started)

    def at(self, moment: datetime) -> Story:
        self.now = moment
        return self

    @property
    def due_in(self) -> float:
        assert isinstance(self.step, Wait), self.step
        return (self.step.due - self.now).total_seconds()

    @property
    def status(self) -> Status | None:
        assert isinstance(self.step, End), self.step
        return self.step.operation.status

    @property
    def error(self) -> str | None:
        assert isinstance(self.step, End), self.step
        return self.step.operation.error.code if self.step.operation.error else None

    @property
    def outcomes(self) -> dict[str, str]:
        assert isinstance(self.step, (End, Wait)), self.step
        return {i: outcome.result.value for i, outcome in self.step.operation.outcomes.items()}

    def _to(self, step: Action) -> Story:
        if isinstance(step, TakeLease):
            operation = step.operation
            notice = Lease(operation.request_id, operation.scale_set.key, operation.deadline, 1)
            step = self.lifecycle.lease_taken(step, [notice], self.now, may_have_started=self.may_have_started)
        self.step = step
        if isinstance(step, (Wait, End)):
            self.events += [event.event_id.removeprefix("req-1:") for event in step.events]
        return self


IN_A_MINUTE = NOW + seconds(60)


def done(*ids: str, at: datetime = IN_A_MINUTE) -> list[Instance]:
    return [completed(i, at) for i in ids]


def test_a_request_is_posted_followed_confirmed_and_told() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN)
    assert story.posted == [("0", "1", "2")]
    assert story.due_in == 60
    assert story.events == ["accepted"]
    story.comes_again().polls(Running("inprogress", seconds(17)))
    assert story.due_in == 17
    story.comes_again().polls(Succeeded()).sees(*done("0", "1", "2"))
    assert (story.status, story.error) == (Status.SUCCEEDED, None)
    assert story.outcomes == {"0": "Completed", "1": "Completed", "2": "Completed"}
    assert story.events == ["accepted", "ended"]
    assert story.posted == [("0", "1", "2")]


def test_a_request_that_arm_finishes_at_once_still_needs_the_views_word() -> None:
    story = Story().begins().sees(*ALL).posts(Succeeded())
    assert isinstance(story.step, ReadViews)
    story.sees(*ALL)
    assert story.due_in == 15
    story.comes_again().sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED
    assert story.events == ["accepted", "ended"]


def test_nothing_to_do_posts_nothing() -> None:
    story = Story().begins().sees(completed("0"), without_maintenance("1"))
    assert (story.status, story.error) == (Status.NOTHING_TO_DO, None)
    assert story.outcomes == {"0": "AlreadyCompleted", "1": "Skipped", "2": "NotFound"}
    assert story.events == ["ended"]


def test_a_dry_run_ends_with_what_it_would_do() -> None:
    story = Story(new_operation(dry_run=True, rollout=ONE_BY_ONE)).begins().sees(*ALL[:2])
    assert story.status is Status.NOTHING_TO_DO
    assert story.outcomes == {"0": "WouldMaintain", "1": "WouldMaintain", "2": "NotFound"}
    assert story.posted == []


def test_a_request_that_wants_all_or_none_is_rejected_and_posts_nothing() -> None:
    story = Story(new_operation(reject_ineligible=True)).begins().sees(eligible("0"), without_maintenance("1"))
    assert story.status is Status.REJECTED
    assert story.outcomes == {"0": "NotAttempted", "1": "Skipped", "2": "NotFound"}
    assert isinstance(story.step, End)
    assert story.step.commit


# ---- a run that died, and the same message again


def test_a_suspect_run_waits_for_the_views_before_it_posts() -> None:
    story = Story().begins(may_have_started=True).sees(*ALL)
    assert story.due_in == 30
    assert story.posted == []
    story.comes_again().sees(*ALL).posts(TAKEN)
    assert story.posted == [("0", "1", "2")]


def test_a_suspect_run_finds_its_predecessors_work_under_way_and_follows_it() -> None:
    story = Story().begins(may_have_started=True).sees(*(in_progress(i) for i in "012"))
    assert story.events == ["accepted"]
    story.comes_again().sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED
    assert story.outcomes == {"0": "Completed", "1": "Completed", "2": "Completed"}
    assert story.posted == []


def test_a_suspect_run_finds_its_predecessors_work_done_and_claims_it() -> None:
    story = Story().begins(may_have_started=True).sees(*done("0", "1", "2"))
    story.comes_again().sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED
    assert story.events == ["accepted", "ended"]
    assert story.posted == []


@pytest.mark.parametrize("result", ["retrylater", "maintenanceaborted"])
def test_a_suspect_run_does_not_post_again_what_its_predecessor_ended_badly(result: str) -> None:
    ended_badly = MaintenanceStatus(allowed=result == "retrylater", last_result=result)
    views = [replace(view, maintenance=ended_badly, changed_at=NOW + seconds(40)) for view in ALL]
    story = (
        Story(new_operation(rollout=ONE_BY_ONE))
        .at(NOW + seconds(600))
        .begins(may_have_started=True)
        .sees(views[0], *ALL[1:])
    )
    story.comes_again().sees(views[0], *ALL[1:])
    assert story.status is Status.FAILED
    assert story.outcomes == {"0": "Failed", "1": "NotAttempted", "2": "NotAttempted"}
    assert story.posted == []


def test_a_suspect_run_waits_for_the_views_however_long_ago_the_post_before_the_last_was() -> None:
    old = new_operation(targets=None, phase=Phase.POSTING, waves=(("0", "1", "2"),), revision=3, posted_at=NOW)
    story = Story(old).at(NOW + seconds(600)).begins(may_have_started=True).sees(*ALL)
    assert story.due_in == 30
    story.comes_again().sees(*ALL).posts(TAKEN)
    assert story.posted == [("0", "1", "2")]


def test_a_suspect_run_posts_only_what_its_predecessor_left() -> None:
    story = Story().begins(may_have_started=True).sees(in_progress("0"), *ALL[1:])
    story.comes_again().sees(*done("0"), *ALL[1:])
    story.comes_again().sees(*done("0"), *ALL[1:]).posts(TAKEN)
    assert story.posted == [("1", "2")]


def test_a_redelivered_record_of_a_wave_to_be_posted_looks_twice() -> None:
    waves = new_operation(targets=None, phase=Phase.POSTING, waves=(("0",), ("1",)), wave=1, revision=0)
    story = Story(waves).begins(may_have_started=True).sees(*done("0"), eligible("1"))
    assert (story.posted, story.due_in) == ([], 30)


# ---- a POST whose outcome is not known


def test_an_ambiguous_post_that_was_done_is_not_sent_again() -> None:
    story = Story().begins().sees(*ALL).posts(Ambiguous(BROKEN))
    assert story.due_in == 30
    story.comes_again().sees(*(in_progress(i) for i in "012"))
    story.comes_again().sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED
    assert story.posted == [("0", "1", "2")]


def test_an_ambiguous_post_that_was_not_done_is_sent_again_after_looking() -> None:
    story = Story().begins().sees(*ALL).posts(Ambiguous(BROKEN))
    story.comes_again().sees(*ALL).posts(TAKEN)
    assert story.posted == [("0", "1", "2")] * 2
    story.comes_again().polls(Succeeded()).sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED


def test_an_ambiguous_post_honours_its_retry_after() -> None:
    assert 300 <= Story().begins().sees(*ALL).posts(Ambiguous(BUSY, seconds(300))).due_in <= 303


def test_an_update_that_was_watched_in_vain_is_not_mistaken_for_the_post_that_follows() -> None:
    views = [in_progress("0"), eligible("1")]
    story = Story(new_operation(targets=("0", "1"))).begins().sees(*views).posts(Ambiguous(BROKEN))
    assert story.posted == [("1",)]
    # Somebody else's update of 0 ended and left it eligible; both are posted, and ARM takes them.
    story.comes_again().sees(*ALL[:2]).posts(TAKEN)
    assert story.posted == [("1",), ("1", "0")]
    posted = story.now
    # The view of 0 is a little behind.
    story.comes_again().polls(Succeeded()).sees(ALL[0], *done("1", at=posted + seconds(5)))
    story.comes_again().sees(ALL[0], *done("1", at=posted + seconds(5)))
    story.comes_again().sees(*done("0", "1", at=posted + seconds(5)))
    assert story.status is Status.SUCCEEDED
    assert story.posted == [("1",), ("1", "0")]


# ---- being told to wait, and being told no


def test_throttling_waits_as_long_as_asked_and_starts_nothing() -> None:
    story = Story().begins().sees(*ALL).posts(Throttled(BUSY, timedelta(minutes=20)))
    assert timedelta(minutes=20) <= seconds(story.due_in) <= timedelta(minutes=21)
    assert story.events == []
    assert isinstance(story.step, Wait)
    assert not story.step.operation.may_have_posted
    story.comes_again().sees(*ALL).posts(TAKEN)
    assert story.events == ["accepted"]


def test_views_that_cannot_be_read_are_tried_again_with_growing_pauses() -> None:
    story = Story().begins().cannot_see()
    first = story.due_in
    second = story.comes_again().cannot_see().due_in
    third = story.comes_again().cannot_see(seconds(900)).due_in
    assert 10 <= first < 13
    assert 20 <= second < 26
    assert 900 <= third < 911


def test_views_that_may_not_be_read_end_the_request() -> None:
    story = Story().begins().may_not_see()
    assert (story.status, story.error) == (Status.FAILED, "HostBroken")
    assert story.outcomes == {"0": "NotAttempted", "1": "NotAttempted", "2": "NotAttempted"}


def test_views_that_may_not_be_read_any_more_leave_what_was_posted_unknown() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again().polls(Succeeded()).may_not_see()
    assert story.status is Status.FAILED
    assert set(story.outcomes.values()) == {"Unknown"}


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_final_and_told(status: int) -> None:
    story = Story().begins().sees(*ALL).posts(Refused(BROKEN, status))
    assert (story.status, story.error) == (Status.FAILED, "HostBroken")
    assert set(story.outcomes.values()) == {"Failed"}
    assert story.events == ["ended"]


def test_an_unauthorized_post_is_tried_twice_more() -> None:
    story = Story().begins().sees(*ALL).posts(Refused(BROKEN, 401))
    story.comes_again().sees(*ALL).posts(Refused(BROKEN, 401))
    story.comes_again().sees(*ALL).posts(Refused(BROKEN, 401))
    assert (story.status, story.error) == (Status.FAILED, "HostBroken")


def test_a_conflict_looks_whether_somebody_else_began() -> None:
    story = Story().begins().sees(*ALL).posts(Refused(BROKEN, 409)).sees(in_progress("0"), *ALL[1:])
    assert story.due_in == 15
    story.comes_again().sees(*done("0"), *ALL[1:])
    assert story.status is Status.PARTIALLY_SUCCEEDED
    assert story.outcomes == {"0": "Completed", "1": "Failed", "2": "Failed"}


# ---- how the operation ends


def test_a_failed_operation_fails_with_arms_words() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again()
    story.polls(Failed(BROKEN)).sees(*done("0"), *ALL[1:])
    assert (story.status, story.error) == (Status.PARTIALLY_SUCCEEDED, "HostBroken")
    assert story.outcomes == {"0": "Completed", "1": "Failed", "2": "Failed"}


def test_a_failed_operation_is_no_success_even_where_every_view_says_completed() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again()
    story.polls(Failed(BROKEN)).sees(*done("0", "1", "2"))
    assert (story.status, story.error) == (Status.PARTIALLY_SUCCEEDED, "HostBroken")


def test_a_post_that_fails_at_once_is_a_failure() -> None:
    story = Story().begins().sees(*ALL).posts(Failed(BROKEN)).sees(*ALL)
    assert (story.status, story.error) == (Status.FAILED, "HostBroken")


def test_a_canceled_operation_is_canceled_and_stops_the_rollout() -> None:
    rollout = replace(ONE_BY_ONE, max_failed_instances=9)
    story = Story(new_operation(rollout=rollout)).begins().sees(*ALL).posts(TAKEN).comes_again()
    story.polls(Failed(BROKEN, canceled=True)).sees(*ALL)
    assert story.status is Status.CANCELED
    assert story.outcomes == {"0": "Failed", "1": "NotAttempted", "2": "NotAttempted"}


def test_a_success_that_the_view_contradicts_is_a_failure() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again().polls(Succeeded())
    story.sees(aborted("0", story.now), *done("1", "2"))
    assert story.status is Status.PARTIALLY_SUCCEEDED
    assert story.outcomes["0"] == "Failed"


def test_a_success_that_the_view_never_confirms_is_a_failure_after_five_minutes() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again().polls(Succeeded()).sees(*ALL)
    begun = story.now
    while isinstance(story.step, Wait):
        story.comes_again().sees(*ALL)
    assert story.status is Status.FAILED
    assert timedelta(minutes=5) <= story.now - begun <= timedelta(minutes=6)


def test_an_instance_that_disappears_is_told() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again().polls(Succeeded()).sees(*done("0", "1"))
    assert story.outcomes == {"0": "Completed", "1": "Completed", "2": "NotFound"}


def test_what_completed_and_then_disappeared_stays_completed() -> None:
    story = Story(new_operation(targets=("0", "1"))).begins(may_have_started=True).sees(in_progress("0"), eligible("1"))
    # 0 is done; 1 was never begun, and is posted after one more look, at which 0 is gone.
    story.comes_again().sees(*done("0"), eligible("1"))
    story.comes_again().sees(eligible("1")).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("1", at=story.now))
    assert story.outcomes == {"0": "Completed", "1": "Completed"}
    assert story.status is Status.SUCCEEDED


@pytest.mark.parametrize("reading", [Unreported(GONE)])
def test_an_operation_arm_does_not_tell_about_is_judged_by_the_views(reading: Reading) -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again()
    story.polls(reading).sees(*(in_progress(i) for i in "012"))
    assert story.due_in == 15
    story.comes_again().sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED


def test_a_202_without_headers_is_judged_by_the_views() -> None:
    story = Story().begins().sees(*ALL).posts(Accepted(None))
    assert story.due_in == 60
    story.comes_again().sees(*(in_progress(i) for i in "012"))
    story.comes_again().sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED
    assert len(story.posted) == 1


def test_a_long_update_that_only_the_views_show_has_its_time_to_be_confirmed_when_it_ends() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again().polls(Unreported(GONE))
    story.sees(*(in_progress(i) for i in "012"))
    for _ in range(40):
        story.comes_again().sees(*(in_progress(i) for i in "012"))
    just_now = [eligible(i, changed_at=story.now) for i in "012"]
    story.comes_again().sees(*just_now)
    story.comes_again().sees(*done("0", "1", "2", at=story.now))
    assert story.status is Status.SUCCEEDED


def test_a_moved_location_is_asked_next() -> None:
    story = Story().begins().sees(*ALL).posts(Accepted("https://a/1", "location")).comes_again()
    story.polls(Running("inprogress", None, "https://a/2")).comes_again()
    assert isinstance(story.step, PollOperation)
    assert [call.url for call in story.step.calls] == ["https://a/2"]


@pytest.mark.parametrize("reading", [Unreadable(BROKEN), Throttled(BUSY)])
def test_a_poll_that_fails_is_tried_again_with_growing_pauses_and_no_harm(reading: Reading) -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN)
    pauses = [story.comes_again().polls(reading).due_in for _ in range(4)]
    assert pauses == sorted(pauses)
    story.comes_again().polls(Succeeded()).sees(*done("0", "1", "2"))
    assert (story.status, story.error) == (Status.SUCCEEDED, None)


def test_a_throttled_poll_waits_as_long_as_asked() -> None:
    story = Story().begins().sees(*ALL).posts(TAKEN).comes_again().polls(Throttled(BUSY, seconds(1200)))
    assert story.due_in >= 1200


# ---- deadlines


def test_a_deadline_before_anything_was_begun_leaves_all_untried() -> None:
    story = Story().at(NOW + timedelta(hours=7)).begins()
    assert (story.status, story.error) == (Status.TIMED_OUT, "DeadlineExceeded")
    assert set(story.outcomes.values()) == {"NotAttempted"}


def test_a_deadline_while_arm_works_is_told_with_one_last_poll() -> None:
    story = Story(new_operation(deadline=NOW + seconds(90))).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Running("inprogress"))
    assert story.due_in == 30
    story.comes_again()
    assert story.now == NOW + seconds(90)
    story.polls(Running("inprogress"))
    assert story.status is Status.TIMED_OUT
    assert set(story.outcomes.values()) == {"Unknown"}
    assert story.events == ["accepted", "ended"]


def test_an_operation_that_ended_by_its_deadline_is_not_timed_out() -> None:
    story = Story(new_operation(deadline=NOW + seconds(60))).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("0", "1", "2"))
    assert story.status is Status.SUCCEEDED


def test_no_poll_is_made_at_the_deadline_that_a_retry_after_forbade() -> None:
    story = Story(new_operation(deadline=NOW + seconds(90))).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Throttled(BUSY, seconds(1200))).comes_again()
    assert (story.status, story.now) == (Status.TIMED_OUT, NOW + seconds(90))
    assert isinstance(story.step, End)
    assert story.step.operation.error is not None
    assert story.step.operation.error.details == (BUSY,)


# ---- waves


def test_waves_follow_each_other_each_confirmed_and_told() -> None:
    rollout = replace(ONE_BY_ONE, pause_between_waves=timedelta(minutes=5))
    story = Story(new_operation(rollout=rollout)).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("0"), *ALL[1:])
    assert story.due_in == 300
    story.comes_again().sees(*done("0"), *ALL[1:]).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("0", "1", at=story.now), ALL[2])
    story.comes_again().sees(*done("0", "1"), ALL[2]).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("0", "1", "2", at=story.now))
    assert story.posted == [("0",), ("1",), ("2",)]
    assert story.events == ["accepted", "progressed:w0", "progressed:w1", "ended"]
    assert story.status is Status.SUCCEEDED


def test_the_first_failure_stops_the_rollout() -> None:
    story = Story(new_operation(rollout=ONE_BY_ONE)).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Failed(BROKEN)).sees(*ALL)
    assert (story.status, story.error) == (Status.FAILED, "HostBroken")
    assert story.outcomes == {"0": "Failed", "1": "NotAttempted", "2": "NotAttempted"}


def test_as_many_failures_as_allowed_do_not_stop_it() -> None:
    rollout = replace(ONE_BY_ONE, max_failed_instances=1)
    story = Story(new_operation(rollout=rollout)).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Failed(BROKEN)).sees(*ALL)
    story.comes_again().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Failed(BROKEN)).sees(*ALL)
    assert story.outcomes == {"0": "Failed", "1": "Failed", "2": "NotAttempted"}
    assert story.status is Status.FAILED


def test_what_became_ineligible_or_was_done_by_others_is_named_and_not_posted() -> None:
    story = Story(new_operation(rollout=ONE_BY_ONE)).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("0"), *ALL[1:])
    story.comes_again().sees(*done("0", "1"), without_maintenance("2"))
    story.comes_again().sees(*done("0", "1"), without_maintenance("2"))
    assert story.posted == [("0",)]
    assert story.outcomes == {"0": "Completed", "1": "AlreadyCompleted", "2": "Skipped"}
    assert story.status is Status.SUCCEEDED


def test_a_deadline_between_waves_leaves_the_rest_untried() -> None:
    rollout = replace(ONE_BY_ONE, pause_between_waves=timedelta(hours=7))
    story = Story(new_operation(rollout=rollout)).begins().sees(*ALL).posts(TAKEN)
    story.comes_again().polls(Succeeded()).sees(*done("0"), *ALL[1:]).comes_again()
    assert story.status is Status.TIMED_OUT
    assert story.outcomes == {"0": "Completed", "1": "NotAttempted", "2": "NotAttempted"}


# ---- an app that does not read instance views


def test_without_views_a_whole_scale_set_is_posted_without_a_body_and_arms_word_is_taken() -> None:
    story = Story(new_operation(targets=None), views=False).begins().posts(TAKEN)
    assert story.posted == [None]
    story.comes_again().polls(Succeeded())
    assert (story.status, story.error, story.outcomes) == (Status.SUCCEEDED, None, {})


def test_without_views_named_instances_end_as_arm_says() -> None:
    story = Story(views=False).begins().posts(TAKEN).comes_again().polls(Failed(BROKEN))
    assert (story.status, story.error) == (Status.FAILED, "HostBroken")
    assert story.outcomes == {"0": "Failed", "1": "Failed", "2": "Failed"}


@pytest.mark.parametrize("targets", [None, ("0", "1", "2")])
def test_without_views_what_arm_does_not_tell_is_unknown_and_no_success(targets: tuple[str, ...] | None) -> None:
    story = (
        Story(new_operation(targets=targets), views=False).begins().posts(TAKEN).comes_again().polls(Unreported(GONE))
    )
    assert story.status is Status.FAILED
    assert set(story.outcomes.values()) == ({"Unknown"} if targets else set())
    headerless = Story(new_operation(targets=targets), views=False).begins().posts(Accepted(None))
    assert (headerless.status, headerless.error) == (Status.FAILED, "OutcomeUnknown")


@pytest.mark.parametrize("targets", [None, ("0", "1", "2")])
def test_without_views_an_ambiguous_post_is_never_sent_again(targets: tuple[str, ...] | None) -> None:
    story = Story(new_operation(targets=targets), views=False).begins().posts(Ambiguous(BROKEN)).comes_again()
    assert (story.status, story.error) == (Status.FAILED, "OutcomeUnknown")
    may_have_started = Story(new_operation(targets=targets), views=False).begins(may_have_started=True)
    assert (may_have_started.status, may_have_started.error) == (Status.FAILED, "OutcomeUnknown")


@pytest.mark.parametrize("may_have_started", [False, True])
def test_without_views_a_dry_run_posts_nothing_and_is_no_failure(*, may_have_started: bool) -> None:
    story = Story(new_operation(dry_run=True), views=False).begins(may_have_started=may_have_started)
    assert (story.status, story.error) == (Status.NOTHING_TO_DO, None)


# ---- after the end


def test_what_has_ended_is_told_again_in_the_same_words() -> None:
    story = Story().begins().may_not_see()
    assert isinstance(story.step, End)
    assert story.step.commit
    first = story.step.events[-1]
    again = Machine().resume(story.step.operation, story.now + seconds(60))
    assert isinstance(again, End)
    assert again.events[-1].to_json() == first.to_json()
    assert not again.commit


def test_an_answer_that_points_elsewhere_ends_the_request() -> None:
    story = Story().begins().sees(*ALL)
    assert isinstance(story.step, Post)
    step = Machine().untrusted(story.step.operation, ErrorDetail("UntrustedUrl", "no"), NOW)
    assert isinstance(step, End)
    assert step.operation.status is Status.FAILED
    assert {outcome.result for outcome in step.operation.outcomes.values()} == {Result.UNKNOWN}
