"""X"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from maintenance.domain.errors import UnreadableRecord
from maintenance.domain.messages import Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation

SCHEMA_VERSION = 1
# Under the 256 KB that a message may have in the Standard tier, with room for its properties.
MAX_RECORD = 200_000
MAX_BRIEF = 300
_OPERATION = TypeAdapter(Operation)
_BEGINNING = f'{{"schemaVersion":{SCHEMA_VERSION},'.encode()
# The number of the poll comes last, as most polls change nothing else: what comes before it is then written as it was
# read, and where a name comes twice in JSON, the last counts.
_REVISION = b',"revision":'
_MOST_DIGITS = 20
# Where an operation has what it was read from. No field: `dataclasses.replace`, by which it changes, leaves it behind.
_BEFORE_REVISION = "_before_revision"
_APART = {"extra", "revision"}
_KNOWN = {"schemaVersion", *(field.name for field in fields(Operation))} - {"extra"}


def to_record(operation: Operation, due: datetime) -> Record:
    """Raises ValueError where the operation is too large for a message."""
    return Record(
        message_id=operation.message_id,
        body=write_record(operation),
        due=due,
        phase=operation.phase.value,
        correlation_id=operation.correlation_id or operation.request_id,
    )


def write_record(operation: Operation) -> bytes:
    """The operation as JSON of at most `MAX_RECORD` bytes; what instances were told is left out first, then all of the
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
        body = _write(
            replace(
                operation, calls=calls, error=_brief(operation.error), transient_error=_brief(operation.transient_error)
            )
        )
    if len(body) > MAX_RECORD:
        raise ValueError(f"the record of {operation.message_id} has {len(body):,} bytes; at most {MAX_RECORD:,} fit")
    return body


def _brief(error: ErrorDetail | None) -> ErrorDetail | None:
    if error is None:
        return None
    details = tuple(replace(detail, message=detail.message[:MAX_BRIEF], details=()) for detail in error.details[:1])
    return replace(error, message=error.message[:MAX_BRIEF], details=details)


def _write(operation: Operation) -> bytes:
    before = vars(operation).get(_BEFORE_REVISION)
    if before is None:
        before = _write_all_but_revision(operation)
    return b"%b%b%d}" % (before, _REVISION, operation.revision)


def _write_all_but_revision(operation: Operation) -> bytes:
    """Open at its end."""
    if not operation.extra:
        try:
            return _BEGINNING + _OPERATION.dump_json(operation, exclude=_APART, exclude_defaults=True)[1:-1]
        except PydanticSerializationError:
            # Half of a surrogate pair somewhere: written below with a replacement for it.
            pass
    document = _OPERATION.dump_python(operation, mode="json", exclude=_APART, exclude_defaults=True)
    record = {**operation.extra, "schemaVersion": SCHEMA_VERSION, **document}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))[:-1].encode(errors="replace")


def read_record(body: bytes) -> Operation:
    """The operation in a message's body. Raises UnreadableRecord, with a reason for the dead-letter queue."""
    try:
        document = from_json(body)
    except ValueError as error:
        raise UnreadableRecord("NotJson", f"The record is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableRecord("NotARecord", f"The record is a JSON {type(document).__name__}, not an object.")
    version = document.get("schemaVersion")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UnreadableRecord(
            "UnknownSchemaVersion",
            f"The record has schemaVersion {json.dumps(version)[:40]}; this app reads {SCHEMA_VERSION}.",
        )
    extra: dict[str, Any] = {}
    if not document.keys() <= _KNOWN:
        extra = {name: value for name, value in document.items() if name not in _KNOWN}
        document = {name: value for name, value in document.items() if name in _KNOWN}
    try:
        operation = _OPERATION.validate_python(document)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False, include_context=False)[:10]
        )
        raise UnreadableRecord("InvalidRecord", f"The record is incomplete or wrong: {places}") from None
    if extra:
        operation = replace(operation, extra=extra)
    at = body.rfind(_REVISION, -len(_REVISION) - _MOST_DIGITS)
    if at > 0 and body[at + len(_REVISION) : -1].isdigit() and body.endswith(b"}"):
        vars(operation)[_BEFORE_REVISION] = body[:at]
    return operation
