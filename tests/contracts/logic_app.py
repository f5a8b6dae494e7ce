"""Plays the expressions of a Logic App definition, as far as the example uses the language.

Source: "Reference guide to workflow expression functions in Azure Logic Apps" (Microsoft Learn).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "base64ToString": lambda text: base64.b64decode(text).decode(),
    "json": json.loads,
    "length": len,
}
_CALL = re.compile(r"(\w+)\(")
_TEXT = re.compile(r"'([^']*)'")
_STEP = re.compile(r"\?\['([^']*)'\]")


class Expressions:
    """`sources`: what `outputs('Event')`, `triggerBody()` and such give, by their text."""

    def __init__(self, sources: Mapping[str, Any]) -> None:
        self._sources = sources

    def filled(self, value: Any) -> Any:
        """A value of a definition with its expressions played: `@…` is one, `@{…}` within text becomes text."""
        match value:
            case dict():
                return {name: self.filled(each) for name, each in value.items()}
            case list():
                return [self.filled(each) for each in value]
            case str() if value.startswith("@") and not value.startswith("@{"):
                return self._whole(value[1:])
            case str():
                return re.sub(r"@\{(.*?)\}", lambda found: _as_text(self._whole(found[1])), value)
        return value

    def _whole(self, text: str) -> Any:
        found, rest = self._expression(text)
        assert rest == "", f"cannot play {text}"
        return found

    def _expression(self, text: str) -> tuple[Any, str]:
        if literal := _TEXT.match(text):
            return literal[1], text[literal.end() :]
        source = next((each for each in self._sources if text.startswith(each)), None)
        if source is not None:
            found, rest = self._sources[source], text[len(source) :]
        else:
            call = _CALL.match(text)
            assert call is not None, f"cannot play {text}"
            argument, rest = self._expression(text[call.end() :])
            found, rest = FUNCTIONS[call[1]](argument), rest.removeprefix(")")
        while step := _STEP.match(rest):
            found = None if found is None else found.get(step[1])
            rest = rest[step.end() :]
        return found, rest


def _as_text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
