"""Checks in each process that the queues were made as the protocol needs them, as far as a client can find out.

A namespace made by hand has Azure's defaults: no duplicate detection. A record's successor could then exist twice, and
with it a POST. So nothing is started there. The check sends an id twice, and looks at what the worker receives.
`docs/namespace.md` lists what must hold and cannot be found out here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import uuid4

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessageNotFoundError, MessagingEntityNotFoundError

from maintenance.domain.errors import BusUnavailable, EntityMissing
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS, SOCKET_TIMEOUT, close_quietly, side_by_side
from maintenance.servicebus.coordination_queue import PARTITIONED
from maintenance.servicebus.received_problems import Received, partitioned, received_problem

logger = logging.getLogger(__name__)

# What was found wrong is looked for again after so many seconds: a queue that was made anew needs no restart.
AGAIN_AFTER = 300.0
# The subject of the two messages of a check. One of a process that was killed between sending and canceling falls due.
SUBJECT = "namespace-check"
# The two messages of a check are scheduled for then, and canceled long before.
DUE_AFTER = timedelta(hours=1)


class NamespaceCheck:
    """One per process. `least_lock`: how long the operations queue must lock messages. `now` gives aware times,
    `monotonic` seconds."""

    def __init__(
        self,
        client: ServiceBusClient,
        *,
        operations_queue: str,
        coordination_queue: str,
        least_lock: timedelta,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._client = client
        self._operations_queue = operations_queue
        self._queues = (operations_queue, coordination_queue)
        self._least_lock = least_lock
        self._now = now
        self._monotonic = monotonic
        self._call_timeout = call_timeout
        self._lock = asyncio.Lock()
        self._checked_at: float | None = None
        self._problems: tuple[str, ...] = ()
        self._received: str | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def saw(self, message: Received) -> None:
        """A message received from the operations queue, of which what it shows is remembered."""
        problem = received_problem(self._operations_queue, message, self._least_lock)
        if problem is not None and problem != self._received:
            logger.error("Namespace refused: %s. See docs/namespace.md", problem)
        self._received = problem or self._received

    async def problems(self) -> tuple[str, ...]:
        """What is wrong with the queues, each with its name and the property. Raises BusUnavailable."""
        if self._received is not None:
            return (self._received, *self._problems)
        async with self._lock:
            old = self._checked_at is None or (self._problems and self._monotonic() >= self._checked_at + AGAIN_AFTER)
            if old:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(_caught(self, queue)) for queue in self._queues]
                found = [task.result() for task in tasks]
                if failed := next((each for each in found if isinstance(each, BusUnavailable)), None):
                    raise failed
                self._problems = tuple(each for each in found if isinstance(each, str))
                self._checked_at = self._monotonic()
                for problem in self._problems:
                    logger.error("Namespace refused: %s. See docs/namespace.md", problem)
        return self._problems

    async def problem_of(self, queue: str) -> str | None:
        """What is wrong with one queue, found by a message that is scheduled twice. Raises BusUnavailable."""
        sender = self._client.get_queue_sender(queue)
        receiver = self._client.get_queue_receiver(queue, socket_timeout=SOCKET_TIMEOUT)
        try:
            async with asyncio.timeout(self._call_timeout):
                await side_by_side(sender.__aenter__(), receiver.__aenter__())
                return await self._probe(queue, sender, receiver)
        except MessagingEntityNotFoundError:
            raise EntityMissing(f"checking the namespace failed: there is no queue {queue}") from None
        except SDK_ERRORS as error:
            raise BusUnavailable(f"checking queue {queue} failed: {type(error).__name__}") from None
        finally:
            # Closing takes a second, for which the first message need not wait.
            for link in (sender, receiver):
                task = asyncio.create_task(close_quietly(link))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Wait for the links of the check to be closed."""
        if self._closing:
            await asyncio.wait(list(self._closing))

    async def _probe(self, queue: str, sender: ServiceBusSender, receiver: ServiceBusReceiver) -> str | None:
        message_id, due = f"namespace-check-{uuid4().hex}", self._now() + DUE_AFTER
        message = ServiceBusMessage(b"", message_id=message_id, subject=SUBJECT)
        numbers: list[int] = []
        peeked: list[int] = []
        shown: set[int] = set()
        try:
            for _ in range(2):
                numbers += await sender.schedule_messages(message, due)
            # One by one, since a page may be shorter than asked for.
            for number in numbers:
                page = await receiver.peek_messages(max_message_count=1, sequence_number=number)
                peeked.append(number)
                shown |= {number for each in page if (each.sequence_number, each.message_id) == (number, message_id)}
        finally:
            # Not what duplicate detection dropped: the SDK opens its link anew where there is nothing to be canceled,
            # and the first message waits for that.
            for number in numbers:
                if number in shown or number not in peeked:
                    with suppress(MessageNotFoundError):
                        await sender.cancel_scheduled_messages(number)
        if max(numbers) >= PARTITIONED:
            return partitioned(queue)
        if numbers[0] not in shown:
            raise BusUnavailable(f"checking queue {queue} failed: what was scheduled does not show")
        if len(shown) > 1:
            return f"queue {queue} has no duplicate detection: make it anew with RequiresDuplicateDetection true"
        return None


async def _caught(check: NamespaceCheck, queue: str) -> str | BusUnavailable | None:
    try:
        return await check.problem_of(queue)
    except BusUnavailable as error:
        return error
