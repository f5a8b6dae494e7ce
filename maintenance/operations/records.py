"""Records as they are in the operations queue: JSON with a schema version, read back as suspiciously as any input.

A newer version of this app may add fields; an older one carries them through untouched, so that both can run side by
side during a deployment. So new fields belong at the top, not into `calls` or `outcomes`. Another `schemaVersion`
means another meaning, and is never guessed at: such a record is passed on unread, by its message's properties.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from maintenance.domain import message_ids
from maintenance.domain.errors import UnreadableRecord
from maintenance.domain.formats import LONGEST_RUN, check_depth
from maintenance.domain.messages import Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Call, Operation, Reply
from maintenance.domain.resources import (
    INSTANCE,
    ScaleSet,
    resource_group_problem,
    scale_set_problem,
    subscription_problem,
)
from maintenance.lifecycle.actions import Continue
from maintenance.policies.windows import schedule_problem, zone_problem

SCHEMA_VERSION = 2
# Of records that a version which knows no windows, gates and tags would misread: it would start regardless of them.
BOUND_VERSION = 3
# Under the 256 KB that a message may have in the Standard tier, with room for its properties.
MAX_RECORD = 200_000
MAX_BRIEF = 300
# How long a reply that this version cannot read is passed on.
REPLY_LASTS = timedelta(days=1)
EARLIEST, LATEST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
REPLY = "reply"
# What must be known of a record that cannot be read: its request id, its deadline and its scale set's resource id, with
# spaces between them. Run and number are in the message id. One property for all: each costs a twentieth of a send.
ABOUT = "about"
_OPERATION = TypeAdapter(Operation)
_REPLY = TypeAdapter(Reply)
# The number comes last, as most polls change nothing else: what comes before it is then written as it was read, and
# where a name comes twice in JSON, the last counts.
_NUMBER = b',"number":'
_MOST_DIGITS = 20
# Where an operation has what it was read from. No field: `dataclasses.replace`, by which it changes, leaves it behind.
_BEFORE_NUMBER = "_before_number"
_APART = {"extra", "number"}
_KNOWN = {"schemaVersion", *(field.name for field in fields(Operation))} - {"extra"}
_CALL = {field.name for field in fields(Call)}
_INSTANCES = re.compile(rf"(?:{INSTANCE.pattern}\n)*", re.ASCII)


def to_record(operation: Operation, due: datetime | None) -> Record:
    """Raises ValueError where the operation is too large for a message."""
    return Record(
        message_id=operation.message_id,
        body=write_record(operation),
        due=due,
        subject=operation.phase.value,
        correlation_id=operation.correlation_id or operation.request_id,
        properties={
            ABOUT: f"{operation.request_id} {operation.deadline.isoformat()} {operation.scale_set.resource_id}"
        },
    )


def to_successor(decided: Continue, now: datetime) -> Record:
    """The record that follows a delivery. What is due at once is not scheduled: by a clock that is ahead of Service
    Bus's it would come that much later."""
    return to_record(decided.operation, decided.due if decided.due > now else None)


def to_reply_record(reply: Reply, due: datetime | None) -> Record:
    """The record of a message that started no run."""
    document = _REPLY.dump_python(reply, mode="json", exclude_defaults=True)
    # An older app would tell that as a rejection.
    version = BOUND_VERSION if reply.pauses or reply.resumes or reply.proceeds else SCHEMA_VERSION
    body = json.dumps({"schemaVersion": version, **document}, ensure_ascii=False).encode(errors="replace")
    properties = {ABOUT: f"{reply.request_id} {(reply.at + REPLY_LASTS).isoformat()}"}
    return Record(reply.message_id, body, due, REPLY, reply.correlation_id or reply.request_id, properties)


def write_record(operation: Operation) -> bytes:
    """The operation as JSON of at most `MAX_RECORD` bytes; messages about instances are left out first, then all of the
    errors but their codes and the beginnings of their messages.

    Raises ValueError where that does not suffice.
    """
    body = _write(operation)
    if len(body) > MAX_RECORD:
        short = {name: replace(outcome, message=None) for name, outcome in operation.outcomes.items()}
        operation = replace(operation, outcomes=short)
        body = _write(operation)
    if len(body) > MAX_RECORD:
        calls = tuple(replace(call, error=_brief(call.error)) for call in operation.calls)
        error, transient_error = _brief(operation.error), _brief(operation.transient_error)
        body = _write(replace(operation, calls=calls, error=error, transient_error=transient_error))
    if len(body) > MAX_RECORD:
        raise ValueError(f"the record {operation.message_id} has {len(body):,} bytes; at most {MAX_RECORD:,} fit")
    return body


def read_record(body: bytes) -> Operation:
    """The operation in a message's body. Raises UnreadableRecord with the reason."""
    document = _document(body)
    extra: dict[str, Any] = {}
    if not document.keys() <= _KNOWN or _has_unknown_in_calls(document):
        # What is known has a form of its own, and is no deeper than that.
        try:
            check_depth(body)
        except ValueError as error:
            raise UnreadableRecord("InvalidRecord", f"The record is {error}") from None
        extra = {name: value for name, value in document.items() if name not in _KNOWN}
        document = {name: value for name, value in document.items() if name in _KNOWN}
    operation: Operation = _validated(_OPERATION, document)
    if problem := _problem(operation):
        raise UnreadableRecord("InvalidRecord", f"The record could not have been written by this app: {problem}")
    if extra:
        operation = replace(operation, extra=extra)
    at = body.rfind(_NUMBER, -len(_NUMBER) - _MOST_DIGITS)
    if at > 0 and body[at + len(_NUMBER) : -1].isdigit() and body.endswith(b"}"):
        vars(operation)[_BEFORE_NUMBER] = body[:at]
    return operation


