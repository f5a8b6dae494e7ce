"""Watches what is logged, published and dead-lettered, in the whole suite, for what nobody may read there.

What is searched for: every token that a sandbox's managed identity gave out and the key to its endpoint, the key of
the connection string, anything that looks like a token, and the signed part of ARM's operation URLs. Records in the
operations queue must hold those URLs, to poll them, and a record that is dead-lettered keeps the body it came with:
there, and only there, a signed query is in its place. Bodies of requests are their senders' own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox.servicebus import BusEvent, MessageDeadLettered

if TYPE_CHECKING:
    from sandbox.managed_identity import ManagedIdentity
    from tests.support.environment import Estate

DEAD = "/$DeadLetterQueue"
TOKEN = re.compile(r"eyJ[\w\-]{8,}\.[\w\-]{8,}\.?[\w\-]*")
SIGNED = re.compile(r"[?&](?:s|c|h|sig)=[\w%\-~.+/]{8,}")
KEY = re.compile(r"(?:SharedAccessKey|SharedAccessSignature|AccountKey)\s*=\s*[^;…\s\"']{4,}")


class Secrecy(logging.Handler):
    """Hears and sees; `leaks` are what it found since it was last asked. Safe for threads."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self._identities: list[ManagedIdentity] = []
        self._keys: set[str] = set()
        self._leaks: list[str] = []
        self.heard = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Something was logged."""
        self.saw("log", self.format(record))

    def watch(self, estate: Estate) -> None:
        """An estate came into being."""
        self._identities = [*self._identities[-20:], estate.identity]
        self._keys.add(estate.bus.connection_string.partition("SharedAccessKey=")[2].partition(";")[0])

        def happened(event: BusEvent) -> None:
            if isinstance(event, MessageDeadLettered):
                self.saw(f"why {event.entity} dead-lettered", event.reason, event.description, event.message_id)

        estate.bus.observers.add(happened)

    def look_through(self, estate: Estate) -> None:
        """An estate ends: look at what is left in it."""
        from tests.support.environment import ENTITIES, OPERATIONS, REQUESTS

        for entity in ENTITIES:
            for place in (entity, entity + DEAD):
                for message in estate.bus.peek(place, 10_000):
                    self.saw(place, message.message_id, message.subject, message.application_properties)
                    if entity != REQUESTS:
                        self.saw(place, message.body, signed=entity == OPERATIONS)

    def saw(self, where: str, *things: object, signed: bool = False) -> None:
        """Search what was seen somewhere; `signed` URLs may stand there."""
        self.heard += 1
        text = "\n".join(_text(thing) for thing in things)
        patterns = {"a token": TOKEN, "a key": KEY, **({} if signed else {"a signed URL": SIGNED})}
        found = [(kind, match[0]) for kind, pattern in patterns.items() if (match := pattern.search(text))]
        found += [("the key of the connection string", key) for key in self._keys if key in text]
        for identity in self._identities:
            found += [("a token given out", token) for token in [*identity._issued, identity.header] if token in text]
        self._leaks += [f"{where}: {kind}: {match[:60]}" for kind, match in found]

    def leaks(self) -> list[str]:
        """What was found since the last call."""
        leaks, self._leaks = self._leaks, []
        return leaks


def _text(thing: object) -> str:
    if isinstance(thing, bytes):
        return thing.decode(errors="replace")
    if isinstance(thing, Mapping):
        return "\n".join(f"{_text(key)}: {_text(value)}" for key, value in thing.items())
    return str(thing)


SECRECY = Secrecy()
