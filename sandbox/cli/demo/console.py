"""Console output of the demo: events of the sandbox as they occur, above a board of the instances.

Observers call from the threads of the services; rich's console takes lines from any of them.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from sandbox.cli.demo.board import InstanceBoard
from sandbox.resource_manager import ArmEvent, Call, CallReceived, InstanceChanged, ScaleSetSeed

_STYLES = {"Succeeded": "green", "Rejected": "yellow", "NothingToDo": "cyan"}
_UNDER_WAY = ("Accepted", "InProgress", "Deferred", "Awaiting")


class DemoConsole:
    """One line for each event, cut to the width of a terminal, above a board with one cell for each instance."""

    def __init__(self, console: Console, scale_sets: Iterable[ScaleSetSeed]) -> None:
        self._console = console
        self._start = time.monotonic()
        self._board = InstanceBoard(scale_sets)
        self._live = Live(self._board, console=console, refresh_per_second=8)
        self._begun: dict[str, list[str]] = defaultdict(list)

    def __enter__(self) -> DemoConsole:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def interrupted(self) -> None:
        """The process is about to end without another word: leave the terminal as it was."""
        self._stop()
        self._console.print("Interrupted.")
        self._console.file.flush()

    def _stop(self) -> None:
        self._live.stop()
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            # The board is not on a line of its own there.
            self._console.line()

    def act(self, title: str) -> None:
        self._console.rule(f"[bold]{escape(title)}")

    def sent(self, request_id: str, body: bytes) -> None:
        self._line("queue ←", "magenta", f"[bold]{escape(request_id)}[/]  {escape(_short(body.decode()))}")

    def alerted(self, payload: Mapping[str, Any]) -> None:
        """An alert of Service Health is posted."""
        alert = payload["data"]["alertContext"]["properties"]
        text = f"POST /api/alerts [bold]{escape(alert['trackingId'])}[/]  {escape(alert['title'])}"
        self._line("HTTP →", "magenta", text)

    def alert_response(self, status: int, body: Mapping[str, Any]) -> None:
        """The response to the alert."""
        self._line(
            "HTTP ←", "magenta", f"{status} {escape(str(body.get('status', '')))}: the worker looks for scale sets"
        )

    def on_event(self, event: ArmEvent) -> None:
        """An observer of the sandbox's Resource Manager."""
        match event:
            case CallReceived(call=call):
                self._called(call)
            case InstanceChanged(instance_id=instance_id, state=state, scale_set_name=name):
                self._board.changed(event)
                if state == "in-progress":
                    # Shown after the call that caused it, which is reported once it has its response.
                    self._begun[name].append(instance_id)
                else:
                    style = "green" if state == "completed" else "red"
                    self._line("instance", style, f"{escape(name)}/{escape(instance_id)} is {state}")

    def event(self, document: Mapping[str, Any]) -> None:
        """A CloudEvent arrived at the subscription."""
        data = document["data"]
        status = str(data["status"])
        kind = str(document["type"]).split(".")[-2]
        style = "cyan" if status in _UNDER_WAY else _STYLES.get(status, "red")
        result = "" if status in (*_UNDER_WAY, "Rejected") else f": [{style}]{status}[/]"
        self._line("topic →", "magenta", f"[bold]{escape(_name(data))}[/]  [{style}]{kind}[/]{result}{_details(data)}")

    def summary(self, rows: list[tuple[str, str, str, bool]]) -> None:
        """`rows`: request, expected result, received result, whether they are equal."""
        table = Table(title="Results of the requests", title_justify="left")
        for column in ("request", "expected", "received", ""):
            table.add_column(column)
        # As long as the sign beside it has the colour, an encoding without it shows a word.
        signs = ("✓", "✗") if self._console.encoding.startswith("utf") else ("ok", "no")
        for request_id, expected, received, right in rows:
            sign = f"[green]{signs[0]}[/]" if right else f"[red]{signs[1]}[/]"
            table.add_row(escape(request_id), expected, escape(received), sign)
        self._console.print(table)

    def _called(self, call: Call) -> None:
        status = "reset" if call.status is None else str(call.status)
        if call.path.endswith("/performMaintenance"):
            body = _short(call.body.decode()) if call.body else "(no body)"
            self._line("ARM ←", "blue", f"POST {_tail(call.path)}/performMaintenance {escape(body)} → {status}")
            name = _tail(call.path).partition("/")[0]
            if begun := self._begun.pop(name, []):
                self._line("instance", "blue", f"{name}/{escape(', '.join(begun))} in progress")
        elif "/operations/" in call.path:
            self._line("ARM ←", "blue", f"GET operation {call.path.rsplit('/', 1)[-1][:8]} → {status}")
        else:
            self._line("ARM ←", "blue", f"{call.method} {_tail(call.path)} → {status}")

    def _line(self, who: str, style: str, text: str) -> None:
        seconds = time.monotonic() - self._start
        line = f"[dim]{seconds:6.2f} s[/]  [{style}]{who:<9}[/] {text}"
        if self._console.is_terminal:
            self._console.print(line, highlight=False, no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(line, highlight=False, soft_wrap=True)


def _tail(path: str) -> str:
    """A path without what is the same in all of them."""
    tail = path.partition("/virtualMachineScaleSets/")[2].removesuffix("/performMaintenance")
    return escape(tail or path.rpartition("/")[2])


def _name(data: Mapping[str, Any]) -> str:
    """Who asked. The ids of requests from alerts are hashes, which tell a viewer less than the scale set."""
    request_id = str(data["requestId"])
    return f"alert: {data.get('vmScaleSetName', '?')}" if request_id.startswith("alert-") else request_id


def _short(text: str) -> str:
    """A request's body, without the names that all requests of the demo share."""
    try:
        document = json.loads(text)
    except ValueError:
        return text[:100]
    if isinstance(document, dict):
        for common in ("subscriptionId", "resourceGroupName"):
            document.pop(common, None)
    shown = json.dumps(document)
    return shown if len(shown) <= 120 else shown[:119] + "…"


def _details(data: Mapping[str, Any]) -> str:
    if data.get("problems"):
        problem = data["problems"][0]
        return f"  [dim]{escape(problem['field'])}: {escape(problem['message'])}[/]"
    outcomes: dict[str, int] = {}
    for entry in data.get("instances", ()):
        outcomes[entry["outcome"]] = outcomes.get(entry["outcome"], 0) + 1
    counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    if data["status"] == "Deferred":
        return f"  [dim]{escape(data['message'])}[/]"
    if data["status"] == "Awaiting":
        return f"  [dim]wave {data['wave']} of {data['waves']}: {escape(', '.join(data['instanceIds']))}[/]"
    if data["status"] == "InProgress":
        return f"  [dim]wave {data['wave']} of {data['waves']}: {data['done']} done, {data['left']} left[/]"
    return f"  [dim]{counted}[/]" if counted else ""
