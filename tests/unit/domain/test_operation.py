"""The record of an operation as a value."""

from __future__ import annotations

from dataclasses import replace

from maintenance.domain.operation import Outcome, Result
from tests.support.samples import RUN, new_operation


def test_next_record_differs_in_its_number_alone() -> None:
    operation = new_operation(number=4, reason="a reason", started_at=new_operation().deadline)
    following = operation.with_next_number()
    assert following == replace(operation, number=5)
    assert (operation.number, operation.message_id, following.message_id) == (4, f"{RUN}:s4", f"{RUN}:s5")


def test_left_of_wave_are_those_without_outcome() -> None:
    operation = new_operation(waves=(("0", "1"), ("2",)), outcomes={"0": Outcome(Result.SKIPPED)})
    assert operation.left_of_wave() == ("1",)
    assert replace(operation, wave=1).left_of_wave() == ("2",)
    assert replace(operation, wave=2).left_of_wave() == ()
