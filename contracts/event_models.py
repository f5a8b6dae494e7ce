"""What the data of each event holds. The schemas are made of these models.

The events of the whole test suite are checked against them: nothing more and nothing less than stands here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from maintenance.domain.message_ids import RUN_ID

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
RunId = Annotated[str, Field(pattern=f"^{RUN_ID.pattern}$")]
# A field that may be left out, and is never null.
Absent = SkipJsonSchema[None]


def _one_of(*required: tuple[str, ...]) -> dict[str, Any]:
    return {"oneOf": [{"required": list(names)} for names in required]}


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, use_attribute_docstrings=True)


class ErrorDetail(_Model):
    """An error as Resource Manager gave it, or as the worker words it."""

    code: str
    """Short name of the error, for programs."""
    message: str
    """What happened, for people."""
    target: str | None
    """What the error is about; null where nothing is said."""
    details: list[ErrorDetail]
    """The errors behind this one."""


class Problem(_Model):
    """One thing that is wrong with a message."""

    field: str
    """Where: a field's name, with its path where it is nested, or `body`."""
    message: str
    """What is wrong, and what is right."""
    value: str | Absent = None
    """The offending value as text, shortened."""


class InstanceOutcome(_Model):
    """What became of one instance."""

    instance_id: str
    """Id of the instance: a number in a Uniform scale set, a VM name in a Flexible one."""
    outcome: Literal[
        "Completed", "AlreadyCompleted", "Failed", "Skipped", "NotFound", "NotAttempted", "Unknown", "WouldMaintain"
    ]
    """Completed: maintained for this request. AlreadyCompleted: had its maintenance before. Failed: it was tried and
    did not complete. Skipped: not eligible. NotFound: the scale set has no such instance. NotAttempted: the request
    ended before its turn. Unknown: maintenance was asked for, its end was not seen. WouldMaintain: eligible, in a dry
    run."""
    wave: Number | Absent = None
    """The wave that the instance was in, from 1."""
    message: str | Absent = None
    """What more is known."""


class _Event(_Model):
    request_id: str
    """The request's id; of a message that has none, its message id, else one made of its sequence number."""
    run_id: RunId
    """The run that the message began. Each message has its own, also where two have the same requestId."""
    reason: str | Absent = None
    """The reason that the message gave."""


class _ScaleSet(_Event):
    subscription_id: str
    """Id of the scale set's subscription."""
    resource_group_name: str
    """Name of the scale set's resource group."""
    vm_scale_set_name: str
    """Name of the scale set."""
    resource_id: str
    """Resource id of the scale set."""


class Accepted(_Event):
    """Resource Manager took the first wave. Or a cancellation, a pause, its end or a proceed was taken, and then
    `cancels` or `proceeds` names the request, `pauses` or `resumes` the scope."""

    model_config = ConfigDict(
        json_schema_extra=_one_of(
            ("start", "deadline", "waves", "resourceId"),
            ("cancels", "resourceId"),
            ("pauses",),
            ("resumes",),
            ("proceeds", "wave", "resourceId"),
        )
    )

    subscription_id: str | Absent = None
    """Id of the scale set's subscription; left out where a wider scope is paused or resumed."""
    resource_group_name: str | Absent = None
    """Name of the scale set's resource group; left out as above."""
    vm_scale_set_name: str | Absent = None
    """Name of the scale set; left out as above."""
    resource_id: str | Absent = None
    """Resource id of the scale set; left out as above."""

    status: Literal["Accepted"]
    """Always Accepted."""
    start: datetime | Absent = None
    """When Resource Manager took the first wave."""
    deadline: datetime | Absent = None
    """What has not ended by then ends as TimedOut."""
    waves: list[list[str]] | Absent = None
    """The instance ids of each wave."""
    cancels: str | Absent = None
    """The requestId of the request that starts nothing more."""
    pauses: str | Absent = None
    """The scope in which nothing new starts."""
    until: datetime | Absent = None
    """When the pause is over by itself; left out where it has to be resumed."""
    resumes: str | Absent = None
    """The scope whose pauses are over."""
    proceeds: str | Absent = None
    """The requestId of the request whose wave may start."""
    wave: Number | Absent = None
    """The wave that may start, from 1."""


class Progressed(_ScaleSet):
    """A wave ended, and another follows."""

    status: Literal["InProgress"]
    """Always InProgress."""
    wave: Number
    """The wave that ended, from 1."""
    waves: Number
    """How many waves there are."""
    done: Count
    """How many instances have had their maintenance."""
    failed: Count
    """How many instances failed, or have an unknown end."""
    left: Count
    """How many instances are in the waves that follow."""
    instances: list[InstanceOutcome]
    """What became of the wave's instances."""
    instances_cut: Number | Absent = None
    """How many instances were left out, so that the event stays under 200 KB."""


class Deferred(_ScaleSet):
    """A wave waits: not the first time that it cannot start, but the first for this reason."""

    status: Literal["Deferred"]
    """Always Deferred."""
    wave: Number
    """The wave that waits, from 1."""
    waits_for: Literal["Window", "Blackout", "Pause", "Limit"]
    """Window: until a maintenance window opens. Blackout: until a blackout is over. Pause: until its scope, or the app,
    is resumed. Limit: until runs that came first are over."""
    message: str
    """The same in words."""
    until: datetime | None
    """The earliest time at which the wave may start; null where nobody knows."""
    deadline: datetime
    """What has not ended by then ends as TimedOut."""


