"""Rules that decide which scale sets an alert starts maintenance on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.alerts.schemas import Alert, HealthEvent, normal, plain
from maintenance.domain.errors import InvalidAlert, Problem
from maintenance.domain.instances import NO_TAGS, Tags
from maintenance.domain.message_ids import short_hash
from maintenance.domain.resources import GUID, ScaleSet, Scope, fold, instance_problem, parse_scale_set_id

SERVICES = ("Virtual Machines", "Virtual Machine Scale Sets")
# One update domain at a time, as Azure itself does, and at most a fifth of the instances if there are none.
CAREFUL_ROLLOUT: Mapping[str, Any] = {"byUpdateDomain": True, "maxInstancesPerWave": "20%"}
# The stages of a Service Health event in which maintenance starts.
ACTING_STAGES = ("planned", "active", "inprogress", "rescheduled")
CUSTOM_PROPERTY, CUSTOM_VALUE = "maintenance", "perform"
_SCALE_SET_TARGET = re.compile(r"(.*/virtualMachineScaleSets/[^/]*)(?:/virtualMachines/([^/]*))?/?", re.I | re.DOTALL)
_SUBSCRIPTION = re.compile(rf"/subscriptions/({GUID.pattern})(?:/.*)?", re.IGNORECASE | re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRules:
    """Settings that decide which alerts start maintenance, and how. An empty `severities` or `regions` is no limit.

    `rules` are names or resource ids of alert rules whose alerts start maintenance on the scale sets they target.
    `services` are names of Service Health. `rollout` is the JSON of a request's `rollout`. `custom_property`: an alert
    of any rule may ask for maintenance by a custom property. `scopes` are what this app may touch: what an alert names
    beside them is dropped; None is no limit.
    """

    rules: tuple[str, ...] = ()
    services: tuple[str, ...] = SERVICES
    severities: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    rollout: Mapping[str, Any] = field(default_factory=lambda: CAREFUL_ROLLOUT)
    dry_run: bool = False
    custom_property: bool = False
    scopes: tuple[Scope, ...] | None = None

    def allows(self, scale_set: ScaleSet) -> bool:
        return self.scopes is None or any(scope.contains(scale_set) for scope in self.scopes)

    def allows_subscription(self, subscription_id: str) -> bool:
        """Whether anything in the subscription is within the scopes."""
        key = fold(subscription_id)
        return self.scopes is None or any(fold(scope.subscription_id) == key for scope in self.scopes)


@dataclass(frozen=True, slots=True)
class Target:
    """Scale set to request maintenance for. No `instance_ids`: all instances. `tags`: as far as they were listed."""

    scale_set: ScaleSet
    instance_ids: tuple[str, ...] | None = None
    tags: Tags = NO_TAGS


@dataclass(frozen=True, slots=True)
class Search:
    """Subscription to search for scale sets with planned maintenance. No `regions`: in all regions."""

    subscription_id: str
    regions: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Decision on an alert, with its reason. Nothing is to be done if there are no targets and no searches.

    `origin` is equal for alerts that must not start maintenance on a scale set twice: updates of one Service Health
    event in one stage, and deliveries of one alert. `dropped` counts what the alert names beside the allowed scopes.
    """

    reason: str
    origin: str = ""
    targets: tuple[Target, ...] = ()
    searches: tuple[Search, ...] = ()
    test: bool = False
    dropped: int = 0


def decide(alert: Alert, rules: AlertRules) -> Decision:
    """Decide on an alert. Raises InvalidAlert, with every problem, if an alert to act on is incomplete."""
    if alert.test:
        return Decision(reason=f"This is a test alert of Azure Monitor: {alert.test}.", test=True)
    if alert.unsupported:
        return Decision(reason=alert.unsupported)
    if alert.condition.lower() != "fired":
        return Decision(reason=f"The alert's condition is {plain(alert.condition) or 'missing'}, not Fired.")
    if rules.severities and alert.severity.lower() not in (severity.lower() for severity in rules.severities):
        severity = plain(alert.severity) or "missing"
        return Decision(
            reason=f"The alert's severity is {severity}; MAINTENANCE_ALERT_SEVERITIES allows {_list(rules.severities)}."
        )
    if alert.health is not None:
        return _decide_health(alert, alert.health, rules)
    return _decide_targets(alert, rules)


