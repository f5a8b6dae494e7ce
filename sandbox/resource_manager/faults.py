"""Fault injection: the next calls that match fail, are delayed, or have their connection reset."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from fnmatch import translate
from typing import Any, ClassVar, Literal

from sandbox.resource_manager.compute.seeds import AS_JSON
from sandbox.resource_manager.rest.messages import JSON, Request, Response

_LARGEST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: which calls it strikes, how often, and what goes wrong.

    Which calls:
        method: in any letter case; "*" = all.
        path: a glob over the path without the query, without letter case (`*/performMaintenance`), where `*`
            matches slashes, too; or, from Python, a compiled regular expression that is searched for.
        query: a glob over the query as sent (`*monitor=true*` matches polls of `Location` only).
        skip: let so many matching calls pass first.
        times: for so many calls; None = until it is removed.
        rate: the share of the calls, at random, from 0 to 1.
        seed: of that random choice.

    What goes wrong:
        delay: before the call is handled.
        delay_response: after it was handled, before the response is sent.
        cut: reset the connection `before` the work is done, or `after` it: the response is lost, the maintenance
            takes place.
        scale_in: these instances of the scale set that the call is about are gone before it is handled.
        update: somebody else begins to update these, before it is handled.
        update_duration: how long that takes.
        status: respond with this status in place of doing the work. An error comes with a body by default.
        work: do the work all the same, and respond with `status` then.
        headers: set in the response, in place of what is there; None removes one.
        body: in place of the response's; as HTML, unless `headers` name another Content-Type.
        json: the same, as a value to be sent as JSON.
        body_size: a body of this many bytes (blanks), to see what a client does with 10 MB.
        operation_status: replace the `status` in a JSON response: for reads of operations.
    """

    method: str = "*"
    path: str | re.Pattern[str] = "*"
    query: str = "*"
    skip: int = 0
    times: int | None = 1
    rate: float = 1.0
    seed: int = 0
    delay: timedelta = timedelta(0)
    delay_response: timedelta = timedelta(0)
    cut: Literal["before", "after"] | None = None
    scale_in: tuple[str, ...] = ()
    update: tuple[str, ...] = ()
    update_duration: timedelta = timedelta(minutes=1)
    status: int | None = None
    work: bool = False
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: str | bytes | None = None
    json: Any = None
    body_size: int | None = None
    operation_status: str | None = None

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_JSON

    def __post_init__(self) -> None:
        """Raises ValueError for what can't be meant."""
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: {self.status} is not an HTTP status from 200 to 599")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate: {self.rate} is not between 0 and 1")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times: {self.times} is less than 1")
        if sum(each is not None for each in (self.body, self.json, self.body_size)) > 1:
            raise ValueError("only one of body, json and body_size")
        if self.body_size is not None and not 0 <= self.body_size <= _LARGEST_BODY:
            raise ValueError(f"body_size: {self.body_size} is not between 0 and {_LARGEST_BODY}")

    @property
    def does_work(self) -> bool:
        """Whether the call is handled as without the fault, before its response is changed."""
        return self.cut != "before" and (self.status is None or self.work)

    def change(self, response: Response) -> Response:
        """The changed response, from the one without the fault (or an empty 200)."""
        changed = Response(response.status, dict(response.headers), response.body)
        if self.status is not None:
            changed.status = self.status
            if self.status >= 400:
                changed.body, changed.headers["Content-Type"] = _error(self.status), JSON
        if self.operation_status is not None and changed.body:
            content = json.loads(changed.body)
            changed.body = json.dumps({**content, "status": self.operation_status}).encode()
        if self.json is not None:
            changed.body, changed.headers["Content-Type"] = json.dumps(self.json).encode(), JSON
        elif self.body is not None:
            changed.body = self.body.encode() if isinstance(self.body, str) else self.body
            changed.headers["Content-Type"] = "text/html; charset=utf-8"
        elif self.body_size is not None:
            changed.body = b" " * self.body_size
            changed.headers["Content-Type"] = JSON
        for name, value in self.headers.items():
            for present in [each for each in changed.headers if each.lower() == name.lower()]:
                del changed.headers[present]
            if value is not None:
                changed.headers[name] = value
        return changed


def _error(status: int) -> bytes:
    return json.dumps({"error": {"code": f"Sandbox{status}", "message": "Caused by a fault."}}).encode()


def http_date(moment: datetime) -> str:
    """An aware UTC datetime as in HTTP headers: `Wed, 21 Oct 2015 07:28:00 GMT`."""
    return format_datetime(moment, usegmt=True)


class _Installed:
    """A fault, and its counters."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.skip = fault.skip
        self.left = fault.times
        self.hits = 0
        self._random = random.Random(fault.seed)
        self._path = _glob(fault.path) if isinstance(fault.path, str) else fault.path
        self._query = None if fault.query == "*" else _glob(fault.query)

    def strikes(self, request: Request) -> bool:
        fault = self.fault
        if fault.method != "*" and fault.method.upper() != request.method:
            return False
        if not self._path.search(request.path):
            return False
        if self._query is not None and not self._query.search(request.query_text):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if fault.rate < 1 and self._random.random() >= fault.rate:
            return False
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return True


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(r"\A" + translate(pattern), re.IGNORECASE)


@dataclass(frozen=True)
class FaultReport:
    """A fault that was added: its number, how often it struck, and how often it still will (None = without end)."""

    number: int
    fault: Fault
    hits: int
    left: int | None

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_JSON


class Faults:
    """The faults that were added. The first one that matches a call strikes; safe from any thread."""

    def __init__(self) -> None:
        self._installed: list[_Installed] = []
        self._lock = threading.Lock()
        self._numbers = 0

    def add(self, fault: Fault) -> int:
        """Add a fault; returns its number, for `remove`."""
        with self._lock:
            self._numbers += 1
            self._installed.append(_Installed(self._numbers, fault))
            return self._numbers

    def remove(self, number: int) -> None:
        """Remove one. It may be used up already."""
        with self._lock:
            self._installed = [each for each in self._installed if each.number != number]

    def reset(self) -> None:
        """Remove all."""
        with self._lock:
            self._installed = []

    def reports(self) -> list[FaultReport]:
        """All that were added and not removed, used up or not."""
        with self._lock:
            return [FaultReport(each.number, each.fault, each.hits, each.left) for each in self._installed]

    def strike(self, request: Request) -> Fault | None:
        """The fault that strikes this call, counted; None = there is none."""
        if not self._installed:
            return None
        with self._lock:
            for each in self._installed:
                if each.left != 0 and each.strikes(request):
                    return each.fault
        return None
