"""The receiving end of a queue of this app's: receive what is due, send what follows, then settle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._common.constants import ERROR_CODE_MESSAGE_LOCK_LOST
from azure.servicebus._pyamqp.error import AMQPException, MessageException
from azure.servicebus._pyamqp.outcomes import Accepted
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError

from maintenance.domain.errors import BusUnavailable
from maintenance.domain.messages import Delivery, Record
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, close_quietly, take_back_credit
from maintenance.servicebus.link import Together
from maintenance.servicebus.messages import Expected, to_delivery
from maintenance.servicebus.sender import Sender

logger = logging.getLogger(__name__)

# Seconds. Where one message is due, others arrive within two round trips, as the last settlement took them, and as long
# as some do, more may: full batches cost a fifth less than those that end earlier. A request must not be held up for
# nothing; but where many came last, the first of them may take longer.
LEAST_WITHIN, MOST_WITHIN = 0.01, 0.2
# Where all that could be had came last, and nothing more for so long, nothing is left.
LAST_WITHIN = 0.05
# Until one was measured.
ROUND_TRIP = 0.025
MANY = 4
# Seconds. A receiver that has been given nothing for so long is closed: where its link came to nothing at the other
# end, nobody says so, and it looks like an empty queue. A link opens in half a second; Service Bus itself closes idle
# ones after 10 minutes.
TRUSTED_FOR = 180.0
# Seconds in which a link that lives confirms that it took back credit, on a busy machine, too: one that is closed for
# nothing leaves what was on its way locked.
RESPONDS_WITHIN = 5.0


class OperationsReceiver:
    """One receiver of a queue with a sender of its own. `receive` is for one coroutine at a time."""

    def __init__(
        self,
        queue: str,
        receiver: ServiceBusReceiver,
        sender: Sender,
        *,
        expected: Expected | None = None,
        call_timeout: float = CALL_TIMEOUT,
        monotonic: Callable[[], float] = time.monotonic,
        saw: Callable[[datetime], None] | None = None,
        inspect: Callable[[ServiceBusReceivedMessage], None] | None = None,
    ) -> None:
        self._queue = queue
        self._saw = saw
        self._inspect = inspect
        self._receiver = receiver
        self._sender = sender
        self._expected = Expected() if expected is None else expected
        self._call_timeout = call_timeout
        self._monotonic = monotonic
        self._settling = asyncio.Lock()
        self._completions = Together(self._complete, self._settling)
        self._came_last = 0
        self._round_trip = ROUND_TRIP
        # The latest end of a lock that was seen, in seconds of Service Bus's clock less those of the stopwatch.
        self._latest_lock = float("-inf")
        self._given_at = monotonic()

    async def receive(self, most: int, *, wait: float) -> list[Delivery]:
        """What is due, up to `most`, after at most `wait` seconds. Raises BusUnavailable.

        One is asked for first: the credit for what does not come stays with Service Bus, which then locks that many
        messages for a receiver that is idle until the next tick.
        """
        try:
            async with asyncio.timeout(self._call_timeout + wait):
                expected = self._expected.now()
                messages = await self._receive_first(most, wait, expected)
                self._expected.received(messages)
                if messages and not self._expected.has_come(expected):
                    messages += await self._receive_more(most - len(messages), expected, alone=len(messages) == 1)
                self._expected.missed(expected)
                self._came_last = len(messages)
        except SDK_ERRORS as error:
            raise BusUnavailable(f"receiving from {self._queue} failed: {type(error).__name__}") from None
        if messages:
            self._given_at = self._monotonic()
            _check_clock(messages[0])
            if self._inspect is not None:
                self._inspect(messages[0])
            # In their order, so this was the last.
            enqueued_at = messages[-1].enqueued_time_utc
            if self._saw is not None and enqueued_at is not None:
                self._saw(enqueued_at)
        return [replace(to_delivery(message), locked_ago=ago) for message, ago in self._locked_ago(messages)]

    async def _receive_first(self, most: int, wait: float, expected: set[str]) -> list[ServiceBusReceivedMessage]:
        """The first that is due, or, where as many as could be had came last, as many again in one round trip."""
        if self._came_last >= most > 1:
            within = min(max(self._within, LAST_WITHIN), wait)
            messages = await self._receiver.receive_messages(max_message_count=most, max_wait_time=within)
            if messages or within == wait or not expected:
                return messages
            wait -= within
        return await self._receiver.receive_messages(max_message_count=1, max_wait_time=wait)

    @property
    def _within(self) -> float:
        """Seconds in which what is due comes."""
        return min(max(2 * self._round_trip, LEAST_WITHIN), MOST_WITHIN)

    async def _receive_more(self, most: int, expected: set[str], *, alone: bool) -> list[ServiceBusReceivedMessage]:
        """What else is due. The SDK waits for all the time that it is given where fewer come. `alone`: one has come, so
        how fast others follow is not known yet."""
        messages: list[ServiceBusReceivedMessage] = []
        within = self._within
        # What was sent together comes together.
        waits = 2 * within if expected else MOST_WITHIN if alone and self._came_last >= MANY else within
        while waits > 0 and len(messages) < most:
            more = await self._receiver.receive_messages(max_message_count=most - len(messages), max_wait_time=within)
            messages += more
            self._expected.received(more)
            waits -= within if expected or not more else 0
            if self._expected.has_come(expected) or (messages and not more):
                # Or, after the first of them, nothing came for so long.
                break
        return messages

    def _locked_ago(
        self, messages: Sequence[ServiceBusReceivedMessage]
    ) -> list[tuple[ServiceBusReceivedMessage, float]]:
        """Each with the seconds for which it had been locked. Credit that is left over brings messages while others are
        being dealt with, and the SDK hands them over with the next ones: their locks end sooner, by so much, than the
        longest that this receiver has seen. Service Bus's times are compared with each other alone: this machine's
        clock may be wrong."""
        at = self._monotonic()
        ends = [until.timestamp() - at if (until := each.locked_until_utc) else self._latest_lock for each in messages]
        self._latest_lock = max([self._latest_lock, *ends])
        return [
            (each, self._latest_lock - end if end > float("-inf") else 0.0)
            for each, end in zip(messages, ends, strict=True)
        ]

    async def send(self, records: Sequence[Record]) -> None:
        """What follows the received messages, each for when it is due. Raises BusUnavailable."""
        self._expected.sent(records)
        await self._sender.send(records)

    async def complete(self, delivery: Delivery) -> bool:
        """Complete a message; true only where Service Bus confirmed it, which it does for one delivery alone.

        Service Bus's confirmation is what azure-servicebus 7.15 waits for. A lost lock is harmless: whoever has the
        message now does the same again, or nothing.
        """
        return await self._completions.add(delivery.handle)

    async def _complete(self, messages: Sequence[ServiceBusReceivedMessage]) -> Sequence[bool]:
        """Whether each was confirmed."""
        try:
            async with asyncio.timeout(self._call_timeout):
                for message in await self._complete_together(messages):
                    try:
                        await self._complete_alone(message)
                    except SDK_ERRORS as error:
                        logger.warning("Completing message %s failed: %s", message.message_id, type(error).__name__)
        except TimeoutError:
            unconfirmed = ", ".join(str(each.message_id) for each in messages if not each._settled)
            logger.warning("Completing message %s failed: no response within %.0f s", unconfirmed, self._call_timeout)
        return [bool(message._settled) for message in messages]

    async def complete_all(self, deliveries: Sequence[Delivery]) -> None:
        """Complete messages whose successors were sent. A lost lock is harmless, as above."""
        async with self._settling:
            try:
                # One time limit for all: one for each takes a fiftieth of a poll.
                async with asyncio.timeout(self._call_timeout):
                    for message in await self._complete_together([delivery.handle for delivery in deliveries]):
                        await self._complete_alone(message)
            except SDK_ERRORS as error:
                raise BusUnavailable(f"completing failed: {type(error).__name__}") from None

    async def _complete_together(
        self, messages: Sequence[ServiceBusReceivedMessage]
    ) -> Sequence[ServiceBusReceivedMessage]:
        """Send all the dispositions, then wait for their outcomes: one after the other each message takes a round trip.
        Returns those that the SDK is to complete in its own way: of them nothing is confirmed."""
        link = getattr(self._receiver._handler, "_link", None)
        if link is None or len(messages) < 2:
            return messages
        sent: list[ServiceBusReceivedMessage] = []
        left: list[ServiceBusReceivedMessage] = []
        pending = link._pending_dispositions
        try:
            for message in messages:
                # Of a lock that is over, and of an earlier link, the SDK itself knows what to do.
                if message._lock_expired or message._delivery_tag not in link._received_delivery_tags:
                    left.append(message)
                    continue
                pending[message._delivery_id] = {"settled": False, "outcome": None}
                # What the SDK sends for one.
                await link._outgoing_disposition(
                    first=message._delivery_id,
                    last=None,
                    delivery_tag=message._delivery_tag,
                    settled=False,
                    state=Accepted(),
                    batchable=None,
                )
                sent.append(message)
            began = self._monotonic()
            for message in sent:
                try:
                    await link._wait_for_disposition_outcome([message._delivery_id], self._call_timeout)
                    message._settled = True
                    if message is sent[0]:
                        self._round_trip = self._monotonic() - began
                except MessageException as error:
                    if error.condition == ERROR_CODE_MESSAGE_LOCK_LOST:
                        _log_lock_lost(message)
                    else:
                        left.append(message)
        except AMQPException as error:
            logger.debug("Completing messages together failed: %s", type(error).__name__)
            return [message for message in messages if not message._settled]
        finally:
            for message in messages:
                pending.pop(message._delivery_id, None)
        return left

    async def _complete_alone(self, message: ServiceBusReceivedMessage) -> None:
        began = self._monotonic()
        try:
            await self._receiver.complete_message(message)
        except MessageLockLostError:
            _log_lock_lost(message)
        else:
            self._round_trip = self._monotonic() - began

    @property
    def trusted(self) -> bool:
        """Whether it has been given messages lately, or is new."""
        return self._monotonic() - self._given_at < TRUSTED_FOR

    async def rest(self) -> bool:
        """Take back the credit that an idle link leaves with Service Bus. False where that failed, and where the
        receiver is to be opened anew since its link may be dead."""
        idle = self._monotonic() - self._given_at
        if not self.trusted:
            logger.info("Receiver of %s is opened anew: it gave nothing for %.0f s", self._queue, idle)
            return False
        try:
            if await self._take_back_credit():
                return True
        except SDK_ERRORS as error:
            logger.debug("An idle receiver could not be drained: %s", type(error).__name__)
            return False
        logger.warning(
            "Receiver of %s is opened anew: its link had stopped responding. It gave nothing for %.0f s, and what "
            "fell due meanwhile comes late",
            self._queue,
            idle,
        )
        return False

    async def close(self) -> None:
        with suppress(*SDK_ERRORS):
            await self._take_back_credit()
        async with asyncio.TaskGroup() as group:
            group.create_task(close_quietly(self._receiver))
            group.create_task(self._sender.close())

    async def _take_back_credit(self) -> bool:
        return await take_back_credit(self._receiver, min(RESPONDS_WITHIN, self._call_timeout))


def _check_clock(message: ServiceBusReceivedMessage) -> None:
    """The SDK compares locks with this machine's time (so not with a clock that is passed in): where that is ahead by a
    lock's length, every lock counts as lost, nothing is completed, and so nothing is started."""
    until = message.locked_until_utc
    if until is not None and until <= (now := datetime.now(UTC)):
        logger.error(
            "Clock is ahead: message %s was locked until %s, and here it is %s. Nothing is completed or started until "
            "the clock is right",
            message.message_id,
            until.isoformat(),
            now.isoformat(),
        )


def _log_lock_lost(message: ServiceBusReceivedMessage) -> None:
    logger.warning("Lock lost on message %s before it was completed", message.message_id)
