"""An instance's state, whether it counts as down, and its baseline."""

from __future__ import annotations

import pytest

from maintenance.domain.instances import Instance, InstanceState, MaintenanceStatus, select
from tests.support.samples import completed, eligible, in_progress, without_maintenance


@pytest.mark.parametrize(
    ("instance", "state"),
    [
        (eligible("0"), InstanceState.ELIGIBLE),
        (in_progress("0"), InstanceState.IN_PROGRESS),
        (eligible("0", provisioning="updating"), InstanceState.IN_PROGRESS),
        (completed("0"), InstanceState.COMPLETED),
        (without_maintenance("0"), InstanceState.NOT_ELIGIBLE),
        (eligible("0", provisioning="deallocating"), InstanceState.NOT_ELIGIBLE),
        (eligible("0", maintenance=MaintenanceStatus(True, "maintenancecompleted")), InstanceState.ELIGIBLE),
        (eligible("0", maintenance=MaintenanceStatus(False)), InstanceState.NOT_ELIGIBLE),
        (eligible("0", provisioning="failed"), InstanceState.ELIGIBLE),
        (eligible("0", reported=False), InstanceState.UNREPORTED),
    ],
)
def test_state_follows_from_the_view(instance: Instance, state: InstanceState) -> None:
    assert instance.state is state
    assert instance.why


@pytest.mark.parametrize(
    ("instance", "down"),
    [
        (eligible("0"), False),
        (eligible("0", power="running"), False),
        (eligible("0", power="running", healthy=True), False),
        (eligible("0", provisioning="failed", healthy=True), False),
        (eligible("0", provisioning="failed"), True),
        (eligible("0", healthy=False), True),
        (eligible("0", power="stopped"), True),
        (eligible("0", power="starting", healthy=True), True),
        (in_progress("0"), True),
        (eligible("0", provisioning="creating"), True),
        (eligible("0", provisioning="deleting"), True),
        (eligible("0", provisioning="migrating"), True),
        (eligible("0", reported=False), True),
    ],
)
def test_whatever_is_not_up_for_sure_counts_as_down(instance: Instance, *, down: bool) -> None:
    assert instance.is_down is down


def test_baseline_tells_campaigns_apart_by_their_windows() -> None:
    one, other = (
        eligible("0", maintenance=MaintenanceStatus(True, window=(start, "", "", ""))).baseline for start in "12"
    )
    assert one != other
    assert eligible("0").baseline == eligible("7").baseline
    assert not without_maintenance("0").baseline.planned


def test_instances_are_selected_whatever_their_letter_case() -> None:
    found, missing = select([eligible("VM_A"), eligible("vm_b")], ("vm_a", "vm_c"))
    assert (set(found), missing) == ({"vm_a"}, ["vm_c"])
    assert set(select([eligible("VM_A")], None)[0]) == {"VM_A"}
