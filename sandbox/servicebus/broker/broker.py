"""The namespace: routes messages between queues, topics and subscriptions. No I/O; the clock is passed in.

Not thread-safe: one thread owns it. Names of entities are compared without case.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

from sandbox.clock import moment
from sandbox.servicebus.amqp.codec import Symbol, Timestamp
from sandbox.servicebus.broker import errors
from sandbox.servicebus.broker.duplicates import DuplicateHistory
from sandbox.servicebus.broker.events import BusEvent, DuplicateDropped, MessageDeadLettered
from sandbox.servicebus.broker.messages import SCHEDULED_ENQUEUE_TIME, Message
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.broker.storage import QueuedMessage
from sandbox.servicebus.topology.topology import QueueSettings, Rule, Topology

DEAD_LETTERS = "$DeadLetterQueue"


@dataclass(slots=True)
class Subscription:
    """A queue that receives from a topic the messages that match one of its rules. Rules by their names."""

    queue: Queue
    rules: dict[str, Rule]


@dataclass(slots=True)
class Topic:
    """``store`` holds what is scheduled; what is due goes to the subscriptions at once."""

    store: Queue
    subscriptions: dict[str, Subscription]


class MessageFacts:
    """The properties of a message that filters read; decodes each section once."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._user: dict[str, object] | None = None

    def system(self, name: str) -> object:
        """See :class:`sandbox.servicebus.topology.expressions.Facts`."""
        return self._message.property(name)

    def user(self, name: str) -> object:
        """See :class:`sandbox.servicebus.topology.expressions.Facts`."""
        if self._user is None:
            self._user = {str(key).casefold(): value for key, value in self._message.user_properties().items()}
        return self._user.get(name.casefold())


