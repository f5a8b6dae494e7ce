"""Windows, blackouts, pauses, limits and gates of a plan: drawn at random beside all else, and what they forbid,
reckoned once more.

Drawn by a chance of its own, so that what a seed stands for without them stays as it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from maintenance.domain.calendars import Blackout, Window
from maintenance.domain.operation import Operation
from maintenance.operations.bus_clock import WORTH_TELLING
from maintenance.policies.calendar import Calendar
from maintenance.policies.limits import Limits
from tests.simulation.clock import EPOCH
from tests.simulation.gates import gated, shut
from tests.simulation.plans import HOUR, MINUTE, SUBSCRIPTION, MessagePlan, Plan
from tests.simulation.runs import Run

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.simulation import Simulation

# What is in force once it was answered, for whoever reads the coordination queue then (S4), as in `promises`.
LOOK = 61.0
# How much the clock of a pause's end, Service Bus's, may differ from the one by which it was planned.
ROUNDING = 1.0


@dataclass(frozen=True, slots=True)
class Opening:
    """A window that opens every `hours` hours, at a minute of the hour, for so many minutes; by UTC."""

    hours: int
    minute: int
    minutes: int

    @property
    def schedule(self) -> str:
        return f"{self.minute} */{self.hours} * * *"

    @property
    def document(self) -> dict[str, str]:
        return {"schedule": self.schedule, "duration": f"PT{self.minutes}M"}

    def is_open(self, seconds: float) -> bool:
        """Reckoned without what the product reckons by. `EPOCH` is a midnight."""
        return (seconds - self.minute * MINUTE) % (self.hours * HOUR) < self.minutes * MINUTE


@dataclass(frozen=True, slots=True)
class Policies:
    """Those of the app: its windows, limits and blackouts. `blackout`: its begin and end, in seconds. `answers`:
    somebody answers where waves wait at their gates."""

    opening: Opening | None = None
    limits: Limits = field(default_factory=Limits)
    blackout: tuple[float, float] | None = None
    answers: bool = False

    @property
    def calendar(self) -> Calendar:
        groups: tuple[tuple[Window, ...], ...] = ()
        if self.opening is not None:
            groups = ((Window(self.opening.schedule, timedelta(minutes=self.opening.minutes)),),)
        if self.blackout is None:
            return Calendar(groups)
        start, end = (EPOCH + timedelta(seconds=each) for each in self.blackout)
        return Calendar(groups, (Blackout(start, end, "simulated"),))


def with_policies(plan: Plan) -> Plan:
    """The plan, and in some plans windows, blackouts and pauses."""
    draw = random.Random(f"policies of {plan.seed}")
    if draw.random() > 0.4:
        return plan
    last = plan.messages[-1].at
    policies = Policies(
        opening=_opening(draw) if draw.random() < 0.5 else None,
        blackout=(start := draw.uniform(0, last + HOUR), start + draw.uniform(MINUTE, 4 * HOUR))
        if draw.random() < 0.3
        else None,
    )
    if plan.knobs.views and draw.random() < 0.25:
        policies = replace(policies, limits=_limits(draw))
        plan = _with_others(draw, plan)
    windows = {f"req-{number}": _opening(draw) for number in range(9) if draw.random() < 0.3}
    messages = [_windowed(each, windows) for each in plan.messages]
    if draw.random() < 0.6:
        messages += _pauses(draw, plan, last)
    if draw.random() < 0.4:
        messages, policies = gated(draw, messages, last), replace(policies, answers=True)
    return replace(
        plan,
        messages=tuple(sorted(messages, key=lambda each: each.at)),
        knobs=replace(plan.knobs, policies=policies),
    )


def _opening(draw: random.Random) -> Opening:
    return Opening(draw.choice((1, 1, 2, 4)), draw.choice((0, 17, 45)), draw.choice((4, 15, 50)))


def _limits(draw: random.Random) -> Limits:
    return Limits(
        scale_sets=draw.choice((None, 1, 1)),
        instances=draw.choice((None, 2, 4)),
        per=draw.choice(("app", "subscription", "region")),
        instances_per_scale_set=draw.choice((None, 1, 2, "34%")),
    )


def _with_others(draw: random.Random, plan: Plan) -> Plan:
    """The plan, with further sets like its first one, and requests for them at about the same times."""
    sets, messages = list(plan.sets), list(plan.messages)
    for number in range(len(sets), draw.randint(2, 3)):
        name = f"web{number}"
        sets.append(replace(sets[0], scale_set=replace(sets[0].scale_set, name=name)))
        for message in plan.messages:
            document = message.document
            if message.kind == "request" and not isinstance(document, bytes):
                copied = {**document, "vmScaleSetName": name}
                at, message_id = (
                    message.at + draw.choice((0.0, 1.0, draw.uniform(0, 900))),
                    f"{message.message_id}-{name}",
                )
                messages.append(replace(message, at=at, document=copied, message_id=message_id))
    messages.sort(key=lambda each: each.at)
    return replace(plan, sets=tuple(sets), messages=tuple(messages))


def _windowed(message: MessagePlan, windows: Mapping[str, Opening]) -> MessagePlan:
    document = message.document
    if isinstance(document, bytes) or message.kind in ("bad", "cancel"):
        return message
    opening = windows.get(str(document.get("requestId")))
    return replace(message, document={**document, "windows": [opening.document]}) if opening else message


def _pauses(draw: random.Random, plan: Plan, last: float) -> Iterator[MessagePlan]:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web-rg"
    scopes = [SUBSCRIPTION, group, *(each.scale_set.resource_id for each in plan.sets)]
    at, scope = draw.uniform(0, last + HOUR), draw.choice(scopes)
    for number in range(draw.randint(1, 4)):
        kind = "resume" if number % 2 else "pause"
        asked: dict[str, Any] = {"scope": scope if draw.random() < 0.8 else draw.choice(scopes)}
        if kind == "pause" and draw.random() < 0.5:
            asked["until"] = at + draw.uniform(MINUTE, 3 * HOUR)
        yield MessagePlan(at=at, kind=kind, document={kind: asked}, message_id=f"{kind}-{number}")
        at += draw.choice((1.0, draw.uniform(MINUTE, HOUR), draw.uniform(HOUR, 3 * HOUR)))


# ------------------------------------------------------------------ what they forbid


def forbidden(
    simulation: Simulation, runs: Mapping[str, Run], operation: Operation, process: Process
) -> Iterator[tuple[str, str]]:
    """Each promise that a start breaks now, which a window, blackout, pause or gate forbids; and how."""
    run, short = runs[operation.run_id], operation.run_id[:6]
    knobs = simulation.plan.knobs
    policies = knobs.policies or Policies()
    document = run.message.document if run.message else b""
    # Where the process's clock is behind, the time of Service Bus's that it has seen counts: what it sees of that
    # is as old as the message that showed it, so it may have been any moment since.
    now, own = simulation.loop.time(), process.seconds()
    ago = range(int(WORTH_TELLING.total_seconds()) + 1)
    why = closed(policies, document, own)
    if why is not None and all(closed(policies, document, now - seconds) for seconds in ago):
        yield "windows", f"run {short} posts {why}"
    if (why_shut := shut(runs, run, operation.wave + 1, now + max(0.0, *knobs.clocks))) is not None:
        yield "gates", f"run {short} posts wave {operation.wave + 1}, {why_shut}"
    if (pause := paused(runs, operation.scale_set.key, now)) is not None:
        yield "S4", f"run {short} posts in the pause {pause[:6]}"


def most_of(bound: int | str | None, total: int) -> int | None:
    """How many instances of a set a number or share allows."""
    if isinstance(bound, str):
        return max(1, math.floor(total * float(bound.removesuffix("%")) / 100))
    return bound


def closed(policies: Policies, document: object, seconds: float) -> str | None:
    """Why no wave of a request may start at a time by the worker's clock; None where one may."""
    if policies.blackout is not None and policies.blackout[0] <= seconds < policies.blackout[1]:
        return "in a blackout"
    openings = [policies.opening] if policies.opening else []
    if isinstance(document, Mapping):
        openings += [_opening_of(window) for window in document.get("windows", ())]
    return None if all(each.is_open(seconds) for each in openings) else "outside its windows"


