"""Trace and span ids: the sender's, and the ids that a run has by itself. Pure.

Source: W3C Trace Context, level 1 and 2. A run's ids are made of its run id, so whoever emits one of its spans again
emits the same span, and children of a span that is emitted hours later know their parent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

# Any flags: since level 2 a new trace id may say `03`, and later levels may say more.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class SpanContext:
    """A span as its children know it. `flags` is a byte, whose lowest bit says that the trace is sampled; None where
    that is for this app's sampler to say."""

    trace_id: int
    span_id: int
    flags: int | None = None


@dataclass(frozen=True, slots=True)
class RunTrace:
    """The trace of a run. `sender` is the span of who sent the request; None where the request named none."""

    run_id: str
    sender: SpanContext | None

    @property
    def trace_id(self) -> int:
        """The sender's, else one that is the run id itself."""
        return self.sender.trace_id if self.sender is not None else int(self.run_id, 16) or 1

    @property
    def maintenance(self) -> SpanContext:
        """The span of the whole run."""
        return self._context("maintenance")

    def wave(self, number: int) -> SpanContext:
        """The span of a wave, from 0."""
        return self._context(f"wave {number}")

    def post(self, number: int, vm_name: str) -> SpanContext:
        """The span of a call that the record with this number led to; `vm_name` where each VM has one."""
        return self._context(f"POST {number} {vm_name}")

    def _context(self, name: str) -> SpanContext:
        digest = hashlib.sha256(f"{self.run_id}\n{name}".encode()).hexdigest()
        flags = self.sender.flags if self.sender is not None else None
        return SpanContext(self.trace_id, int(digest[:16], 16) or 1, flags)


def read_traceparent(text: object) -> SpanContext | None:
    """The span that a `traceparent` names; None where it is none."""
    match = _TRACEPARENT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return SpanContext(int(trace_id, 16), int(span_id, 16), int(flags, 16))


def run_trace(run_id: str, trace: Mapping[str, str]) -> RunTrace:
    """The trace of a run. `trace`: the trace properties of its request, see `domain.messages.trace_of`."""
    return RunTrace(run_id, read_traceparent(trace.get("traceparent")))