def _decide_health(alert: Alert, health: HealthEvent, rules: AlertRules) -> Decision:
    if normal(health.incident_type) != "maintenance":
        incident_type = plain(health.incident_type) or "missing"
        return Decision(reason=f"The event's incident type is {incident_type}, not Maintenance.")
    if normal(health.stage) not in ACTING_STAGES:
        stage = plain(health.stage) or "missing"
        return Decision(reason=f"The event's stage is {stage}, in which no maintenance is started.")
    services = {normal(service) for service in rules.services}
    impacts = [impact for impact in health.impacts if normal(impact.service) in services]
    if not impacts:
        named = _list(plain(impact.service) for impact in health.impacts) or "no service"
        return Decision(reason=f"The event names {named}; MAINTENANCE_ALERT_SERVICES allows {_list(rules.services)}.")
    impacted = {normal(region): region for impact in impacts for region in impact.regions if normal(region)}
    targets = {found[1].lower(): found[1] for each in alert.targets if (found := _SUBSCRIPTION.fullmatch(each))}
    subscriptions = [each for each in targets.values() if rules.allows_subscription(each)]
    dropped = len(targets) - len(subscriptions)
    problems = []
    if not impacted:
        problems.append(Problem("impactedServices", "names no region for the services in MAINTENANCE_ALERT_SERVICES"))
    if not targets:
        problems.append(Problem("alertTargetIDs", "names no subscription", plain(_list(alert.targets)) or None))
    if not health.tracking_id:
        problems.append(Problem("trackingId", "is missing; it distinguishes an update from a new event"))
    if problems:
        raise InvalidAlert(tuple(problems))
    if not subscriptions:
        return Decision(reason=f"The event is for {_outside(dropped, 'subscription')}.", dropped=dropped)
    regions = _regions(impacted, rules)
    if regions is not None and not regions:
        where = _list(plain(region) for region in impacted.values())
        return Decision(reason=f"The event names {where}; MAINTENANCE_ALERT_REGIONS allows {_list(rules.regions)}.")
    where = _list(plain(region) for region in impacted.values())
    what = _list(dict.fromkeys(plain(impact.service) for impact in impacts))
    title = f": {health.title}" if health.title else ""
    event = f"Service Health {plain(health.tracking_id)}, {plain(health.stage)} maintenance of {what} in {where}{title}"
    return Decision(
        reason=plain(event, 500),
        origin=short_hash("service health", health.tracking_id.lower(), normal(health.stage)),
        searches=tuple(Search(subscription, regions) for subscription in subscriptions),
        dropped=dropped,
    )


def _regions(impacted: Mapping[str, str], rules: AlertRules) -> tuple[str, ...] | None:
    """The regions to search, as ARM spells locations; None for all. `Global` stands for all regions."""
    allowed = {normal(region) for region in rules.regions}
    if "global" in impacted:
        return tuple(sorted(allowed)) or None
    return tuple(sorted(set(impacted) & allowed if allowed else impacted))


def _decide_targets(alert: Alert, rules: AlertRules) -> Decision:
    names = {fold(name) for name in (alert.rule, alert.rule_id) if name}
    named = bool(names & {fold(rule) for rule in rules.rules})
    marked = alert.custom.get(CUSTOM_PROPERTY, "").strip().lower() == CUSTOM_VALUE
    requested = marked and rules.custom_property
    rule = f"The alert's rule, {plain(alert.rule)}," if alert.rule else "The alert's rule, which has no name,"
    property_ = f"custom property {CUSTOM_PROPERTY}: {CUSTOM_VALUE}"
    if not named and not requested:
        without = f"the alert has no {property_}"
        if marked:
            without = f"MAINTENANCE_ALERT_CUSTOM_PROPERTY, which lets the {property_} stand for it, is off"
        return Decision(reason=f"{rule} is not in MAINTENANCE_ALERT_RULES, and {without}.")
    found = _targets(alert.targets)
    if not found:
        return Decision(reason="The alert targets no scale set and no instance of one.")
    targets = tuple(target for target in found if rules.allows(target.scale_set))
    dropped = len(found) - len(targets)
    if not targets:
        return Decision(reason=f"The alert targets {_outside(dropped, 'scale set')}.", dropped=dropped)
    if rules.regions:
        return Decision(
            reason="The alert does not name the region of its targets, and MAINTENANCE_ALERT_REGIONS limits regions."
        )
    by = property_ if requested and not named else "its rule"
    return Decision(
        reason=f"alert {plain(alert.rule) or plain(alert.alert_id)}, by {by}",
        origin=short_hash("alert", alert.alert_id.lower()),
        targets=targets,
        dropped=dropped,
    )


def _targets(resource_ids: Iterable[str]) -> tuple[Target, ...]:
    """Each targeted scale set once. If the scale set itself is a target, so are all of its instances."""
    problems: list[Problem] = []
    scale_sets: dict[str, ScaleSet] = {}
    instances: dict[str, dict[str, str] | None] = {}
    for resource_id in resource_ids:
        found = _SCALE_SET_TARGET.fullmatch(resource_id)
        if found is None:
            continue
        try:
            scale_set = parse_scale_set_id(found[1])
        except ValueError as error:
            problems.append(Problem("alertTargetIDs", str(error), plain(resource_id)))
            continue
        scale_sets.setdefault(scale_set.key, scale_set)
        known = instances.setdefault(scale_set.key, {})
        if found[2] is None:
            instances[scale_set.key] = None
        elif problem := instance_problem(found[2]):
            problems.append(Problem("alertTargetIDs", problem, plain(resource_id)))
        elif known is not None:
            known.setdefault(found[2].lower(), found[2])
    if problems:
        raise InvalidAlert(tuple(problems))
    return tuple(
        Target(scale_set, None if (ids := instances[key]) is None else tuple(ids.values()))
        for key, scale_set in scale_sets.items()
    )


def _outside(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}, none of them within MAINTENANCE_ALLOWED_SCOPES of this app"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
