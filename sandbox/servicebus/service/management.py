"""The operations of an entity's ``$management``.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from sandbox.servicebus.amqp.codec import Array, CodecError, Long, Symbol, Timestamp
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.outcomes import Accepted, AmqpError, Modified, Rejected
from sandbox.servicebus.broker.annotations import broker_annotations
from sandbox.servicebus.broker.broker import Broker
from sandbox.servicebus.broker.errors import BrokerError, not_implemented
from sandbox.servicebus.broker.messages import SCHEDULED_ENQUEUE_TIME, parse
from sandbox.servicebus.broker.queues import Queue
from sandbox.servicebus.broker.storage import QueuedMessage
from sandbox.servicebus.service import rules
from sandbox.servicebus.service.peek_pages import PeekPages

Arguments = dict[object, object]
Response = tuple[int, object]  # status and body
Settle = Callable[[Queue, UUID, Composite | None], Composite]

PEEK_LIMIT: Final = 250  # messages in one response at most, as in Azure
_SESSIONS: Final = frozenset(("get-session-state", "set-session-state", "renew-session-lock", "get-message-sessions"))


class Management:
    """Executes management requests on the broker."""

    def __init__(self, broker: Broker, settle: Settle, peek_pages: PeekPages) -> None:
        self._broker = broker
        self._settle = settle
        self._peek_pages = peek_pages
        self._operations: dict[str, Callable[[str, Arguments], Response]] = {
            "renew-lock": self._renew,
            "peek-message": self._peek,
            "schedule-message": self._schedule,
            "cancel-scheduled-message": self._cancel,
            "receive-by-sequence-number": self._receive_deferred,
            "update-disposition": self._dispose,
            "add-rule": self._add_rule,
            "remove-rule": self._remove_rule,
            "enumerate-rules": self._enumerate_rules,
        }

    def call(self, entity: str, operation: str, arguments: Arguments) -> Response:
        """Status and body of the response. Raises :class:`BrokerError`, or :class:`CodecError` for wrong arguments."""
        name = operation.removeprefix("com.microsoft:")
        if name in _SESSIONS:
            raise not_implemented(f"Sessions are not part of the sandbox: {operation} is not supported.")
        try:
            handler = self._operations[name]
        except KeyError:
            raise not_implemented(f"The operation {operation} is unknown.") from None
        return handler(entity, arguments)

    # ------------------------------------------------------------------------------------ messages

    def _renew(self, entity: str, arguments: Arguments) -> Response:
        queue, now = self._broker.queue(entity), self._broker.now()
        until = tuple(Timestamp(queue.renew(token, now)) for token in _tokens(arguments))
        return 200, {"expirations": Array(Timestamp, until)}

    def _peek(self, entity: str, arguments: Arguments) -> Response:
        start, limit = _number(arguments, "from-sequence-number"), _number(arguments, "message-count")
        queue = self._broker.queue(entity)
        found = queue.peek(start, max(0, min(limit, PEEK_LIMIT)), self._broker.now())
        if not found:
            return 204, {}
        page = found[: self._peek_pages.size(queue.name, len(found))]
        return 200, {"messages": [{"message": _encoded(queued, peeked=True)} for queued in page]}

    def _schedule(self, entity: str, arguments: Arguments) -> Response:
        entries = arguments.get("messages")
        if not isinstance(entries, list):
            raise CodecError("schedule-message takes a list of messages")
        parsed = []
        for entry in entries:
            raw = entry.get("message") if isinstance(entry, dict) else None
            if not isinstance(raw, bytes):
                raise CodecError("schedule-message takes encoded messages")
            message = parse(raw)
            at = message.annotations.get(SCHEDULED_ENQUEUE_TIME)
            if not isinstance(at, Timestamp):
                raise CodecError(f"a scheduled message has the annotation {SCHEDULED_ENQUEUE_TIME}")
            parsed.append((message, at))
        numbers = [Long(self._broker.schedule(entity, message, at)) for message, at in parsed]
        return 200, {"sequence-numbers": Array(Long, tuple(numbers))}

    def _cancel(self, entity: str, arguments: Arguments) -> Response:
        store, now = self._broker.send_target(entity), self._broker.now()
        for number in _numbers(arguments):
            store.cancel(number, now)
        return 200, {}

    def _receive_deferred(self, entity: str, arguments: Arguments) -> Response:
        locking = arguments.get("receiver-settle-mode") != 0  # 0: receive and delete
        queue, now = self._broker.queue(entity), self._broker.now()
        taken = queue.take_deferred(_numbers(arguments), now, locking=locking)
        messages = []
        for queued in taken:
            entry: dict[object, object] = {"message": _encoded(queued)}
            if queued.lock_token is not None:
                entry["lock-token"] = queued.lock_token
            messages.append(entry)
        return 200, {"messages": messages}

    def _dispose(self, entity: str, arguments: Arguments) -> Response:
        queue = self._broker.queue(entity)
        changes = arguments.get("properties-to-modify")
        modified = changes if isinstance(changes, dict) else None
        states: dict[object, Composite] = {
            "completed": Accepted(),
            "abandoned": Modified(True, False, modified),
            "defered": Modified(True, True, modified),  # the spelling of the service
            "suspended": Rejected(_dead_letter(arguments, modified or {})),
        }
        status = arguments.get("disposition-status")
        if status not in states:
            raise CodecError(f"the disposition status {status!r} is unknown")
        for token in _tokens(arguments):
            self._settle(queue, token, states[status])
        return 200, {}

    # --------------------------------------------------------------------------------------- rules

    def _add_rule(self, entity: str, arguments: Arguments) -> Response:
        subscription = self._broker.subscription(entity)
        rule = rules.read(arguments)
        if rule.name in subscription.rules:
            raise BrokerError("com.microsoft:entity-already-exists", f"The rule '{rule.name}' exists already.", 409)
        subscription.rules[rule.name] = rule
        return 200, {}

    def _remove_rule(self, entity: str, arguments: Arguments) -> Response:
        subscription = self._broker.subscription(entity)
        name = str(arguments.get("rule-name"))
        if subscription.rules.pop(name, None) is None:
            raise BrokerError("amqp:not-found", f"The rule '{name}' could not be found.", 404)
        return 200, {}

    def _enumerate_rules(self, entity: str, arguments: Arguments) -> Response:
        subscription = self._broker.subscription(entity)
        skip, top = _number(arguments, "skip"), _number(arguments, "top")
        found = list(subscription.rules.values())[skip : skip + top]
        if not found:
            return 204, {}
        return 200, {"rules": [{"rule-description": rules.described(rule)} for rule in found]}


def _encoded(queued: QueuedMessage, *, peeked: bool = False) -> bytes:
    return queued.message.encoded(queued.delivery_count, broker_annotations(queued, peeked=peeked))


def _dead_letter(arguments: Arguments, changes: dict[object, object]) -> AmqpError:
    info = dict(changes)
    for argument, key in (
        ("deadletter-reason", "DeadLetterReason"),
        ("deadletter-description", "DeadLetterErrorDescription"),
    ):
        if arguments.get(argument) is not None:
            info[key] = arguments[argument]
    return AmqpError(Symbol("com.microsoft:dead-letter"), None, info)


def _items(arguments: Arguments, name: str) -> list[object]:
    """A list or array; clients use either."""
    value = arguments.get(name)
    if isinstance(value, Array):
        return list(value.items)
    if isinstance(value, list):
        return value
    raise CodecError(f"{name} is missing")


def _tokens(arguments: Arguments) -> list[UUID]:
    tokens = []
    for token in _items(arguments, "lock-tokens"):
        if not isinstance(token, UUID):
            raise CodecError("a lock token is a uuid")
        tokens.append(token)
    return tokens


def _numbers(arguments: Arguments) -> list[int]:
    numbers = []
    for number in _items(arguments, "sequence-numbers"):
        if not isinstance(number, int):
            raise CodecError("a sequence number is a long")
        numbers.append(number)
    return numbers


def _number(arguments: Arguments, name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CodecError(f"{name} is a number")
    return value
