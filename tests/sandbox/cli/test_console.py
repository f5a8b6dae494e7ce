"""What the demo shows: in few columns, in the order of cause and effect, on any terminal."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from sandbox.cli.demo.console import DemoConsole
from sandbox.resource_manager import Call, CallReceived, InstanceChanged, InstanceSeed, ScaleSetSeed, State
from tests.support.limit import LIMIT

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
FLEET = ScaleSetSeed(SUBSCRIPTION, "shop", "fleet", instances=tuple(InstanceSeed(str(each)) for each in range(12)))
PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/fleet"


class Screen:
    """A console of that width, and what was written to it."""

    def __init__(self, *, width: int = 80, encoding: str = "utf-8", terminal: bool = True) -> None:
        self._bytes = io.BytesIO()
        file = io.TextIOWrapper(self._bytes, encoding=encoding, errors="replace", write_through=True)
        self.console = Console(file=file, width=width, force_terminal=terminal, color_system=None)

    @property
    def lines(self) -> list[str]:
        """Without the controls by which the board moves."""
        text = self._bytes.getvalue().decode()
        for control in ("\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[1A"):
            text = text.replace(control, "")
        return [line.rstrip() for line in text.replace("\r", "\n").split("\n")]

    def line_with(self, text: str) -> int:
        return next(at for at, line in enumerate(self.lines) if text in line)


def changed(instance_id: str, state: State) -> InstanceChanged:
    return InstanceChanged(NOW, SUBSCRIPTION, "shop", "fleet", instance_id, "eligible", state)


def posted(body: bytes) -> CallReceived:
    call = Call(
        time=NOW,
        method="POST",
        path=f"{PATH}/performMaintenance",
        query=(),
        headers={},
        token_seen=True,
        authorized=True,
        body=body,
        status=202,
    )
    return CallReceived(NOW, call)


def play(screen: Screen) -> None:
    ids = ", ".join(f'"{each}"' for each in range(12))
    with DemoConsole(screen.console, [FLEET]) as demo:
        demo.sent("rolling", b'{"vmScaleSetName": "fleet", "reason": "' + b"r" * 200 + b'"}')
        for each in range(3):
            demo.on_event(changed(str(each), "in-progress"))
        demo.on_event(posted(f'{{"instanceIds": [{ids}]}}'.encode()))
        demo.on_event(changed("0", "completed"))
        demo.on_event(changed("1", "aborted"))
        demo.event(ended("alert-39ec8ac20a8af998c0f5-a1f99b8182cf2f88"))


def ended(request_id: str) -> dict[str, Any]:
    data = {"requestId": request_id, "status": "Succeeded", "vmScaleSetName": "fleet", "instances": []}
    return {"type": "vmss.maintenance.completed.v1", "data": data}


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (40, 80, 120):
        screen = Screen(width=width)
        play(screen)
        assert max(map(len, screen.lines)) <= width


def test_lines_in_a_file_are_whole() -> None:
    screen = Screen(terminal=False)
    play(screen)
    assert any('"instanceIds": ["0", "1"' in line and line.endswith("→ 202") for line in screen.lines)


def test_call_is_shown_before_the_instances_that_it_starts() -> None:
    screen = Screen()
    play(screen)
    assert screen.line_with("POST fleet/performMaintenance") < screen.line_with("fleet/0, 1, 2 in progress")


def test_board_has_one_cell_for_each_instance_from_the_start_to_the_end() -> None:
    screen = Screen()
    with DemoConsole(screen.console, [FLEET]):
        pass
    assert "fleet □□□□□□□□□□□□" in screen.lines
    play(screen)
    assert [line for line in screen.lines if line.startswith("fleet ")][-1] == "fleet ■✗▶□□□□□□□□□"


def test_terminal_without_the_signs_gets_others_for_each_state() -> None:
    screen = Screen(encoding="ascii")
    play(screen)
    assert [line for line in screen.lines if line.startswith("fleet ")][-1] == "fleet #x>........."


def test_request_of_an_alert_is_named_after_its_scale_set() -> None:
    screen = Screen()
    play(screen)
    assert "alert: fleet" in screen.lines[screen.line_with("completed: Succeeded")]


async def test_interrupted_demo_says_so_and_leaves_no_traceback() -> None:
    async with asyncio.timeout(LIMIT):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox", "demo"), stdout=PIPE, stderr=PIPE
        )
        assert process.stdout is not None
        first = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert b"Two instances" in first
    assert out.splitlines()[-1] == b"Interrupted."
    assert err == b""
