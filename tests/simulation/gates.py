"""Gates of a plan: drawn at random beside its other policies, somebody who answers them, and what they forbid, reckoned
once more."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from maintenance.domain.messages import MaintenanceEvent
from tests.simulation.plans import HOUR, MINUTE, MessagePlan
from tests.simulation.runs import Run

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

# Which workers' clock said that the time was out is not known; a second for rounding.
ROUNDING = 1.0
NAMES = ("subscriptionId", "resourceGroupName", "vmScaleSetName")


def gated(draw: random.Random, messages: Iterable[MessagePlan], last: float) -> list[MessagePlan]:
    """The messages, some of their requests with gates, and proceeds that nobody asked for: early, late, in vain."""
    gates = {f"req-{number}": _gate(draw) for number in range(9) if draw.random() < 0.6}
    found = [_with_gate(each, gates) for each in messages]
    asked = [
        each for each in found if each.kind in ("request", "alert", "same", "other") and _rollout(each).get("gate")
    ]
    for number in range(draw.randint(0, 3) if asked else 0):
        named = draw.choice(asked)
        assert not isinstance(named.document, bytes)
        document = {
            "proceed": named.document["requestId"] if draw.random() < 0.85 else "req-elsewhere",
            "wave": draw.choice((1, 1, 2, 3)),
            **{name: named.document[name] for name in NAMES},
        }
        at = max(named.at + draw.choice((-5.0, draw.uniform(0, 10 * MINUTE), draw.uniform(0, 3 * HOUR))), 0.0)
        found.append(
            MessagePlan(at=min(at, last + 6 * HOUR), kind="proceed", document=document, message_id=f"go-{number}")
        )
    return found


def _gate(draw: random.Random) -> dict[str, str]:
    gate = {"gate": draw.choice(("first", "everyWave", "everyWave")), "atGateTimeout": draw.choice(("stop", "proceed"))}
    if draw.random() < 0.8:
        gate["gateTimeout"] = draw.choice(("PT0S", "PT2M", "PT20M", "PT3H"))
    return gate


def _rollout(message: MessagePlan) -> Mapping[str, Any]:
    document = message.document
    return {} if isinstance(document, bytes) else document.get("rollout", {})


def _with_gate(message: MessagePlan, gates: Mapping[str, dict[str, str]]) -> MessagePlan:
    document = message.document
    if isinstance(document, bytes) or message.kind in ("bad", "cancel", "pause", "resume"):
        return message
    gate = gates.get(str(document.get("requestId")))
    return replace(message, document={**document, "rollout": {**_rollout(message), **gate}}) if gate else message


def answer(simulation: Simulation, event: MaintenanceEvent) -> None:
    """Somebody reads that a wave waits at its gate, and says something, or nothing. Events are read more than once."""
    draw = random.Random(f"{simulation.plan.seed} {event.event_id}")
    chance = draw.random()
    if chance > 0.75:
        return
    data = event.data
    names = {name: data[name] for name in NAMES}
    wave = int(data["wave"]) + (draw.choice((-1, 1)) if chance < 0.08 else 0)
    document: dict[str, Any] = {"proceed": data["requestId"], "wave": max(wave, 1), **names}
    kind = "proceed"
    if chance > 0.7:
        kind, document = "cancel", {"cancel": data["requestId"], **names}
    pause = draw.choice(
        (1.0, draw.uniform(1, 10 * MINUTE), draw.uniform(1, 10 * MINUTE), draw.uniform(MINUTE, 4 * HOUR))
    )
    message = MessagePlan(at=0.0, kind=kind, document=document, message_id=f"{kind}-{event.event_id}")
    simulation.later(pause, simulation.enqueue, message)


# ------------------------------------------------------------------ what they forbid


def shut(runs: Mapping[str, Run], run: Run, wave: int, now: float) -> str | None:
    """Why the gate of a wave, from 1, is shut at a time by the clock that is furthest ahead; None where it has none, or
    is open."""
    if run.message is None or isinstance(run.message.document, bytes):
        return None
    document = run.message.document
    gate = _rollout(run.message)
    started = run.failed_at_once or any(run.taken.values())
    if not gate.get("gate") or (gate["gate"] == "first" and started):
        return None
    if wave not in run.awaited:
        return "and nobody was asked"
    for other in runs.values():
        said = other.message.document if other.message and other.message.kind == "proceed" else {}
        if not isinstance(said, bytes) and said.get("proceed") == document["requestId"]:
            to_this = said["wave"] == wave and all(said[name] == document[name] for name in NAMES)
            if to_this and other.enqueued_at >= run.enqueued_at:
                return None
    if gate["atGateTimeout"] == "proceed" and now >= run.awaited[wave] - ROUNDING:
        return None
    return "and nobody said that it may"
