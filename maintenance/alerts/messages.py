"""Messages that an alert leads to: requests for its targets, and discoveries of the scale sets it concerns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from maintenance.alerts.rules import AlertRules, Decision, Search, Target
from maintenance.domain import message_ids
from maintenance.domain.errors import InvalidRequest, Problem
from maintenance.domain.formats import RFC_3339
from maintenance.domain.instances import Tags
from maintenance.domain.messages import Record
from maintenance.domain.resources import ScaleSet, parse_scale_set_id, subscription_problem
from maintenance.policies.tags import of_texts, to_properties, to_texts

# As many ids as stay within what a message of the queue may hold, and as one run can read in good time.
MOST_SCALE_SETS = 100
# Read at once, within one lock of 5 minutes: each takes 135 s at most, for its mode (45 s) and a listing (90 s).
BATCH = 8
MAX_REASON = 1000


# The subjects of messages in the operations queue that are no records.
REQUEST, DISCOVERY = "request", "discovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Find the scale sets whose maintenance is planned, and ask for it.

    `origin` goes into the ids of the requests: it is the same for all that must not start a scale set twice.
    `regions` as ARM writes locations; None is everywhere. `scale_sets`: read these and list nothing. `first_id`
    names the discovery in events, whichever of its parts is delivered; `attempt` counts from 0, and `begun` is when the
    first was delivered. `tags`: those that were listed, by the keys of their scale sets.
    """

    subscription_id: str
    origin: str
    regions: tuple[str, ...] | None = None
    scale_sets: tuple[ScaleSet, ...] | None = None
    reason: str = ""
    first_id: str = ""
    attempt: int = 0
    begun: datetime | None = None
    tags: Mapping[str, Tags] = field(default_factory=dict)

    def to_json(self) -> bytes:
        document: dict[str, Any] = {"subscriptionId": self.subscription_id, "origin": self.origin}
        if self.regions is not None:
            document["regions"] = list(self.regions)
        if self.scale_sets is not None:
            document["scaleSets"] = [scale_set.resource_id for scale_set in self.scale_sets]
        if self.reason:
            document["reason"] = self.reason
        if self.first_id:
            document["firstId"] = self.first_id
        if self.attempt:
            document["attempt"] = self.attempt
        if self.begun is not None:
            document["begun"] = self.begun.isoformat()
        parts = {each.key for each in self.scale_sets or ()}
        if tags := {key: to_texts(each) for key, each in self.tags.items() if key in parts and to_texts(each)}:
            document["tags"] = tags
        return json.dumps({"schemaVersion": 1, "discover": document}).encode()


def messages(decision: Decision, alert_id: str, rules: AlertRules) -> list[Record]:
    """What a decision puts on the queue. An update of an event looks again; the same alert twice does not."""
    requests = [maintenance_request(target, decision.origin, decision.reason, rules) for target in decision.targets]
    return [*requests, *(_discovery(search, decision, alert_id, rules) for search in decision.searches)]


def maintenance_request(target: Target, origin: str, reason: str, rules: AlertRules) -> Record:
    """A request as it goes onto the queue, with the rules' rollout and dry run."""
    request_id = message_ids.alert_request(origin, target.scale_set.key, dry_run=rules.dry_run)
    document: dict[str, Any] = {"requestId": request_id, "resourceId": target.scale_set.resource_id}
    if target.instance_ids is not None:
        document["instanceIds"] = list(target.instance_ids)
    if rules.rollout:
        document["rollout"] = dict(rules.rollout)
    if rules.dry_run:
        document["dryRun"] = True
    if reason:
        document["reason"] = reason[:MAX_REASON]
    return Record(
        request_id, json.dumps(document).encode(), None, REQUEST, f"alert-{origin}", to_properties(target.tags)
    )


