"""The requests queue's documents: a request or a cancellation, read from JSON with every problem found. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from maintenance.domain import message_ids
from maintenance.domain.calendars import GATE_TIMEOUT, Gate, Window
from maintenance.domain.errors import InvalidRequest, Problem
from maintenance.domain.formats import MAX_SHOWN, refuse, shown
from maintenance.domain.messages import Envelope, trace_of
from maintenance.domain.operation import Operation, Rollout
from maintenance.domain.resources import ScaleSet, fold, parse_scale_set_id
from maintenance.requests.calendar_fields import WindowFields, Windows
from maintenance.requests.field_types import (
    FailedInstances,
    InstanceIds,
    Pause,
    Reason,
    RequestId,
    ResourceGroupName,
    ScaleSetId,
    ScaleSetName,
    SchemaVersion,
    SubscriptionId,
    Time,
    WaveSize,
)

# Of an invalid request. The search for the field that was meant takes a millisecond each.
MAX_PROBLEMS = 100
MAX_HINTS = 20
M = TypeVar("M", bound=BaseModel)
SCALE_SET_FIELDS = ("subscriptionId", "resourceGroupName", "vmScaleSetName")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRequest:
    """See to it that these instances have had their maintenance. No `instance_ids`: every instance of the set.
    `tag_windows`: those of the scale set's tags, as far as they are known."""

    request_id: str
    scale_set: ScaleSet
    instance_ids: tuple[str, ...] | None = None
    not_before: datetime | None = None
    deadline: datetime | None = None
    rollout: Rollout = field(default_factory=Rollout)
    windows: tuple[Window, ...] = ()
    tag_windows: tuple[Window, ...] = ()
    gate: Gate | None = None
    reject_ineligible: bool = False
    dry_run: bool = False
    reason: str | None = None

    @property
    def content(self) -> str:
        """The same for requests that ask for the same, whatever brought them and whatever they call it."""
        ids = None if self.instance_ids is None else tuple(sorted(map(fold, self.instance_ids)))
        asked = (ids, self.not_before, self.deadline, self.rollout, self.reject_ineligible, self.dry_run)
        # Only where there are any: so that versions without windows or gates agree about all other requests.
        more = tuple(repr(each) for each in (self.windows, self.gate) if each)
        return message_ids.short_hash(self.scale_set.key, repr(asked), *more, length=32)

    def operation(self, *, requested_at: datetime, deadline: datetime, dry_run: bool, envelope: Envelope) -> Operation:
        """The first record of the run that this request starts. `requested_at`: when Service Bus enqueued it."""
        return Operation(
            run_id=envelope.run_id,
            request_id=self.request_id,
            scale_set=self.scale_set,
            requested_at=requested_at,
            deadline=deadline,
            content=self.content,
            targets=self.instance_ids,
            rollout=self.rollout,
            windows=self.windows,
            tag_windows=self.tag_windows,
            gate=self.gate,
            reject_ineligible=self.reject_ineligible,
            dry_run=self.dry_run or dry_run,
            reason=self.reason,
            correlation_id=envelope.correlation_id,
            trace=trace_of(envelope.properties),
            resume_at=self.not_before,
        )


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Start nothing more of this request, which is for this scale set."""

    request_id: str
    scale_set: ScaleSet
    reason: str | None = None


def read_request(envelope: Envelope, document: dict[str, Any]) -> MaintenanceRequest:
    """The request in a document.

    Raises InvalidRequest with every problem found.
    """
    fields = validated(RequestFields, document)
    if fields.deadline and fields.not_before and fields.deadline <= fields.not_before:
        refuse("deadline", "must be after notBefore", fields.deadline.isoformat())
    rollout = fields.rollout or RolloutFields()
    return MaintenanceRequest(
        request_id=message_ids.request(document.get("requestId"), envelope.message_id, envelope.sequence_number),
        scale_set=fields.scale_set(),
        instance_ids=tuple(fields.instance_ids) if fields.instance_ids is not None else None,
        not_before=fields.not_before,
        deadline=fields.deadline,
        rollout=Rollout(
            max_instances_per_wave=rollout.max_instances_per_wave,
            by_update_domain=rollout.by_update_domain,
            pause_between_waves=rollout.pause_between_waves,
            max_failed_instances=rollout.max_failed_instances,
            health_timeout=rollout.health_timeout,
        ),
        windows=tuple(each.window() for each in fields.windows or ()),
        gate=gate_of(rollout),
        reject_ineligible=fields.ineligible == "reject",
        dry_run=fields.dry_run,
        reason=fields.reason,
    )


def gate_of(rollout: RolloutFields) -> Gate | None:
    """The gate of a rollout. Raises InvalidRequest where one is spoken of that there is not."""
    for name, value in (("gateTimeout", rollout.gate_timeout), ("atGateTimeout", rollout.at_gate_timeout)):
        if value is not None and rollout.gate is None:
            refuse(f"rollout.{name}", "needs a `gate`", None)
    if rollout.gate is None:
        return None
    timeout = GATE_TIMEOUT if rollout.gate_timeout is None else rollout.gate_timeout
    return Gate(rollout.gate, timeout, rollout.at_gate_timeout or "stop")


def read_cancellation(document: dict[str, Any]) -> Cancellation:
    """The cancellation in a document, which has the field `cancel`. Raises InvalidRequest with every problem found."""
    fields = validated(CancellationFields, document)
    return Cancellation(request_id=fields.cancel, scale_set=fields.scale_set(), reason=fields.reason)


def validated(model: type[M], document: dict[str, Any]) -> M:
    """The fields of a message. Raises InvalidRequest with every problem found."""
    try:
        fields = model.model_validate_json(json.dumps(_without_nulls(document, model)), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)[:MAX_PROBLEMS]
        hints = 0
        problems = []
        for detail in details:
            hints += detail["type"] == "extra_forbidden"
            problems.append(_problem(dict(detail), model, hint=hints <= MAX_HINTS))
        if (left := error.error_count() - len(details)) > 0:
            problems.append(Problem("body", f"has {left:,} problems more"))
        raise InvalidRequest(tuple(problems + _target_problems(model, document))) from None
    if problems := _target_problems(model, document):
        raise InvalidRequest(tuple(problems))
    return fields


def _without_nulls(document: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The document without the known fields that are null: serialisers write them for what was not set.

    Not so for `instanceIds`: there, null is a mistake of the sender's and no other word for "all".
    """
    known = {info.alias for info in model.model_fields.values()} - {"instanceIds"}
    kept = {name: value for name, value in document.items() if value is not None or name not in known}
    for name, below in nested(model).items():
        match kept.get(name):
            case dict() as one:
                kept[name] = _without_nulls(one, below)
            case list() as several:
                kept[name] = [_without_nulls(each, below) if isinstance(each, dict) else each for each in several]
    return kept


