"""X"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maintenance.alerts.lenient_json import MAX_TEXT, Fields, fields_of, first_text, list_of, text_of, texts_of
from maintenance.domain.errors import InvalidAlert, Problem

_RULE = re.compile(r"test-[a-z]*alertrule(-v\d+-\w+)?", re.IGNORECASE)
_ALERT_ID = re.compile(
    r".*/alerts/(1234abcd5678efgh\w*|12345678-1234-1234-1234-1234567890ab|test_alert)", re.IGNORECASE | re.DOTALL
)
_PLACE = "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/test-rg/"
COMMON_SCHEMA = "azureMonitorCommonAlertSchema"
ACTIVITY_LOG_SCHEMA = "Microsoft.Insights/activityLogs"
# Azure Monitor's own, but they say too little: the common schema says the same and more.
OTHER_SCHEMAS = ("AzureMonitorMetricAlert", "AIP Budget Notification", "Microsoft.Insights/LogAlert")
_TAG = re.compile(r"<[^<>]{0,500}>")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def test_marks(
    *, alert_id: str, rule: str, targets: Iterable[str], tracking_id: str, title: str, synthetic: str
) -> str:
    """Everything that marks the alert as a test, in words; empty where nothing does. Texts as the alert has them."""
    letters = "".join(character for character in title.lower() if character.isalnum())
    marks = (
        ("it is marked as synthetic", synthetic.lower() in ("true", "1")),
        ("its tracking id is that of a test", tracking_id.lower().startswith("test-")),
        ("its title is that of a test", letters.startswith("testactiongroup")),
        ("its rule is that of a test", bool(_RULE.fullmatch(rule))),
        ("its alert id is that of a test", bool(_ALERT_ID.fullmatch(alert_id))),
        ("its target is that of a test", any(target.lower().startswith(_PLACE) for target in targets)),
    )
    return "; ".join(words for words, so in marks if so)


@dataclass(frozen=True, slots=True)
class Impact:
    """A service that an event of Service Health touches, and where, as Azure names both: `East US`."""

    service: str
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthEvent:
    """What Service Health tells. Text that is not told is empty."""

    incident_type: str
    stage: str
    tracking_id: str
    title: str
    impacts: tuple[Impact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. Text that is not told is empty.

    `alert_id` tells it from every other alert and is the same when it is delivered again. `condition` is `Fired`,
    `Resolved`, or whatever else was told. `targets` are resource ids as written. `custom` are the custom properties,
    with names in small letters. `test` says by what it is known as a test, `unread` why its schema is not read at all.
    """

    alert_id: str
    condition: str
    rule: str = ""
    rule_id: str = ""
    severity: str = ""
    targets: tuple[str, ...] = ()
    custom: Mapping[str, str] = field(default_factory=dict)
    health: HealthEvent | None = None
    test: str = ""
    unread: str = ""