def batch(discovery: Discovery, scale_sets: Sequence[ScaleSet], rules: AlertRules | None = None) -> Record:
    """A part of a discovery: as many scale sets as are read in one delivery."""
    part = replace(discovery, regions=None, scale_sets=tuple(scale_sets))
    return to_discovery_record(part, rules or AlertRules())


def to_discovery_record(discovery: Discovery, rules: AlertRules, due: datetime | None = None) -> Record:
    body = discovery.to_json()
    if discovery.first_id and discovery.begun is None and discovery.scale_sets is None:
        message_id = first_id_of(discovery, rules)
    else:
        message_id = message_ids.discovery(discovery.origin, body, dry_run=rules.dry_run)
    return Record(message_id, body, due, DISCOVERY, correlation_id=f"alert-{discovery.origin}")


def first_id_of(discovery: Discovery, rules: AlertRules) -> str:
    """By what people know the discovery, whichever part of it is delivered."""
    return message_ids.first_discovery(discovery.origin, discovery.first_id, dry_run=rules.dry_run)


def read_discovery(document: Mapping[str, Any]) -> Discovery:
    """Raises InvalidRequest with every problem found."""
    try:
        fields = _Document.model_validate_json(json.dumps(document), strict=True).discover
    except ValidationError as error:
        problems = [
            Problem(".".join(str(part) for part in detail["loc"])[:120], _told(detail["type"], detail["msg"]))
            for detail in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidRequest(tuple(problems)) from None
    scale_sets = tuple(map(parse_scale_set_id, fields.scale_sets)) if fields.scale_sets is not None else None
    strangers = [
        Problem("discover.scaleSets", "must be in the discovery's subscription", scale_set.resource_id)
        for scale_set in scale_sets or ()
        if scale_set.subscription_id.lower() != fields.subscription_id.lower()
    ]
    if strangers:
        raise InvalidRequest(tuple(strangers))
    return Discovery(
        subscription_id=fields.subscription_id,
        origin=fields.origin,
        regions=tuple(fields.regions) if fields.regions is not None else None,
        scale_sets=scale_sets,
        reason=fields.reason,
        first_id=fields.first_id or "",
        attempt=fields.attempt,
        begun=datetime.fromisoformat(fields.begun) if fields.begun else None,
        tags={key: of_texts(texts) for key, texts in (fields.tags or {}).items()},
    )


def _discovery(search: Search, decision: Decision, alert_id: str, rules: AlertRules) -> Record:
    # An update of an alert looks again, so all that it says counts.
    said = (search.subscription_id.lower(), alert_id, decision.reason, *(search.regions or ()))
    first_id = message_ids.short_hash(*said, length=32)
    discovery = Discovery(
        subscription_id=search.subscription_id,
        origin=decision.origin,
        regions=search.regions,
        reason=decision.reason[:MAX_REASON],
        first_id=first_id,
    )
    return to_discovery_record(discovery, rules)


def _told(kind: str, message: str) -> str:
    return "is not a field of a discovery" if kind == "extra_forbidden" else message.removeprefix("Value error, ")


def _subscription(value: str) -> str:
    if problem := subscription_problem(value):
        raise ValueError(problem)
    return value


def _scale_set(value: str) -> str:
    parse_scale_set_id(value)
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class _Discovery(_Strict):
    subscription_id: Annotated[str, AfterValidator(_subscription)]
    origin: Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")]
    regions: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9]{1,300}$")]], Field(min_length=1)] | None = None
    scale_sets: (
        Annotated[list[Annotated[str, AfterValidator(_scale_set)]], Field(min_length=1, max_length=MOST_SCALE_SETS)]
        | None
    ) = None
    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""
    first_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    attempt: Annotated[int, Field(ge=0, le=10_000)] = 0
    begun: Annotated[str, Field(pattern=RFC_3339.pattern)] | None = None
    tags: dict[str, dict[str, str]] | None = None


class _Document(_Strict):
    schema_version: Annotated[int, Field(ge=1, le=1)] = 1
    discover: _Discovery
