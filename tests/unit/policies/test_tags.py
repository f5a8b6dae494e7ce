"""Tags only narrow: whatever a tag and a request say, the outcome is as strict as both."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.domain.calendars import Gate
from maintenance.domain.instances import NO_TAGS, Tags
from maintenance.domain.operation import Rollout
from maintenance.policies.tags import (
    PROPERTY,
    TagRollout,
    narrowed,
    narrowed_gate,
    of_properties,
    to_properties,
)

SIZES = st.none() | st.integers(1, 1000) | st.integers(1, 100).map("{}%".format)
SPANS = st.integers(0, 7 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
ROLLOUTS = st.builds(
    Rollout,
    max_instances_per_wave=SIZES,
    by_update_domain=st.booleans(),
    pause_between_waves=SPANS,
    max_failed_instances=st.integers(0, 1000),
    health_timeout=SPANS,
)
TAGS = st.builds(
    TagRollout,
    max_instances_per_wave=SIZES,
    by_update_domain=st.booleans(),
    pause_between_waves=st.none() | SPANS,
    max_failed_instances=st.none() | st.integers(0, 1000),
    health_timeout=st.none() | SPANS,
)
GATES = st.builds(Gate, st.sampled_from(["first", "everyWave"]), SPANS, st.sampled_from(["stop", "proceed"]))


@given(ROLLOUTS, st.lists(TAGS, min_size=1, max_size=4), st.integers(1, 1000))
def test_wave_is_as_small_as_request_and_each_tag_want(rollout: Rollout, tags: list[TagRollout], total: int) -> None:
    result = rollout
    for tag in tags:
        result = narrowed(result, tag)
    sizes = [rollout.max_instances_per_wave, *(tag.max_instances_per_wave for tag in tags)]
    wanted = [Rollout(max_instances_per_wave=each).wave_size(total) for each in sizes if each is not None]
    assert result.wave_size(total) == min(wanted, default=total)
    assert result.by_update_domain is any([rollout.by_update_domain, *(tag.by_update_domain for tag in tags)])


@given(ROLLOUTS, TAGS)
def test_rollout_is_as_strict_as_request_and_tag_in_all_else(rollout: Rollout, tag: TagRollout) -> None:
    result = narrowed(rollout, tag)
    assert result.pause_between_waves == max(rollout.pause_between_waves, tag.pause_between_waves or timedelta(0))
    failed, health = tag.max_failed_instances, tag.health_timeout
    assert result.max_failed_instances == min(rollout.max_failed_instances, 1000 if failed is None else failed)
    assert result.health_timeout == min(rollout.health_timeout, timedelta.max if health is None else health)
    assert narrowed(result, tag) == result


@given(st.none() | GATES, st.none() | GATES)
def test_gate_is_as_strict_as_that_of_request_and_tag(gate: Gate | None, tag: Gate | None) -> None:
    given_gates = [each for each in (gate, tag) if each is not None]
    result = narrowed_gate(gate, tag)
    assert (result is None) == (not given_gates)
    if result is not None:
        assert result.waves == max((each.waves for each in given_gates), key=["first", "everyWave"].index)
        assert result.timeout == min(each.timeout for each in given_gates)
        assert result.at_timeout == max((each.at_timeout for each in given_gates), key=["proceed", "stop"].index)
        assert narrowed_gate(result, tag) == result


@given(st.builds(Tags, *[st.none() | st.text(max_size=256)] * 3))
def test_tags_come_through_a_message_as_they_were(tags: Tags) -> None:
    assert of_properties(to_properties(tags)) == tags


@pytest.mark.parametrize("text", ["", "[]", "x", '{"maintenance-exclude": 1}', '{"maintenance-windows": null}'])
def test_property_that_cannot_be_read_keeps_the_scale_set_out(text: str) -> None:
    assert of_properties({PROPERTY: text}).exclude is not None
    assert of_properties({}) == NO_TAGS
