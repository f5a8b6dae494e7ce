"""The settings of host.json that this host supports.

Defaults and names: https://learn.microsoft.com/azure/azure-functions/functions-host-json. What is not
named here (bundles, logging, prefetch, batches, sessions) is passed over: the real host needs it, this one
does not.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sandbox.functions_host.timespan import parse_timespan


class HostJsonError(ValueError):
    """host.json holds something the real host rejects; the message names every problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfiguration:
    """The supported settings of host.json.

    Attributes:
        max_concurrent_calls: how many messages of one trigger run at the same time.
        lock_renewal: for how long after its receipt a message's lock is kept alive while its function runs.
        auto_complete: complete a message when its function returns. If not, nobody does: its lock runs out.
        function_timeout: how long one invocation may take; None for no bound.
        route_prefix: what stands before every HTTP route, without slashes; may be empty.
    """

    max_concurrent_calls: int
    lock_renewal: timedelta
    auto_complete: bool
    function_timeout: timedelta | None
    route_prefix: str

    @classmethod
    def from_host_json(cls, host_json: Mapping[str, object] | None) -> "HostConfiguration":
        """Read the parsed file; None stands for an empty one.

        Raises:
            HostJsonError: naming all that is wrong at once.
        """
        reader = _Reader(host_json or {})
        configuration = cls(
            max_concurrent_calls=reader.count("extensions.serviceBus.maxConcurrentCalls", 16 * (os.cpu_count() or 1)),
            lock_renewal=reader.span("extensions.serviceBus.maxAutoLockRenewalDuration", timedelta(minutes=5)),
            auto_complete=reader.flag("extensions.serviceBus.autoCompleteMessages", True),
            function_timeout=reader.timeout("functionTimeout", timedelta(minutes=30)),
            route_prefix=reader.text("extensions.http.routePrefix", "api").strip("/"),
        )
        if reader.problems:
            raise HostJsonError("host.json: " + "; ".join(reader.problems))
        return configuration


def read_host_json(folder: Path) -> Mapping[str, object]:
    """The parsed host.json of an app's folder; empty where there is none.

    Raises:
        HostJsonError: it is not JSON, or no object.
    """
    path = folder / "host.json"
    if not path.exists():
        return {}
    try:
        parsed: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HostJsonError(f"{path}: not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise HostJsonError(f"{path}: must hold an object")
    return parsed


class _Reader:
    """Takes values out of the tree by their dotted path and remembers what was wrong."""

    def __init__(self, tree: Mapping[str, object]) -> None:
        self._tree = tree
        self.problems: list[str] = []

    def _find(self, path: str) -> object:
        node: object = self._tree
        for name in path.split("."):
            node = node.get(name) if isinstance(node, Mapping) else None
        return node

    def count(self, path: str, default: int) -> int:
        value = self._find(path)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.problems.append(f"{path} must be a whole number of 1 or more, not {value!r}")
            return default
        return value

    def flag(self, path: str, default: bool) -> bool:
        value = self._find(path)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problems.append(f"{path} must be true or false, not {value!r}")
            return default
        return value

    def text(self, path: str, default: str) -> str:
        value = self._find(path)
        if value is None:
            return default
        if not isinstance(value, str):
            self.problems.append(f"{path} must be text, not {value!r}")
            return default
        return value

    def span(self, path: str, default: timedelta) -> timedelta:
        value = self._find(path)
        if value is None:
            return default
        try:
            span = parse_timespan(value) if isinstance(value, str) else None
        except ValueError:
            span = None
        if span is None or span < timedelta(0):
            self.problems.append(f"{path} must be a time span such as 00:05:00, not {value!r}")
            return default
        return span

    def timeout(self, path: str, default: timedelta) -> timedelta | None:
        if self._find(path) in ("-1", -1):  # as the real host has it: unbounded
            return None
        return self.span(path, default)
