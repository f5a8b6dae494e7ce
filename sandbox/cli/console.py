"""Console output of the demo: events of the sandbox as they occur.

Observers call from the threads of the services; rich's console takes lines from any of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from sandbox.resource_manager import ArmEvent, Call, CallReceived, InstanceChanged

_STYLES = {"Succeeded": "green", "Rejected": "yellow", "NothingToDo": "cyan", "Accepted": "cyan", "InProgress": "cyan"}


class DemoConsole:
    """One line for each event, above a progress bar of the instances maintained."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn("instances maintained"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
        )
        self._bar = self._progress.add_task("instances", total=0)
        self._expected = 0

    def __enter__(self) -> DemoConsole:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def act(self, title: str) -> None:
        self._progress.console.rule(f"[bold]{escape(title)}")

    def sent(self, request_id: str, body: bytes) -> None:
        self._line("queue ←", "magenta", f"[bold]{escape(request_id)}[/]  {escape(_short(body.decode()))}")

    def alerted(self, payload: Mapping[str, Any]) -> None:
        """An alert of Service Health is posted."""
        alert = payload["data"]["alertContext"]["properties"]
        text = f"POST /api/alerts [bold]{escape(alert['trackingId'])}[/]  {escape(alert['title'])}"
        self._line("HTTP →", "magenta", text)

    def alert_response(self, status: int, body: Mapping[str, Any]) -> None:
        """The response to the alert."""
        self._line("HTTP ←", "magenta", f"{status} {escape(', '.join(body.get('requestIds', ())))}")

    def on_event(self, event: ArmEvent) -> None:
        """An observer of the sandbox's Resource Manager."""
        match event:
            case CallReceived(call=call):
                self._called(call)
            case InstanceChanged(instance_id=instance_id, state=state, scale_set_name=name):
                match state:
                    case "in-progress":
                        self._expected += 1
                        self._progress.update(self._bar, total=self._expected)
                    case "completed":
                        self._progress.advance(self._bar)
                style = {"completed": "green", "in-progress": "blue"}.get(state, "red")
                self._line("instance", style, f"{escape(name)}/{escape(instance_id)} is {state}")

    def event(self, document: Mapping[str, Any]) -> None:
        """A CloudEvent arrived at the subscription."""
        data = document["data"]
        status = str(data["status"])
        kind = str(document["type"]).split(".")[-2]
        style = _STYLES.get(status, "red")
        self._line(
            "topic →", "magenta", f"[bold]{escape(data['requestId'])}[/]  {kind}: [{style}]{status}[/]{_details(data)}"
        )

    def summary(self, rows: list[tuple[str, str, str, bool]]) -> None:
        """`rows`: request, expected result, received result, whether they are equal."""
        table = Table(title="Results of the requests", title_justify="left")
        for column in ("request", "expected", "received", ""):
            table.add_column(column)
        for request_id, expected, received, right in rows:
            table.add_row(escape(request_id), expected, escape(received), "[green]✓[/]" if right else "[red]✗[/]")
        self._console.print(table)

    def _called(self, call: Call) -> None:
        status = "reset" if call.status is None else str(call.status)
        if call.path.endswith("/performMaintenance"):
            body = _short(call.body.decode()) if call.body else "(no body)"
            self._line("ARM ←", "blue", f"POST {_tail(call.path)}/performMaintenance {escape(body)} → {status}")
        elif "/operations/" in call.path:
            self._line("ARM ←", "blue", f"GET operation {call.path.rsplit('/', 1)[-1][:8]} → {status}")
        else:
            self._line("ARM ←", "blue", f"{call.method} {_tail(call.path)} → {status}")

    def _line(self, who: str, style: str, text: str) -> None:
        seconds = time.monotonic() - self._start
        self._progress.console.print(
            f"[dim]{seconds:6.2f} s[/]  [{style}]{who:<9}[/] {text}", highlight=False, soft_wrap=True
        )


def _tail(path: str) -> str:
    """A path without what is the same in all of them."""
    return escape(path.partition("/virtualMachineScaleSets/")[2].removesuffix("/performMaintenance") or path)


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
    if data["status"] == "InProgress":
        return f"  [dim]wave {data['wave']} of {data['waves']}: {data['done']} done, {data['left']} left[/]"
    return f"  [dim]{counted}[/]" if counted else ""
