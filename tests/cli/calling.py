"""Calls the command line in this process, beside the sandbox that a test has."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from maintenance_cli.arguments import parser
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended
from maintenance_cli.main import MODULES
from maintenance_cli.reading.azure import Azure, bounded
from tests.support.environment import Environment
from tests.support.secret_scanner import SECRET_SCANNER


@dataclass(frozen=True, slots=True)
class Called:
    """`pages`: how often Service Bus was peeked."""

    code: Code
    out: str
    err: str
    pages: int = 0

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Desk:
    """An operator's desk: the links of one call serve the next, since the SDK takes seconds to close them."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._shared: Azure | None = None

    @property
    def azure(self) -> Azure:
        """The links, once there was a call."""
        assert self._shared is not None
        return self._shared

    async def call(self, *arguments: str) -> Called:
        """Run a verb as in a pipe."""
        return await _run(self.environment.app_settings(), arguments, self)

    def lend(self, azure: Azure) -> int:
        """Give a new call the links of those before it; returns how often they have peeked."""
        if self._shared is None:
            self._shared = azure
            return 0
        for name in ("bus", "peeker", "_senders", "credential", "arm"):
            vars(azure)[name] = getattr(self._shared, name)
        return self._shared.peeker.pages

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()


async def call(azure: Environment | Mapping[str, str], *arguments: str, **options: Any) -> Called:
    """Run a verb with the settings of this environment, as in a pipe, and close its links. `options`: of `Azure`."""
    environment = azure.app_settings() if isinstance(azure, Environment) else dict(azure)
    return await _run(environment, arguments, None, **options)


async def _run(environment: dict[str, str], arguments: tuple[str, ...], desk: Desk | None, **options: Any) -> Called:
    parsed = parser().parse_args(arguments)
    output = piped(parsed.output, quiet=parsed.quiet)
    module = importlib.import_module(f"maintenance_cli.commands.{MODULES.get(parsed.command, parsed.command)}")
    client = None
    pages = before = 0
    try:
        client = Azure(parsed, environment, **options)
        before = desk.lend(client) if desk is not None else 0
        code = Code(await bounded(module.main, parsed, output, client))
    except Ended as ended:
        code = ended.code
        output.err.write("".join(f"{line}\n" for line in ended.lines))
    finally:
        if client is not None:
            pages = client.peeker.pages - before if "peeker" in vars(client) else 0
            if desk is None:
                await client.close()
    called = Called(code, text_of(output.out), text_of(output.err), pages)
    SECRET_SCANNER.scan("command line", called.out, called.err)
    return called


def piped(form: str, *, quiet: bool = False) -> Output:
    """An output that is no terminal."""
    return Output(form, quiet, False, False, False, None, io.StringIO(), io.StringIO())


def text_of(stream: TextIO) -> str:
    """What was written."""
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
