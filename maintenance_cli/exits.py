"""The exit codes, and the exception that ends a command with one of them. Pure."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What the process's exit code says; `docs/operating.md` lists them."""

    AS_WISHED = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    FAILED = 5
    PARTLY = 6
    TIMED_OUT = 7
    STILL_RUNNING = 8
    UNREACHABLE = 9
    INTERRUPTED = 130


# How a run ended, as its end event says it.
OF_STATUS = {
    "Succeeded": Code.AS_WISHED,
    "NothingToDo": Code.AS_WISHED,
    "PartiallySucceeded": Code.PARTLY,
    "Failed": Code.FAILED,
    "Canceled": Code.FAILED,
    "Rejected": Code.FAILED,
    "TimedOut": Code.TIMED_OUT,
}


class Ended(Exception):
    """The command ends here: with this code, and these lines on stderr, each a whole sentence or problem."""

    def __init__(self, code: Code, *lines: str) -> None:
        self.code = code
        self.lines = lines
        super().__init__("; ".join(lines))


def of_status(status: str) -> Code:
    """The exit code for how a run ended; FAILED for an end that this version does not know."""
    return OF_STATUS.get(status, Code.FAILED)
