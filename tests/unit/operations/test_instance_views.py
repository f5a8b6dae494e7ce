"""Listings shared within a tick: by age, by the time they must be newer than, by the way of listing."""

from __future__ import annotations

import asyncio

import pytest

from maintenance.domain.errors import RefusedError, TransientError
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.resources import ScaleSet
from tests.support.samples import NOW, SCALE_SET, SUBSCRIPTION, eligible, seconds
from tests.support.unit_environment import UnitEnvironment

AWAY = ErrorDetail("Timeout", "No answer.")


async def test_listing_is_shared_until_it_is_a_minute_old() -> None:
    environment = UnitEnvironment()
    views = environment.views()
    first = await views.of(SCALE_SET)
    environment.clock.time += seconds(60)
    assert await views.of(SCALE_SET) is first
    environment.clock.time += seconds(1)
    assert (await views.of(SCALE_SET)).time == NOW + seconds(61)
    assert environment.arm.looks == 2


async def test_listing_is_shared_by_those_who_ask_at_the_same_time() -> None:
    environment = UnitEnvironment()
    views = environment.views()
    listings = await asyncio.gather(*(views.of(SCALE_SET) for _ in range(20)))
    assert (len({id(each) for each in listings}), environment.arm.looks) == (1, 1)


async def test_listing_that_must_be_newer_is_read_again() -> None:
    environment = UnitEnvironment()
    views = environment.views()
    await views.of(SCALE_SET)
    assert (await views.of(SCALE_SET, newer_than=NOW - seconds(1))).time == NOW
    assert environment.arm.looks == 1
    environment.clock.time += seconds(5)
    assert (await views.of(SCALE_SET, newer_than=NOW)).time == NOW + seconds(5)


async def test_listing_of_another_scale_set_or_after_forgetting_is_another() -> None:
    environment = UnitEnvironment()
    views = environment.views()
    await views.of(SCALE_SET)
    await views.of(ScaleSet(SUBSCRIPTION, "WEB-RG", "WEB"))
    assert environment.arm.looks == 1, "whatever the letter case"
    await views.of(ScaleSet(SUBSCRIPTION, "web-rg", "api"))
    views.forget(SCALE_SET)
    await views.of(SCALE_SET)
    assert environment.arm.looks == 3


async def test_error_is_shared_and_passes_with_its_age() -> None:
    environment = UnitEnvironment()
    views = environment.views()
    environment.arm.view_answers = [TransientError("list", AWAY)]
    for _ in range(2):
        with pytest.raises(TransientError):
            await views.of(SCALE_SET)
    assert environment.arm.looks == 1
    environment.clock.time += seconds(61)
    assert len((await views.of(SCALE_SET)).instances) == 3


async def test_numbered_instances_are_of_a_uniform_set() -> None:
    listing = await UnitEnvironment().views().of(SCALE_SET)
    assert (listing.flexible, [each.instance_id for each in listing.instances]) == (False, ["0", "1", "2"])


async def test_set_that_refuses_the_uniform_listing_is_listed_as_flexible() -> None:
    environment = UnitEnvironment([eligible("vm_a"), eligible("vm_b")])
    environment.arm.flexible = True
    listing = await environment.views().of(SCALE_SET)
    assert (listing.flexible, [each.instance_id for each in listing.instances]) == (True, ["vm_a", "vm_b"])


async def test_refusal_of_a_uniform_set_is_no_sign_of_a_flexible_one() -> None:
    environment = UnitEnvironment()
    environment.arm.view_answers = [RefusedError("list", AWAY, status=400)]
    with pytest.raises(RefusedError):
        await environment.views().of(SCALE_SET)


@pytest.mark.parametrize("status", [403, 404])
async def test_mode_of_set_that_may_not_be_listed_is_not_read(status: int) -> None:
    environment = UnitEnvironment()
    environment.arm.flexible = True
    environment.arm.is_flexible = None  # type: ignore[method-assign, assignment] # fails where it is asked
    views = environment.views()

    async def refuse(scale_set: ScaleSet, *, flexible: bool = False) -> object:
        raise RefusedError("list", AWAY, status=status)

    environment.arm.list_instances = refuse  # type: ignore[method-assign, assignment] # refuses
    with pytest.raises(RefusedError):
        await views.of(SCALE_SET)


async def test_response_to_the_uniform_listing_is_not_taken_for_the_flexible_one() -> None:
    environment = UnitEnvironment([eligible("vm_a")])
    environment.arm.flexible = True
    views = environment.views()
    with pytest.raises(RefusedError):
        await views.of(SCALE_SET, flexible=False)
    assert len((await views.of(SCALE_SET, flexible=True)).instances) == 1


async def test_listing_of_an_unknown_mode_is_shared_with_those_who_know_it() -> None:
    environment = UnitEnvironment()
    views = environment.views()
    await views.of(SCALE_SET)
    await views.of(SCALE_SET, flexible=False)
    assert environment.arm.looks == 1
