"""Secret scanner: searches what the whole suite logs, publishes and dead-letters for secrets.

Searched for: every token that a sandbox's managed identity issued and the key to its endpoint, the key of the
connection string, anything that looks like a token, and the signature in the query of ARM's operation URLs. Records in
the operations queue must hold those URLs, to poll them, and a dead-lettered record retains its body: there, and only
there, a signed query is allowed. The bodies of requests belong to their senders and are not searched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox.servicebus import BusEvent, MessageDeadLettered

if TYPE_CHECKING:
    from sandbox.managed_identity import ManagedIdentity
    from sandbox.otlp import Telemetry
    from tests.support.environment import Environment

DEAD = "/$DeadLetterQueue"
TOKEN = re.compile(r"eyJ[\w\-]{8,}\.[\w\-]{8,}\.?[\w\-]*")
SIGNED = re.compile(r"[?&](?:s|c|h|sig)=[\w%\-~.+/]{8,}")
KEY = re.compile(r"(?:SharedAccessKey|SharedAccessSignature|AccountKey)\s*=\s*[^;…\s\"']{4,}")


class SecretScanner(logging.Handler):
    """Log handler that searches records, and other things passed to `scan`, for secrets. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self._identities: list[ManagedIdentity] = []
        self._keys: set[str] = set()
        self._leaks: list[str] = []
        self.scanned = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Scan a log record."""
        self.scan("log", self.format(record))

    def watch_environment(self, environment: Environment) -> None:
        """Search for the secrets of an environment from now on, and scan the reasons for its dead letters."""
        self._identities = [*self._identities[-20:], environment.identity]
        self._keys.add(environment.bus.connection_string.partition("SharedAccessKey=")[2].partition(";")[0])

        def on_event(event: BusEvent) -> None:
            if isinstance(event, MessageDeadLettered):
                self.scan(f"dead letter reason, {event.entity}", event.reason, event.description, event.message_id)

        environment.bus.observers.add(on_event)

    def scan_queues(self, environment: Environment) -> None:
        """Scan the messages left in an environment."""
        from tests.support.entities import ENTITIES, OPERATIONS, REQUESTS

        for entity in ENTITIES:
            for place in (entity, entity + DEAD):
                for message in environment.bus.peek(place, 10_000):
                    self.scan(place, message.message_id, message.subject, message.application_properties)
                    if entity != REQUESTS:
                        self.scan(place, message.body, signed=entity == OPERATIONS)

    def scan_telemetry(self, telemetry: Telemetry) -> None:
        """Scan every span, log record and metric that a collector received."""
        for each in (*telemetry.spans, *telemetry.logs, *telemetry.points):
            self.scan(type(each).__name__.lower(), repr(each))

    def scan(self, place: str, *things: object, signed: bool = False) -> None:
        """Search things found at a place; `signed`: signed URLs are allowed there."""
        self.scanned += 1
        text = "\n".join(_text(thing) for thing in things)
        patterns = {"a token": TOKEN, "a key": KEY, **({} if signed else {"a signed URL": SIGNED})}
        found = [(kind, match[0]) for kind, pattern in patterns.items() if (match := pattern.search(text))]
        found += [("the key of the connection string", key) for key in self._keys if key in text]
        for identity in self._identities:
            found += [("an issued token", token) for token in [*identity._issued, identity.header] if token in text]
        self._leaks += [f"{place}: {kind}: {match[:60]}" for kind, match in found]

    def leaks(self) -> list[str]:
        """The secrets found since the last call."""
        leaks, self._leaks = self._leaks, []
        return leaks


def _text(thing: object) -> str:
    if isinstance(thing, bytes):
        return thing.decode(errors="replace")
    if isinstance(thing, Mapping):
        return "\n".join(f"{_text(key)}: {_text(value)}" for key, value in thing.items())
    return str(thing)


SECRET_SCANNER = SecretScanner()
