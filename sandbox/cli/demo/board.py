"""The instances of a few scale sets, one cell each, for the bottom of a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from sandbox.resource_manager import InstanceChanged, ScaleSetSeed


@dataclass(frozen=True, slots=True)
class _Look:
    """How a state is shown; `plain` where the terminal has no other signs. Each differs without its colour."""

    cell: str
    plain: str
    style: str
    meaning: str


_LOOKS = {
    "eligible": _Look("□", ".", "", "due"),
    "in-progress": _Look("▶", ">", "blue", "in maintenance"),
    "completed": _Look("■", "#", "green", "done"),
    "aborted": _Look("✗", "x", "red", "failed"),
    "not-planned": _Look("–", "-", "dim", "nothing planned"),
}


class InstanceBoard:
    """Renders the present states. `changed` may be called from any thread."""

    def __init__(self, scale_sets: Iterable[ScaleSetSeed]) -> None:
        self._states: dict[str, dict[str, str]] = {
            each.name: {instance.instance_id: instance.state for instance in each.instances} for each in scale_sets
        }

    def changed(self, event: InstanceChanged) -> None:
        if event.scale_set_name in self._states:
            self._states[event.scale_set_name][event.instance_id] = event.state

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # A terminal that has only ASCII shows question marks in place of the others.
        plain = not options.encoding.startswith("utf")
        sets = []
        for name, states in self._states.items():
            text = Text(f"{name} ", no_wrap=True)
            for state in states.values():
                look = _LOOKS.get(state, _LOOKS["aborted"])
                text.append(look.plain if plain else look.cell, look.style)
            sets.append(text)
        legend = Text("instances: ", style="dim", no_wrap=True, overflow="ellipsis")
        legend.append("  ".join(f"{look.plain if plain else look.cell} {look.meaning}" for look in _LOOKS.values()))
        yield Group(Text(""), legend, Columns(sets, padding=(0, 2)))
