"""The Service Bus as azure-servicebus' asynchronous client sees it, over real sockets.

Time is moved by hand, so nothing here waits for a lock to run out or a message to come due.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)

from sandbox.servicebus import EntityCounts, HandMovedClock, ServiceBus
from sandbox.servicebus.faults import NOT_FOUND
from tests.conformance.namespace import QUICK, async_client, hand_moved_clock, in_, opened, service_bus
from tests.support.connections import close_forgotten
from tests.support.limit import LIMIT

# Opening and closing a link takes the SDK half a second each, so the links are shared by the tests of this module.
# Those that lose their links, or need a client that retries, open their own.
pytestmark = pytest.mark.asyncio(loop_scope="module")


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(shared_bus: ServiceBus) -> AsyncIterator[ServiceBusClient]:
    async with async_client(shared_bus) as client:
        yield client
    await close_forgotten(shared_bus)


@pytest.fixture
def own_bus() -> Iterator[ServiceBus]:
    """For tests that would cut the shared links."""
    with service_bus() as bus:
        yield bus


@pytest_asyncio.fixture(loop_scope="module")
async def stubborn(own_bus: ServiceBus) -> AsyncIterator[ServiceBusClient]:
    """A client that retries."""
    async with async_client(own_bus, retry_total=3, retry_backoff_factor=0.01) as client:
        yield client
    await close_forgotten(own_bus)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_sender(client: ServiceBusClient) -> AsyncIterator[ServiceBusSender]:
    async with client.get_queue_sender("q") as sender:
        yield sender


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_quiet_sender(client: ServiceBusClient) -> AsyncIterator[ServiceBusSender]:
    async with client.get_queue_sender("quiet") as sender:
        yield sender


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_receiver(client: ServiceBusClient) -> AsyncIterator[ServiceBusReceiver]:
    async with client.get_queue_receiver("q", **QUICK) as receiver:
        yield receiver


@pytest.fixture
def sender(bus: ServiceBus, shared_sender: ServiceBusSender) -> ServiceBusSender:
    return shared_sender


@pytest.fixture
def quiet_sender(bus: ServiceBus, shared_quiet_sender: ServiceBusSender) -> ServiceBusSender:
    return shared_quiet_sender


@pytest.fixture
def receiver(bus: ServiceBus, shared_receiver: ServiceBusReceiver) -> ServiceBusReceiver:
    return shared_receiver


async def one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    """The next message, which there is."""
    (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=LIMIT)
    return message


async def none(receiver: ServiceBusReceiver) -> bool:
    """Whether there is nothing to receive."""
    return not await receiver.receive_messages(max_message_count=1, max_wait_time=0.1)


async def peeked_all(receiver: ServiceBusReceiver, first: int, pages: list[int] | None = None) -> list[Any]:
    """All messages from a number on, and how many there were on each page: only an empty one is the last."""
    seen: list[ServiceBusReceivedMessage] = []
    while page := await receiver.peek_messages(max_message_count=10, sequence_number=first):
        seen += page
        first = number(page[-1]) + 1
        if pages is not None:
            pages.append(len(page))
    return seen


def number(message: ServiceBusReceivedMessage) -> int:
    assert message.sequence_number is not None
    return message.sequence_number


def body(message: ServiceBusReceivedMessage) -> bytes:
    return b"".join(message.body)


# -------------------------------------------------------------------------------------- sending and receiving


async def test_a_message_arrives_with_all_it_was_sent_with(
    bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    properties: dict[str | bytes, Any] = {
        "s": "text",
        "i": 5,
        "big": 2**30,
        "f": 1.5,
        "b": True,
        "u": UUID(int=7),
        "n": None,
    }
    await sender.send_messages(
        ServiceBusMessage(
            b"\x00\xff",
            message_id="id",
            correlation_id="correlation",
            subject="subject",
            to="to",
            reply_to="reply",
            content_type="application/json",
            application_properties=properties,
            time_to_live=timedelta(hours=1),
        )
    )
    message = await one(receiver)
    assert body(message) == b"\x00\xff"
    assert (message.message_id, message.correlation_id, message.subject) == ("id", "correlation", "subject")
    assert (message.to, message.reply_to, message.content_type) == ("to", "reply", "application/json")
    received = message.application_properties or {}
    assert received == {str(key).encode(): value for key, value in {**properties, "s": b"text"}.items()}
    assert message.time_to_live == timedelta(hours=1)
    assert message.delivery_count == 0
    assert isinstance(message.lock_token, UUID)
    assert message.enqueued_time_utc is not None
    assert message.locked_until_utc is not None
    assert message.locked_until_utc - message.enqueued_time_utc == timedelta(minutes=5)
    assert bus.counts("q") == EntityCounts(active=0, scheduled=0, deferred=0, locked=1, dead_lettered=0)
    await receiver.complete_message(message)
    assert bus.counts("q").empty


async def test_single_list_and_batch_arrive_in_order(
    bus: ServiceBus, client: ServiceBusClient, quiet_sender: ServiceBusSender
) -> None:
    await quiet_sender.send_messages(ServiceBusMessage("0"))
    await quiet_sender.send_messages([ServiceBusMessage("1"), ServiceBusMessage("2")])
    batch = await quiet_sender.create_message_batch()
    for text in "345":
        batch.add_message(ServiceBusMessage(text))
    await quiet_sender.send_messages(batch)
    await quiet_sender.send_messages(AmqpAnnotatedMessage(value_body={"k": [1, "v"]}))
    await quiet_sender.send_messages(AmqpAnnotatedMessage(sequence_body=[[1, 2], ["three"]]))
    assert bus.counts("quiet").active == 8

    delete = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    async with client.get_queue_receiver("quiet", receive_mode=delete, prefetch_count=20, **QUICK) as receiver:
        messages: list[ServiceBusReceivedMessage] = []
        while len(messages) < 8:
            messages += await receiver.receive_messages(max_message_count=8, max_wait_time=LIMIT)
    assert [body(message) for message in messages[:6]] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert messages[6].body == {b"k": [1, b"v"]}
    assert list(messages[7].body) == [[1, 2], [b"three"]]
    assert bus.counts("quiet").empty  # deleted as they were received


async def test_iteration_ends_when_nothing_comes(
    bus: ServiceBus, client: ServiceBusClient, quiet_sender: ServiceBusSender
) -> None:
    await quiet_sender.send_messages([ServiceBusMessage(str(number)) for number in range(20)])
    async with client.get_queue_receiver("quiet", prefetch_count=5, max_wait_time=LIMIT, **QUICK) as receiver:
        seen = []
        async for message in receiver:
            seen.append(body(message))
            await receiver.complete_message(message)
            if len(seen) == 20:
                break
    assert seen == [str(number).encode() for number in range(20)]
    assert bus.counts("quiet").empty
    async with client.get_queue_receiver("quiet", max_wait_time=0.2, **QUICK) as receiver:
        assert [message async for message in receiver] == []


async def test_a_message_of_a_megabyte(bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver) -> None:
    content = bytes(range(256)) * 4096
    await sender.send_messages(ServiceBusMessage(content))
    assert body(await one(receiver)) == content


async def test_fifty_links_at_once(bus: ServiceBus, client: ServiceBusClient) -> None:
    sent, enough = asyncio.Semaphore(0), asyncio.Event()

    async def send(number: int) -> None:
        async with client.get_queue_sender("many") as sender:
            await sender.send_messages(ServiceBusMessage(str(number)))
            sent.release()
            await enough.wait()

    senders = [asyncio.create_task(send(number)) for number in range(50)]
    for _ in senders:
        await sent.acquire()
    assert sorted(int(message.body) for message in bus.peek("many")) == list(range(50))
    assert bus.faults.detach_links("many") == 50  # all of them were still there
    enough.set()
    await asyncio.gather(*senders)


# ------------------------------------------------------------------------------------------------- settling


async def test_an_abandoned_message_comes_again(sender: ServiceBusSender, receiver: ServiceBusReceiver) -> None:
    await sender.send_messages(ServiceBusMessage("a"))
    first = await one(receiver)
    await receiver.abandon_message(first)
    again = await one(receiver)
    assert again.delivery_count == 1
    assert again.sequence_number == first.sequence_number


async def test_a_deferred_message_is_received_by_number(
    bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    numbers = []
    for _ in range(2):
        message = await one(receiver)
        numbers.append(number(message))
        await receiver.defer_message(message)
    assert bus.counts("q").deferred == 2
    assert await none(receiver)
    deferred = await receiver.receive_deferred_messages(numbers)
    assert [body(message) for message in deferred] == [b"a", b"b"]
    assert bus.counts("q").locked == 2
    await receiver.complete_message(deferred[0])
    await receiver.dead_letter_message(deferred[1], reason="why", error_description="because")
    assert bus.counts("q") == EntityCounts(active=0, scheduled=0, deferred=0, locked=0, dead_lettered=1)
    assert bus.peek("q/$DeadLetterQueue")[0].dead_letter_description == "because"


async def test_a_deferred_number_that_is_none(receiver: ServiceBusReceiver) -> None:
    with pytest.raises(MessageNotFoundError):
        await receiver.receive_deferred_messages([77_777], timeout=LIMIT)


async def test_dead_lettering_with_reason_and_description(
    bus: ServiceBus,
    clock: HandMovedClock,
    client: ServiceBusClient,
    sender: ServiceBusSender,
    receiver: ServiceBusReceiver,
) -> None:
    await sender.send_messages(ServiceBusMessage("a", application_properties={"k": "v"}))
    sent = await one(receiver)
    clock.advance(timedelta(seconds=30))
    await receiver.dead_letter_message(sent, reason="why", error_description="because")
    dead_letter = ServiceBusSubQueue.DEAD_LETTER
    async with client.get_queue_receiver("q", sub_queue=dead_letter, **QUICK) as dead_letters:
        message = await one(dead_letters)
        assert (message.dead_letter_reason, message.dead_letter_error_description) == ("why", "because")
        assert (number(message), message.enqueued_time_utc) == (number(sent), sent.enqueued_time_utc)
        assert (message.application_properties or {})[b"k"] == b"v"
        await dead_letters.complete_message(message)
    assert bus.counts("q").empty


async def test_a_lock_that_ran_out(
    bus: ServiceBus, clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages(ServiceBusMessage("a"))
    message = await one(receiver)
    clock.advance(timedelta(minutes=5))
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(message)
    again = await one(receiver)
    assert again.delivery_count == 1
    await receiver.complete_message(again)
    assert bus.counts("q").empty


async def test_the_third_failed_delivery_dead_letters(
    bus: ServiceBus, clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages(ServiceBusMessage("a"))
    await receiver.abandon_message(await one(receiver))
    await one(receiver)
    clock.advance(timedelta(minutes=5))
    await receiver.abandon_message(await one(receiver))
    (dead,) = bus.peek("q/$DeadLetterQueue")
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert bus.counts("q").active == 0


async def test_a_renewed_lock(
    bus: ServiceBus, clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages(ServiceBusMessage("a"))
    message = await one(receiver)
    before = message.locked_until_utc
    clock.advance(timedelta(minutes=4))
    until = await receiver.renew_message_lock(message)
    assert before is not None
    assert until - before == timedelta(minutes=4)
    clock.advance(timedelta(minutes=4))
    await receiver.complete_message(message)
    assert bus.counts("q").empty


async def test_renewing_a_lock_that_is_lost(
    bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages(ServiceBusMessage("a"))
    message = await one(receiver)
    assert bus.faults.lose_locks("q") == 1
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(message)


# ---------------------------------------------------------------------------------------- time and duplicates


async def test_scheduled_messages_wake_a_waiting_receiver(
    bus: ServiceBus, clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    due = clock() + timedelta(minutes=10)
    numbers = await sender.schedule_messages([ServiceBusMessage("1"), ServiceBusMessage("2")], due)
    await sender.send_messages(ServiceBusMessage("3", scheduled_enqueue_time_utc=due))
    assert numbers == [peeked.sequence_number for peeked in bus.peek("q")][:2]
    assert bus.counts("q") == EntityCounts(active=0, scheduled=3, deferred=0, locked=0, dead_lettered=0)
    assert bus.peek("q")[0].scheduled_for == due.replace(microsecond=due.microsecond // 1000 * 1000)
    await sender.cancel_scheduled_messages(numbers[1])
    clock.advance(timedelta(minutes=9))
    assert await none(receiver)
    waiting = asyncio.create_task(one(receiver))
    clock.advance(timedelta(minutes=1))
    first, second = await waiting, await one(receiver)
    assert [body(first), body(second)] == [b"1", b"3"]
    assert first.sequence_number not in numbers


async def test_cancelling_what_is_not_scheduled(sender: ServiceBusSender) -> None:
    with pytest.raises(MessageNotFoundError):
        await sender.cancel_scheduled_messages([77_777], timeout=LIMIT)


async def test_by_the_machines_clock_a_scheduled_message_arrives_when_it_is_due(
    own_bus: ServiceBus, stubborn: ServiceBusClient
) -> None:
    sender, receiver = stubborn.get_queue_sender("q"), stubborn.get_queue_receiver("q", **QUICK)
    async with opened(sender, receiver):
        due = in_(seconds=0.5)
        await sender.schedule_messages(ServiceBusMessage("a"), due)
        message = await one(receiver)
        # Without the timer it never comes.
        assert datetime.now(UTC) - due > timedelta(milliseconds=-2)
        assert message.enqueued_time_utc is not None
        assert message.enqueued_time_utc >= due - timedelta(milliseconds=1)


async def test_peeking_shows_numbers_and_states(
    clock: HandMovedClock, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages([ServiceBusMessage("deferred"), ServiceBusMessage("active")])
    await sender.schedule_messages(ServiceBusMessage("scheduled"), clock() + timedelta(hours=1))
    message = await one(receiver)
    first = number(message)
    await receiver.defer_message(message)
    seen = await peeked_all(receiver, first)
    assert [(body(message), message.sequence_number, message.state.name) for message in seen] == [
        (b"deferred", first, "DEFERRED"),
        (b"active", first + 1, "ACTIVE"),
        (b"scheduled", first + 2, "SCHEDULED"),
    ]
    later = await receiver.peek_messages(5, sequence_number=first + 2)
    assert [message.sequence_number for message in later] == [first + 2]
    assert await receiver.peek_messages(5, sequence_number=first + 3) == []


async def test_pages_that_are_peeked_are_short_but_not_empty(
    bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver, clock: HandMovedClock
) -> None:
    due = clock() + timedelta(hours=1)
    numbers = list(await sender.schedule_messages([ServiceBusMessage(str(at)) for at in range(30)], due))
    lengths = set()
    for _ in range(5):
        pages: list[int] = []
        seen = await peeked_all(receiver, numbers[0], pages)
        assert [number(message) for message in seen] == numbers
        lengths |= set(pages)
    assert len(lengths) > 3
    bus.peek_limit = 1
    assert len(await receiver.peek_messages(10, sequence_number=numbers[0])) == 1
    bus.peek_limit = 250
    assert len(await receiver.peek_messages(10, sequence_number=numbers[0])) == 10
    bus.peek_limit = None


async def test_peeked_message_shows_no_lock(
    bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages(ServiceBusMessage("locked"))
    locked = await one(receiver)
    (peeked,) = await receiver.peek_messages(1, sequence_number=number(locked))
    assert (body(peeked), number(peeked), peeked.state.name) == (b"locked", number(locked), "ACTIVE")
    assert peeked.raw_amqp_message.annotations is not None
    names = {key.decode() if isinstance(key, bytes) else key for key in peeked.raw_amqp_message.annotations}
    assert "x-opt-sequence-number" in names
    assert not [name for name in names if "lock" in str(name)]
    assert locked.locked_until_utc is not None
    await receiver.complete_message(locked)


async def test_lock_lost_early_is_not_counted_as_a_delivery(
    bus: ServiceBus, sender: ServiceBusSender, receiver: ServiceBusReceiver
) -> None:
    await sender.send_messages(ServiceBusMessage("a", message_id="a"))
    for counted in (False, False, True):
        message = await one(receiver)
        assert message.delivery_count == 0
        assert bus.faults.lose_locks("q", counted=counted, message_id="a") == 1
        with pytest.raises(MessageLockLostError):
            await receiver.complete_message(message)
    message = await one(receiver)
    assert message.delivery_count == 1
    await receiver.complete_message(message)


async def test_duplicate_that_is_scheduled_is_dropped_in_silence(
    bus: ServiceBus, clock: HandMovedClock, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("unique") as sender:
        due = clock() + timedelta(minutes=5)
        (first,) = await sender.schedule_messages(ServiceBusMessage("a", message_id="a"), due)
        (dropped,) = await sender.schedule_messages(ServiceBusMessage("a", message_id="a"), due)
        assert dropped > first
        with pytest.raises(MessageNotFoundError):
            await sender.cancel_scheduled_messages(dropped)
        await sender.cancel_scheduled_messages(first)


async def test_duplicates_within_the_window_are_accepted_and_dropped(
    bus: ServiceBus, clock: HandMovedClock, client: ServiceBusClient
) -> None:
    def message(due: datetime | None = None) -> ServiceBusMessage:
        return ServiceBusMessage("a", message_id="same", scheduled_enqueue_time_utc=due)

    async with client.get_queue_sender("unique") as sender:
        await sender.send_messages(message())
        await sender.send_messages(message())
        await sender.send_messages([message(), ServiceBusMessage("b", message_id="other")])
        await sender.send_messages(message(clock() + timedelta(minutes=5)))
        assert [peeked.message_id for peeked in bus.peek("unique")] == ["same", "other"]
        (number,) = await sender.schedule_messages(
            ServiceBusMessage("c", message_id="c"), clock() + timedelta(minutes=5)
        )
        await sender.schedule_messages(ServiceBusMessage("c", message_id="c"), clock() + timedelta(minutes=5))
        assert bus.counts("unique").scheduled == 1
        assert bus.peek("unique")[-1].sequence_number == number
        clock.advance(timedelta(minutes=10))
        await sender.send_messages(message())
        assert [peeked.message_id for peeked in bus.peek("unique")].count("same") == 2


async def test_expired_messages_are_dead_lettered(
    bus: ServiceBus, clock: HandMovedClock, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("mortal") as sender:
        await sender.send_messages(ServiceBusMessage("a", time_to_live=timedelta(minutes=1)))
    clock.advance(timedelta(minutes=1))
    async with client.get_queue_receiver("mortal", sub_queue="deadletter", **QUICK) as dead_letters:
        assert (await one(dead_letters)).dead_letter_reason == "TTLExpiredException"


# -------------------------------------------------------------------------------------- topics and forwarding


async def test_subscriptions_take_what_their_filters_say(bus: ServiceBus, client: ServiceBusClient) -> None:
    messages = [
        ServiceBusMessage("1", subject="order", application_properties={"color": "red", "size": 1}),
        ServiceBusMessage("2", subject="order", application_properties={"color": "blue", "size": 2}),
        ServiceBusMessage("3", subject="other", application_properties={"color": "blue", "size": 3}),
        ServiceBusMessage("4", subject="x"),
    ]
    sender = client.get_topic_sender("t")
    receiver = client.get_subscription_receiver("t", "red", **QUICK)
    dead_letters = client.get_subscription_receiver("t", "red", sub_queue="deadletter", **QUICK)
    async with opened(sender, receiver, dead_letters):
        await sender.send_messages(messages)

        def bodies(name: str) -> list[bytes]:
            return [message.body for message in bus.peek(f"t/Subscriptions/{name}")]

        assert bodies("all") == [b"1", b"2", b"3", b"4"]
        assert bodies("red") == bodies("correlated") == [b"1"]
        assert bodies("listed") == [b"1", b"2", b"4"]
        assert bodies("not-red") == [b"2"]
        message = await one(receiver)
        assert body(message) == b"1"
        await receiver.dead_letter_message(message, reason="why")
        assert (await one(dead_letters)).dead_letter_reason == "why"


async def test_forwarding(bus: ServiceBus, client: ServiceBusClient, receiver: ServiceBusReceiver) -> None:
    start, doomed = client.get_queue_sender("start"), client.get_queue_sender("doomed")
    doomed_receiver = client.get_queue_receiver("doomed", **QUICK)
    async with opened(start, doomed, doomed_receiver):
        await start.send_messages(ServiceBusMessage("forwarded"))
        await doomed.send_messages(ServiceBusMessage("dead"))
        await doomed_receiver.dead_letter_message(await one(doomed_receiver), reason="why")
        assert body(await one(receiver)) == b"forwarded"
        dead = await one(receiver)
        assert body(dead) == b"dead"
        assert (dead.dead_letter_source, dead.dead_letter_reason) == ("doomed", "why")
        assert bus.counts("doomed").empty


# ---------------------------------------------------------------------------------------------------- errors


async def test_entities_that_are_not_there(client: ServiceBusClient) -> None:
    handlers: list[Any] = [
        client.get_queue_sender("nix"),
        client.get_queue_receiver("nix", **QUICK),
        client.get_subscription_receiver("t", "nix", **QUICK),
    ]
    for error in await asyncio.gather(*(handler.__aenter__() for handler in handlers), return_exceptions=True):
        assert isinstance(error, MessagingEntityNotFoundError)


async def test_sessions_are_an_error_that_says_so(client: ServiceBusClient) -> None:
    with pytest.raises(ServiceBusError, match="Sessions are not part of the sandbox"):
        async with client.get_queue_receiver("q", session_id="s", **QUICK) as receiver:
            await receiver.receive_messages(max_wait_time=1)


async def test_a_message_that_is_too_large(bus: ServiceBus, quiet_sender: ServiceBusSender) -> None:
    await quiet_sender.send_messages(ServiceBusMessage("small"))
    bus.faults.limit_message_size(1000)
    with pytest.raises(MessageSizeExceededError):
        await quiet_sender.send_messages(ServiceBusMessage(b"x" * 200_000))
    await quiet_sender.send_messages(ServiceBusMessage("small"))  # the link has survived it
    assert bus.counts("quiet").active == 2


async def test_a_full_entity(bus: ServiceBus, quiet_sender: ServiceBusSender) -> None:
    bus.faults.fill("quiet")
    with pytest.raises(ServiceBusQuotaExceededError):
        await quiet_sender.send_messages(ServiceBusMessage("a"))
    bus.faults.accept("quiet")
    await quiet_sender.send_messages(ServiceBusMessage("a"))


# ---------------------------------------------------------------------------------------------------- faults


async def test_a_busy_server_is_retried(own_bus: ServiceBus, stubborn: ServiceBusClient) -> None:
    async with stubborn.get_queue_sender("quiet") as sender:
        await sender.send_messages(ServiceBusMessage("a"))
        own_bus.faults.refuse("quiet", times=2)
        await sender.send_messages(ServiceBusMessage("b"))
        own_bus.faults.refuse("quiet")
        with pytest.raises(ServiceBusServerBusyError):
            await sender.send_messages(ServiceBusMessage("c"))
        own_bus.faults.reset()
        await sender.send_messages(ServiceBusMessage("d"))
    assert [message.body for message in own_bus.peek("quiet")] == [b"a", b"b", b"d"]


async def test_an_entity_that_has_gone(bus: ServiceBus, client: ServiceBusClient) -> None:
    bus.faults.refuse("quiet", NOT_FOUND)
    with pytest.raises(MessagingEntityNotFoundError):
        async with client.get_queue_sender("quiet") as sender:
            await sender.send_messages(ServiceBusMessage("a"))


@pytest.mark.parametrize("how", ["detach", "drop"])
async def test_a_sender_recovers_from_losing_its_link(
    own_bus: ServiceBus, stubborn: ServiceBusClient, how: str
) -> None:
    async with stubborn.get_queue_sender("quiet") as sender:
        await sender.send_messages(ServiceBusMessage("a"))
        if how == "detach":
            assert own_bus.faults.detach_links("quiet") >= 1
        else:
            assert own_bus.faults.drop_connections() >= 1
        await sender.send_messages(ServiceBusMessage("b"))
    assert [message.body for message in own_bus.peek("quiet")] == [b"a", b"b"]


async def test_a_receiver_recovers_from_losing_its_link(own_bus: ServiceBus, stubborn: ServiceBusClient) -> None:
    sender, receiver = stubborn.get_queue_sender("start"), stubborn.get_queue_receiver("q", **QUICK)
    async with opened(sender, receiver):
        await sender.send_messages(ServiceBusMessage("a"))
        await receiver.complete_message(await one(receiver))
        assert own_bus.faults.detach_links("q") == 1
        await sender.send_messages(ServiceBusMessage("b"))
        assert body(await one(receiver)) == b"b"


async def test_a_random_share_of_calls_fails(bus: ServiceBus, quiet_sender: ServiceBusSender) -> None:
    bus.faults.fail_calls(0.5, seed=1)
    failed = 0
    for number in range(40):
        try:
            await quiet_sender.send_messages(ServiceBusMessage(str(number)))
        except ServiceBusServerBusyError:
            failed += 1
    assert 10 < failed < 30
    assert bus.counts("quiet").active == 40 - failed


async def test_lost_response_leaves_the_work_done(bus: ServiceBus, quiet_sender: ServiceBusSender) -> None:
    bus.faults.fail_calls(1, after=True)
    with pytest.raises(ServiceBusServerBusyError):
        await quiet_sender.send_messages(ServiceBusMessage("a"))
    assert bus.counts("quiet").active == 1


async def test_unresponsive_server_times_out_in_the_client(own_bus: ServiceBus, stubborn: ServiceBusClient) -> None:
    async with stubborn.get_queue_sender("quiet") as sender:
        await sender.send_messages(ServiceBusMessage("a"))
        own_bus.faults.stop_responding()
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage("b"), timeout=1)
        own_bus.faults.reset()
        await sender.send_messages(ServiceBusMessage("c"))
    assert [message.body for message in own_bus.peek("quiet")] == [b"a", b"c"]


async def test_one_silent_connection_leaves_the_others_working(own_bus: ServiceBus, stubborn: ServiceBusClient) -> None:
    silent, other = stubborn.get_queue_receiver("q", **QUICK), stubborn.get_queue_receiver("q", **QUICK)
    sender, elsewhere = stubborn.get_queue_sender("q"), stubborn.get_queue_sender("quiet")
    async with opened(silent, other, sender, elsewhere):
        await sender.send_messages(ServiceBusMessage("a"))
        assert body(await one(silent)) == b"a"
        assert own_bus.faults.stop_responding("q", role="receiver", most=1) == 1
        await sender.send_messages(ServiceBusMessage("b"))
        assert await none(silent)
        assert body(await one(other)) == b"b"
        assert own_bus.faults.stop_responding("q", role="sender") == 1
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage("c"), timeout=1)
        await elsewhere.send_messages(ServiceBusMessage("d"))
        own_bus.faults.reset()
        await sender.send_messages(ServiceBusMessage("e"))
        assert body(await one(other)) == b"e"
        await close_forgotten(own_bus)  # the receiver that was held does not notice that it was cut off


async def test_outage_of_one_entity_lasts_its_time(
    bus: ServiceBus, clock: HandMovedClock, client: ServiceBusClient
) -> None:
    sender, receiver = client.get_queue_sender("many"), client.get_queue_receiver("many", **QUICK)
    elsewhere = client.get_queue_sender("quiet")
    async with opened(sender, receiver, elsewhere):
        await sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
        message = await one(receiver)
        assert bus.faults.outage("many", timedelta(minutes=10)) >= 2
        dead_letters = client.get_queue_receiver("many", sub_queue="deadletter", **QUICK)
        failing: list[Callable[[], Awaitable[Any]]] = [
            lambda: sender.send_messages(ServiceBusMessage("c")),
            lambda: receiver.complete_message(message),
            receiver.peek_messages,
            lambda: receiver.receive_messages(max_wait_time=1),
            lambda: dead_letters.receive_messages(max_wait_time=1),
        ]
        for call in failing:
            with pytest.raises(ServiceBusError):
                await call()
        await elsewhere.send_messages(ServiceBusMessage("d"))
        assert bus.counts("many") == EntityCounts(active=1, scheduled=0, deferred=0, locked=1, dead_lettered=0)
        clock.advance(timedelta(minutes=10))
        await sender.send_messages(ServiceBusMessage("e"))
        assert [body(await one(receiver)) for _ in range(3)] == [b"a", b"b", b"e"]
        bus.faults.outage("many", timedelta.max)
        clock.advance(timedelta(hours=2))
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage("f"))
        bus.faults.accept("many")
        await sender.send_messages(ServiceBusMessage("g"))