def _opening_of(window: Mapping[str, str]) -> Opening:
    minute, hours = window["schedule"].split()[:2]
    return Opening(int(hours.removeprefix("*/")), int(minute), int(window["duration"].strip("PTM")))


def paused(runs: Mapping[str, Run], scale_set: str, now: float) -> str | None:
    """Which pause covers a scale set, by its key, and was answered so long ago that everybody has read it; None where
    none does. A resume that was sent may be in force, whether it was answered or not."""
    resumes = [each for each in runs.values() if _asked(each, "resume")]
    for run_id, pause in runs.items():
        asked = _asked(pause, "pause")
        if not asked or pause.answered_at is None or now <= pause.answered_at + LOOK:
            continue
        if now >= asked.get("until", now + 1) - ROUNDING or not _covers(asked["scope"], scale_set):
            continue
        if not any(
            resume.enqueued_at >= pause.enqueued_at
            and _covers(_asked(resume, "resume")["scope"], _path(asked["scope"]))
            for resume in resumes
        ):
            return run_id
    return None


def _asked(run: Run, kind: str) -> Mapping[str, Any]:
    message = run.message
    if message is None or message.kind != kind or isinstance(message.document, bytes):
        return {}
    asked: Mapping[str, Any] = message.document[kind]
    return asked


def _path(scope: str) -> str:
    return scope.lower() if scope.startswith("/") else f"/subscriptions/{scope}".lower()


def _covers(scope: str, other: str) -> bool:
    return f"{other}/".startswith(f"{_path(scope)}/")