class Awaiting(_ScaleSet):
    """A wave waits at its gate: it starts once a proceed is sent for it. Published once for each such wave."""

    status: Literal["Awaiting"]
    """Always Awaiting."""
    wave: Number
    """The wave that waits, from 1: what a proceed has to name."""
    waves: Number
    """How many waves there are."""
    instance_ids: list[str]
    """The instances of the wave; none where they are not known: all of the scale set."""
    until: datetime
    """How long it waits at the most."""
    at_timeout: Literal["stop", "proceed"]
    """What happens then. stop: the request ends, and starts nothing more. proceed: the wave starts."""
    deadline: datetime
    """What has not ended by then ends as TimedOut."""


class Completed(_ScaleSet):
    """The request ended."""

    status: Literal["Succeeded", "PartiallySucceeded", "Failed", "Canceled", "TimedOut", "NothingToDo"]
    """Succeeded: every instance that was to be maintained was. PartiallySucceeded: some were. Failed: none was.
    Canceled: by a cancellation or by Resource Manager; `error` says which. TimedOut: not finished by the deadline.
    NothingToDo: no instance was to be maintained, or it was a dry run."""
    start: datetime | None
    """When maintenance began; null where nothing was started."""
    end: datetime
    """When the request ended."""
    error: ErrorDetail | None
    """Why the request did not succeed; null where nothing went wrong."""
    instances: list[InstanceOutcome]
    """What became of each instance."""
    instances_cut: Number | Absent = None
    """How many instances were left out, so that the event stays under 200 KB."""
    dry_run: Literal[True] | Absent = None
    """True where nothing was started because the request, or the app, says so."""
    waves: list[list[str]] | Absent = None
    """After a dry run: the instance ids of each wave that there would be."""


class Rejected(_Event):
    """The message is no request, or not an allowed one, or its instances may not be maintained; nothing was done."""

    model_config = ConfigDict(
        json_schema_extra=_one_of(("request", "requestBytes", "requestCut"), ("instances", "resourceId"))
    )

    subscription_id: str | Absent = None
    """Id of the scale set's subscription, where the message names a scale set."""
    resource_group_name: str | Absent = None
    """Name of the scale set's resource group, where the message names a scale set."""
    vm_scale_set_name: str | Absent = None
    """Name of the scale set, where the message names one."""
    resource_id: str | Absent = None
    """Resource id of the scale set, where the message names one."""
    status: Literal["Rejected"]
    """Always Rejected."""
    problems: list[Problem]
    """Everything that is wrong, at most 100 problems."""
    request: str | Absent = None
    """The body as it came, cut at 4,096 bytes."""
    request_bytes: Count | Absent = None
    """The length of the body in bytes."""
    request_cut: bool | Absent = None
    """Whether `request` was cut."""
    instances: list[InstanceOutcome] | Absent = None
    """Why each instance may not be maintained, where that is the reason."""
    instances_cut: Number | Absent = None
    """How many instances were left out, so that the event stays under 200 KB."""


class Duplicate(_ScaleSet):
    """The same request is under way already; nothing was done for this message."""

    status: Literal["Duplicate"]
    """Always Duplicate."""
    duplicate_of: RunId
    """The runId of the run that carries the request out."""


class DueInstance(_Model):
    """An instance that may be maintained now."""

    instance_id: str
    """Id of the instance: a number in a Uniform scale set, a VM name in a Flexible one."""
    self_service_until: datetime | None
    """When Azure no longer lets one start its maintenance; null where Azure does not say."""


class Hindrance(_Model):
    """One thing that keeps maintenance from starting now."""

    kind: Literal["Pause", "Window", "Blackout", "Region", "Unreadable", "Excluded", "Tags"]
    """Pause: its scope, or the app, is paused. Window: no maintenance window is open. Blackout: one is in force.
    Region: the app requests nothing in this region by itself. Unreadable: it may not read the scale set's instances.
    Excluded: the tag `maintenance-exclude` keeps it out. Tags: a tag of it cannot be read."""
    message: str
    """The same in words."""
    until: datetime | None
    """When it is over at the earliest; null where nobody knows."""


class Due(_ScaleSet):
    """A scan found that instances of the scale set may be maintained now, or that it may not look."""

    request_id: str
    """Id of what the scan says of the scale set that day: no request has it."""
    run_id: RunId
    """The same as a hash: no run has it."""
    status: Literal["Due"]
    """Always Due."""
    self_service_until: datetime | None
    """The earliest `selfServiceUntil` of its instances; null where Azure says none."""
    azure_begins: datetime | None
    """When Azure begins to maintain the first of them itself; null where Azure does not say."""
    under_way: str | None
    """The requestId of a request that is under way for the scale set; null where none has begun."""
    hindrances: list[Hindrance]
    """What keeps maintenance from starting now."""
    instances: list[DueInstance]
    """Those that may be maintained now; none where they may not be read."""
    instances_cut: Number | Absent = None
    """How many instances were left out, so that the event stays under 200 KB."""
    requested: str | Absent = None
    """The requestId under which this scan asks for their maintenance; left out where it does not."""


# By the kind in an event's type.
EVENTS: dict[str, type[_Event]] = {
    "accepted": Accepted,
    "progressed": Progressed,
    "deferred": Deferred,
    "awaiting": Awaiting,
    "completed": Completed,
    "rejected": Rejected,
    "duplicate": Duplicate,
    "due": Due,
}