def nested(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models of the objects in a message, by their names."""
    return dict(getattr(model, "nested", {}))


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class RolloutFields(Strict):
    max_instances_per_wave: WaveSize | None = None
    by_update_domain: bool = False
    pause_between_waves: Pause = timedelta(0)
    max_failed_instances: FailedInstances = 0
    health_timeout: Pause = Rollout().health_timeout
    gate: Literal["first", "everyWave"] | None = None
    gate_timeout: Pause | None = None
    at_gate_timeout: Literal["stop", "proceed"] | None = None


class Targeted(Strict):
    schema_version: SchemaVersion = 1
    subscription_id: SubscriptionId | None = None
    resource_group_name: ResourceGroupName | None = None
    vm_scale_set_name: ScaleSetName | None = None
    resource_id: ScaleSetId | None = None
    reason: Reason | None = None

    def scale_set(self) -> ScaleSet:
        if self.resource_id:
            return parse_scale_set_id(self.resource_id)
        return ScaleSet(self.subscription_id or "", self.resource_group_name or "", self.vm_scale_set_name or "")


class CancellationFields(Targeted):
    cancel: RequestId


class RequestFields(Targeted):
    nested: ClassVar = {"rollout": RolloutFields, "windows": WindowFields}

    request_id: RequestId | None = None
    instance_ids: InstanceIds = None
    not_before: Time | None = None
    deadline: Time | None = None
    rollout: RolloutFields | None = None
    windows: Windows = None
    ineligible: Literal["skip", "reject"] = "skip"
    dry_run: bool = False


class PartFields(Strict):
    """What settings and tags say as a request does."""

    nested: ClassVar = {"rollout": RolloutFields, "windows": WindowFields}

    windows: Windows = None
    rollout: RolloutFields | None = None


def read_part(name: Literal["windows", "rollout"], value: object) -> PartFields:
    """A value as this field of a request would be read. Raises InvalidRequest with every problem found."""
    fields = validated(PartFields, {name: value})
    if fields.rollout is not None:
        gate_of(fields.rollout)
    return fields


def _target_problems(model: type[BaseModel], document: Mapping[str, Any]) -> list[Problem]:
    if not issubclass(model, Targeted):
        return []
    named = [name for name in SCALE_SET_FIELDS if document.get(name) is not None]
    if document.get("resourceId") is not None:
        return [Problem(name, "must be left out where resourceId is given") for name in named]
    missing = [name for name in SCALE_SET_FIELDS if name not in named]
    return [Problem(name, "is missing (give all three names, or resourceId)") for name in missing]


def _problem(detail: Mapping[str, Any], request: type[BaseModel], *, hint: bool) -> Problem:
    where = ".".join(str(part) for part in detail["loc"]) or "body"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        name = str(detail["loc"][-1])
        below = nested(request)
        model = next((below[part] for part in map(str, detail["loc"][:-1]) if part in below), request)
        known = [info.alias or name for info in model.model_fields.values()]
        close = difflib.get_close_matches(name[:MAX_SHOWN], known, n=1) if hint else []
        message = "is not a field of a maintenance request" + (f"; did you mean {close[0]}?" if close else "")
    return Problem(where[:MAX_SHOWN], message, shown(detail.get("input")))
