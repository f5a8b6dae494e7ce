"""Gates: whether a wave needs somebody's word before it starts, and whether it was given. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from maintenance.coordination.proceeds import proceed_for
from maintenance.domain.operation import Operation


def must_ask(operation: Operation) -> bool:
    """Whether the current wave has a gate, and nobody has asked for it to be opened."""
    gate = operation.gate
    if gate is None or operation.gate_open or operation.awaiting_since is not None:
        return False
    # A wave in which nothing was left to do is not the first: nothing had started by then.
    return gate.waves == "everyWave" or operation.started_at is None


def is_awaiting(operation: Operation) -> bool:
    """Whether the current wave waits at its gate."""
    return operation.awaiting_since is not None and not operation.gate_open


def is_told(operation: Operation) -> bool:
    """Whether the event is published that asks for the current wave's gate to be opened. Nobody can say no before."""
    return not any(owed.kind == "awaiting" and owed.wave == operation.wave for owed in operation.owed)


def gate_until(operation: Operation, asked_at: datetime) -> datetime:
    """How long a gate is waited at that was asked for then: never beyond the deadline."""
    if operation.gate is None:
        return asked_at
    return min(asked_at + operation.gate.timeout, operation.deadline)


def word(operation: Operation, entries: Iterable[object], now: datetime) -> Literal["proceed", "stop"] | None:
    """What a wave that waits at its gate does now: by a proceed that was sent for it, else by what the request says of
    the time-out; None: it waits on."""
    if not is_told(operation):
        return None
    key = operation.scale_set.key
    if proceed_for(entries, key, operation.request_id, operation.wave + 1, operation.requested_at) is not None:
        return "proceed"
    if operation.gate is None or operation.awaiting_since is None:
        # Its record lost what it waits for: nothing starts.
        return "stop"
    return operation.gate.at_timeout if now >= gate_until(operation, operation.awaiting_since) else None
