"""Ids of messages: the same for whoever sends a message again, and no sender chooses one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from maintenance.domain import message_ids
from tests.support.samples import NOW, RUN


def test_run_id_is_made_of_number_and_time_of_service_bus() -> None:
    run_id = message_ids.run(7, NOW)
    assert message_ids.RUN_ID.fullmatch(run_id)
    assert run_id == message_ids.run(7, NOW)
    assert len({run_id, message_ids.run(8, NOW), message_ids.run(7, NOW + timedelta(milliseconds=1))}) == 3
    assert run_id != message_ids.run(7, NOW, of_alert=True), "each queue has numbers of its own"


def test_run_id_does_not_depend_on_how_the_time_is_written() -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
    run_id = message_ids.run(7, moment)
    assert run_id == message_ids.run(7, moment.astimezone(timezone(timedelta(hours=2))))
    assert run_id == message_ids.run(7, moment.replace(microsecond=123_000)), "AMQP carries milliseconds"


def test_ids_of_a_run_differ_and_fit_into_what_service_bus_takes() -> None:
    ids = [
        message_ids.record(RUN, 0),
        message_ids.record(RUN, 1),
        message_ids.accepted(RUN),
        message_ids.progressed(RUN, 0),
        message_ids.progressed(RUN, 1),
        message_ids.ended(RUN),
        message_ids.lease(RUN),
        message_ids.marker(RUN),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(each) <= 128 for each in ids)


def test_dry_run_has_ids_of_its_own() -> None:
    assert message_ids.alert_request("o", "key", dry_run=True) != message_ids.alert_request("o", "key", dry_run=False)
    assert message_ids.discovery("o", b"x", dry_run=True) != message_ids.discovery("o", b"x", dry_run=False)
