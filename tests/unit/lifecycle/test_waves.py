"""Splitting instances into waves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.domain.instances import Instance
from maintenance.domain.operation import Rollout
from maintenance.lifecycle.planning import split
from tests.support.samples import eligible

INSTANCES = st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=40).map(
    lambda domains: [eligible(str(n), update_domain=domain) for n, domain in enumerate(domains)]
)
ROLLOUTS = st.builds(
    Rollout,
    max_instances_per_wave=st.one_of(st.none(), st.integers(1, 50), st.integers(1, 100).map(lambda n: f"{n}%")),
    by_update_domain=st.booleans(),
)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(INSTANCES, ROLLOUTS)
def test_every_instance_is_in_exactly_one_wave_and_no_wave_is_empty(
    instances: list[Instance], rollout: Rollout
) -> None:
    waves = split(instances, rollout)
    assert sorted(i for wave in waves for i in wave) == sorted(instance.instance_id for instance in instances)
    assert all(waves)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(INSTANCES, ROLLOUTS)
def test_no_wave_is_too_large(instances: list[Instance], rollout: Rollout) -> None:
    total = len(instances)
    for wave in split(instances, rollout):
        match rollout.max_instances_per_wave:
            case int(most):
                assert len(wave) <= most
            case str(share):
                assert len(wave) <= max(1, total * int(share[:-1]) / 100)


@settings(derandomize=True, max_examples=400, deadline=None)
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


@settings(derandomize=True, max_examples=400, deadline=None)
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
def test_the_options_of_the_request_make_waves_of_these_sizes(rollout: Rollout, waves: list[int]) -> None:
    instances = [eligible(str(n), update_domain=domain) for n, domain in enumerate([0, 1, 0, 1, 0, None])]
    assert [len(wave) for wave in split(instances, rollout)] == waves


def test_nothing_to_maintain_makes_no_wave() -> None:
    assert split([], Rollout()) == ()
    assert split([], Rollout(max_instances_per_wave="20%", by_update_domain=True)) == ()
