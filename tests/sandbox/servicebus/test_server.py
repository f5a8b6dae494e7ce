"""The embedded server without any client: inspection, events and faults."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from sandbox.servicebus import (
    BusEvent,
    DuplicateDropped,
    EntityCounts,
    HandMovedClock,
    MessageSent,
    ServiceBus,
    Topology,
)
from sandbox.servicebus.amqp.codec import Long
from sandbox.servicebus.service.service import Service
from tests.sandbox.servicebus.samples import message
from tests.support.limit import LIMIT

TOPOLOGY = Topology.parse(
    {
        "UserConfig": {
            "Namespaces": [
                {
                    "Name": "test",
                    "Queues": [{"Name": "q", "Properties": {"RequiresDuplicateDetection": True}}],
                    "Topics": [{"Name": "t", "Subscriptions": [{"Name": "s"}]}],
                }
            ]
        }
    }
)


@pytest.fixture
def clock() -> HandMovedClock:
    return HandMovedClock()


@pytest.fixture
def bus(clock: HandMovedClock) -> Iterator[ServiceBus]:
    with ServiceBus(TOPOLOGY, clock=clock) as bus:
        yield bus


def send(bus: ServiceBus, entity: str, *ids: str, due_in: timedelta | None = None) -> None:
    """As a link would."""

    def action(service: Service) -> None:
        due = None if due_in is None else service.broker.now() + due_in // timedelta(milliseconds=1)
        made = [message(id_, body=b"body", subject="s", properties={"k": Long(1)}, due=due) for id_ in ids]
        service.broker.send(entity, made)

    bus._on_service(action)


def lock(bus: ServiceBus, entity: str) -> None:
    bus._on_service(lambda service: service.broker.queue(entity).take(service.broker.now(), locking=True))


def test_counts_and_peek_show_what_lies_there(bus: ServiceBus, clock: HandMovedClock) -> None:
    send(bus, "q", "a", "b")
    send(bus, "q", "later", due_in=timedelta(hours=1))
    lock(bus, "q")
    assert bus.counts("Q") == EntityCounts(active=1, scheduled=1, deferred=0, locked=1, dead_lettered=0)
    assert not bus.counts("q").empty
    locked, active, scheduled = bus.peek("q")
    assert (locked.message_id, locked.state) == ("a", "locked")
    assert (active.body, active.subject, active.application_properties) == (b"body", "s", {"k": 1})
    assert active.enqueued_at == clock()
    assert (scheduled.state, scheduled.scheduled_for) == ("scheduled", clock() + timedelta(hours=1))
    assert len(bus.peek("q", 2)) == 2


def test_peek_begins_at_the_given_number(bus: ServiceBus) -> None:
    send(bus, "q", *"abcde")
    assert [each.message_id for each in bus.peek("q", 2, skip=2)] == ["c", "d"]
    assert [each.message_id for each in bus.peek("q", 2, first=bus.peek("q")[3].sequence_number)] == ["d", "e"]
    assert bus.peek("q", 5, skip=5) == []


def test_report_names_the_next_due_time(bus: ServiceBus, clock: HandMovedClock) -> None:
    for hours in (3, 1, 2):
        send(bus, "q", f"in-{hours}", due_in=timedelta(hours=hours))
    assert bus.report("q").next_due == clock() + timedelta(hours=1)
    clock.advance(timedelta(hours=3))
    assert bus.report("q").next_due is None
    assert bus.entities() == ["q", "t", "t/Subscriptions/s"]


def test_faults_in_force_are_named_until_they_end(bus: ServiceBus, clock: HandMovedClock) -> None:
    bus.faults.outage("q", timedelta(minutes=1))
    bus.faults.refuse("T")
    bus.faults.fill("t/Subscriptions/s")
    bus.faults.fail_calls(0.5)
    found = [(each.kind, each.entity, each.until) for each in bus.faults.in_force()]
    assert found == [
        ("outage", "q", clock() + timedelta(minutes=1)),
        ("refused", "t", None),
        ("full", "t/Subscriptions/s", None),
        ("failing calls", None, None),
    ]
    clock.advance(timedelta(minutes=1))
    assert [each.kind for each in bus.faults.in_force()] == ["refused", "full", "failing calls"]
    bus.faults.reset()
    assert bus.faults.in_force() == []


def test_a_topic_shows_what_it_holds_until_it_is_due(bus: ServiceBus, clock: HandMovedClock) -> None:
    send(bus, "t", "a", due_in=timedelta(hours=1))
    assert bus.counts("t").scheduled == 1
    assert bus.counts("t/Subscriptions/s").empty
    clock.advance(timedelta(hours=1))
    assert bus.counts("t").empty
    assert bus.counts("t/Subscriptions/s").active == 1


@pytest.mark.parametrize("entity", ["nix", "t/Subscriptions/nix", ""])
def test_an_entity_that_is_not_there(bus: ServiceBus, entity: str) -> None:
    for ask in (
        bus.counts,
        bus.peek,
        bus.faults.lose_locks,
        bus.faults.refuse,
        bus.faults.fill,
        bus.faults.detach_links,
    ):
        with pytest.raises(LookupError):
            ask(entity)


def test_observers_are_called_in_order_until_they_are_removed(bus: ServiceBus, clock: HandMovedClock) -> None:
    events: list[BusEvent] = []
    bus.observers.add(events.append)
    send(bus, "q", "a", "a")
    bus.observers.remove(events.append)
    send(bus, "q", "b")
    first, second = events
    assert isinstance(first, MessageSent)
    assert (first.entity, first.message_id, first.sequence_number, first.at) == ("q", "a", 1, clock())
    assert isinstance(second, DuplicateDropped)


def test_moving_the_clock_has_done_all_that_is_due_when_it_returns(bus: ServiceBus, clock: HandMovedClock) -> None:
    events: list[BusEvent] = []
    bus.observers.add(events.append)
    send(bus, "q", "a", due_in=timedelta(minutes=1))
    clock.advance(timedelta(minutes=1))
    assert [event.at for event in events if isinstance(event, MessageSent) and event.scheduled_for is None] == [clock()]
    with pytest.raises(ValueError, match="cannot be moved"):
        clock.advance(timedelta(seconds=-1))


def test_clearing_forgets_messages_and_ids(bus: ServiceBus, clock: HandMovedClock) -> None:
    send(bus, "q", "a")
    send(bus, "t", "later", due_in=timedelta(hours=1))
    bus.clear()
    assert bus.counts("q").empty
    clock.advance(timedelta(hours=1))
    assert bus.counts("t/Subscriptions/s").empty
    send(bus, "q", "a")
    assert bus.counts("q").active == 1


def test_locks_are_lost_on_order(bus: ServiceBus) -> None:
    send(bus, "q", "a", "b")
    lock(bus, "q")
    assert bus.faults.lose_locks("q") == 1
    assert bus.counts("q").active == 2


def test_two_servers_stand_side_by_side_and_a_port_that_is_taken_is_an_error(bus: ServiceBus) -> None:
    with ServiceBus(TOPOLOGY) as other:
        assert other.port != bus.port
        send(other, "q", "a")
        assert bus.counts("q").empty
    with pytest.raises(OSError, match="in use"):
        ServiceBus(TOPOLOGY, port=bus.port).start()


def test_nothing_is_left_of_a_server_that_was_closed() -> None:
    before = threading.active_count()
    for _ in range(20):  # so that the connection is caught in every stage of its beginning
        bus = ServiceBus(TOPOLOGY).start()
        port = bus.port
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as client:
            bus.close()
            bus.close()
            with suppress(ConnectionResetError):
                assert client.recv(10) == b""
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    with pytest.raises(RuntimeError, match="not been started"):
        bus.counts("q")


def test_the_connection_string_is_the_emulators() -> None:
    with ServiceBus(TOPOLOGY) as bus:
        parts = dict(part.split("=", 1) for part in bus.connection_string.split(";"))
    assert parts["Endpoint"] == f"sb://127.0.0.1:{bus.port}"
    assert parts["UseDevelopmentEmulator"] == "true"
