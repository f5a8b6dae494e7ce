"""What goes wrong: at the nth call of a kind a death, a freeze, an error before or after the effect, or its own."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# How often a kind of call is chosen for a fault, and how many calls of it a simulation has, more or less.
POINTS = {
    "receive": (9, 40),
    "receive post": (8, 6),
    "send": (12, 40),
    "schedule": (8, 6),
    "cancel record": (3, 4),
    "complete": (12, 50),
    "publish": (8, 14),
    "peek": (6, 60),
    "put entry": (7, 5),
    "cancel entry": (4, 4),
    "use up": (3, 2),
    "post": (22, 8),
    "poll": (8, 14),
    "list": (10, 40),
    "mode": (1, 2),
    "request": (5, 6),
    "complete request": (5, 6),
    "dead receive": (1, 3),
    "dead complete": (1, 3),
}
ANYWHERE = {
    "kill before": 20,
    "kill after": 20,
    "raise before": 8,
    "raise after": 14,
    "freeze before": 10,
    "freeze after": 10,
    "slow": 6,
    "blackout": 5,
}
OWN: dict[str, dict[str, int]] = {
    "receive": {"lose": 12, "lose uncounted": 12, "dead-letter": 8},
    "receive post": {"overtaken": 40, "lose": 10, "lose uncounted": 10, "dead-letter": 10},
    "send": {"raise halfway": 8, "down": 6},
    "publish": {"raise halfway": 8, "down": 6},
    "post": {
        "lost, done": 24,
        "lost, not done": 24,
        "late": 12,
        "refuse 400": 6,
        "refuse 404": 6,
        "refuse 409": 8,
        "conflict": 8,
        "throttle": 10,
        "no connection": 5,
        "denied": 2,
        "no token": 3,
        "failed": 3,
        "no url": 6,
        "untrusted": 2,
    },
    "poll": {"throttle": 10, "unreadable": 10, "gone": 8, "forbidden": 5, "failed": 8, "canceled": 4, "untrusted": 2},
    "list": {"throttle": 8, "unreported": 25, "refuse 403": 2, "error": 10},
    "peek": {"down": 6},
    "request": {"raise before": 8},
}
# The settle time allows so much between the last reading of the stopwatch and the socket: docs/reliability.md.
LONGEST_FREEZE_OF_A_POST = 540.0


LASTING = ("freeze", "slow", "down", "lose", "late", "overtaken", "blackout")


@dataclass(frozen=True, slots=True)
class Fault:
    """At the `nth` call (from 1) of the kind `point`. `seconds`: how long it lasts, where it lasts."""

    point: str
    nth: int
    effect: str
    seconds: float = 0.0

    def __str__(self) -> str:
        lasts = f" ({self.seconds:.0f} s)" if self.effect.startswith(LASTING) else ""
        return f"{self.effect}{lasts} at {self.point} no. {self.nth}"


class Faults:
    """Those of one simulation, met as its calls are made."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._at = {(fault.point, fault.nth): fault for fault in faults}
        self._calls: Counter[str] = Counter()
        self.met: list[Fault] = []

    def meet(self, point: str) -> Fault | None:
        self._calls[point] += 1
        fault = self._at.get((point, self._calls[point]))
        if fault is not None:
            self.met.append(fault)
        return fault


def draw_faults(draw: random.Random) -> tuple[Fault, ...]:
    count = draw.choice((0, 1, 2, 3, 5, 8, 12))
    # What was frozen before the socket, and an early loss of a lock that was not counted, share the settle time.
    frozen_posts = draw.random() < 0.5
    faults: dict[tuple[str, int], Fault] = {}
    points = tuple(POINTS)
    weights = tuple(weight for weight, _ in POINTS.values())
    for _ in range(count):
        point = draw.choices(points, weights)[0]
        own = OWN.get(point, {})
        kinds = {**ANYWHERE, **{effect: 2 * weight for effect, weight in own.items()}}
        effect = draw.choices(tuple(kinds), tuple(kinds.values()))[0]
        if point == "receive post":
            effect = draw.choices(tuple(own), tuple(own.values()))[0]
            if effect == "overtaken" and frozen_posts:
                effect = "lose"
            seconds = draw.uniform(25, 55) if effect == "overtaken" else draw.choice((0.0, draw.uniform(0, 60)))
        elif effect == "blackout":
            seconds = draw.choice((draw.uniform(60, 600), draw.uniform(900, 3600)))
        elif point == "post" and effect.startswith("freeze b"):
            seconds = draw.uniform(30, LONGEST_FREEZE_OF_A_POST) if frozen_posts else draw.uniform(5, 90)
        elif effect == "lose uncounted" and frozen_posts:
            effect, seconds = "lose", draw.uniform(0, 200)
        elif effect.startswith("freeze"):
            seconds = draw.choice((draw.uniform(20, 280), draw.uniform(280, 700), draw.uniform(700, 5400)))
        elif effect == "slow":
            seconds = draw.uniform(5, 40)
        elif effect == "down":
            seconds = draw.uniform(30, 600)
        else:
            seconds = draw.uniform(0, 60)
        nth = 1 + int(POINTS[point][1] * draw.random() ** 2)
        faults[point, nth] = Fault(point, nth, effect, seconds)
    return tuple(faults.values())
