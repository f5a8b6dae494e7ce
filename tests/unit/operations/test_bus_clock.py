"""The worker's clock where it is behind Service Bus's."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from maintenance.operations.bus_clock import BusClock
from tests.support.samples import NOW

MINUTE = timedelta(minutes=1)


class Machine:
    """A clock that can leap, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.time = NOW
        self.seconds = 0.0
        self.clock = BusClock(lambda: self.time, lambda: self.seconds)

    def wait(self, span: timedelta) -> None:
        self.time += span
        self.seconds += span.total_seconds()


def test_right_clock_is_used_as_it_is() -> None:
    machine = Machine()
    machine.clock.saw(NOW - MINUTE)
    machine.clock.saw(None)
    assert machine.clock() == NOW
    machine.wait(MINUTE)
    assert machine.clock() == NOW + MINUTE


def test_clock_that_is_behind_is_put_right_by_the_latest_message() -> None:
    machine = Machine()
    machine.clock.saw(NOW + 9 * MINUTE)
    machine.clock.saw(NOW + 10 * MINUTE)
    machine.clock.saw(NOW + 5 * MINUTE)
    assert machine.clock() == NOW + 10 * MINUTE
    machine.wait(MINUTE)
    assert machine.clock() == NOW + 11 * MINUTE


def test_difference_ends_where_the_clock_is_put_right_meanwhile() -> None:
    machine = Machine()
    machine.clock.saw(NOW + 10 * MINUTE)
    machine.wait(MINUTE)
    machine.time += 4 * MINUTE
    assert machine.clock() == NOW + 11 * MINUTE
    machine.time += 6 * MINUTE
    assert machine.clock() == machine.time == NOW + 11 * MINUTE
    machine.wait(MINUTE)
    assert machine.clock() == machine.time


@pytest.mark.parametrize(("behind", "logged"), [(timedelta(seconds=5), False), (10 * MINUTE, True)])
def test_log_says_once_that_the_clock_is_behind(
    behind: timedelta, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine()

    def saw(at: datetime) -> None:
        machine.clock.saw(at)

    saw(NOW + behind)
    saw(NOW + behind + timedelta(seconds=1))
    assert caplog.text.count("Clock is behind") == logged
