"""Plan of the soak, made from one seed: many scale sets, and requests of all kinds."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from sandbox.resource_manager import Fault, InstanceSeed, Outcome, ScaleSetSeed

GROUP = "soak"
Target = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """Request with its targets (scale set, instance id). `invalid`: it must be rejected. `gated`: its first wave waits
    for a proceed. `windowed`: it starts in every other minute alone."""

    request_id: str
    body: bytes
    subscription_id: str
    targets: tuple[Target, ...] = ()
    invalid: bool = False
    gated: bool = False
    windowed: bool = False


@dataclass
class Plan:
    """Scale sets and requests. `outcomes`: the outcome of each instance's first maintenance; `named`: its requests."""

    scale_sets: list[ScaleSetSeed] = field(default_factory=list)
    requests: list[PlannedRequest] = field(default_factory=list)
    outcomes: dict[Target, Outcome] = field(default_factory=dict)
    named: Counter[Target] = field(default_factory=Counter)

    @property
    def subscriptions(self) -> list[str]:
        return sorted({each.subscription_id for each in self.scale_sets})


def make_plan(*, requests: int, scale_sets: int, subscriptions: int, seed: int) -> Plan:
    """Make requests for two instances each, most of which are named once.

    A tenth are rollouts of one instance per wave, one in twenty names instances of another request, one in twenty has a
    gate, one in twenty a window of its own, and one in fifty is invalid. One maintenance in twenty-five fails.
    """
    chance = Random(seed)  # noqa: S311 - not for secrets
    plan = Plan()
    ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(subscriptions)]
    pairs = -(-requests // scale_sets)
    for number in range(scale_sets):
        seeded = _scale_set(ids[number % subscriptions], f"set{number:03}", 2 * pairs, chance)
        plan.scale_sets.append(seeded)
        plan.outcomes.update({(seeded.name, each.instance_id): _first(each) for each in seeded.instances})
    order = [(pair, place) for pair in range(pairs) for place in range(scale_sets)][:requests]
    for number, (pair, place) in enumerate(order):
        plan.requests.append(_request(number, pair, plan.scale_sets[place], chance))
    plan.named.update(target for request in plan.requests for target in request.targets)
    return plan


def arm_faults(share: float, seed: int) -> Iterator[Fault]:
    """Faults that fail a `share` of the calls to ARM at random, with every transient error."""
    kinds: list[dict[str, Any]] = [
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 500},
        {"status": 503, "headers": {"Retry-After": "1"}},
        {"status": 504, "work": True},
        {"status": 502, "body": "<html><body>Bad gateway</body></html>"},
        {"cut": "before"},
        {"cut": "after"},
    ]
    for number, kind in enumerate(kinds):
        yield Fault(times=None, rate=share / len(kinds), seed=seed * 100 + number, **kind)


def _scale_set(subscription_id: str, name: str, size: int, chance: Random) -> ScaleSetSeed:
    def instance(number: int) -> InstanceSeed:
        dice = chance.random()
        outcome: Outcome | tuple[Outcome, ...] = "Succeeded"
        if dice < 0.04:
            outcome = "Failed" if dice < 0.02 else ("RetryLater", "Succeeded")
        return InstanceSeed(str(number), duration=timedelta(seconds=chance.uniform(1, 8)), outcome=outcome)

    instances = tuple(instance(number) for number in range(size))
    return ScaleSetSeed(subscription_id, GROUP, name, instances=instances)


def _first(instance: InstanceSeed) -> Outcome:
    return instance.outcome if isinstance(instance.outcome, str) else instance.outcome[0]


def _request(number: int, pair: int, scale_set: ScaleSetSeed, chance: Random) -> PlannedRequest:
    request_id = f"soak-{number:05}"
    dice = chance.random()
    named = [str(2 * pair), str(2 * pair + 1)]
    body: dict[str, Any] = {
        "subscriptionId": scale_set.subscription_id,
        "resourceGroupName": GROUP,
        "vmScaleSetName": scale_set.name,
        "instanceIds": named,
    }
    if dice < 0.02:
        misspelt = {**body, "instanceIdz": body.pop("instanceIds")}
        return PlannedRequest(request_id, json.dumps(misspelt).encode(), scale_set.subscription_id, invalid=True)
    if dice < 0.07 and pair:
        # Instances of the previous request: maintained by then, under maintenance, or requested at the same time.
        body["instanceIds"] = named = [str(2 * pair - 1), str(2 * pair)]
    elif dice < 0.17:
        body["rollout"] = {"maxInstancesPerWave": 1}
    elif dice < 0.22:
        body["rollout"] = {"gate": "first", "gateTimeout": "PT2H"}
    elif dice < 0.27:
        body["windows"] = [{"schedule": "*/2 * * * *", "duration": "PT1M"}]
    targets = tuple((scale_set.name, instance_id) for instance_id in named)
    return PlannedRequest(
        request_id,
        json.dumps(body).encode(),
        scale_set.subscription_id,
        targets,
        gated="gate" in body.get("rollout", {}),
        windowed="windows" in body,
    )
