"""Command-line interface of the sandbox: the parser and the dispatch to one module per command."""

import argparse
import importlib
import io
import os
import sys
from pathlib import Path

from sandbox.cli.environment_file import ENVIRONMENT_FILE, PROJECT
from sandbox.latency import Latency, parse_latencies

# Of the commands whose module has another name.
_MODULES = {"demo": "demo.acts"}
_VENV_PYTHON = ".venv/bin/python -m sandbox"
INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell gives it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A locale without a sign shows a question mark, and ends nothing.
            stream.reconfigure(errors="replace")
    parsed = _parser().parse_args(arguments)
    try:
        try:
            # Imported when needed: `--help` and mistyped arguments need no server, no SDK and no second of waiting.
            command = importlib.import_module(f"sandbox.cli.{_MODULES.get(parsed.command, parsed.command)}")
        except ModuleNotFoundError as error:
            print(f"{sys.executable} lacks {error.name}. Run `make demo` once, then {_VENV_PYTHON}", file=sys.stderr)
            return 2
        code: int = command.main(parsed)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Azure on this machine, for running and testing the maintenance worker without an account: "
        "a Service Bus namespace, Azure Resource Manager with scale sets under maintenance, a managed identity, "
        "and a host for Azure Functions. Everything listens on 127.0.0.1 and is gone when it ends.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_up(commands)
    _add_worker(commands)
    _add_send(commands)
    _add_alert(commands)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser(
        "demo",
        help="the main job, live: requests in, maintenance carried out, events out; ends by itself",
        description="Starts everything, sends a good request, one for a whole scale set and a bad one, shows what "
        "happens, and ends. The exit code is 0 only if every expected event arrived. A page shows the same while it "
        "runs: its address is among the first lines.",
    )
    demo.add_argument("--stay", action="store_true", help="keep everything up afterwards, for the page, until Ctrl-C")
    _add_page_port(demo)


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = commands.add_parser(
        "up",
        help="start Service Bus, Resource Manager and the identity endpoint, and keep them up until Ctrl-C",
        description="Starts Service Bus, Azure Resource Manager (with example scale sets) and the token "
        "endpoint, and writes the variables by which a worker, `func start` or a script of yours uses them. "
        "Ctrl-C ends it.",
    )
    up.add_argument("--worker", action="store_true", help="run the worker too, in the same terminal")
    up.add_argument(
        "--http-port", type=_port, default=7071, metavar="N", help="of the worker's HTTP functions (default: 7071)"
    )
    _add_page_port(up)
    up.add_argument("--no-page", action="store_true", help="serve no page")
    _add_env_file(up, "where the variables are written")
    up.set_defaults(env_file_default=ENVIRONMENT_FILE)
    up.add_argument(
        "--local-settings",
        type=Path,
        nargs="?",
        const=PROJECT / "local.settings.json",
        metavar="FILE",
        help="write the settings of Azure Functions Core Tools as well (default: local.settings.json)",
    )
    up.add_argument("--servicebus-port", type=_port, default=5672, metavar="N", help="default 5672; 0 for any free one")
    up.add_argument(
        "--latency",
        type=_latencies,
        default={},
        metavar="SERVICE=MS",
        help="have each direction of a call take longer: servicebus=5ms,arm=80ms; arm=80ms+20ms for up to 20 ms more",
    )
    up.add_argument("--arm-port", type=_port, default=8070, metavar="N", help="default 8070; 0 for any free one")
    up.add_argument(
        "--otlp",
        type=_port,
        nargs="?",
        const=4318,
        metavar="N",
        help="take OpenTelemetry over HTTP as well, have the worker send it, and draw the trace of each run that ends "
        "(default port: 4318; 0 for any free one)",
    )
    up.add_argument(
        "--topology",
        type=Path,
        default=PROJECT / "infra" / "topology.json",
        metavar="FILE",
        help="queues, topics and subscriptions, in the format of Microsoft's Service Bus emulator "
        "(default: infra/topology.json)",
    )
    up.add_argument(
        "--duration",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="how long the maintenance of an instance takes (default: 20)",
    )
    up.add_argument(
        "--json",
        action="store_true",
        help="print one line of JSON instead, with serviceBus, arm and environment, for programs to read; the page is "
        "served where --page-port asks for it, and its address is in page",
    )


def _add_page_port(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--page-port",
        type=_port,
        metavar="N",
        help="of the page that shows it all; 0 for any free one (default: 8071, or any free one where that is taken)",
    )


def _add_worker(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    worker = commands.add_parser(
        "worker",
        help="run the functions of function_app.py against whatever the environment names",
        description="Runs the functions of DIR/function_app.py, with DIR/host.json, as Azure would: listens on the "
        "queues, fires the timers, serves the HTTP functions on 127.0.0.1. Settings come from the environment, or "
        "from the file that `python -m sandbox up` writes. Logs go to stderr. Ctrl-C lets running functions "
        "finish, then ends it.",
    )
    _add_env_file(worker, "read where the environment names no ServiceBusConnection")
    worker.add_argument(
        "--app",
        type=Path,
        default=PROJECT,
        metavar="DIR",
        help="the folder of function_app.py (default: this project)",
    )
    worker.add_argument(
        "--http-port",
        type=_port,
        default=0,
        metavar="N",
        help="where the HTTP functions are served (default: any free port, which the log names)",
    )
    # For `up`, which holds the other end: where it dies, the worker ends too.
    worker.add_argument("--until-input-ends", action="store_true", help=argparse.SUPPRESS)


def _add_send(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    send = commands.add_parser(
        "send",
        help="send a request, or any other message, to the requests queue",
        description="Sends FILE as one message, as a sender of requests would. What is wrong with it is for the worker "
        "to say. The exit code is 2 where it was not sent.",
    )
    send.add_argument("file", type=Path, metavar="FILE", help="the body, as JSON; - for standard input")
    send.add_argument("--message-id", metavar="ID", help="its message id (default: one that is made up)")
    send.add_argument(
        "--queue", default="maintenance-requests", metavar="NAME", help="where to (default: maintenance-requests)"
    )
    _add_env_file(send, "read for the connection string")


def _add_alert(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    alert = commands.add_parser(
        "alert",
        help="post an alert of Azure Monitor's to a worker, as an action group would",
        description="Posts FILE to the function receive_alert and prints the response. The exit code is 0 for 200 and "
        "202. sandbox/planned_maintenance.json is an alert to begin with; its region is North Europe.",
    )
    alert.add_argument("file", type=Path, metavar="FILE", help="the payload, as JSON; - for standard input")
    alert.add_argument(
        "--endpoint",
        default=os.environ.get("SANDBOX_WORKER_ENDPOINT", "http://127.0.0.1:7071"),
        metavar="URL",
        help="where the HTTP functions are, as `python -m sandbox worker` logs it (default: SANDBOX_WORKER_ENDPOINT, "
        "else http://127.0.0.1:7071)",
    )
    alert.add_argument(
        "--key", metavar="KEY", help="the function's key (default: SANDBOX_FUNCTION_KEY, from the environment or file)"
    )
    _add_env_file(alert, "read for the key")


def _add_env_file(command: argparse.ArgumentParser, purpose: str) -> None:
    command.add_argument(
        "--env-file",
        type=Path,
        default=ENVIRONMENT_FILE,
        metavar="FILE",
        help=f"{purpose} (default: build/sandbox.env)",
    )


def _latencies(text: str) -> dict[str, Latency]:
    try:
        return parse_latencies(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: they go from 0 (any free one) to 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not a duration: seconds go from 0 to 86400")
    return seconds
