"""The Service Bus as azure-servicebus' synchronous client sees it. Same protocol, other code: the whole range once."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceivedMessage,
    ServiceBusReceiveMode,
    ServiceBusReceiver,
    ServiceBusSender,
)
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessagingEntityNotFoundError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
)

from sandbox.servicebus import EntityCounts, HandMovedClock, ServiceBus
from tests.conformance.namespace import QUICK, hand_moved_clock, service_bus, sync_client
from tests.support.limit import LIMIT


@pytest.fixture(scope="module")
def clock() -> HandMovedClock:
    return hand_moved_clock()


@pytest.fixture(scope="module")
def shared_bus(clock: HandMovedClock) -> Iterator[ServiceBus]:
    with service_bus(clock=clock) as bus:
        yield bus


@pytest.fixture
def bus(shared_bus: ServiceBus) -> Iterator[ServiceBus]:
    shared_bus.clear()
    yield shared_bus
    shared_bus.faults.reset()  # afterwards: the next test may have shared links to open before it comes to this


@pytest.fixture(scope="module")
def client(shared_bus: ServiceBus) -> Iterator[ServiceBusClient]:
    with sync_client(shared_bus) as client:
        yield client


@pytest.fixture(scope="module")
def shared_sender(client: ServiceBusClient) -> Iterator[ServiceBusSender]:
    with client.get_queue_sender("q") as sender:
        yield sender


@pytest.fixture(scope="module")
def shared_receiver(client: ServiceBusClient) -> Iterator[ServiceBusReceiver]:
    with client.get_queue_receiver("q", **QUICK) as receiver:
        yield receiver


@pytest.fixture
def sender(bus: ServiceBus, shared_sender: ServiceBusSender) -> ServiceBusSender:
    return shared_sender


@pytest.fixture
def receiver(bus: ServiceBus, shared_receiver: ServiceBusReceiver) -> ServiceBusReceiver:
    return shared_receiver


def one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    """The next message, which there is."""
    (message,) = receiver.receive_messages(max_message_count=1, max_wait_time=LIMIT)
    return message


def body(message: ServiceBusReceivedMessage) -> bytes:
    return b"".join(message.body)


def test_single_list_and_batch(bus: ServiceBus, client: ServiceBusClient, sender: ServiceBusSender) -> None:
    sender.send_messages(ServiceBusMessage("0"))
    sender.send_messages([ServiceBusMessage("1"), ServiceBusMessage("2")])
    batch = sender.create_message_batch()
    batch.add_message(ServiceBusMessage("3"))
    sender.send_messages(batch)
    delete = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    with client.get_queue_receiver("q", receive_mode=delete, prefetch_count=10, **QUICK) as receiver:
        assert [body(next(receiver)) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    assert bus.counts("q").empty
    with client.get_queue_receiver("q", max_wait_time=0.2, **QUICK) as receiver:
        assert list(receiver) == []


def test_every_way_to_settle(bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver) -> None:
    sender.send_messages([ServiceBusMessage(text) for text in ("complete", "dead", "defer")])
    first = one(receiver)
    receiver.abandon_message(first)
    again = one(receiver)
    assert (body(again), again.delivery_count) == (b"complete", 1)
    receiver.complete_message(again)
    receiver.dead_letter_message(one(receiver), reason="why", error_description="because")
    deferred = one(receiver)
    receiver.defer_message(deferred)
    assert bus.counts("q") == EntityCounts(active=0, scheduled=0, deferred=1, locked=0, dead_lettered=1)
    assert deferred.sequence_number is not None
    (received,) = receiver.receive_deferred_messages(deferred.sequence_number)
    receiver.complete_message(received)
    (dead,) = bus.peek("q/$DeadLetterQueue")
    assert (dead.body, dead.dead_letter_reason, dead.dead_letter_description) == (b"dead", "why", "because")


def test_locks(bus: ServiceBus, clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver) -> None:
    sender.send_messages(ServiceBusMessage("a"))
    message = one(receiver)
    clock.advance(timedelta(minutes=4))
    receiver.renew_message_lock(message)
    clock.advance(timedelta(minutes=4))
    assert bus.counts("q").locked == 1
    clock.advance(timedelta(minutes=1))
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    assert one(receiver).delivery_count == 1


def test_scheduling_and_peeking(
    bus: ServiceBus, clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    due = clock() + timedelta(minutes=1)
    kept, cancelled = sender.schedule_messages([ServiceBusMessage("kept"), ServiceBusMessage("cancelled")], due)
    sender.cancel_scheduled_messages(cancelled)
    with pytest.raises(MessageNotFoundError):
        sender.cancel_scheduled_messages(cancelled, timeout=LIMIT)
    (peeked,) = receiver.peek_messages(sequence_number=kept)
    assert (body(peeked), peeked.sequence_number, peeked.state.name) == (b"kept", kept, "SCHEDULED")
    clock.advance(timedelta(minutes=1))
    assert body(one(receiver)) == b"kept"


def test_a_topic_and_a_subscription(bus: ServiceBus, client: ServiceBusClient) -> None:
    with client.get_topic_sender("t") as sender:
        sender.send_messages(ServiceBusMessage("a", subject="order", application_properties={"color": "red"}))
        sender.send_messages(ServiceBusMessage("b", subject="order", application_properties={"color": "blue"}))
    with client.get_subscription_receiver("t", "red", **QUICK) as receiver:
        assert body(one(receiver)) == b"a"
    assert bus.counts("t/Subscriptions/all").active == 2


def test_errors_have_the_right_types(bus: ServiceBus, client: ServiceBusClient, sender: ServiceBusSender) -> None:
    bus.faults.fill("q")
    with pytest.raises(ServiceBusQuotaExceededError):
        sender.send_messages(ServiceBusMessage("a"))
    with pytest.raises(MessagingEntityNotFoundError), client.get_queue_sender("nix") as nowhere:
        nowhere.send_messages(ServiceBusMessage("a"))
    with (
        pytest.raises(ServiceBusError, match="Sessions are not part of the sandbox"),
        client.get_queue_receiver("q", session_id="s", **QUICK) as sessions,
    ):
        sessions.receive_messages(max_wait_time=1)
