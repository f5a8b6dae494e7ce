"""A seed's story: run it, shrink it while it still fails, and tell in words what happened."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.simulation.drawing import draw_plan
from tests.simulation.faults import Fault
from tests.simulation.plans import Knobs, Plan
from tests.simulation.runs import Broken
from tests.simulation.simulation import Simulation

MOST_TRIALS = 400
LONGEST_LINE = 240


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed: the promises that did not hold, what occurred, and the trace as lines."""

    seed: int
    broken: tuple[Broken, ...]
    occurred: dict[str, int]
    trace: tuple[str, ...] = ()


def silence() -> None:
    """The product's warnings are part of its everyday life here; its errors go into the trace."""
    logger = logging.getLogger("maintenance")
    logger.setLevel(logging.ERROR)
    logger.propagate = False


def play(plan: Plan, *, traced: bool = False) -> Outcome:
    """One simulation from its beginning to its end."""
    simulation = Simulation(plan)
    promises = simulation.run()
    trace = tuple(_lines(simulation)) if traced else ()
    return Outcome(plan.seed, tuple(promises.broken), dict(simulation.occurred), trace)


def play_seed(seed: int, *, policies: bool = True) -> Outcome:
    return play(draw_plan(seed, policies=policies))


def shrink(plan: Plan, promise: str, *, most_trials: int = MOST_TRIALS) -> Plan:
    """The smallest plan found that still breaks this promise: one thing after the other is left out."""
    trials = 0

    def fails(candidate: Plan) -> bool:
        nonlocal trials
        trials += 1
        if trials > most_trials:
            return False
        with contextlib.suppress(Exception):
            return any(each.promise == promise for each in play(candidate).broken)
        return False

    for knobs in _simpler(plan.knobs):
        if fails(candidate := replace(plan, knobs=knobs(plan.knobs))):
            plan = candidate
    before = None
    while before != plan:
        before = plan
        plan = _without_faults(plan, fails)
        for message in plan.messages:
            fewer = tuple(other for other in plan.messages if other is not message)
            if fewer and fails(candidate := replace(plan, messages=fewer)):
                plan = candidate
        for incident in plan.incidents:
            calmer = tuple(other for other in plan.incidents if other is not incident)
            if fails(candidate := replace(plan, incidents=calmer)):
                plan = candidate
        plan = _with_healthy_machines(plan, fails)
    return plan


def _without_faults(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    if fails(candidate := replace(plan, faults=())):
        return candidate
    for fault in plan.faults:
        left = tuple(other for other in plan.faults if other is not fault)
        if fails(candidate := replace(plan, faults=left)):
            plan = candidate
    return plan


def _with_healthy_machines(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    for place, scale_set in enumerate(plan.sets):
        for number, machine in enumerate(scale_set.machines):
            plain = replace(machine, state="eligible", ending="completed", ill=0.0, waits=0.0)
            if machine == plain:
                continue
            machines = (*plan.sets[place].machines[:number], plain, *plan.sets[place].machines[number + 1 :])
            changed = replace(plan.sets[place], machines=machines)
            sets = (*plan.sets[:place], changed, *plan.sets[place + 1 :])
            if fails(candidate := replace(plan, sets=sets)):
                plan = candidate
    return plan


def _simpler(knobs: Knobs) -> Iterator[Callable[[Knobs], Knobs]]:
    plain = Knobs()
    yield lambda now: replace(now, clocks=(0.0,))
    yield lambda now: replace(now, clocks=tuple(0.0 for _ in now.clocks))
    for name in ("shuffled", "latency", "lag", "page", "commit", "max_deliveries", "ticks", "letter_case", "policies"):
        if getattr(knobs, name) != getattr(plain, name):
            yield lambda now, name=name: replace(now, **{name: getattr(plain, name)})  # type: ignore[misc]


def tell(plan: Plan) -> str:
    """The story of a plan, shrunk if it fails."""
    first = play(plan)
    if first.broken:
        plan = shrink(plan, first.broken[0].promise)
    outcome = play(plan, traced=True)
    lines = [f"Seed {plan.seed}: {'; '.join(str(each) for each in outcome.broken) or 'every promise holds'}", ""]
    for scale_set in plan.sets:
        kind = "Flexible" if scale_set.flexible else "Uniform"
        machines = ", ".join(
            f"{each.name} (domain {each.domain}, {each.state}, then {each.ending} after {each.takes:.0f} s"
            f"{f', ill {each.ill:.0f} s' if each.ill else ''}{f', {each.waits:.0f} s late' if each.waits else ''})"
            for each in scale_set.machines
        )
        lines.append(f"{kind} set {scale_set.scale_set.name}: {machines}")
    lines += [f"All through: {plan.knobs}", f"Faults: {_listed(plan.faults)}", ""]
    return "\n".join([*lines, *outcome.trace])


def _listed(faults: tuple[Fault, ...]) -> str:
    return "; ".join(str(fault) for fault in faults) or "none"


def _lines(simulation: Simulation) -> Iterator[str]:
    for at, text, parts in simulation.trace:
        yield f"{at:10.1f} s  {text.format(*parts)}"[:LONGEST_LINE]
