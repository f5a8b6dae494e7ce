"""Documents of the requests queue that start no run, read with every problem found: pauses, their ends, proceeds.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from maintenance.domain.resources import ScaleSet, Scope, fold, parse_scope
from maintenance.requests.field_types import Reason, RequestId, SchemaVersion, ScopePath, Time, WaveNumber
from maintenance.requests.schema import Strict, Targeted, validated


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


@dataclass(frozen=True, slots=True)
class ProceedRequest:
    """As far as its gate is concerned, this wave (from 1) of this request for this scale set may start."""

    request_id: str
    scale_set: ScaleSet
    wave: int
    reason: str | None = None


class ProceedFields(Targeted):
    proceed: RequestId
    wave: WaveNumber


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


def read_proceed(document: dict[str, Any]) -> ProceedRequest:
    """The proceed in a document, which has the field `proceed`. Raises InvalidRequest with every problem found."""
    fields = validated(ProceedFields, document)
    return ProceedRequest(fields.proceed, fields.scale_set(), fields.wave, fields.reason)


def scope_key(scope: Scope) -> str:
    """Identity of a scope, whatever its letter case; a scale set's is its `ScaleSet.key`."""
    return fold(str(scope))
