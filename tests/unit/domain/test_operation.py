"""Operation as a value."""

from __future__ import annotations

from dataclasses import replace

from tests.support.samples import new_operation


def test_next_revision_of_record_changes_only_revision() -> None:
    operation = new_operation(request_id="req-1", revision=4, reason="a reason", accepted_published=True)
    next_operation = operation.with_next_revision()
    assert next_operation == replace(operation, revision=5)
    assert (operation.revision, operation.message_id, next_operation.message_id) == (4, "req-1:w0:p4", "req-1:w0:p5")