class Broker:
    """A namespace. ``now`` returns milliseconds since the Unix epoch."""

    def __init__(self, topology: Topology, now: Callable[[], int]) -> None:
        self.topology = topology
        self.now = now
        self.queues: dict[str, Queue] = {}  # with subscriptions and dead-letter queues, by casefolded path
        self.topics: dict[str, Topic] = {}
        self.observers: list[Callable[[BusEvent], None]] = []
        self.on_available: Callable[[Queue], None] = lambda queue: None
        self._histories: dict[str, DuplicateHistory] = {}
        for described in topology.queues:
            self._add_queue(described.name, described.settings)
            self._remember(described.name, described.settings.duplicate_window)
        for topic in topology.topics:
            subscriptions = {}
            for entry in topic.subscriptions:
                queue = self._add_queue(f"{topic.name}/Subscriptions/{entry.name}", entry.settings)
                subscriptions[entry.name.casefold()] = Subscription(queue, {rule.name: rule for rule in entry.rules})
            store = Queue(topic.name, QueueSettings(time_to_live=topic.time_to_live), self)
            self.topics[topic.name.casefold()] = Topic(store, subscriptions)
            self._remember(topic.name, topic.duplicate_window)

    def _add_queue(self, name: str, settings: QueueSettings) -> Queue:
        numbers = count(1)
        lasting = QueueSettings(lock_duration=settings.lock_duration)
        dead_letters = Queue(f"{name}/{DEAD_LETTERS}", lasting, self, numbers=numbers)
        queue = Queue(name, settings, self, numbers=numbers, dead_letters=dead_letters)
        self.queues[name.casefold()] = queue
        self.queues[dead_letters.name.casefold()] = dead_letters
        return queue

    def _remember(self, name: str, window: int | None) -> None:
        if window is not None:
            self._histories[name.casefold()] = DuplicateHistory(window)

    def clear(self) -> None:
        """Remove every message, and every id that was seen."""
        for store in self._stores():
            store.clear()
        for history in self._histories.values():
            history.clear()

    # ------------------------------------------------------------------------------------- entities

    def names(self) -> list[str]:
        """Of queues, topics and subscriptions, as they were written, without their dead-letter queues."""
        stores = [*self.queues.values(), *(topic.store for topic in self.topics.values())]
        return sorted(store.name for store in stores if not store.name.endswith(f"/{DEAD_LETTERS}"))

    def queue(self, path: str) -> Queue:
        """The queue, subscription or dead-letter queue. Raises :class:`BrokerError`: not found, or a topic."""
        found = self.queues.get(path.casefold())
        if found is not None:
            return found
        if path.casefold() in self.topics:
            raise errors.not_allowed(f"'{path}' is a topic: messages are received from its subscriptions.")
        raise errors.entity_not_found(path)

    def store(self, path: str) -> Queue:
        """Where messages of any entity lie, those of a topic until they are due. Raises :class:`BrokerError`."""
        topic = self.topics.get(path.casefold())
        return topic.store if topic is not None else self.queue(path)

    def subscription(self, path: str) -> Subscription:
        """The subscription of a topic by its whole path. Raises :class:`BrokerError`."""
        topic, _, name = path.casefold().partition("/subscriptions/")
        try:
            return self.topics[topic].subscriptions[name]
        except KeyError:
            raise errors.entity_not_found(path) from None

    def send_target(self, path: str) -> Queue:
        """Where messages sent to a queue or topic are kept until due. Raises :class:`BrokerError`."""
        topic = self.topics.get(path.casefold())
        if topic is not None:
            return topic.store
        queue = self.queues.get(path.casefold())
        if queue is None:
            raise errors.entity_not_found(path)
        if queue.dead_letters is None or "/subscriptions/" in path.casefold():
            raise errors.not_allowed(f"'{path}' cannot be sent to.")
        return queue

    # --------------------------------------------------------------------------------------- routing

    def send(self, path: str, messages: Iterable[Message]) -> None:
        """Take messages in; one that says when is scheduled. Raises :class:`BrokerError`."""
        store = self.send_target(path)
        now = self.now()
        for message in messages:
            due = message.annotations.get(SCHEDULED_ENQUEUE_TIME)
            if isinstance(due, Timestamp) and due > now:
                self._schedule(store, message, due, now)
            else:
                self._accept(store, message, now)

    def schedule(self, path: str, message: Message, due: int) -> int:
        """Take a message in for later; its sequence number. Raises :class:`BrokerError`.

        A duplicate is dropped in silence: it is given a number, too, that no message has.
        """
        return self._schedule(self.send_target(path), message, due, self.now())

    def _schedule(self, store: Queue, message: Message, due: int, now: int) -> int:
        if self._is_duplicate(store, message, now):
            return store.next_number()
        return store.schedule(message, due, now).sequence_number

    def _accept(self, store: Queue, message: Message, now: int) -> None:
        if not self._is_duplicate(store, message, now):
            self._arrive(store, message, now)

    def _is_duplicate(self, store: Queue, message: Message, now: int) -> bool:
        history = self._histories.get(store.name.casefold())
        if history is None or not history.seen(message.message_id, now):
            return False
        for observer in self.observers:
            observer(
                DuplicateDropped(
                    at=moment(now), entity=store.name, message_id=str(message.message_id), sequence_number=0
                )
            )
        return True

    def _arrive(self, store: Queue, message: Message, now: int) -> None:
        """A message is due at an entity: copy it to subscriptions, forward it, or enqueue it."""
        topic = self.topics.get(store.name.casefold())
        if topic is not None:
            ttl = store.settings.time_to_live
            if ttl is not None and (message.ttl is None or message.ttl > ttl):
                message = replace(message, ttl=ttl)
            facts = MessageFacts(message)
            for subscription in topic.subscriptions.values():
                if any(rule.filter.takes(facts) for rule in subscription.rules.values()):
                    self._arrive(subscription.queue, message, now)
        elif store.settings.forward_to is not None:
            self._accept(self.send_target(store.settings.forward_to), message, now)
        else:
            store.enqueue(message, now)

    # -------------------------------------------------------------------- the owner of its queues

    def dead_letter(
        self, queue: Queue, queued: QueuedMessage, reason: str | None, description: str | None, now: int
    ) -> None:
        """See :class:`sandbox.servicebus.broker.queues.QueueOwner`."""
        given = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        message = queued.message.with_user_properties({key: text for key, text in given.items() if text is not None})
        self.publish(MessageDeadLettered, queue, queued, now, reason=reason, description=description)
        if queue.settings.forward_dead_letters_to is not None:
            message = message.with_annotations({Symbol("x-opt-deadletter-source"): queue.name})
            self._accept(self.send_target(queue.settings.forward_dead_letters_to), message, now)
        elif queue.dead_letters is not None:
            queue.dead_letters.add_dead_letter(queued, message, now)

    def due(self, queue: Queue, queued: QueuedMessage, now: int) -> None:
        """See :class:`sandbox.servicebus.broker.queues.QueueOwner`."""
        self._arrive(queue, queued.message, now)

    def available(self, queue: Queue) -> None:
        """See :class:`sandbox.servicebus.broker.queues.QueueOwner`."""
        self.on_available(queue)

    def publish(self, kind: type[BusEvent], queue: Queue, queued: QueuedMessage, now: int, **details: object) -> None:
        """See :class:`sandbox.servicebus.broker.queues.QueueOwner`."""
        if not self.observers:
            return
        if isinstance(due := details.get("scheduled_for"), int):
            details["scheduled_for"] = moment(due)
        event = kind(
            at=moment(now),
            entity=queue.name,
            message_id=str(queued.message.message_id),
            sequence_number=queued.sequence_number,
            **details,
        )
        for observer in self.observers:
            observer(event)

    # ----------------------------------------------------------------------------------------- time

    def _stores(self) -> Iterable[Queue]:
        yield from self.queues.values()
        for topic in self.topics.values():
            yield topic.store

    def elapse(self) -> None:
        """Do all that has fallen due, in order and each at its own time, also when the clock leaps over days."""
        now = self.now()
        while (at := self.next_wakeup()) is not None and at <= now:
            for store in self._stores():
                store.elapse(at)

    def next_wakeup(self) -> int | None:
        """When :meth:`elapse` has something to do next; ``None`` if nothing is waiting."""
        return min((at for store in self._stores() if (at := store.next_wakeup()) is not None), default=None)
