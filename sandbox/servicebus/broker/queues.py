"""One queue: messages in order, locks, deliveries that fail, schedules, expiry. No I/O and no clock: time is passed in.

Used for queues, for subscriptions, for their dead-letter queues, and for what a topic holds until it is due. What
leaves the queue for elsewhere (dead-lettered, due on a topic) is handed to its :class:`Surroundings`.
All times are milliseconds since the Unix epoch.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import count
from typing import Protocol
from uuid import UUID, uuid4

from sandbox.servicebus.broker import errors, events
from sandbox.servicebus.broker.deadlines import Deadlines
from sandbox.servicebus.broker.messages import Message
from sandbox.servicebus.broker.topology import QueueSettings

MAX_TTL = 0xFFFFFFFF  # what the header's uint can say


class State(IntEnum):
    """The values of the annotation ``x-opt-message-state``."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(slots=True)
class Held:
    """A message in a queue. ``delivery_count`` counts the deliveries that failed."""

    sequence_number: int
    message: Message
    enqueued_at: int
    expires_at: int | None
    state: State = State.ACTIVE
    delivery_count: int = 0
    scheduled_for: int | None = None
    lock_token: UUID | None = None
    locked_until: int = 0


class Surroundings(Protocol):
    """What a queue needs of the broker it is in."""

    def dead_letter(self, queue: "Queue", held: Held, reason: str | None, description: str | None, now: int) -> None:
        """Take a message that was removed from the queue to where its dead letters go."""

    def due(self, queue: "Queue", held: Held, now: int) -> None:
        """A scheduled message was removed from the queue because its time has come."""

    def available(self, queue: "Queue") -> None:
        """There is something to receive."""

    def tell(self, kind: type[events.BusEvent], queue: "Queue", held: Held, now: int, **details: object) -> None:
        """Something happened."""


