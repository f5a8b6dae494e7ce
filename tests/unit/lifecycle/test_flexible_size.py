"""One record follows all VMs of a wave of a Flexible scale set, and must fit into one message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.operation import Call, Operation, Outcome, Phase, Result
from maintenance.lifecycle.planning import split_targets
from maintenance.operations.records import MAX_RECORD, read_record, write_record
from tests.support.samples import NOW, new_operation

LONG_URL = "https://management.azure.com/subscriptions/" + "x" * 3_700


def at_its_largest(count: int, length: int) -> Operation:
    """A whole Flexible set amid its last wave: all else settled, every VM of the wave followed by its URL."""
    names = [f"{number:04d}".ljust(length, "n") for number in range(count)]
    views = [
        Instance(name, maintenance=MaintenanceStatus(True, window=("w", "", "", "")), changed_at=NOW) for name in names
    ]
    planned, _ = split_targets(new_operation(targets=None, flexible=True), views)
    *earlier, last = planned.waves
    outcomes = {name: Outcome(Result.COMPLETED, "x" * 300, 9) for wave in earlier for name in wave}
    calls = tuple(Call((name,), LONG_URL) for name in last)
    baseline = {view.instance_id: view.baseline for view in views if view.instance_id in last}
    return replace(
        planned,
        phase=Phase.TRACK,
        wave=len(earlier),
        batch=last,
        calls=calls,
        baseline=baseline,
        outcomes=outcomes,
        posted_at=NOW,
    )


@pytest.mark.parametrize(("count", "length"), [(1, 64), (30, 64), (300, 15), (1000, 15), (1000, 64)])
def test_a_flexible_sets_record_fits_into_a_message_amid_any_wave(count: int, length: int) -> None:
    operation = at_its_largest(count, length)
    record = write_record(operation)
    assert len(record) <= MAX_RECORD
    assert read_record(record).calls == operation.calls


def test_a_wave_of_a_small_flexible_set_holds_thirty_vms() -> None:
    assert [len(wave) for wave in at_its_largest(70, 15).waves] == [30, 30, 10]
