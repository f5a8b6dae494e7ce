"""X"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from maintenance.alerts.rules import AlertRules, Decision, Search, Target
from maintenance.domain import message_ids
from maintenance.domain.errors import InvalidRequest, Problem
from maintenance.domain.resources import ScaleSet, parse_scale_set_id, subscription_problem

# As many ids as stay within what a message of the queue may hold, and as one run can look at in good time.
MOST_SCALE_SETS = 100
MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """A message for the requests queue; `message_id` is the request's id, too."""

    message_id: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Find the scale sets whose maintenance is planned, and ask for it.

    `origin` goes into the ids of the requests: it is the same for all that must not start a scale set twice.
    `regions` as ARM writes locations; None is everywhere. `scale_sets`: look at these and list nothing.
    """

    subscription_id: str
    origin: str
    regions: tuple[str, ...] | None = None
    scale_sets: tuple[ScaleSet, ...] | None = None
    reason: str = ""

    def to_json(self) -> bytes:
        document: dict[str, Any] = {"subscriptionId": self.subscription_id, "origin": self.origin}
        if self.regions is not None:
            document["regions"] = list(self.regions)
        if self.scale_sets is not None:
            document["scaleSets"] = [scale_set.resource_id for scale_set in self.scale_sets]
        if self.reason:
            document["reason"] = self.reason
        return json.dumps({"schemaVersion": 1, "discover": document}).encode()


def messages(decision: Decision, alert_id: str, rules: AlertRules) -> list[Message]:
    """What a decision puts on the queue. An update of an event looks again; the same alert twice does not."""
    requests = [maintenance_request(target, decision.origin, decision.reason, rules) for target in decision.targets]
    return [*requests, *(_discovery(search, decision, alert_id, rules) for search in decision.searches)]


def maintenance_request(target: Target, origin: str, reason: str, rules: AlertRules) -> Message:
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
    return Message(request_id, json.dumps(document).encode())


def batch(discovery: Discovery, scale_sets: Sequence[ScaleSet], rules: AlertRules) -> Message:
    """A part of a discovery that has listed too many scale sets to look at all of them itself."""
    part = Discovery(
        subscription_id=discovery.subscription_id,
        origin=discovery.origin,
        scale_sets=tuple(scale_sets),
        reason=discovery.reason,
    )
    keys = sorted(scale_set.key for scale_set in scale_sets)
    return Message(message_ids.discovery(discovery.origin, *keys, dry_run=rules.dry_run), part.to_json())


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
    )


def _discovery(search: Search, decision: Decision, alert_id: str, rules: AlertRules) -> Message:
    discovery = Discovery(
        subscription_id=search.subscription_id,
        origin=decision.origin,
        regions=search.regions,
        reason=decision.reason[:MAX_REASON],
    )
    parts = (search.subscription_id.lower(), alert_id, *(search.regions or ()))
    return Message(message_ids.discovery(decision.origin, *parts, dry_run=rules.dry_run), discovery.to_json())


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


class _Document(_Strict):
    schema_version: Annotated[int, Field(ge=1, le=1)] = 1
    discover: _Discovery
