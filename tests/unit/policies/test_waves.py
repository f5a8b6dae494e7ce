"""Splitting instances into waves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.domain.instances import Instance
from maintenance.domain.operation import Outcome, Result, Rollout
from maintenance.policies.waves import most_down, own_limit, split, within
from tests.support.machine import lease, others_lease, planned
from tests.support.samples import eligible, in_progress

INSTANCES = st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=40).map(
    lambda domains: [eligible(str(n), update_domain=domain) for n, domain in enumerate(domains)]
)
ROLLOUTS = st.builds(
    Rollout,
    max_instances_per_wave=st.one_of(st.none(), st.integers(1, 50), st.integers(1, 100).map(lambda n: f"{n}%")),
    by_update_domain=st.booleans(),
)


@settings(derandomize=True, max_examples=400)
@given(INSTANCES, ROLLOUTS)
def test_every_instance_is_in_exactly_one_wave_and_no_wave_is_empty(
    instances: list[Instance], rollout: Rollout
) -> None:
    waves = split(instances, rollout)
    assert sorted(i for wave in waves for i in wave) == sorted(instance.instance_id for instance in instances)
    assert all(waves)


@settings(derandomize=True, max_examples=400)
@given(INSTANCES, ROLLOUTS)
def test_no_wave_is_too_large(instances: list[Instance], rollout: Rollout) -> None:
    total = len(instances)
    for wave in split(instances, rollout):
        match rollout.max_instances_per_wave:
            case int(most):
                assert len(wave) <= most
            case str(share):
                assert len(wave) <= max(1, total * int(share[:-1]) / 100)


@settings(derandomize=True, max_examples=400)
@given(INSTANCES, ROLLOUTS)
def test_domains_are_never_mixed_and_come_one_after_the_other(instances: list[Instance], rollout: Rollout) -> None:
    if not rollout.by_update_domain:
        return
    domain_of = {instance.instance_id: instance.update_domain for instance in instances}
    order: list[int | None] = []
    for wave in split(instances, rollout):
        domains = {domain_of[i] for i in wave}
        assert len(domains) == 1
        order.extend(domains)
    known = [domain for domain in order if domain is not None]
    assert known == sorted(known)
    assert None not in order[: len(known)]


@settings(derandomize=True, max_examples=400)
@given(INSTANCES, ROLLOUTS)
def test_the_order_is_stable(instances: list[Instance], rollout: Rollout) -> None:
    waves = split(instances, rollout)
    assert waves == split(tuple(instances), rollout)
    for wave in waves:
        assert list(wave) == sorted(wave, key=int)
    if not rollout.by_update_domain:
        assert [i for wave in waves for i in wave] == [instance.instance_id for instance in instances]


@pytest.mark.parametrize(
    ("rollout", "waves"),
    [
        (Rollout(), [6]),
        (Rollout(max_instances_per_wave=1), [1, 1, 1, 1, 1, 1]),
        (Rollout(max_instances_per_wave=4), [4, 2]),
        (Rollout(max_instances_per_wave=100), [6]),
        (Rollout(max_instances_per_wave="50%"), [3, 3]),
        (Rollout(max_instances_per_wave="40%"), [2, 2, 2]),
        (Rollout(max_instances_per_wave="1%"), [1, 1, 1, 1, 1, 1]),
        (Rollout(max_instances_per_wave="100%"), [6]),
        (Rollout(by_update_domain=True), [3, 2, 1]),
        (Rollout(by_update_domain=True, max_instances_per_wave=2), [2, 1, 2, 1]),
    ],
)
def test_rollout_options_make_waves_of_these_sizes(rollout: Rollout, waves: list[int]) -> None:
    instances = [eligible(str(n), update_domain=domain) for n, domain in enumerate([0, 1, 0, 1, 0, None])]
    assert [len(wave) for wave in split(instances, rollout)] == waves


def test_nothing_to_maintain_makes_no_wave() -> None:
    assert split([], Rollout()) == ()
    assert split([], Rollout(max_instances_per_wave="20%", by_update_domain=True)) == ()


SETS = st.lists(st.booleans(), min_size=1, max_size=30).map(
    lambda downs: {str(n): eligible(str(n), power="stopped" if down else "running") for n, down in enumerate(downs)}
)


@settings(derandomize=True, max_examples=400)
@given(SETS, st.integers(1, 10), st.data())
def test_within_never_exceeds_the_limit_together_with_what_is_down(
    instances: dict[str, Instance], most: int, data: st.DataObject
) -> None:
    wave = tuple(data.draw(st.lists(st.sampled_from(sorted(instances)), unique=True)))
    chosen = within(most, wave, instances)
    down = {i for i, instance in instances.items() if instance.is_down}
    assert set(chosen) <= set(wave)
    assert [i for i in wave if i in chosen] == list(chosen), "the order is kept"
    if chosen:
        assert len(down | set(chosen)) <= most
    # As many as fit: with one more of the wave it would be too many.
    for more in set(wave) - set(chosen):
        assert len(down | {*chosen, more}) > most or len(chosen) == most


def test_within_without_limit_is_all() -> None:
    assert within(None, ("0", "1"), {"0": in_progress("0"), "1": eligible("1")}) == ("0", "1")


@pytest.mark.parametrize(
    ("rollout", "present", "most"),
    [
        (Rollout(), 10, None),
        (Rollout(max_instances_per_wave=3), 10, 3),
        (Rollout(max_instances_per_wave=3), 1, 3),
        (Rollout(max_instances_per_wave="50%"), 10, 5),
        (Rollout(max_instances_per_wave="50%"), 6, 3),
        (Rollout(max_instances_per_wave="50%"), 1, 1),
        (Rollout(by_update_domain=True), 10, 6),
        (Rollout(by_update_domain=True, max_instances_per_wave="20%"), 10, 2),
    ],
)
def test_most_that_may_be_down_follows_from_rollout_and_what_is_still_there(
    rollout: Rollout, present: int, most: int | None
) -> None:
    ids = tuple(str(number) for number in range(10))
    operation = planned(ids[:6], ids[6:], rollout=rollout)
    assert own_limit(operation, {i: eligible(i) for i in ids[:present]}) == most


@pytest.mark.parametrize(
    ("instances", "limits", "most"),
    [
        ((eligible("0"), eligible("1")), (1,), None),
        ((in_progress("0"), eligible("1")), (1,), 1),
        ((in_progress("0"), eligible("1")), (3, 2, None), 2),
        ((in_progress("0"), eligible("1")), (None,), None),
        ((in_progress("0"), eligible("1")), (), None),
        ((replace(eligible("0"), reported=False), eligible("1")), (1,), 1),
    ],
)
def test_limits_of_other_leases_count_while_their_instances_may_be_at_work(
    instances: tuple[Instance, ...], limits: tuple[int | None, ...], most: int | None
) -> None:
    leases = [lease(limit=9), *(others_lease(number, limit=limit) for number, limit in enumerate(limits, start=2))]
    assert most_down(planned(("1",)), {each.instance_id: each for each in instances}, leases) == most


def test_limits_of_other_leases_do_not_count_for_what_the_run_has_posted_itself() -> None:
    operation = planned(("0", "1")).with_outcomes({"0": Outcome(Result.FAILED)})
    instances = {"0": in_progress("0"), "1": eligible("1")}
    assert most_down(operation, instances, [lease(), others_lease(2, limit=1)]) is None
