"""A queue: order, locks, failed deliveries, scheduled messages and expiry. No I/O and no clock: time is passed in.

Used for queues, for subscriptions, for their dead-letter queues, and for what a topic holds until it is due. What
leaves the queue for elsewhere (dead-lettered, due on a topic) is passed to its :class:`QueueOwner`.
All times are milliseconds since the Unix epoch.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol
from uuid import UUID, uuid4

from sandbox.servicebus.broker import errors, events
from sandbox.servicebus.broker.messages import Message
from sandbox.servicebus.broker.storage import MessageStorage, QueuedMessage, State
from sandbox.servicebus.topology.topology import QueueSettings

MAX_TTL = 0xFFFFFFFF  # what the header's uint can say


class QueueOwner(Protocol):
    """The broker of a queue, as far as the queue uses it."""

    def dead_letter(
        self, queue: "Queue", queued: QueuedMessage, reason: str | None, description: str | None, now: int
    ) -> None:
        """Take a message that was removed from the queue to where its dead letters go."""

    def due(self, queue: "Queue", queued: QueuedMessage, now: int) -> None:
        """A scheduled message was removed from the queue because its time had come: at ``now``."""

    def available(self, queue: "Queue") -> None:
        """There is a message to receive."""

    def publish(
        self, kind: type[events.BusEvent], queue: "Queue", queued: QueuedMessage, now: int, **details: object
    ) -> None:
        """Publish an event to the observers."""


class Queue:
    """A queue, a subscription, a dead-letter queue, or the scheduled messages of a topic.

    ``dead_letters`` is the queue's dead-letter queue; it is ``None`` for one itself.
    """

    def __init__(
        self,
        name: str,
        settings: QueueSettings,
        owner: QueueOwner,
        *,
        numbers: Iterator[int] | None = None,
        dead_letters: "Queue | None" = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.dead_letters = dead_letters
        self._owner = owner
        self._numbers = numbers if numbers is not None else count(1)
        self._stored = MessageStorage()
        # In order of locked_until, since all locks of a queue last equally long and a renewed one goes to the end.
        self._locks: OrderedDict[UUID, QueuedMessage] = OrderedDict()

    @property
    def messages(self) -> Mapping[int, QueuedMessage]:
        """Those in the queue, in any state, by sequence number."""
        return self._stored.messages

    # ----------------------------------------------------------------------------------- enqueueing

    def enqueue(self, message: Message, now: int) -> QueuedMessage:
        """Add a message, to be received at once."""
        ttl = min((ttl for ttl in (message.ttl, self.settings.time_to_live) if ttl is not None), default=None)
        if ttl != message.ttl and ttl is not None and ttl <= MAX_TTL:
            message = replace(message, ttl=ttl)
        queued = QueuedMessage(next(self._numbers), message, now, None if ttl is None else now + ttl)
        self._add(queued)
        self._owner.publish(events.MessageSent, self, queued, now, scheduled_for=None, body=message.payload())
        return queued

    def schedule(self, message: Message, due: int, now: int) -> QueuedMessage:
        """Add a message that stays out of sight until ``due``. It has another sequence number from then on."""
        queued = QueuedMessage(next(self._numbers), message, now, None, State.SCHEDULED, scheduled_for=due)
        self._stored.add_scheduled(queued, due)
        self._owner.publish(events.MessageSent, self, queued, now, scheduled_for=due, body=message.payload())
        return queued

    def next_number(self) -> int:
        """A sequence number, which no message gets any more."""
        return next(self._numbers)

    def add_dead_letter(self, queued: QueuedMessage, message: Message, now: int) -> None:
        """Add a message of another queue to this dead-letter queue. It keeps its number and does not expire."""
        dead = QueuedMessage(
            queued.sequence_number, message, queued.enqueued_at, None, delivery_count=queued.delivery_count
        )
        self._add(dead)

    def _add(self, queued: QueuedMessage) -> None:
        self._stored.add(queued)
        self._owner.available(self)

    def cancel(self, sequence_number: int, now: int) -> None:
        """Remove a scheduled message. Raises :class:`BrokerError` if none has that number."""
        self.elapse(now)
        queued = self.messages.get(sequence_number)
        if queued is None or queued.state is not State.SCHEDULED:
            raise errors.message_not_found(sequence_number)
        self._stored.remove(queued)
        self._owner.publish(events.ScheduledMessageCancelled, self, queued, now)

    # ------------------------------------------------------------------------------------- receiving

    def take(self, now: int, *, locking: bool) -> QueuedMessage | None:
        """The next message, locked or (receive and delete) removed; ``None`` if there is none."""
        self.elapse(now)
        queued = self._stored.next_ready()
        return None if queued is None else self._deliver(queued, now, locking=locking)

    def take_deferred(self, sequence_numbers: Sequence[int], now: int, *, locking: bool) -> list[QueuedMessage]:
        """Deferred messages by their numbers. Raises :class:`BrokerError` if there is no such message."""
        self.elapse(now)
        taken = []
        for number in sequence_numbers:
            queued = self.messages.get(number)
            if queued is None or queued.state is not State.DEFERRED or queued.lock_token is not None:
                raise errors.message_not_found(number)
            taken.append(queued)
        return [self._deliver(queued, now, locking=locking) for queued in taken]

    def _deliver(self, queued: QueuedMessage, now: int, *, locking: bool) -> QueuedMessage:
        if locking:
            queued.lock_token = uuid4()
            queued.locked_until = now + self.settings.lock_duration
            self._locks[queued.lock_token] = queued
        else:
            self._stored.remove(queued)
        self._owner.publish(events.MessageReceived, self, queued, now, delivery_count=queued.delivery_count)
        if not locking:
            self._owner.publish(events.MessageCompleted, self, queued, now)
        return queued

    def peek(self, start: int, limit: int, now: int) -> list[QueuedMessage]:
        """Up to ``limit`` messages in any state from a sequence number on, in order, untouched."""
        self.elapse(now)
        return self._stored.from_number(start, limit)

    # ------------------------------------------------------------------------------------ settling

    def complete(self, token: UUID, now: int) -> None:
        """Remove a locked message. Raises :class:`BrokerError` if the lock is lost."""
        queued = self._unlock(token, now)
        self._stored.remove(queued)
        self._owner.publish(events.MessageCompleted, self, queued, now)

    def abandon(self, token: UUID, changes: Mapping[object, object], now: int) -> None:
        """Unlock a message, with changes; the delivery has failed. Raises :class:`BrokerError`."""
        queued = self._unlock(token, now)
        queued.message = queued.message.with_user_properties(changes)
        self._owner.publish(events.MessageAbandoned, self, queued, now)
        self._delivery_failed(queued, now)

    def release(self, token: UUID, now: int) -> None:
        """Unlock a message as if never delivered. Raises :class:`BrokerError`."""
        self._make_available(self._unlock(token, now), now)

    def defer(self, token: UUID, changes: Mapping[object, object], now: int) -> None:
        """Defer a locked message. Raises :class:`BrokerError`."""
        queued = self._unlock(token, now)
        queued.message = queued.message.with_user_properties(changes)
        queued.state = State.DEFERRED
        self._owner.publish(events.MessageDeferred, self, queued, now)
        self._make_available(queued, now)

    def dead_letter(
        self,
        token: UUID,
        reason: str | None,
        description: str | None,
        changes: Mapping[object, object],
        now: int,
    ) -> None:
        """Move a locked message to the dead-letter queue. Raises :class:`BrokerError`, also if this is one."""
        if self.dead_letters is None:
            raise errors.not_allowed("A message in a dead-letter queue cannot be dead-lettered.")
        queued = self._unlock(token, now)
        queued.message = queued.message.with_user_properties(changes)
        self._move_to_dead_letters(queued, reason, description, now)

    def renew(self, token: UUID, now: int) -> int:
        """Lock a message anew; the time until which it is. Raises :class:`BrokerError`."""
        self.elapse(now)
        queued = self._locks.get(token)
        if queued is None:
            raise errors.lock_lost()
        queued.locked_until = now + self.settings.lock_duration
        self._locks.move_to_end(token)
        return queued.locked_until

    def lose_locks(self, now: int, *, counted: bool = True, message_id: object = None) -> int:
        """Let every lock run out at once, or those on messages of one id; how many there were.

        Not ``counted``, the delivery does not go into the delivery count.
        """
        self.elapse(now)
        lost = [token for token, queued in self._locks.items() if message_id in (None, queued.message.message_id)]
        for token in lost:
            self._lock_ran_out(token, now, counted=counted)
        return len(lost)

    # ----------------------------------------------------------------------------------------- time

    def next_wakeup(self) -> int | None:
        """When :meth:`elapse` has something to do next."""
        first_lock = next(iter(self._locks.values())).locked_until if self._locks else None
        return min((at for at in (first_lock, self._stored.next_wakeup()) if at is not None), default=None)

    def elapse(self, now: int) -> None:
        """Do all that has fallen due, each at its own time."""
        while self._locks:
            token, queued = next(iter(self._locks.items()))
            if queued.locked_until > now:
                break
            self._lock_ran_out(token, queued.locked_until)
        while (scheduled := self._stored.next_due(now)) is not None:
            self._stored.remove(scheduled)
            # At its own time, however late one looks: its time to live runs from there.
            self._owner.due(self, scheduled, now if scheduled.scheduled_for is None else scheduled.scheduled_for)
        while (expired := self._stored.next_expired(now)) is not None:
            self._expire(expired, now if expired.expires_at is None else expired.expires_at)

    def _lock_ran_out(self, token: UUID, now: int, *, counted: bool = True) -> None:
        queued = self._locks.pop(token)
        queued.lock_token = None
        self._owner.publish(events.LockLost, self, queued, now)
        if counted:
            self._delivery_failed(queued, now)
        else:
            self._make_available(queued, now)

    def _delivery_failed(self, queued: QueuedMessage, now: int) -> None:
        queued.delivery_count += 1
        if self.dead_letters is not None and queued.delivery_count >= self.settings.max_delivery_count:
            description = f"Message could not be consumed after {queued.delivery_count} delivery attempts."
            self._move_to_dead_letters(queued, "MaxDeliveryCountExceeded", description, now)
        else:
            self._make_available(queued, now)

    def _make_available(self, queued: QueuedMessage, now: int) -> None:
        if queued.expires_at is not None:
            if queued.expires_at <= now:
                self._expire(queued, now)
                return
            self._stored.expect_expiry(queued)
        if queued.state is State.ACTIVE:
            self._stored.make_ready(queued)
            self._owner.available(self)

    def _expire(self, queued: QueuedMessage, now: int) -> None:
        if self.settings.dead_letter_expired and self.dead_letters is not None:
            self._move_to_dead_letters(queued, "TTLExpiredException", "The message expired and was dead lettered.", now)
        else:
            self._stored.remove(queued)
            self._owner.publish(events.MessageExpired, self, queued, now)

    def _move_to_dead_letters(
        self, queued: QueuedMessage, reason: str | None, description: str | None, now: int
    ) -> None:
        self._stored.remove(queued)
        self._owner.dead_letter(self, queued, reason, description, now)

    def _unlock(self, token: UUID, now: int) -> QueuedMessage:
        self.elapse(now)
        queued = self._locks.pop(token, None)
        if queued is None:
            raise errors.lock_lost()
        queued.lock_token = None
        return queued

    def clear(self) -> None:
        """Remove every message, without events. Sequence numbers continue."""
        self._stored.clear()
        self._locks.clear()

    # -------------------------------------------------------------------------------------- counting

    @property
    def locked(self) -> int:
        """How many messages are locked."""
        return len(self._locks)

    @property
    def bookkeeping(self) -> int:
        """How many entries there are besides the messages: in proportion to those queued now, not to those before."""
        return len(self._locks) + self._stored.bookkeeping