class Queue:
    """See the module. ``dead_letters`` is the queue's dead-letter queue; it is ``None`` for one itself."""

    def __init__(
        self,
        name: str,
        settings: QueueSettings,
        surroundings: Surroundings,
        *,
        numbers: Iterator[int] | None = None,
        dead_letters: "Queue | None" = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.dead_letters = dead_letters
        self.held: dict[int, Held] = {}
        self._surroundings = surroundings
        self._numbers = numbers if numbers is not None else count(1)
        self._ready: list[int] = []  # a heap: what comes back is received in its old place
        # In order of locked_until, since all locks of a queue last equally long and a renewed one goes to the end.
        self._locks: OrderedDict[UUID, Held] = OrderedDict()
        self._schedule = Deadlines(self._still_scheduled)
        self._expiry = Deadlines(self._still_expiring)

    # ----------------------------------------------------------------------------------- coming in

    def enqueue(self, message: Message, now: int) -> Held:
        """Add a message, to be received at once."""
        ttl = min((ttl for ttl in (message.ttl, self.settings.time_to_live) if ttl is not None), default=None)
        if ttl != message.ttl and ttl is not None and ttl <= MAX_TTL:
            message = replace(message, ttl=ttl)
        held = Held(next(self._numbers), message, now, None if ttl is None else now + ttl)
        self._hold(held)
        self._surroundings.tell(events.MessageSent, self, held, now, scheduled_for=None)
        return held

    def schedule(self, message: Message, due: int, now: int) -> Held:
        """Add a message that stays out of sight until ``due``. It has another sequence number from then on."""
        held = Held(next(self._numbers), message, now, None, State.SCHEDULED, scheduled_for=due)
        self.held[held.sequence_number] = held
        self._schedule.add(due, held.sequence_number)
        self._surroundings.tell(events.MessageSent, self, held, now, scheduled_for=due)
        return held

    def bury(self, held: Held, message: Message, now: int) -> None:
        """Add, to a dead-letter queue, what another queue gave up. It keeps its number and does not expire."""
        buried = Held(held.sequence_number, message, held.enqueued_at, None, delivery_count=held.delivery_count)
        self._hold(buried)

    def _hold(self, held: Held) -> None:
        self.held[held.sequence_number] = held
        heapq.heappush(self._ready, held.sequence_number)
        if held.expires_at is not None:
            self._expiry.add(held.expires_at, held.sequence_number)
        self._surroundings.available(self)

    def cancel(self, sequence_number: int, now: int) -> None:
        """Remove a scheduled message. Raises :class:`Refusal` if none has that number."""
        self.elapse(now)
        held = self.held.get(sequence_number)
        if held is None or held.state is not State.SCHEDULED:
            raise errors.message_not_found(sequence_number)
        self._remove(held)
        self._surroundings.tell(events.ScheduledMessageCancelled, self, held, now)

    # --------------------------------------------------------------------------------- being received

    def take(self, now: int, *, locking: bool) -> Held | None:
        """The next message, locked or (receive and delete) removed; ``None`` if there is none."""
        self.elapse(now)
        while self._ready:
            held = self.held.get(heapq.heappop(self._ready))
            if held is None or held.lock_token is not None or held.state is not State.ACTIVE:
                continue  # it expired or was deferred after it had come back
            return self._hand_out(held, now, locking=locking)
        return None

    def take_deferred(self, sequence_numbers: Sequence[int], now: int, *, locking: bool) -> list[Held]:
        """Deferred messages by their numbers. Raises :class:`Refusal` if one of them is not to be had."""
        self.elapse(now)
        taken = []
        for number in sequence_numbers:
            held = self.held.get(number)
            if held is None or held.state is not State.DEFERRED or held.lock_token is not None:
                raise errors.message_not_found(number)
            taken.append(held)
        return [self._hand_out(held, now, locking=locking) for held in taken]

    def _hand_out(self, held: Held, now: int, *, locking: bool) -> Held:
        if locking:
            held.lock_token = uuid4()
            held.locked_until = now + self.settings.lock_duration
            self._locks[held.lock_token] = held
        else:
            self._remove(held)
        self._surroundings.tell(events.MessageReceived, self, held, now, delivery_count=held.delivery_count)
        if not locking:
            self._surroundings.tell(events.MessageCompleted, self, held, now)
        return held

    def peek(self, start: int, limit: int, now: int) -> list[Held]:
        """Up to ``limit`` messages in any state from a sequence number on, in order, untouched."""
        self.elapse(now)
        return [self.held[n] for n in heapq.nsmallest(limit, (n for n in self.held if n >= start))]

    # ------------------------------------------------------------------------------------ settling

    def complete(self, token: UUID, now: int) -> None:
        """Remove a locked message. Raises :class:`Refusal` if the lock is lost."""
        held = self._unlock(token, now)
        self._remove(held)
        self._surroundings.tell(events.MessageCompleted, self, held, now)

    def abandon(self, token: UUID, changes: Mapping[object, object], now: int) -> None:
        """Give a locked message back, changed; the delivery has failed. Raises :class:`Refusal`."""
        held = self._unlock(token, now)
        held.message = held.message.with_user_properties(changes)
        self._surroundings.tell(events.MessageAbandoned, self, held, now)
        self._delivery_failed(held, now)

    def release(self, token: UUID, now: int) -> None:
        """Give a locked message back as if never delivered. Raises :class:`Refusal`."""
        self._come_back(self._unlock(token, now), now)

    def defer(self, token: UUID, changes: Mapping[object, object], now: int) -> None:
        """Set a locked message aside. Raises :class:`Refusal`."""
        held = self._unlock(token, now)
        held.message = held.message.with_user_properties(changes)
        held.state = State.DEFERRED
        self._surroundings.tell(events.MessageDeferred, self, held, now)
        self._come_back(held, now)

    def dead_letter(
        self,
        token: UUID,
        reason: str | None,
        description: str | None,
        changes: Mapping[object, object],
        now: int,
    ) -> None:
        """Move a locked message to the dead-letter queue. Raises :class:`Refusal`, also if this is one."""
        if self.dead_letters is None:
            raise errors.not_allowed("A message in a dead-letter queue cannot be dead-lettered.")
        held = self._unlock(token, now)
        held.message = held.message.with_user_properties(changes)
        self._give_up(held, reason, description, now)

    def renew(self, token: UUID, now: int) -> int:
        """Lock a message anew; the time until which it is. Raises :class:`Refusal`."""
        self.elapse(now)
        held = self._locks.get(token)
        if held is None:
            raise errors.lock_lost()
        held.locked_until = now + self.settings.lock_duration
        self._locks.move_to_end(token)
        return held.locked_until

    def lose_locks(self, now: int) -> int:
        """Let every lock run out at once; how many there were."""
        lost = list(self._locks)
        for token in lost:
            self._lock_ran_out(token, now)
        return len(lost)

    # ----------------------------------------------------------------------------------------- time

    def next_wakeup(self) -> int | None:
        """When :meth:`elapse` has something to do next."""
        first_lock = next(iter(self._locks.values())).locked_until if self._locks else None
        times = (first_lock, self._schedule.first(), self._expiry.first())
        return min((at for at in times if at is not None), default=None)

    def elapse(self, now: int) -> None:
        """Do all that has fallen due."""
        while self._locks:
            token, held = next(iter(self._locks.items()))
            if held.locked_until > now:
                break
            self._lock_ran_out(token, now)
        while (number := self._schedule.take(now)) is not None:
            held = self.held[number]
            self._remove(held)
            self._surroundings.due(self, held, now)
        while (number := self._expiry.take(now)) is not None:
            self._expire(self.held[number], now)

    def _still_scheduled(self, at: int, number: int) -> bool:
        held = self.held.get(number)
        return held is not None and held.state is State.SCHEDULED

    def _still_expiring(self, at: int, number: int) -> bool:
        held = self.held.get(number)  # a lock holds expiry off; _come_back looks again
        return held is not None and held.expires_at == at and held.lock_token is None

    def _lock_ran_out(self, token: UUID, now: int) -> None:
        held = self._locks.pop(token)
        held.lock_token = None
        self._surroundings.tell(events.LockLost, self, held, now)
        self._delivery_failed(held, now)

    def _delivery_failed(self, held: Held, now: int) -> None:
        held.delivery_count += 1
        if self.dead_letters is not None and held.delivery_count >= self.settings.max_delivery_count:
            description = f"Message could not be consumed after {held.delivery_count} delivery attempts."
            self._give_up(held, "MaxDeliveryCountExceeded", description, now)
        else:
            self._come_back(held, now)

    def _come_back(self, held: Held, now: int) -> None:
        if held.expires_at is not None:
            if held.expires_at <= now:
                self._expire(held, now)
                return
            self._expiry.add(held.expires_at, held.sequence_number)  # the entry may have gone while it was locked
            self._sweep()
        if held.state is State.ACTIVE:
            heapq.heappush(self._ready, held.sequence_number)
            self._surroundings.available(self)

    def _expire(self, held: Held, now: int) -> None:
        if self.settings.dead_letter_expired and self.dead_letters is not None:
            self._give_up(held, "TTLExpiredException", "The message expired and was dead lettered.", now)
        else:
            self._remove(held)
            self._surroundings.tell(events.MessageExpired, self, held, now)

    def _give_up(self, held: Held, reason: str | None, description: str | None, now: int) -> None:
        self._remove(held)
        self._surroundings.dead_letter(self, held, reason, description, now)

    def _unlock(self, token: UUID, now: int) -> Held:
        self.elapse(now)
        held = self._locks.pop(token, None)
        if held is None:
            raise errors.lock_lost()
        held.lock_token = None
        return held

    def _remove(self, held: Held) -> None:
        del self.held[held.sequence_number]
        self._sweep()

    def _sweep(self) -> None:
        """Keep what is kept beside the messages in proportion to them."""
        living = len(self.held)
        if not living:
            self.held.clear()  # a dict from which all was taken one by one keeps the size it had
        self._schedule.sweep(living)
        self._expiry.sweep(living)
        if len(self._ready) > 2 * living + 64:  # what expired while it was ready is still named here
            self._ready = [number for number in self._ready if number in self.held]
            heapq.heapify(self._ready)

    def clear(self) -> None:
        """Forget every message, silently. Numbers go on where they were."""
        self.held.clear()
        self._ready.clear()
        self._locks.clear()
        self._schedule.clear()
        self._expiry.clear()

    # -------------------------------------------------------------------------------------- counting

    @property
    def locked(self) -> int:
        """How many messages are locked."""
        return len(self._locks)

    @property
    def bookkeeping(self) -> int:
        """How many entries are kept beside the messages: in proportion to those held, not to those that were."""
        return len(self._ready) + len(self._locks) + len(self._schedule) + len(self._expiry)
