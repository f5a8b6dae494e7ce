"""Settings by name, read with every problem collected."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from maintenance.configuration import texts
from maintenance.domain.errors import Problem
from maintenance.domain.formats import parse_duration
from maintenance.domain.redaction import redact
from maintenance.domain.resources import Scope, parse_scope, split_scopes

T = TypeVar("T")
# What begins like this is for this app, and is refused where the app does not know it.
PREFIXES = ("MAINTENANCE_", "ARM_", f"{texts.CONNECTION}__".upper())
# How those end that have no such beginning: the names of queues and topic, and the schedules.
BARE = ("_QUEUE", "_TOPIC", "_SCHEDULE")


class SettingsReader:
    """Reader of single settings that collects the problems it finds, and the names it was asked for."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        # The host reads these without regard to letter case, and Windows gives all names in capitals.
        prefix = PREFIXES[-1]
        self._of_connection = {name.upper(): text for name, text in environment.items() if _begins(name, prefix)}
        self._known: set[str] = set()
        self.problems: list[Problem] = []

    def report(self, name: str, rule: str, value: str | None = None) -> None:
        # What was put into the wrong place may be a secret.
        harmless = value is not None and not any(mark in value for mark in "@=;")
        self.problems.append(Problem(name, rule, redact(value or "")[:200] if harmless else None))

    def text(self, name: str, default: str) -> str:
        self._known.add(name)
        found = self._environment.get(name) or self._of_connection.get(name.upper()) or ""
        return found.strip() or default

    def parsed(self, name: str, default: str, parse: Callable[[str], str]) -> str:
        return self.read(name, default, parse)

    def entity(self, name: str, default: str) -> str:
        return self.read(name, default, texts.entity)

    def duration(self, name: str, default: timedelta) -> timedelta:
        return self.read(name, default, parse_duration)

    def span(self, name: str, default: timedelta) -> timedelta:
        return self.read(name, default, texts.span)

    def flag(self, name: str, *, default: bool) -> bool:
        return self.read(name, default, texts.flag)

    def choice(self, name: str, choices: Mapping[str, T], *, default: str) -> T:
        text = self.text(name, default).lower()
        if text not in choices:
            self.report(name, f"must be one of {', '.join(choices)}", text)
        return choices.get(text, choices[default])

    def number(self, name: str, default: int) -> int:
        return self.read(name, default, texts.number)

    def read(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        text = self.text(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.report(name, str(error), text)
            return default

    def scopes(self, name: str) -> tuple[Scope, ...]:
        scope_texts = split_scopes(self.text(name, ""))
        if not scope_texts:
            rule = "is missing: list the subscriptions, resource groups or scale sets that requests are allowed to name"
            self.report(name, rule)
        scopes = []
        for text in scope_texts:
            try:
                scopes.append(parse_scope(text))
            except ValueError as error:
                self.report(name, str(error), text)
        return tuple(scopes)

    def check_entities(self, defaults: Mapping[str, str]) -> None:
        """Each queue and topic is one of its own: what is meant for one must not come to another."""
        taken: dict[str, str] = {}
        for name, default in defaults.items():
            text = self.text(name, default)
            if other := taken.get(text.lower()):
                self.report(name, f"must differ from {other}", text)
            taken.setdefault(text.lower(), name)

    def check_identity(self) -> None:
        """The token endpoint's variables, which the host sets: an example's text may stand there instead."""
        endpoint = self.text("IDENTITY_ENDPOINT", "")
        header = self.text("IDENTITY_HEADER", "")
        parts = texts.split_url(endpoint)
        valid = parts is not None and parts.scheme.lower() in ("http", "https") and "@" not in parts.netloc
        if endpoint and not valid:
            self.report("IDENTITY_ENDPOINT", "must be the URL of the token endpoint, or not be set")
        elif bool(endpoint) != bool(header):
            missing = "IDENTITY_HEADER" if endpoint else "IDENTITY_ENDPOINT"
            self.report(missing, "is missing: IDENTITY_ENDPOINT and IDENTITY_HEADER must be set together, or neither")
        if header and not (header.isascii() and header.isprintable() and " " not in header):
            self.report("IDENTITY_HEADER", "must be the secret that goes with IDENTITY_ENDPOINT, without spaces")

    def check_names(self) -> None:
        """Every setting that begins like one of ours must be one, and so must one that is nearly one of those without
        a beginning of their own."""
        known = {_short(name): name for name in self._known}
        of_connection = {name.upper() for name in self._known}
        bare = [name for name in self._known if name.endswith(BARE)]
        for name, text in self._environment.items():
            if name in self._known or not text.strip():
                continue
            begins = _begins(name, *PREFIXES)
            if not begins and not difflib.get_close_matches(_plain(name)[:100], bare, n=1, cutoff=0.9):
                continue
            if _begins(name, PREFIXES[-1]) and name.upper() in of_connection:
                continue
            close = difflib.get_close_matches(_short(name)[:100], known, n=1)
            hint = f"; did you mean {known[close[0]]}?" if close else ""
            self.report(name[:100], f"is not a setting of this app{hint}")


def _plain(name: str) -> str:
    """The name in capitals and with underscores, as ours are: `Maintenance:Dry-Run` is meant for this app, too."""
    return name.upper().replace("-", "_").replace(":", "_").replace(".", "_")


def _begins(name: str, *prefixes: str) -> bool:
    return _plain(name).startswith(prefixes)


def _short(name: str) -> str:
    """The name without its prefix, which all have in common, for comparison."""
    return next((_plain(name).removeprefix(each) for each in PREFIXES if _begins(name, each)), _plain(name))
