"""The record of an operation as a value."""

from __future__ import annotations

from dataclasses import replace

from tests.support.samples import new_operation


def test_the_next_record_of_a_wave_differs_in_its_number_alone() -> None:
    operation = new_operation(request_id="req-1", revision=4, reason="a reason", accepted_published=True)
    following = operation.with_next_revision()
    assert following == replace(operation, revision=5)
    assert (operation.revision, operation.message_id, following.message_id) == (4, "req-1:w0:p4", "req-1:w0:p5")
