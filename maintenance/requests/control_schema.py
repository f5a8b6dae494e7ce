"""Documents of the requests queue that start nothing: pauses and their ends, read with every problem found. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from maintenance.domain.resources import Scope, fold, parse_scope
from maintenance.requests.field_types import Reason, SchemaVersion, ScopePath, Time
from maintenance.requests.schema import Strict, validated


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """Start nothing new in this scope, until then or until it is resumed."""

    scope: Scope
    until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """The pauses of this scope, and of scopes within it, are over."""

    scope: Scope
    reason: str | None = None


class ResumeOfFields(Strict):
    scope: ScopePath
    reason: Reason | None = None


class PauseOfFields(ResumeOfFields):
    until: Time | None = None


class PauseFields(Strict):
    nested: ClassVar = {"pause": PauseOfFields}

    schema_version: SchemaVersion = 1
    pause: PauseOfFields


class ResumeFields(Strict):
    nested: ClassVar = {"resume": ResumeOfFields}

    schema_version: SchemaVersion = 1
    resume: ResumeOfFields


def read_pause(document: dict[str, Any]) -> PauseRequest:
    """The pause in a document, which has the field `pause`. Raises InvalidRequest with every problem found."""
    fields = validated(PauseFields, document).pause
    return PauseRequest(parse_scope(fields.scope), fields.until, fields.reason)


def read_resume(document: dict[str, Any]) -> ResumeRequest:
    """The end of a pause in a document, which has the field `resume`. Raises InvalidRequest with every problem."""
    fields = validated(ResumeFields, document).resume
    return ResumeRequest(parse_scope(fields.scope), fields.reason)


def scope_key(scope: Scope) -> str:
    """Identity of a scope, whatever its letter case; a scale set's is its `ScaleSet.key`."""
    return fold(str(scope))
