"""X"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.alerts.schemas import Alert, HealthEvent, normal, plain
from maintenance.domain.errors import InvalidAlert, Problem
from maintenance.domain.message_ids import short_hash
from maintenance.domain.resources import GUID, ScaleSet, instance_problem, parse_scale_set_id

SERVICES = ("Virtual Machines", "Virtual Machine Scale Sets")
# One update domain at a time, as Azure itself would, and never more than a fifth where there are none.
CAREFUL_ROLLOUT: Mapping[str, Any] = {"byUpdateDomain": True, "maxInstancesPerWave": "20%"}
# The stages of Azure Service Health that call for maintenance, and those that do not.
ACTING_STAGES = ("planned", "active", "inprogress", "rescheduled")
CUSTOM_PROPERTY, CUSTOM_VALUE = "maintenance", "perform"
_SCALE_SET_TARGET = re.compile(r"(.*/virtualMachineScaleSets/[^/]*)(?:/virtualMachines/([^/]*))?/?", re.I | re.DOTALL)
_SUBSCRIPTION = re.compile(rf"/subscriptions/({GUID.pattern})(?:/.*)?", re.IGNORECASE | re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRules:
    """Which alerts may start maintenance, and how. An empty `severities` or `regions` is no limit.

    `rules` are names or resource ids of alert rules whose alerts act on the scale sets they target. `services` are
    those of Service Health. `rollout` is that of a request, as JSON has it.
    """

    rules: tuple[str, ...] = ()
    services: tuple[str, ...] = SERVICES
    severities: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    rollout: Mapping[str, Any] = field(default_factory=lambda: CAREFUL_ROLLOUT)
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A scale set to ask maintenance for. No `instance_ids`: all of it."""

    scale_set: ScaleSet
    instance_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look for scale sets with planned maintenance. No `regions`: everywhere."""

    subscription_id: str
    regions: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an alert leads to, and why; nothing where both lists are empty.

    `origin` is the same for all that must not start the same scale set twice: updates of one Service Health event in
    one stage, deliveries of one alert.
    """

    reason: str
    origin: str = ""
    targets: tuple[Target, ...] = ()
    searches: tuple[Search, ...] = ()
    test: bool = False


def decide(alert: Alert, rules: AlertRules) -> Decision:
    """Raises InvalidAlert, with every problem, where an alert that should lead to something does not say enough."""
    if alert.test:
        return Decision(reason=f"This is a test of Azure Monitor's: {alert.test}.", test=True)
    if alert.unread:
        return Decision(reason=alert.unread)
    if alert.condition.lower() != "fired":
        return Decision(reason=f"The alert is not Fired but {plain(alert.condition) or 'in no condition'}.")
    if rules.severities and alert.severity.lower() not in (severity.lower() for severity in rules.severities):
        told = plain(alert.severity) or "none"
        return Decision(
            reason=f"Its severity is {told}; MAINTENANCE_ALERT_SEVERITIES allows {_list(rules.severities)}."
        )
    if alert.health is not None:
        return _decide_health(alert, alert.health, rules)
    return _decide_targets(alert, rules)


def _decide_health(alert: Alert, health: HealthEvent, rules: AlertRules) -> Decision:
    if normal(health.incident_type) != "maintenance":
        return Decision(reason=f"It tells of {plain(health.incident_type) or 'something'}, not of maintenance.")
    if normal(health.stage) not in ACTING_STAGES:
        return Decision(reason=f"Its stage, {plain(health.stage) or 'not told'}, calls for nothing.")
    services = {normal(service) for service in rules.services}
    impacts = [impact for impact in health.impacts if normal(impact.service) in services]
    if not impacts:
        told = _list(plain(impact.service) for impact in health.impacts) or "no service"
        return Decision(reason=f"It is about {told}; MAINTENANCE_ALERT_SERVICES has {_list(rules.services)}.")
    impacted = {normal(region): region for impact in impacts for region in impact.regions if normal(region)}
    subscriptions = {found[1].lower(): found[1] for each in alert.targets if (found := _SUBSCRIPTION.fullmatch(each))}
    problems = []
    if not impacted:
        problems.append(Problem("impactedServices", "names no region for the services that are acted on"))
    if not subscriptions:
        problems.append(Problem("alertTargetIDs", "names no subscription", plain(_list(alert.targets)) or None))
    if not health.tracking_id:
        problems.append(Problem("trackingId", "is missing; without it an update could not be told from a new event"))
    if problems:
        raise InvalidAlert(tuple(problems))
    regions = _regions(impacted, rules)
    if regions is not None and not regions:
        told = _list(plain(region) for region in impacted.values())
        return Decision(reason=f"It is about {told}; MAINTENANCE_ALERT_REGIONS has {_list(rules.regions)}.")
    where = _list(plain(region) for region in impacted.values())
    what = _list(dict.fromkeys(plain(impact.service) for impact in impacts))
    title = f": {health.title}" if health.title else ""
    told = f"Service Health {plain(health.tracking_id)}, {plain(health.stage)} maintenance of {what} in {where}{title}"
    return Decision(
        reason=plain(told, 500),
        origin=short_hash("service health", health.tracking_id.lower(), normal(health.stage)),
        searches=tuple(Search(subscription, regions) for subscription in subscriptions.values()),
    )


def _regions(impacted: Mapping[str, str], rules: AlertRules) -> tuple[str, ...] | None:
    """The regions to look in, as ARM writes locations. `Global` is the region of what has none."""
    allowed = {normal(region) for region in rules.regions}
    if "global" in impacted:
        return tuple(sorted(allowed)) or None
    return tuple(sorted(set(impacted) & allowed if allowed else impacted))


def _decide_targets(alert: Alert, rules: AlertRules) -> Decision:
    names = {name.lower() for name in (alert.rule, alert.rule_id) if name}
    named = bool(names & {rule.lower() for rule in rules.rules})
    asked = alert.custom.get(CUSTOM_PROPERTY, "").strip().lower() == CUSTOM_VALUE
    rule = f"rule {plain(alert.rule)}" if alert.rule else "rule, which it does not name,"
    if not named and not asked:
        told = f"is not among MAINTENANCE_ALERT_RULES, and it has no custom property {CUSTOM_PROPERTY}: {CUSTOM_VALUE}"
        return Decision(reason=f"Its {rule} {told}.")
    targets = _targets(alert.targets)
    if not targets:
        return Decision(reason="It targets no scale set and no instance of one.")
    if rules.regions:
        return Decision(
            reason="It does not say in which region its targets are, and MAINTENANCE_ALERT_REGIONS limits them."
        )
    by = f"custom property {CUSTOM_PROPERTY}: {CUSTOM_VALUE}" if asked and not named else "its rule"
    return Decision(
        reason=f"alert {plain(alert.rule) or plain(alert.alert_id)}, by {by}",
        origin=short_hash("alert", alert.alert_id.lower()),
        targets=targets,
    )


def _targets(resource_ids: Iterable[str]) -> tuple[Target, ...]:
    """Each scale set once; one that is named itself counts whole, whichever of its instances are named, too."""
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


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
