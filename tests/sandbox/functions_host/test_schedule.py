"""When timers are due, and the durations of host.json."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sandbox.functions_host.configuration import HostConfiguration, HostJsonError
from sandbox.functions_host.schedule import parse_schedule
from sandbox.functions_host.timespan import parse_timespan

WEDNESDAY = datetime(2024, 5, 1, 10, 20, 31, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/2 * * * * *", "2024-05-01T10:20:32"),
        ("*/30 * * * * *", "2024-05-01T10:21:00"),
        ("0 */5 * * * *", "2024-05-01T10:25:00"),
        ("*/5 * * * *", "2024-05-01T10:25:00"),  # five fields: the seconds are 0
        ("0 30 9 * * 1-5", "2024-05-02T09:30:00"),
        ("0 0 0 * JUL WED", "2024-07-03T00:00:00"),
        ("0 0 9 29 2 *", "2028-02-29T09:00:00"),
    ],
)
def test_ncrontab(schedule: str, expected: str) -> None:
    assert parse_schedule(schedule).next_after(WEDNESDAY) == datetime.fromisoformat(expected + "+00:00")


def test_the_next_time_is_strictly_later_and_in_utc() -> None:
    schedule = parse_schedule("0 0 12 * * *")
    noon = datetime(2024, 5, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert schedule.next_after(noon) == datetime(2024, 5, 2, 12, 0, tzinfo=UTC)


def test_a_constant_interval() -> None:
    assert parse_schedule("00:00:30").next_after(WEDNESDAY) == WEDNESDAY + timedelta(seconds=30)


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "* * *",
        "61 * * * * *",
        "00:00:00",
        "-00:00:05",
        "25:00:00",
        "0 0 0 L * *",
        "0 0 0 1 * MON",
        "0 0 0 30 2 *",
    ],
)
def test_what_is_no_schedule(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_schedule(schedule)


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:05:00", 300), ("1.00:00:00.5", 86_400.5), ("-00:00:01", -1), ("0:0:9", 9)]
)
def test_timespan(text: str, seconds: float) -> None:
    assert parse_timespan(text) == timedelta(seconds=seconds)


def test_host_json_defaults() -> None:
    configuration = HostConfiguration.from_host_json({"version": "2.0"})
    assert configuration.lock_renewal == timedelta(minutes=5)
    assert configuration.function_timeout == timedelta(minutes=30)
    assert configuration.auto_complete
    assert configuration.route_prefix == "api"
    assert configuration.max_concurrent_calls >= 16


def test_host_json_is_heeded() -> None:
    configuration = HostConfiguration.from_host_json(
        {
            "functionTimeout": "-1",
            "extensions": {
                "http": {"routePrefix": ""},
                "serviceBus": {
                    "maxConcurrentCalls": 3,
                    "maxAutoLockRenewalDuration": "00:10:00",
                    "autoCompleteMessages": False,
                },
            },
        }
    )
    assert configuration == HostConfiguration(
        max_concurrent_calls=3,
        lock_renewal=timedelta(minutes=10),
        auto_complete=False,
        function_timeout=None,
        route_prefix="",
    )


def test_everything_wrong_in_host_json_is_named() -> None:
    with pytest.raises(HostJsonError) as failed:
        HostConfiguration.from_host_json(
            {
                "functionTimeout": "soon",
                "extensions": {
                    "http": {"routePrefix": 1},
                    "serviceBus": {"maxConcurrentCalls": True, "autoCompleteMessages": "yes"},
                },
            }
        )
    for name in ("functionTimeout", "routePrefix", "maxConcurrentCalls", "autoCompleteMessages"):
        assert name in str(failed.value)
