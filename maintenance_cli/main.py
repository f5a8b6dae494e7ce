"""The entry point: reads the arguments, runs the verb that they name, turns every failure into an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from maintenance_cli.arguments import parser
from maintenance_cli.exits import Code, Ended

# The verbs whose module has another name.
MODULES = {
    "list": "runs",
    "status": "runs",
    "watch": "follow",
    "pause": "pausing",
    "resume": "pausing",
    "dlq": "dead_letters",
    "schema": "documents",
    "completion": "documents",
    "version": "documents",
}


def main() -> NoReturn:
    """Run and leave. The SDK takes up to 3.5 s to close its links, for which nobody need wait: once all is written, the
    process ends."""
    code = run(sys.argv[1:], leave_at_once=True)
    _leave(code)


def run(arguments: list[str], *, leave_at_once: bool = False) -> int:
    """Run one verb; returns the exit code. `leave_at_once`: the process ends with it, without closing links."""
    parsed = parser().parse_args(arguments)
    from maintenance_cli.drawing.output import Output, ReaderGone  # noqa: PLC0415 - `--help` needs nothing of it

    output = Output.of(parsed)
    try:
        module = importlib.import_module(f"maintenance_cli.commands.{MODULES.get(parsed.command, parsed.command)}")
        code = _run(module.main, parsed, output, leave_at_once=leave_at_once)
        output.flush()
    except ReaderGone:
        # 141 is what a shell makes of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        output.problem("Interrupted.")
        return Code.INTERRUPTED
    except Ended as ended:
        for line in ended.lines:
            output.problem(line)
        return ended.code
    except ModuleNotFoundError as error:
        output.problem(f"{sys.executable} lacks {error.name}: install the project, or run `make demo` once.")
        return Code.ERROR
    except Exception as error:
        from maintenance.domain.redaction import place_of  # noqa: PLC0415 - rarely needed

        output.problem(f"Failed unexpectedly: {place_of(error)}. Please report it.")
        return Code.ERROR
    return code


def _run(command: object, parsed: argparse.Namespace, output: object, *, leave_at_once: bool) -> int:
    if not parsed.command or not hasattr(parsed, "timeout"):
        # Nothing of Azure is needed.
        return int(command(parsed, output))  # type: ignore[operator]
    from maintenance_cli.reading.azure import run_with_azure  # noqa: PLC0415 - imports the SDKs

    return run_with_azure(command, parsed, output, leave=_leave if leave_at_once else None)  # type: ignore[arg-type]


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(code)
