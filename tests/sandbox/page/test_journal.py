"""What is remembered while nobody looks, and what of it is read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sandbox.page.journal import Journal, Log
from sandbox.page.reader import Reader
from sandbox.servicebus import BusEvent, MessageReceived, MessageSent, system_clock
from tests.sandbox.page.samples import Services, services
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Services]:
    with services() as running:
        yield running


def sent(entity: str, message_id: str, *, at: datetime = NOW, scheduled_for: datetime | None = None) -> BusEvent:
    return MessageSent(
        at=at, entity=entity, message_id=message_id, sequence_number=1, scheduled_for=scheduled_for, body=b"{}"
    )


def test_log_keeps_the_last_by_number_and_by_bytes() -> None:
    log: Log[str] = Log(most_items=3, most_bytes=10)
    for item in "abcd":
        log.append(item, 1)
    assert log.after(0) == [(2, "b"), (3, "c"), (4, "d")]
    assert log.after(3) == [(4, "d")]
    assert log.after(0, 2) == [(3, "c"), (4, "d")]
    assert log.after(4) == log.after(9) == []
    assert [log.get(number) for number in range(6)] == [None, None, "b", "c", "d", None]
    log.append("large", 9)
    assert log.after(0) == [(4, "d"), (5, "large")]
    log.append("too large alone", 99)
    assert log.after(0) == [(6, "too large alone")]


def test_event_that_was_copied_to_two_subscriptions_is_remembered_once(sandbox: Services) -> None:
    journal = Journal(sandbox.bus.observers, [], operations_queue=OPERATIONS)
    later = NOW.replace(second=1)
    for event in (
        sent(f"{TOPIC}/Subscriptions/a", "e1"),
        sent(f"{TOPIC}/Subscriptions/b", "e1"),
        sent(f"{TOPIC}/Subscriptions/a", "e1", at=later),
        sent(REQUESTS, "r"),
        sent(TOPIC, "e2", scheduled_for=later),
        sent(OPERATIONS, "run:s1"),
        MessageReceived(
            at=NOW, entity=f"{REQUESTS}/$DeadLetterQueue", message_id="r", sequence_number=1, delivery_count=0
        ),
    ):
        journal.on_bus(event)
    assert [each.at for _, each in journal.events.after(0)] == [NOW, later]
    assert [each.message_id for _, each in journal.records.after(0)] == ["run:s1"]
    entities, sets = journal.take_changed()
    assert entities == {f"{TOPIC}/Subscriptions/a", f"{TOPIC}/Subscriptions/b", REQUESTS, TOPIC, OPERATIONS}
    assert (sets, journal.take_changed()) == (False, (frozenset(), False))


def test_what_comes_after_a_reading_is_in_the_next_and_not_in_the_whole(sandbox: Services) -> None:
    journal = Journal(sandbox.bus.observers, sandbox.arm.observers, operations_queue=OPERATIONS)
    journal.open()
    reader = Reader(sandbox.bus, sandbox.arm, journal, clock=system_clock, about=dict, faults_of_sets=dict)
    reader.read(thoroughly=True)
    sandbox.call_arm()
    assert reader.whole()["calls"] == []
    read = reader.read()
    assert read is not None
    assert [call["n"] for call in read["calls"]] == [1]
    assert reader.read() is None
    journal.close()
