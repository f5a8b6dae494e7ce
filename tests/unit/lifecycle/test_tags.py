"""The tags of a scale set narrow a run: whether, when and how much at once, read anew before each wave."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.calendars import Gate, Window
from maintenance.domain.instances import Tags
from maintenance.domain.operation import Phase, Rollout, Status
from maintenance.lifecycle.actions import Action, Continue, Read
from maintenance.policies.tags import EXCLUDED, TagPolicy, TagRollout
from tests.support.fake_arm import all_eligible
from tests.support.machine import RULES, deliver, planned, read_state
from tests.support.samples import NOW, new_operation, request_body
from tests.support.unit_environment import UnitEnvironment

TAGGED = replace(RULES, tags=True)
KEPT_OUT = TagPolicy(problems=(EXCLUDED,))
ONE = TagPolicy(rollout=TagRollout(max_instances_per_wave=1))
# Open from 14:00 to 15:00; NOW is 12:00.
AFTERNOONS = Window("0 14 * * *", timedelta(hours=1))
EVERY_MINUTE = Window("* * * * *", timedelta(hours=1))


def continued(action: Action) -> Continue:
    assert isinstance(action, Continue)
    return action


def test_tags_are_read_where_the_app_says_so_and_a_wave_may_start() -> None:
    assert deliver(new_operation()) == Read(new_operation(), views=True, coordination=True)
    assert deliver(new_operation(), rules=TAGGED) == Read(new_operation(), views=True, coordination=True, tags=True)
    waiting = new_operation(tag_windows=(AFTERNOONS,))
    assert deliver(waiting, rules=TAGGED) == Read(waiting, views=False, coordination=True)


@pytest.mark.parametrize("dry_run", [False, True])
def test_request_for_an_excluded_scale_set_is_rejected(dry_run: bool) -> None:
    ended = continued(read_state(new_operation(dry_run=dry_run), tags=KEPT_OUT)).operation
    assert (ended.phase, ended.status) == (Phase.END, Status.REJECTED)
    assert ended.error is not None
    assert [detail.code for detail in ended.error.details] == ["tag maintenance-exclude"]


def test_rollout_ends_before_the_next_wave_where_the_scale_set_is_excluded_meanwhile() -> None:
    under_way = planned(("0",), ("1",), wave=1, started_at=NOW)
    ended = continued(read_state(under_way, tags=KEPT_OUT)).operation
    assert (ended.phase, ended.error and ended.error.code) == (Phase.END, "KeptOut")
    assert "maintenance-exclude keeps the scale set out" in str(ended.error)


def test_windows_of_the_tag_are_those_that_it_has_now() -> None:
    waiting = continued(read_state(new_operation(), tags=TagPolicy(windows=(AFTERNOONS,)))).operation
    assert waiting.deferral is not None and waiting.deferral.waits_for == "Window"
    assert waiting.tag_windows == (AFTERNOONS,)
    both = new_operation(tag_windows=(AFTERNOONS,))
    posting = continued(read_state(both, tags=TagPolicy(windows=(EVERY_MINUTE,)))).operation
    assert (posting.phase, posting.tag_windows) == (Phase.POST, (EVERY_MINUTE,))


def test_rollout_of_the_tag_is_settled_once_anything_has_started() -> None:
    assert continued(read_state(new_operation(), tags=ONE)).operation.waves == (("0",), ("1",), ("2",))
    again = planned(("0", "1", "2"))
    assert continued(read_state(again, tags=ONE)).operation.batch == ("0",)
    started = planned(("0",), ("1", "2"), wave=1, started_at=NOW)
    assert continued(read_state(started, tags=ONE)).operation.batch == ("1", "2")
    gated = TagPolicy(rollout=TagRollout(gate=Gate("first")))
    assert continued(read_state(new_operation(), tags=gated)).operation.awaiting_since == NOW


async def environment_of(tags: Tags, *, read: bool = True, **request: object) -> UnitEnvironment:
    environment = UnitEnvironment(all_eligible(4), tags=read)
    environment.arm.tags = tags
    environment.send(request_body(instanceIds=["0", "1", "2", "3"], **request))
    await environment.run()
    return environment


async def test_app_that_reads_no_tags_asks_nobody_for_them() -> None:
    environment = await environment_of(Tags(exclude="true"), read=False)
    assert environment.end["status"] == "Succeeded"
    assert environment.arm.tag_reads == 0


async def test_excluded_scale_set_is_never_posted_to() -> None:
    environment = await environment_of(Tags(exclude="yes"))
    assert environment.end["status"] == "Rejected"
    assert environment.arm.posted == []


async def test_tag_that_cannot_be_read_lets_nothing_start() -> None:
    environment = await environment_of(Tags(rollout="{"))
    assert environment.end["status"] == "Rejected"
    assert environment.arm.posted == []


async def test_tags_make_waves_smaller_and_let_them_wait() -> None:
    windows = '[{"schedule": "0 14 * * *", "duration": "PT1H"}]'
    tags = Tags(windows=windows, rollout='{"maxInstancesPerWave": "25%"}')
    environment = await environment_of(tags, rollout={"maxInstancesPerWave": 2})
    assert environment.end["status"] == "Succeeded"
    assert environment.arm.posted == [("0",), ("1",), ("2",), ("3",)]
    assert environment.arm.posted_at[0] >= NOW + timedelta(hours=2)
    assert Rollout(max_instances_per_wave=2, tag_bound="25%").wave_size(4) == 1