def alert_in(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The alert that a document is, or carries as the `data` of a CloudEvent or Event Grid event; None if neither."""
    if "schemaId" in document:
        return dict(document)
    data = document.get("data")
    enveloped = "specversion" in document or "eventType" in document
    return data if enveloped and isinstance(data, dict) and "schemaId" in data else None


def read_alert(document: Mapping[str, Any]) -> Alert:
    """Raises InvalidAlert, with every problem, where the document has the form of no alert."""
    schema = document.get("schemaId")
    known = {name.lower(): name for name in (COMMON_SCHEMA, ACTIVITY_LOG_SCHEMA, *OTHER_SCHEMAS)}
    name = known.get(schema.strip().lower()) if isinstance(schema, str) else None
    if schema is None and "AlertRuleName" in document:
        # Log alerts of the older kind have no schemaId.
        name = "Microsoft.Insights/LogAlert"
    problems = []
    if name is None:
        told = f"must be {COMMON_SCHEMA} or {ACTIVITY_LOG_SCHEMA}"
        problems.append(
            Problem("schemaId", told if "schemaId" in document else f"is missing; it {told}", _shown(schema))
        )
    if name in OTHER_SCHEMAS:
        return _read_other(document, str(name))
    data = document.get("data")
    if not isinstance(data, Mapping):
        problems.append(Problem("data", "must be an object" if "data" in document else "is missing"))
    parts = ("essentials",) if name == COMMON_SCHEMA else ("context", "activityLog") if name else ()
    problems += _missing(data, parts) if isinstance(data, Mapping) else []
    if problems or not isinstance(data, Mapping):
        raise InvalidAlert(tuple(problems))
    reader = _read_common if name == COMMON_SCHEMA else _read_activity_log
    return reader(document, fields_of(data))


def normal(name: str) -> str:
    """A name as it is compared: `East US`, `eastus` and `East-US` are the same."""
    return "".join(character for character in name.lower() if character.isascii() and character.isalnum())


def plain(text: str, most: int = MAX_TEXT) -> str:
    """One line of text for people, without HTML tags and control characters, cut at `most` characters."""
    # A lone surrogate, which JSON can smuggle in, has no UTF-8 form.
    sound = text[: 8 * most].encode(errors="replace").decode()
    return _BLANK.sub(" ", _TAG.sub(" ", sound)).strip()[:most]


def _read_common(document: Mapping[str, Any], data: Fields) -> Alert:
    essentials, context = fields_of(data["essentials"]), fields_of(data.get("alertcontext"))
    told = fields_of(context.get("properties"))
    custom = _custom(data.get("customproperties"))
    if normal(text_of(essentials.get("signaltype"))) in ("metric", "log"):
        # Where rules wrote them before there were customProperties. In activity log alerts this is the event itself.
        custom = {**_custom(context.get("properties")), **custom}
    is_health = normal(text_of(essentials.get("monitoringservice"))) == "servicehealth" or _is_health(context)
    alert = Alert(
        alert_id=first_text(essentials, "alertid", "originalertid") or _digest(document),
        condition=text_of(essentials.get("monitorcondition")),
        rule=text_of(essentials.get("alertrule")),
        rule_id=text_of(essentials.get("alertruleid")),
        severity=text_of(essentials.get("severity")),
        targets=texts_of(essentials.get("alerttargetids")),
        custom=custom,
        health=_health(context, told) if is_health else None,
    )
    return _marked(alert, told)


def _read_activity_log(document: Mapping[str, Any], data: Fields) -> Alert:
    event = fields_of(fields_of(data["context"])["activitylog"])
    told = fields_of(event.get("properties"))
    resource = text_of(event.get("resourceid"))
    subscription = text_of(event.get("subscriptionid"))
    status = text_of(data.get("status"))
    alert = Alert(
        alert_id=first_text(event, "eventdataid", "correlationid", "operationid") or _digest(document),
        condition={"activated": "Fired", "deactivated": "Resolved"}.get(status.lower(), status),
        targets=tuple(filter(None, (resource, f"/subscriptions/{subscription}" if subscription else ""))),
        custom=_custom(data.get("properties")),
        health=_health(event, told) if _is_health(event) else None,
    )
    return _marked(alert, told)


def _read_other(document: Mapping[str, Any], schema: str) -> Alert:
    context = fields_of(fields_of(document.get("data")).get("context"))
    rule = text_of(context.get("name")) or text_of(document.get("AlertRuleName"))
    alert = Alert(
        alert_id=_digest(document),
        condition="",
        rule=rule,
        unread=f"payloads of the schema {schema} are not read; turn on the common alert schema in the action group",
    )
    return _marked(alert, {})


def _marked(alert: Alert, told: Fields) -> Alert:
    """The alert, marked where it is one of the samples that "Test action group" sends."""
    test = test_marks(
        alert_id=alert.alert_id,
        rule=alert.rule,
        targets=alert.targets,
        tracking_id=text_of(told.get("trackingid")),
        title=text_of(told.get("title")),
        synthetic=text_of(told.get("issynthetic")),
    )
    return replace(alert, test=test)


def _is_health(event: Fields) -> bool:
    by_operation = text_of(event.get("operationname")).lower().startswith("microsoft.servicehealth/")
    return by_operation or normal(text_of(event.get("eventsource"))) == "servicehealth"


def _health(event: Fields, told: Fields) -> HealthEvent:
    operation = text_of(event.get("operationname")).split("/")
    return HealthEvent(
        incident_type=text_of(told.get("incidenttype")) or (operation[1] if len(operation) > 1 else ""),
        stage=text_of(told.get("stage")) or text_of(event.get("status")),
        tracking_id=text_of(told.get("trackingid")),
        title=plain(text_of(told.get("title"), 8 * MAX_TEXT)),
        impacts=tuple(_impacts(told)),
    )


def _impacts(told: Fields) -> Iterator[Impact]:
    """From `impactedServices`, an array or JSON text of one; where it tells nothing, from `service` and `region`."""
    entries = [fields_of(entry) for entry in list_of(told.get("impactedservices"))]
    named = [entry for entry in entries if text_of(entry.get("servicename"))]
    for entry in named:
        regions = list_of(entry.get("impactedregions"))
        names = (text_of(fields_of(region).get("regionname")) or text_of(region) for region in regions)
        yield Impact(text_of(entry["servicename"]), tuple(filter(None, names)))
    if not named and (service := text_of(told.get("service"))):
        regions = re.split(r"[,;]", text_of(told.get("region")))
        yield Impact(service, tuple(name.strip() for name in regions if name.strip()))


def _missing(data: Mapping[str, Any], parts: tuple[str, ...]) -> list[Problem]:
    place, value = "data", data
    for part in parts:
        place = f"{place}.{part}"
        below = fields_of(value).get(part.lower())
        if not isinstance(below, Mapping):
            return [Problem(place, "is missing" if below is None else "must be an object")]
        value = below
    return []


def _custom(value: object) -> dict[str, str]:
    return {name: text_of(value) for name, value in fields_of(value).items()}


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _shown(value: object) -> str | None:
    return None if value is None else json.dumps(value)[:100]
