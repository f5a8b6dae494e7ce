"""What the promises know of each message and the run that follows from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.domain.operation import Operation
from tests.simulation.plans import MessagePlan


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that did not hold."""

    promise: str
    how: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.how}"


@dataclass
class Run:
    """What is known of one message, by the run id that follows from it."""

    message: MessagePlan | None
    enqueued_at: float
    ends: dict[str, bytes] = field(default_factory=dict)
    end_data: dict[str, Any] = field(default_factory=dict)
    ended_at: float | None = None
    answered_at: float | None = None
    # By Service Bus's clock; known once ARM took a call of it.
    deadline: float = math.inf
    buried: bool = False
    # S4: when it must have ended, as it was canceled while it waited.
    ends_by: float | None = None
    limit: float | None = None
    # Calls that named an instance: all, and those that ARM took.
    asked: Counter[str] = field(default_factory=Counter)
    asked_at: float | None = None
    taken: Counter[str] = field(default_factory=Counter)
    endings: dict[str, str] = field(default_factory=dict)
    by_others: set[str] = field(default_factory=set)
    # Whose maintenance was withdrawn in the run's time.
    withdrawn: set[str] = field(default_factory=set)
    # ARM said that it accepted a call, and that it failed at once: perhaps it did nothing.
    failed_at_once: bool = False
    # ARM called one of its calls failed: then only positive proof counts.
    reported_failed: bool = False
    # Until when each wave, from 1, was said to wait at its gate.
    awaited: dict[int, float] = field(default_factory=dict)


def same(one: MessagePlan | None, other: MessagePlan) -> bool:
    """Whether two messages ask for the same under the same id."""
    return one is not None and one.document == other.document


def cancels(cancellation: Run, document: Mapping[str, Any], enqueued_at: float) -> bool:
    """Whether a message cancels the request in a document that was enqueued then."""
    message = cancellation.message
    if message is None or message.kind != "cancel" or isinstance(message.document, bytes):
        return False
    names = ("vmScaleSetName", "subscriptionId")
    return (
        message.document["cancel"] == document.get("requestId")
        and all(message.document[name] == document.get(name) for name in names)
        and cancellation.enqueued_at >= enqueued_at
    )


def limit_of(operation: Operation) -> float | None:
    """The most that the run's rollout lets be down at once, as it was first planned."""
    rollout, total = operation.rollout, sum(len(wave) for wave in operation.waves)
    match rollout.max_instances_per_wave:
        case int(number):
            return number
        case str(share):
            return max(total * int(share.removesuffix("%")) // 100, 1)
    return None
