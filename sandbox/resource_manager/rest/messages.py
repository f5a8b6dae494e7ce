"""HTTP requests and responses as values, independent of any server."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

from sandbox.resource_manager.errors import ArmError
from sandbox.resource_manager.rest import views

JSON = "application/json; charset=utf-8"


@dataclass(slots=True)
class Request:
    """A call on the Resource Manager, parsed.

    Attributes:
        method: in capitals.
        target: path and query, as sent.
        base: scheme and host as the client sees them: what absolute links begin with.
        body: as sent.
    """

    method: str
    target: str
    base: str
    body: bytes = b""
    path: str = field(init=False)
    query_text: str = field(init=False)

    def __post_init__(self) -> None:
        self.path, _, self.query_text = self.target.partition("?")

    @property
    def segments(self) -> list[str]:
        """The path's segments, decoded, without the empty one in front."""
        segments = self.path.strip("/").split("/")
        return [unquote(each) for each in segments] if "%" in self.path else segments

    def is_verbatim(self, target: str) -> bool:
        """Whether the call asks for this path, in any letter case, and exactly this query."""
        path, _, query_text = target.partition("?")
        return self.query_text == query_text and self.path.lower() == path.lower()

    def query(self) -> dict[str, str]:
        """The query's parameters, their names in small letters; the first of each name counts."""
        parameters: dict[str, str] = {}
        for part in self.query_text.split("&"):
            name, _, value = part.partition("=")
            parameters.setdefault(unquote_plus(name).lower(), unquote_plus(value))
        return parameters

    def query_names(self) -> tuple[str, ...]:
        """The names of the query's parameters, as sent."""
        if not self.query_text:
            return ()
        # Interned, as calls are kept by the thousand and the names are always the same few.
        return tuple([sys.intern(part.partition("=")[0]) for part in self.query_text.split("&")])


@dataclass(slots=True)
class Response:
    """Status, headers and body of a response. With a body, the headers have its content type."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(cls, body: bytes, status: int = 200) -> Response:
        return cls(status, {"Content-Type": JSON}, body)

    @classmethod
    def of_error(cls, error: ArmError) -> Response:
        return cls(error.status, {"Content-Type": JSON, **error.headers}, views.as_json(error.body))
