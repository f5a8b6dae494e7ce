"""The properties that queues, topic and subscriptions must have, and what breaks where they have others. Pure.

What is wanted is read from infra/topology.json; docs/namespace.md tells it to people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from maintenance.domain.formats import parse_duration
from maintenance_cli.picture.findings import Finding, Verdict

Compare = Literal["equal", "at least", "at most"]
Values = Mapping[str, Any]
_TWICE = "a record can have two successors, and an instance can be maintained twice"
_LATE = "what is sent again later, after an outage, counts as new: maintenance can be started twice"
_LEASES = "leases are in no order, and two runs can work on one scale set"
_EARLY = "a delivery takes up to 4.5 minutes: it is redelivered while it is at work"
_LOST = "what expires is lost without an event"


@dataclass(frozen=True, slots=True)
class Rule:
    """One property of the topology. `entities`: names as the topology has them. `breaks`: what another value does."""

    entities: tuple[str, ...]
    name: str
    compare: Compare
    breaks: str


_REQUESTS, _OPERATIONS, _COORDINATION = "maintenance-requests", "maintenance-operations", "maintenance-coordination"
_EVENTS, _AUDIT = "maintenance-events", "maintenance-events/maintenance-audit"
RULES = (
    Rule((_OPERATIONS, _COORDINATION), "RequiresDuplicateDetection", "equal", _TWICE),
    Rule((_EVENTS,), "RequiresDuplicateDetection", "equal", "subscribers get events twice"),
    Rule(
        (_REQUESTS,),
        "RequiresDuplicateDetection",
        "equal",
        "a request whose message id was used before is dropped in silence",
    ),
    Rule((_OPERATIONS, _COORDINATION), "DuplicateDetectionHistoryTimeWindow", "at least", _LATE),
    Rule((_EVENTS,), "DuplicateDetectionHistoryTimeWindow", "at least", "events that are sent again come twice"),
    Rule((_REQUESTS, _OPERATIONS), "LockDuration", "at least", _EARLY),
    Rule((_REQUESTS,), "MaxDeliveryCount", "equal", "requests are given up sooner or later than the worker reckons"),
    Rule(
        (_OPERATIONS,),
        "MaxDeliveryCount",
        "equal",
        "records are given up too soon, or delivered for longer than duplicate detection remembers",
    ),
    Rule((_REQUESTS, _OPERATIONS), "DefaultMessageTimeToLive", "at least", "what waits expires before it has ended"),
    Rule((_COORDINATION,), "DefaultMessageTimeToLive", "at most", "what has fallen due piles up"),
    Rule((_EVENTS, _AUDIT), "DefaultMessageTimeToLive", "at least", "what ended is forgotten sooner"),
    Rule((_REQUESTS, _OPERATIONS), "DeadLetteringOnMessageExpiration", "equal", _LOST),
    Rule((_REQUESTS, _OPERATIONS, _COORDINATION), "RequiresSession", "equal", "the worker opens no sessions"),
    Rule((_OPERATIONS, _COORDINATION), "EnablePartitioning", "equal", _LEASES),
)
# Of what cannot be changed.
_ANEW = ("RequiresDuplicateDetection", "RequiresSession", "EnablePartitioning")


def wanted_of(topology: Mapping[str, Any]) -> dict[str, Values]:
    """The wanted properties by entity, subscriptions as `topic/subscription`."""
    wanted: dict[str, Values] = {}
    for namespace in topology["UserConfig"]["Namespaces"]:
        for queue in namespace["Queues"]:
            wanted[queue["Name"]] = {"EnablePartitioning": False, **queue["Properties"]}
        for topic in namespace["Topics"]:
            wanted[topic["Name"]] = topic["Properties"]
            for subscription in topic["Subscriptions"]:
                wanted[f"{topic['Name']}/{subscription['Name']}"] = subscription["Properties"]
    return wanted


def property_findings(entity: str, name: str, wanted: Values, found: Values) -> Iterator[Finding]:
    """What is wrong with an entity. `entity`: as the topology names it; `name`: as it is named here."""
    wrong = False
    for rule in RULES:
        if entity not in rule.entities or rule.name not in found:
            continue
        if rule.name == "DuplicateDetectionHistoryTimeWindow" and not found.get("RequiresDuplicateDetection"):
            continue
        must, has = _value(wanted[rule.name]), _value(found[rule.name])
        if _holds(rule.compare, has, must):
            continue
        wrong = True
        amount = "" if rule.compare == "equal" else f"{rule.compare} "
        how = "Make it anew" if rule.name in _ANEW else "Set it"
        yield Finding(
            "entities",
            Verdict.PROBLEM,
            f"{name}: {rule.name} is {_shown(has)}, and must be {amount}{_shown(must)}: {rule.breaks}",
            f"{how} as docs/namespace.md says.",
        )
    if not wrong:
        yield Finding("entities", Verdict.OK, f"{name} has the properties that it must have")


def _holds(compare: Compare, has: Any, must: Any) -> bool:
    if compare == "equal" or type(has) is not type(must):
        return bool(has == must)
    return bool(has >= must if compare == "at least" else has <= must)


def _value(value: Any) -> Any:
    """Durations as such, whichever way they are written; Service Bus's longest has no exact form in Python."""
    if isinstance(value, str) and value.startswith("P"):
        try:
            return min(parse_duration(value), _FOR_EVER)
        except ValueError:
            return value
    return min(value, _FOR_EVER) if isinstance(value, timedelta) else value


# Whatever lasts longer than this lasts for ever.
_FOR_EVER = timedelta(days=36_500)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, timedelta):
        return "the longest" if value >= _FOR_EVER else _duration(value)
    return str(value)


def _duration(value: timedelta) -> str:
    seconds = round(value.total_seconds())
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= length and seconds % length == 0:
            number = seconds // length
            return f"{number} {unit if number != 1 else unit[:-1]}"
    return f"{seconds} s"
