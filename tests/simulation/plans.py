"""What a simulation is made of: scale sets, messages, faults and incidents.

All is listed before anything runs, so that a failing seed can be shrunk by leaving out one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.domain.resources import ScaleSet
from tests.simulation.faults import Fault

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """One instance: how it is shown at first, and how its maintenance ends after `takes` seconds. `ill`: how long it is
    not healthy after that; `waits`: how long after others of its call ARM comes to it."""

    name: str
    domain: int | None
    state: str = "eligible"
    ending: str = "completed"
    takes: float = 120.0
    ill: float = 0.0
    waits: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """A scale set. `health`: an application health extension reports."""

    scale_set: ScaleSet
    machines: tuple[MachinePlan, ...]
    flexible: bool = False
    health: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePlan:
    """A message that is sent `at` seconds: to the requests queue, or like an alert's to the operations queue."""

    at: float
    kind: str
    document: Mapping[str, Any] | bytes
    message_id: str
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Incident:
    """Something in the simulation at a time: `what`, for how long, to which of the scale sets and instances."""

    at: float
    what: str
    lasts: float = 0.0
    place: int = 0
    machine: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What holds for all of a simulation. `clocks`: how far each process's clock is ahead. `latency`: of a call. `lag`:
    how old views may be. `page`: of a peek. `commit`: how long an entry may be numbered before it shows. `views` and
    `wait_for_lease`: settings of the app; `policies`: its windows and blackouts, `policies.Policies`."""

    clocks: tuple[float, ...] = (0.0,)
    shuffled: bool = False
    latency: float = 0.02
    lag: float = 0.0
    page: int = 250
    commit: float = 0.0
    max_deliveries: int = 30
    ticks: int = 1
    letter_case: bool = False
    views: bool = True
    wait_for_lease: bool = True
    policies: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a simulation is made of, beside the seed of the order in which it runs."""

    seed: int
    sets: tuple[SetPlan, ...]
    messages: tuple[MessagePlan, ...]
    faults: tuple[Fault, ...] = ()
    incidents: tuple[Incident, ...] = ()
    knobs: Knobs = field(default_factory=Knobs)