def read_reply(body: bytes) -> Reply:
    """The reply in a message's body. Raises UnreadableRecord with the reason."""
    document = _document(body)
    document.pop("schemaVersion")
    reply: Reply = _validated(_REPLY, document)
    if not message_ids.RUN_ID.fullmatch(reply.run_id) or not message_ids.REQUEST_ID.fullmatch(reply.request_id):
        raise UnreadableRecord("InvalidRecord", "The reply has ids that this app does not make.")
    if reply.scale_set is not None and (problem := _scale_set_problem(reply.scale_set)):
        raise UnreadableRecord("InvalidRecord", f"The reply names no scale set: {problem}")
    return reply


def _problem(operation: Operation) -> str | None:
    """Why this app cannot have written the record: what it names goes into URLs and events."""
    if not message_ids.RUN_ID.fullmatch(operation.run_id):
        return "run_id is no run id"
    if not message_ids.REQUEST_ID.fullmatch(operation.request_id):
        return "request_id is no request id"
    if problem := _scale_set_problem(operation.scale_set):
        return problem
    if operation.number < 0 or not 0 <= operation.wave <= len(operation.waves):
        return "number or wave is out of range"
    # One expression over all of them: a record has up to 1,000 instances, several times over.
    ids = [f"{instance_id}\n" for instance_id in _instance_ids(operation)]
    joined = "".join(ids)
    if joined.count("\n") != len(ids) or not _INSTANCES.fullmatch(joined):
        return "it names an instance by something that is no instance id"
    for name in ("requested_at", "deadline"):
        moment: datetime = getattr(operation, name)
        if moment.tzinfo is None or not EARLIEST < moment < LATEST:
            return f"{name} is no time of a run"
    for window in (*operation.windows, *operation.tag_windows):
        if problem := schedule_problem(window.schedule) or zone_problem(window.time_zone):
            return f"a window of it {problem}"
    if operation.deadline - operation.requested_at > LONGEST_RUN:
        return "deadline is further ahead than a request may ask for"
    return None


def _instance_ids(operation: Operation) -> Iterator[str]:
    yield from operation.targets or ()
    for wave in operation.waves:
        yield from wave
    yield from operation.batch
    yield from operation.outcomes
    for call in operation.calls:
        yield from call.instance_ids


def _scale_set_problem(scale_set: ScaleSet) -> str | None:
    return (
        subscription_problem(scale_set.subscription_id)
        or resource_group_problem(scale_set.resource_group_name)
        or scale_set_problem(scale_set.name)
    )


def _has_unknown_in_calls(document: dict[str, Any]) -> bool:
    """Unknown fields of calls are carried on where nothing but the number changes."""
    calls = document.get("calls")
    return isinstance(calls, list) and any(isinstance(call, dict) and not call.keys() <= _CALL for call in calls)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = from_json(body)
    except ValueError as error:
        raise UnreadableRecord("NotJson", f"The record is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableRecord("NotARecord", f"The record is a JSON {type(document).__name__}, not an object.")
    version = document.get("schemaVersion")
    if version not in (SCHEMA_VERSION, BOUND_VERSION) or isinstance(version, bool):
        raise UnreadableRecord(
            "UnknownSchemaVersion",
            f"The record has schemaVersion {json.dumps(version)[:40]}; this app reads up to {BOUND_VERSION}.",
        )
    return document


def _validated(adapter: TypeAdapter[Any], document: dict[str, Any]) -> Any:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False, include_context=False)[:10]
        )
        raise UnreadableRecord("InvalidRecord", f"The record is incomplete or wrong: {places}") from None


def _brief(error: ErrorDetail | None) -> ErrorDetail | None:
    if error is None:
        return None
    details = tuple(replace(detail, message=detail.message[:MAX_BRIEF], details=()) for detail in error.details[:1])
    return replace(error, message=error.message[:MAX_BRIEF], details=details)


def _write(operation: Operation) -> bytes:
    before = vars(operation).get(_BEFORE_NUMBER)
    if before is None:
        before = _write_all_but_number(operation)
    return b"%b%b%d}" % (before, _NUMBER, operation.number)


def _write_all_but_number(operation: Operation) -> bytes:
    """Open at its end."""
    bound = operation.windows or operation.gate or operation.tag_windows or operation.rollout.tag_bound
    version = BOUND_VERSION if bound else SCHEMA_VERSION
    if not operation.extra:
        try:
            beginning = f'{{"schemaVersion":{version},'.encode()
            return beginning + _OPERATION.dump_json(operation, exclude=_APART, exclude_defaults=True)[1:-1]
        except PydanticSerializationError:
            # Half of a surrogate pair somewhere: written below with a replacement for it.
            pass
    document = _OPERATION.dump_python(operation, mode="json", exclude=_APART, exclude_defaults=True)
    record = {**operation.extra, "schemaVersion": version, **document}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))[:-1].encode(errors="replace")
