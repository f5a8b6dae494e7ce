"""Schemas of Azure Monitor alerts: the common alert schema and the activity log's, read into one `Alert`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maintenance.alerts.lenient_json import MAX_TEXT, Fields, fields_of, first_text, list_of, parsed, text_of, texts_of
from maintenance.domain.errors import InvalidAlert, Problem

_RULE = re.compile(r"test-[a-z]*alertrule(-v\d+-\w+)?", re.IGNORECASE)
_ALERT_ID = re.compile(
    r".*/alerts/(1234abcd5678efgh\w*|12345678-1234-1234-1234-1234567890ab|test_alert)", re.IGNORECASE | re.DOTALL
)
_PLACE = "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/test-rg/"
COMMON_SCHEMA = "azureMonitorCommonAlertSchema"
ACTIVITY_LOG_SCHEMA = "Microsoft.Insights/activityLogs"
# Schemas of Azure Monitor that are not supported: the common schema contains the same and more.
UNSUPPORTED_SCHEMAS = ("AzureMonitorMetricAlert", "AIP Budget Notification", "Microsoft.Insights/LogAlert")
_TAG = re.compile(r"<[^<>]{0,500}>")
# White space, control characters, and those that turn the text round.
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def test_marks(
    *, alert_id: str, rule: str, targets: Iterable[str], tracking_id: str, title: str, synthetic: str
) -> str:
    """List everything that identifies an alert as a test; empty if nothing does."""
    letters = "".join(character for character in title.lower() if character.isalnum())
    marks = (
        ("it is marked as synthetic", synthetic.lower() in ("true", "1")),
        ("its tracking id is that of a test", tracking_id.lower().startswith("test-")),
        ("its title is that of a test", letters.startswith("testactiongroup")),
        ("its rule is that of a test", bool(_RULE.fullmatch(rule))),
        ("its alert id is that of a test", bool(_ALERT_ID.fullmatch(alert_id))),
        ("its target is that of a test", any(target.lower().startswith(_PLACE) for target in targets)),
    )
    return "; ".join(mark for mark, found in marks if found)


@dataclass(frozen=True, slots=True)
class Impact:
    """Service and regions affected by a Service Health event, as Azure names them: `East US`."""

    service: str
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthEvent:
    """Service Health event. A text that is not reported is empty."""

    incident_type: str
    stage: str
    tracking_id: str
    title: str
    impacts: tuple[Impact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Azure Monitor alert. A text that is not reported is empty.

    `alert_id` identifies the alert and stays the same when it is redelivered. `condition` is `Fired`, `Resolved` or any
    other text. `targets` are resource ids as received. `custom` are the custom properties by lower-case name. `test`
    lists what identifies it as a test. `unsupported` says why its schema is not supported.
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
    unsupported: str = ""


def alert_in(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the alert in a document: the document itself, `data` of a CloudEvent or Event Grid event, or the JSON text
    in `RequestBody` of what automation runbooks are given; else None.

    A CloudEvent may also have its data as JSON text, or in `data_base64` (CloudEvents 1.0.2, JSON format, 3.1).
    """
    if "schemaId" in document:
        return dict(document)
    if "WebhookName" in document and "RequestBody" in document:
        data = parsed(document["RequestBody"])
    elif "specversion" in document or "eventType" in document:
        data = parsed(document["data"]) if "data" in document else _from_base64(document.get("data_base64"))
    else:
        return None
    return data if isinstance(data, dict) and "schemaId" in data else None


def _from_base64(value: object) -> object:
    if not isinstance(value, str):
        return None
    try:
        return parsed(base64.b64decode("".join(value.split()), validate=True).decode("utf-8-sig"))
    except ValueError:
        return None


def read_alert(document: Mapping[str, Any]) -> Alert:
    """Read an alert. Raises InvalidAlert, with every problem, if the document is malformed."""
    schema = document.get("schemaId")
    known = {name.lower(): name for name in (COMMON_SCHEMA, ACTIVITY_LOG_SCHEMA, *UNSUPPORTED_SCHEMAS)}
    name = known.get(schema.strip().lower()) if isinstance(schema, str) else None
    if schema is None and "AlertRuleName" in document:
        # Older log alerts have no schemaId.
        name = "Microsoft.Insights/LogAlert"
    problems = []
    if name is None:
        rule = f"must be {COMMON_SCHEMA} or {ACTIVITY_LOG_SCHEMA}"
        problems.append(
            Problem("schemaId", rule if "schemaId" in document else f"is missing; it {rule}", _shown(schema))
        )
    if name in UNSUPPORTED_SCHEMAS:
        return _read_unsupported(document, str(name))
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
    """Normalise a name for comparison: `East US`, `eastus` and `East-US` are equal."""
    return "".join(character for character in name.lower() if character.isascii() and character.isalnum())


