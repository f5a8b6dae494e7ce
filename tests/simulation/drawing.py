"""What a seed stands for: a plan drawn at random, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from maintenance.domain.resources import ScaleSet
from tests.simulation.faults import Fault, draw_faults
from tests.simulation.plans import (
    DAY,
    HOUR,
    MINUTE,
    SUBSCRIPTION,
    Incident,
    Knobs,
    MachinePlan,
    MessagePlan,
    Plan,
    SetPlan,
)
from tests.simulation.policies import with_policies

# Of all plans.
LATE_PLANNERS = 0.01
ELSEWHERE = "99999999-2222-3333-4444-555555555555"


def draw_plan(seed: int, *, policies: bool = True) -> Plan:
    """`policies`: with windows, blackouts and pauses, where the seed has some."""
    draw = random.Random(seed)
    quiet = draw.random() < 0.25
    sets = tuple(_scale_set(draw, number, quiet=quiet) for number in range(1 if draw.random() < 0.75 else 2))
    messages = _messages(draw, sets)
    plan = Plan(
        seed=seed,
        sets=sets,
        messages=messages,
        faults=draw_faults(draw),
        incidents=_incidents(draw, sets, messages[-1].at),
        knobs=_knobs(draw),
    )
    plan = _with_late_planner(plan)
    return with_policies(replace(plan, incidents=plan.incidents + _soon(plan))) if policies else plan


def _with_late_planner(plan: Plan) -> Plan:
    """Few plans: a lease takes long to put, its planner loses its lock, and the request is canceled. The lease comes
    between the two calls that release it. In none of 5,000 plans did that come about by chance."""
    draw, first = random.Random(f"late planner {plan.seed}"), plan.messages[0]
    if draw.random() >= LATE_PLANNERS or first.kind != "request" or isinstance(first.document, bytes):
        return plan
    document = {"cancel": first.document["requestId"], **_names_of(first)}
    cancel = MessagePlan(at=first.at + draw.uniform(0, 30), kind="cancel", document=document, message_id="cancel-late")
    late = (
        Fault("receive", 1, "lose", draw.uniform(0, 30)),
        Fault("put entry", 1, "slow", draw.uniform(20, 50)),
        Fault("use up", 1, "slow", draw.uniform(20, 50)),
    )
    points = {(each.point, each.nth) for each in late}
    faults = (*(each for each in plan.faults if (each.point, each.nth) not in points), *late)
    return replace(plan, messages=tuple(sorted((*plan.messages, cancel), key=lambda each: each.at)), faults=faults)


def _knobs(draw: random.Random) -> Knobs:
    count = draw.choice((1, 2, 2, 3))
    lowest = draw.choice((0.0, 0.0, -draw.uniform(0, 300)))
    spread = draw.choice((0.0, 30.0, 290.0))
    clocks = tuple(min(lowest + draw.uniform(0, spread), 240.0) for _ in range(count))
    return Knobs(
        clocks=clocks,
        shuffled=draw.random() < 0.5,
        # A clock that is behind makes each wait that much shorter: without slow calls a simulation would poll for ever.
        latency=4.0 if min(clocks) < 0 else draw.choice((0.02, 0.02, 0.5, 4.0)),
        lag=draw.choice((0.0, 20.0, 120.0, 120.0)),
        page=draw.choice((250, 1, 2)),
        commit=draw.choice((0.0, 0.0, 5.0, 60.0)),
        max_deliveries=draw.choice((30, 30, 10, 3, 2)),
        ticks=draw.choice((1, 2)),
        letter_case=draw.random() < 0.2,
        views=draw.random() > 0.05,
        wait_for_lease=draw.random() > 0.05,
    )


def _scale_set(draw: random.Random, number: int, *, quiet: bool) -> SetPlan:
    flexible = draw.random() < 0.2
    domains = draw.choice((1, 2, 3, 5))
    reported = draw.choice((1.0, 1.0, 1.0, 0.7, 0.0))
    earlier = draw.choice(("eligible", "eligible", "eligible", "earlier"))
    waits = draw.choice((0.0, 0.0, 300.0))
    machines = []
    for index in range(draw.randint(3, 8)):
        state, ending, ill = earlier, "completed", 0.0
        if not quiet:
            state = _weighed(
                draw, {earlier: 80, "completed": 5, "none": 4, "retry": 4, "ill": 3, "failed": 1, "barred": 2}
            )
            ending = _weighed(
                draw, {"completed": 80, "absent": 5, "retry": 4, "aborted": 3, "failed": 3, "second": 5, "barred": 1}
            )
            ill = draw.uniform(30, 1500) if draw.random() < 0.25 else 0.0
        machines.append(
            MachinePlan(
                name=f"web_{number}{index:x}a" if flexible else str(index),
                domain=index % domains if draw.random() < reported else None,
                state=state,
                ending=ending,
                takes=draw.choice((30.0, draw.uniform(60, 900))),
                ill=ill,
                waits=draw.uniform(0, waits) if index else 0.0,
            )
        )
    return SetPlan(
        scale_set=ScaleSet(SUBSCRIPTION, "web-rg", f"web{number}"),
        machines=tuple(machines),
        flexible=flexible,
        health=draw.random() < 0.5,
    )


def _messages(draw: random.Random, sets: tuple[SetPlan, ...]) -> tuple[MessagePlan, ...]:
    messages: list[MessagePlan] = []
    at = 60.0
    for number in range(draw.randint(1, 5)):
        kind = "request"
        if messages:
            kind = _weighed(
                draw, {"request": 46, "same": 12, "other": 8, "twice": 6, "cancel": 16, "bad": 4, "dry": 4, "alert": 8}
            )
        elif draw.random() < 0.06:
            kind = draw.choice(("bad", "cancel", "alert", "dry"))
        pause = _weighed(draw, {"now": 25, "soon": 35, "later": 25, "hours": 12, "days": 2})
        limits = {
            "now": (0, 2),
            "soon": (2, 120),
            "later": (120, 2400),
            "hours": (2400, 4 * HOUR),
            "days": (DAY, 2 * DAY),
        }
        at += draw.uniform(*limits[pause]) if messages else 0.0
        messages.append(_message(draw, sets, messages, kind, number, at))
    return tuple(messages)


def _message(
    draw: random.Random, sets: tuple[SetPlan, ...], before: list[MessagePlan], kind: str, number: int, at: float
) -> MessagePlan:
    chosen = draw.choice(sets)
    own_id = f"m{number}"
    requests = [each for each in before if each.kind not in ("cancel", "bad")]
    if kind == "bad":
        document: Mapping[str, Any] | bytes = draw.choice(
            (
                b"no JSON",
                {"requestId": f"req-{number}", **_names(chosen.scale_set), "instanceIds": []},
                {"requestId": f"req-{number}", "cancel": "req-0"},
                {**_names(ScaleSet(ELSEWHERE, "web-rg", "web0")), "requestId": "req-0"},
            )
        )
        return MessagePlan(at=at, kind=kind, document=document, message_id=own_id)
    if kind == "cancel":
        named = draw.choice(requests) if requests else None
        target = str(named.document["requestId"]) if named else "req-0"  # type: ignore[call-overload]
        names = _names_of(named) if named and draw.random() < 0.85 else _names(chosen.scale_set)
        if draw.random() < 0.1:
            target = "req-elsewhere"
        return MessagePlan(at=at, kind=kind, document={"cancel": target, **names}, message_id=own_id)
    if kind in ("same", "other", "twice") and requests:
        copied = draw.choice(requests)
        document = dict(copied.document)  # type: ignore[arg-type]
        if kind == "other":
            document["rollout"] = {"maxInstancesPerWave": draw.randint(1, 4)}
        own_id = copied.message_id if kind == "twice" else own_id
        return MessagePlan(at=at, kind=kind, document=document, message_id=own_id, alert=copied.alert)
    document = {"requestId": f"req-{number}", **_names(chosen.scale_set), **_options(draw, chosen, at)}
    if kind == "dry":
        document["dryRun"] = True
    alert = kind == "alert"
    return MessagePlan(
        at=at, kind=kind, document=document, message_id=f"alert-{number}" if alert else own_id, alert=alert
    )


def _options(draw: random.Random, chosen: SetPlan, at: float) -> dict[str, Any]:
    options: dict[str, Any] = {}
    names = [machine.name for machine in chosen.machines]
    if draw.random() < 0.6:
        options["instanceIds"] = draw.sample(names, draw.randint(1, len(names)))
        if draw.random() < 0.08:
            options["instanceIds"].append("77")
    rollout: dict[str, Any] = {}
    size = _weighed(draw, {"all": 25, "number": 40, "share": 25, "domain": 15})
    if size == "number":
        rollout["maxInstancesPerWave"] = draw.choice((1, 1, 2, 3))
    elif size == "share":
        rollout["maxInstancesPerWave"] = f"{draw.choice((10, 25, 34, 50))}%"
    elif size == "domain":
        rollout["byUpdateDomain"] = True
    if size != "all" and draw.random() < 0.3:
        rollout["pauseBetweenWaves"] = draw.choice(("PT2M", "PT15M", "PT40M"))
    if draw.random() < 0.4:
        rollout["maxFailedInstances"] = draw.choice((1, 2, 8))
    if draw.random() < 0.2:
        rollout["healthTimeout"] = draw.choice(("PT1M", "PT30M"))
    if rollout:
        options["rollout"] = rollout
    if draw.random() < 0.1:
        options["notBefore"] = at + draw.choice((-600.0, 300.0, 2000.0, 5 * HOUR, 26 * HOUR))
    if draw.random() < 0.35:
        start = max(options.get("notBefore", at), at)
        options["deadline"] = start + draw.choice((5 * MINUTE, 25 * MINUTE, 70 * MINUTE, 3 * HOUR, 9 * HOUR))
    if draw.random() < 0.07:
        options["ineligible"] = "reject"
    return options


def _incidents(draw: random.Random, sets: tuple[SetPlan, ...], last: float) -> tuple[Incident, ...]:
    kinds = {
        "foreign": 24,
        "foreign maintenance": 6,
        "in": 14,
        "out": 8,
        "withdrawn": 8,
        "outage": 12,
        "arm outage": 5,
        "window": 5,
        "fall ill": 8,
    }
    incidents = []
    for _ in range(draw.choice((0, 0, 1, 2, 4))):
        what = _weighed(draw, kinds)
        place = draw.randrange(len(sets))
        machine = draw.randrange(len(sets[place].machines))
        lasts = draw.choice((60.0, draw.uniform(60, 1200), draw.uniform(600, 3600)))
        incidents.append(Incident(draw.uniform(0, min(last, 2 * HOUR) + HOUR), what, lasts, place, machine))
    return tuple(incidents)


def _soon(plan: Plan) -> tuple[Incident, ...]:
    """In some plans, what strikes instances soon after a message: their maintenance is withdrawn, or their views are
    not reported for a while. Drawn by a chance of its own, so that what a seed stands for without it stays as it is."""
    draw = random.Random(f"soon after messages of {plan.seed}")
    incidents = []
    if draw.random() < 0.08:
        incidents += [("withdrawn", draw.uniform(2, 900), 0.0) for _ in range(draw.randint(1, 3))]
    if draw.random() < 0.12:
        incidents += [("hidden", draw.uniform(0, 1800), draw.uniform(60, 5400)) for _ in range(draw.randint(1, 2))]
    caused = []
    for what, after, lasts in incidents:
        place = draw.randrange(len(plan.sets))
        at = draw.choice(plan.messages).at + after
        caused.append(Incident(at, what, lasts, place, draw.randrange(len(plan.sets[place].machines))))
    return tuple(caused)


def _names(scale_set: ScaleSet) -> dict[str, Any]:
    return {
        "subscriptionId": scale_set.subscription_id,
        "resourceGroupName": scale_set.resource_group_name,
        "vmScaleSetName": scale_set.name,
    }


def _names_of(message: MessagePlan) -> dict[str, Any]:
    document = message.document
    assert not isinstance(document, bytes)
    return {name: document[name] for name in ("subscriptionId", "resourceGroupName", "vmScaleSetName")}


def _weighed(draw: random.Random, weights: Mapping[str, int]) -> str:
    return draw.choices(tuple(weights), tuple(weights.values()))[0]
