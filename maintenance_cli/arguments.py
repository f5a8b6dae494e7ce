"""The command line: verbs and their options. Imports nothing but argparse, so that `--help` takes no time."""

from __future__ import annotations

import argparse
import re
from typing import TypeAlias

PROG = "vmss-maintenance"
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
SCHEMAS = (
    *("request", "cancellation", "pause", "resume", "proceed", "event"),
    *("accepted", "deferred", "awaiting", "progressed", "completed", "rejected", "duplicate", "due"),
)
SCOPE_HELP = "subscription, resource group or scale set: its id; or GROUP/NAME for a scale set"
SET_HELP = "resource id of the scale set, or GROUP/NAME"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs; `command` names the verb that was chosen."""
    whole = argparse.ArgumentParser(
        prog=PROG,
        description="See, start and stop maintenance of VM scale sets. Reads Service Bus by peeking only: nothing is "
        "locked, received or changed but by send, cancel, pause, resume, dlq replay and dlq purge.",
        epilog="Exit codes: 0 as wished, 1 error, 2 usage or invalid request, 3 not found, 4 no permission or login, "
        "5 ended Failed, Canceled or Rejected, 6 PartiallySucceeded, 7 TimedOut, 8 still running when the wait ran "
        "out, 9 Service Bus or Resource Manager cannot be reached, 130 Ctrl-C.",
    )
    verbs = whole.add_subparsers(dest="command", required=True, metavar="VERB")
    shown = _shown()
    reached = [_connection(), shown]
    _plan(verbs, reached)
    _send(verbs, reached)
    _list_and_history(verbs, reached)
    _status_and_watch(verbs, reached)
    _cancel(verbs, reached)
    _pause_and_resume(verbs, reached)
    _dead_letters(verbs, reached)
    doctor = verbs.add_parser("doctor", parents=reached, help="what is wrong, and what to do about it")
    doctor.add_argument(
        "--read-only", action="store_true", help="leave out the check that schedules two messages and cancels them"
    )
    schema = verbs.add_parser("schema", parents=[shown], help="print the JSON Schema of a message")
    schema.add_argument("name", choices=SCHEMAS, metavar="NAME", help=", ".join(SCHEMAS))
    completion = verbs.add_parser("completion", help="print the completion script of a shell")
    completion.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    verbs.add_parser("version", parents=[shown], help="print the version")
    return whole


def _shown() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "jsonl"),
        default="table",
        help="table (default), json, or jsonl: one document a line",
    )
    group.add_argument("-q", "--quiet", action="store_true", help="nothing on stderr but errors")
    group.add_argument("--no-color", action="store_true", help="no colours; so does NO_COLOR in the environment")
    return options


def _connection() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("connection (default: the worker's own settings in the environment)")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--namespace", metavar="HOST", help="host name of the Service Bus namespace, or its first part")
    where.add_argument("--sandbox", action="store_true", help="the sandbox that is up on this machine")
    group.add_argument("--subscription", metavar="ID", help="of scale sets that are named GROUP/NAME")
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="TIME",
        help="give up after this time, such as 90, 90s, 5m or 2h (default: 60s, and no end for watch and --wait)",
    )
    return options


def _plan(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    plan = verbs.add_parser(
        "plan",
        parents=parents,
        help="what a request would do now",
        description="Reads the instance views from Resource Manager and prints each instance with its state and "
        "window, and the waves that a request would make. Sends nothing, and does not ask Service Bus.",
    )
    plan.add_argument("set", metavar="SET", help=SET_HELP)
    _request_options(plan)


def _request_options(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("request")
    group.add_argument(
        "--instance",
        action="append",
        metavar="ID",
        help="only this instance; may be given again (default: every instance of the set)",
    )
    group.add_argument("--max-per-wave", metavar="N", help="at most so many at a time: a number, or a share as 20%%")
    group.add_argument("--by-update-domain", action="store_true", help="one update domain at a time")
    group.add_argument("--pause", metavar="TIME", help="between waves, such as 90s or PT30M")
    group.add_argument("--max-failed", metavar="N", help="start no further wave after more failures (default: 0)")
    group.add_argument("--health-timeout", metavar="TIME", help="how long a wave may take to recover (default: 10m)")
    group.add_argument("--ineligible", choices=("skip", "reject"), help="what cannot be maintained (default: skip)")


def _send(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    send = verbs.add_parser(
        "send",
        parents=parents,
        help="send a request, after showing what it would do",
        description="Shows the plan of the request and asks before it is sent. Without a terminal, --yes is needed.",
    )
    send.add_argument("set", nargs="?", metavar="SET", help=SET_HELP)
    send.add_argument("-f", "--file", metavar="FILE", help="the request as JSON; - for standard input")
    _request_options(send)
    group = send.add_argument_group("request, and how it is sent")
    group.add_argument("--request-id", metavar="ID", help="default: a new one")
    group.add_argument("--not-before", metavar="TIME", help="RFC 3339, such as 2026-12-01T22:00:00Z")
    group.add_argument("--deadline", metavar="TIME", help="RFC 3339; nothing is started after it")
    group.add_argument("--reason", metavar="TEXT", help="carried into the events (default: who sends it)")
    group.add_argument("--dry-run", action="store_true", help="the worker does everything but start maintenance")
    group.add_argument("--wait", action="store_true", help="follow the request to its end")
    _yes(send, "send without a plan and without a question")


def _list_and_history(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    listed = verbs.add_parser("list", parents=parents, help="what waits and what is under way")
    listed.add_argument("--all", action="store_true", help="and what ended within a day")
    listed.add_argument("--set", metavar="SET", help="only of this scale set")
    history = verbs.add_parser("history", parents=parents, help="what ended, who asked, and who canceled")
    history.add_argument(
        "--since", type=seconds, default=86_400.0, metavar="TIME", help="how far back, such as 2h or 7d (default: 1d)"
    )
    history.add_argument("--set", metavar="SET", help="only of this scale set")
    history.add_argument("--id", metavar="ID", help="only of this request")
    history.add_argument("--limit", type=_count, default=200, metavar="N", help="the newest so many (default: 200)")


def _status_and_watch(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    status = verbs.add_parser("status", parents=parents, help="one request: its waves, instances, and why it waits")
    status.add_argument("id", metavar="ID", help="request id, or run id")
    watch = verbs.add_parser("watch", parents=parents, help="follow a request, or all of a scale set, to the end")
    watch.add_argument("id", metavar="ID|SET", help=f"request id, run id, or {SET_HELP}")
    watch.add_argument(
        "--every", type=seconds, default=2.0, metavar="TIME", help="how often Service Bus is read (default: 2s)"
    )


def _cancel(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    cancel = verbs.add_parser(
        "cancel",
        parents=parents,
        help="start nothing more of a request",
        description="Sends a cancellation. No wave starts after it; what Azure has begun, it finishes.",
    )
    cancel.add_argument("id", metavar="ID", help="request id")
    cancel.add_argument("--set", metavar="SET", help=f"{SET_HELP} (default: that of the request, where it is found)")
    cancel.add_argument("--reason", metavar="TEXT", help="carried into the events (default: who cancels)")
    cancel.add_argument("--wait", action="store_true", help="until the request has ended")
    _yes(cancel, "without a question")


def _pause_and_resume(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    for name, text, told in (
        ("pause", "start nothing new in a scope", "No request and no further wave starts there; what runs, runs on."),
        ("resume", "end the pauses of a scope", "Those of scopes within it end too; that of a wider scope stays."),
    ):
        verb = verbs.add_parser(name, parents=parents, help=text, description=f"Sends a {name}. {told}")
        verb.add_argument("scope", metavar="SCOPE", help=SCOPE_HELP)
        if name == "pause":
            verb.add_argument(
                "--until", metavar="TIME", help="from now, such as 2h, or RFC 3339 (default: until it is resumed)"
            )
        verb.add_argument("--reason", metavar="TEXT", help="carried into the events (default: who sends it)")
        _yes(verb, "without a question")


def _dead_letters(verbs: Verbs, parents: list[argparse.ArgumentParser]) -> None:
    dlq = verbs.add_parser("dlq", help="dead letters: list, show, replay, purge")
    actions = dlq.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", parents=parents, help="what Service Bus gave up delivering, and why")
    listed.add_argument("queue", nargs="?", metavar="QUEUE", help="queue, or TOPIC/SUBSCRIPTION (default: all)")
    for name, text in (
        ("show", "print dead letters whole"),
        ("replay", "deliver dead letters once more, as new messages"),
        ("purge", "delete dead letters for good"),
    ):
        action = actions.add_parser(name, parents=parents, help=text)
        action.add_argument("queue", metavar="QUEUE", help="queue, or TOPIC/SUBSCRIPTION")
        action.add_argument(
            "--id", action="append", metavar="ID", help="message id, request id or sequence number; may be given again"
        )
        action.add_argument("--reason", metavar="TEXT", help="those whose dead-letter reason contains this")
        if name == "show":
            continue
        action.add_argument("--all", action="store_true", help="every dead letter of the queue")
        action.add_argument("--dry-run", action="store_true", help="only say what would be done")
        _yes(action, "do it without a question")
        if name == "replay":
            action.add_argument("--to", metavar="QUEUE", help="the reader's queue, for dead letters of a subscription")


def _yes(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument("-y", "--yes", action="store_true", help=text)


def seconds(text: str) -> float:
    """A time such as `90`, `90s`, `5m`, `2h` or `7d`, in seconds."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write 90, 90s, 5m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)
