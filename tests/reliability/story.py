"""A story: what is there and asked for, and what is to come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sandbox.resource_manager import (
    Fault,
    InstanceSeed,
)
from sandbox.resource_manager.compute.seeds import OrchestrationMode


@dataclass(frozen=True, kw_only=True)
class Story:
    """Instances, requests, and the expected results.

    `requests` by message id; `not_before` and `deadline` are added to them, counted from when they are sent. `ends`:
    the final status of each request. `publishes`: the kinds of all events, in any order. `may_publish`: kinds that
    depend on how far a wave had come when the worker was killed. `maintained`: the instances that are maintained, once
    each. `view_lag`: how old what ARM shows of instances is. `keeps_lease`: its end leaves a wave at work.
    `after_first_post`: messages that are sent once ARM has accepted a POST. `properties`: of the messages. `blackout`:
    how long the app's lasts, from when the services are up; `pause`: how long one lasts, from when it is sent.
    """

    instances: tuple[InstanceSeed, ...]
    requests: Mapping[str, dict[str, Any] | bytes]
    ends: Mapping[str, str]
    publishes: tuple[str, ...]
    may_publish: frozenset[str] = frozenset()
    maintained: frozenset[str] = frozenset()
    orchestration: OrchestrationMode = "Uniform"
    faults: tuple[Fault, ...] = ()
    not_before: timedelta | None = None
    blackout: timedelta | None = None
    pause: timedelta | None = None
    deadline: timedelta | None = None
    view_lag: timedelta | None = None
    keeps_lease: bool = False
    after_first_post: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str | bytes, str] = field(default_factory=dict)

    def bodies(self, now: datetime) -> dict[str, bytes]:
        times = {"notBefore": self.not_before, "deadline": self.deadline}
        fields = {name: (now + span).isoformat() for name, span in times.items() if span is not None}
        return {name: self._body(body, fields, now) for name, body in self.requests.items()}

    def _body(self, body: dict[str, Any] | bytes, fields: Mapping[str, str], now: datetime) -> bytes:
        if isinstance(body, bytes):
            return body
        if "pause" in body and self.pause is not None:
            until = (now + self.pause).isoformat()
            body = {"pause": {**body["pause"], "until": until}}
        elif "cancel" not in body:
            body = {**body, **fields}
        return json.dumps(body).encode()