def plain(text: str, most: int = MAX_TEXT) -> str:
    """Convert a text to one line without HTML tags and control characters, of at most `most` characters."""
    # JSON can hold half of a surrogate pair, which has no UTF-8 encoding.
    encodable = text[: 8 * most].encode(errors="replace").decode()
    return _BLANK.sub(" ", _TAG.sub(" ", encodable)).strip()[:most]


def _read_common(document: Mapping[str, Any], data: Fields) -> Alert:
    essentials, context = fields_of(data["essentials"]), fields_of(data.get("alertcontext"))
    properties = fields_of(context.get("properties"))
    custom = _custom(data.get("customproperties"))
    if normal(text_of(essentials.get("signaltype"))) in ("metric", "log"):
        # Older rules have their custom properties here. In activity log alerts this is the event itself.
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
        health=_health(context, properties) if is_health else None,
    )
    return _marked(alert, properties)


def _read_activity_log(document: Mapping[str, Any], data: Fields) -> Alert:
    event = fields_of(fields_of(data["context"])["activitylog"])
    properties = fields_of(event.get("properties"))
    resource = text_of(event.get("resourceid"))
    subscription = text_of(event.get("subscriptionid"))
    status = text_of(data.get("status"))
    alert = Alert(
        alert_id=first_text(event, "eventdataid", "correlationid", "operationid") or _digest(document),
        condition={"activated": "Fired", "deactivated": "Resolved"}.get(status.lower(), status),
        targets=tuple(filter(None, (resource, f"/subscriptions/{subscription}" if subscription else ""))),
        custom=_custom(data.get("properties")),
        health=_health(event, properties) if _is_health(event) else None,
    )
    return _marked(alert, properties)


def _read_unsupported(document: Mapping[str, Any], schema: str) -> Alert:
    context = fields_of(fields_of(document.get("data")).get("context"))
    rule = text_of(context.get("name")) or text_of(document.get("AlertRuleName"))
    alert = Alert(
        alert_id=_digest(document),
        condition="",
        rule=rule,
        unsupported=f"the schema {schema} is not supported; turn on the common alert schema in the action group",
    )
    return _marked(alert, {})


def _marked(alert: Alert, properties: Fields) -> Alert:
    """Mark an alert that "Test action group" has sent as a sample."""
    test = test_marks(
        alert_id=alert.alert_id,
        rule=alert.rule,
        targets=alert.targets,
        tracking_id=text_of(properties.get("trackingid")),
        title=text_of(properties.get("title")),
        synthetic=text_of(properties.get("issynthetic")),
    )
    return replace(alert, test=test)


def _is_health(event: Fields) -> bool:
    by_operation = text_of(event.get("operationname")).lower().startswith("microsoft.servicehealth/")
    return by_operation or normal(text_of(event.get("eventsource"))) == "servicehealth"


def _health(event: Fields, properties: Fields) -> HealthEvent:
    operation = text_of(event.get("operationname")).split("/")
    return HealthEvent(
        incident_type=text_of(properties.get("incidenttype")) or (operation[1] if len(operation) > 1 else ""),
        stage=text_of(properties.get("stage")) or text_of(event.get("status")),
        tracking_id=text_of(properties.get("trackingid")),
        title=plain(text_of(properties.get("title"), 8 * MAX_TEXT)),
        impacts=tuple(_impacts(properties)),
    )


def _impacts(properties: Fields) -> Iterator[Impact]:
    """From `impactedServices`, an array or JSON text of one; if it names no service, from `service` and `region`."""
    entries = [fields_of(entry) for entry in list_of(properties.get("impactedservices"))]
    named = [entry for entry in entries if text_of(entry.get("servicename"))]
    for entry in named:
        regions = list_of(entry.get("impactedregions"))
        names = (text_of(fields_of(region).get("regionname")) or text_of(region) for region in regions)
        yield Impact(text_of(entry["servicename"]), tuple(filter(None, names)))
    if not named and (service := text_of(properties.get("service"))):
        regions = re.split(r"[,;]", text_of(properties.get("region")))
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
