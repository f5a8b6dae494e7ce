"""SQL filters of subscriptions: parsed into a function from a message to true, false or unknown.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-sql-filter. Three-valued logic as
in SQL-92: what is absent is unknown, unknown spreads, and only *true* lets a message pass. Operands that cannot be
compared (a string with a number) give unknown. Functions other than EXISTS, and actions, are not part of it.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, Final, Protocol


class FilterError(ValueError):
    """The filter cannot be understood; the message says where."""


class Facts(Protocol):
    """What a filter may ask about a message. Names are compared without case; absent is ``None``."""

    def system(self, name: str) -> object:
        """A system property such as ``messageid``. Raises :class:`KeyError` if there is none of that name."""

    def user(self, name: str) -> object:
        """A user (application) property."""


Expression = Callable[[Facts], object]  # gives a str, int, float, bool, or None for unknown

SYSTEM_PROPERTIES: Final = {
    "contenttype": "content_type",
    "correlationid": "correlation_id",
    "label": "subject",
    "subject": "subject",
    "messageid": "message_id",
    "replyto": "reply_to",
    "replytosessionid": "reply_to_group_id",
    "sessionid": "group_id",
    "to": "to",
}

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<quoted>\[(?:[^\]]|\]\])*\]|"(?:[^"]|"")*")
    | (?P<word>[A-Za-z_@][\w@$\#]*)
    | (?P<sign><>|!=|<=|>=|[=<>(),.+\-*/%])
    )""",
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset(["AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "IS", "NULL", "EXISTS", "TRUE", "FALSE"])
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {  # of two values of one kind
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: Final[dict[str, Callable[[Any, Any], object]]] = {  # of two numbers
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}


def parse(text: str) -> Expression:
    """The condition that ``text`` states. Raises :class:`FilterError`."""
    return _Parser(text).condition()


class _Parser:
    """Recursive descent, loosest binding first: OR, AND, NOT, comparison, sum, product, sign, operand."""

    def __init__(self, text: str) -> None:
        if len(text) > 1024:
            raise FilterError(f"a filter has up to 1,024 characters, not {len(text)}")
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, place
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise FilterError(f"{text!r}: {text[at:].strip()[:20]!r} at {at} is not understood")
            kind, token = match.lastgroup, match[match.lastgroup]
            if kind == "word" and token.upper() in _KEYWORDS:
                kind, token = "keyword", token.upper()
            self._tokens.append((kind, token, match.start(match.lastgroup)))
            at = match.end()
        self._tokens.append(("end", "", end))
        self._next = 0

    # ------------------------------------------------------------------------------------- tokens

    def _take(self, *wanted: str) -> str | None:
        """The next keyword or sign if it is one of those wanted."""
        kind, token, _ = self._tokens[self._next]
        if kind in ("keyword", "sign") and token in wanted:
            self._next += 1
            return token
        return None

    def _expect(self, wanted: str) -> None:
        if self._take(wanted) is None:
            raise self._error(f"{wanted} is expected")

    def _error(self, problem: str) -> FilterError:
        _, token, at = self._tokens[self._next]
        return FilterError(f"{self._text!r}: {problem} at {at}, not {token or 'the end'!r}")

    # ------------------------------------------------------------------------------------ grammar

    def condition(self) -> Expression:
        result = self._or()
        if self._tokens[self._next][0] != "end":
            raise self._error("the end is expected")
        return result

    def _or(self) -> Expression:
        result = self._and()
        while self._take("OR"):
            result = _either(result, self._and())
        return result

    def _and(self) -> Expression:
        result = self._not()
        while self._take("AND"):
            result = _both(result, self._not())
        return result

    def _not(self) -> Expression:
        return _negated(self._not()) if self._take("NOT") else self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        if sign := self._take(*_COMPARISONS):
            return _compared(_COMPARISONS[sign], left, self._sum())
        if self._take("IS"):
            negative = self._take("NOT")
            self._expect("NULL")
            return (lambda facts: left(facts) is not None) if negative else (lambda facts: left(facts) is None)
        negative = self._take("NOT")
        if self._take("IN"):
            result = self._in(left)
        elif self._take("LIKE"):
            result = self._like(left)
        elif negative:
            raise self._error("IN or LIKE is expected")
        else:
            return left
        return _negated(result) if negative else result

    def _in(self, left: Expression) -> Expression:
        self._expect("(")
        result = _compared(operator.eq, left, self._sum())
        while self._take(","):
            result = _either(result, _compared(operator.eq, left, self._sum()))
        self._expect(")")
        return result

    def _like(self, left: Expression) -> Expression:
        pattern, escape = self._string(), None
        if self._take("ESCAPE"):
            escape = self._string()
            if len(escape) != 1:
                raise FilterError(f"{self._text!r}: ESCAPE takes one character, not {escape!r}")
        matches = _like_pattern(pattern, escape).fullmatch

        def like(facts: Facts) -> object:
            value = left(facts)
            return matches(value) is not None if isinstance(value, str) else None

        return like

    def _string(self) -> str:
        kind, token, _ = self._tokens[self._next]
        if kind != "string":
            raise self._error("a string is expected")
        self._next += 1
        return token[1:-1].replace("''", "'")

    def _sum(self) -> Expression:
        result = self._product()
        while sign := self._take("+", "-"):
            result = _calculated(_ARITHMETIC[sign], result, self._product())
        return result

    def _product(self) -> Expression:
        result = self._signed()
        while sign := self._take("*", "/", "%"):
            result = _calculated(_ARITHMETIC[sign], result, self._signed())
        return result

    def _signed(self) -> Expression:
        sign = self._take("+", "-")
        if sign is None:
            return self._operand()
        return _calculated(_ARITHMETIC[sign], lambda facts: 0, self._signed())

    def _operand(self) -> Expression:
        if self._take("("):
            inner = self._or()
            self._expect(")")
            return inner
        if self._take("EXISTS"):
            self._expect("(")
            tested = self._property()
            self._expect(")")
            return lambda facts: tested(facts) is not None
        kind, token, _ = self._tokens[self._next]
        if kind == "string":
            text = self._string()
            return lambda facts: text
        if kind == "number":
            self._next += 1
            number = int(token) if token.isdigit() else float(token)
            return lambda facts: number
        if constant := self._take("TRUE", "FALSE", "NULL"):
            value = {"TRUE": True, "FALSE": False, "NULL": None}[constant]
            return lambda facts: value
        return self._property()

    def _property(self) -> Expression:
        first = self._name()
        if self._take("."):
            scope, name = first.casefold(), self._name()
            if scope not in ("sys", "user"):
                raise FilterError(f"{self._text!r}: {first!r} is neither sys nor user")
        else:
            scope, name = "user", first
        if scope == "user":
            return lambda facts: _comparable(facts.user(name))
        try:
            known = SYSTEM_PROPERTIES[name.casefold()]
        except KeyError:
            raise FilterError(f"{self._text!r}: there is no system property {name!r}") from None
        return lambda facts: _comparable(facts.system(known))

    def _name(self) -> str:
        kind, token, _ = self._tokens[self._next]
        if kind not in ("word", "quoted"):
            raise self._error("a property is expected")
        self._next += 1
        if kind == "word":
            return token
        close = "]" if token[0] == "[" else '"'
        return token[1:-1].replace(close * 2, close)


# ------------------------------------------------------------------------------------- three-valued logic


def _truth(value: object) -> bool | None:
    """A condition's value; anything but a boolean is unknown as a condition."""
    return value if isinstance(value, bool) else None


def _both(left: Expression, right: Expression) -> Expression:
    def both(facts: Facts) -> object:
        first = _truth(left(facts))
        if first is False:
            return False
        second = _truth(right(facts))
        return second if first or second is False else None

    return both


def _either(left: Expression, right: Expression) -> Expression:
    def either(facts: Facts) -> object:
        first = _truth(left(facts))
        if first:
            return True
        second = _truth(right(facts))
        return second if first is False or second else None

    return either


def _negated(inner: Expression) -> Expression:
    def negated(facts: Facts) -> object:
        value = _truth(inner(facts))
        return None if value is None else not value

    return negated


def _kind(value: object) -> type | None:
    """Values of the same kind can be compared; a boolean is not a number here."""
    if value is None or isinstance(value, bool):
        return None if value is None else bool
    return float if isinstance(value, int | float) else str


def _comparable(value: object) -> object:
    """A property's value as one of the types the language has: anything else compares as its text."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _compared(compare: Callable[[object, object], bool], left: Expression, right: Expression) -> Expression:
    def compared(facts: Facts) -> object:
        first, second = left(facts), right(facts)
        kind = _kind(first)
        return compare(first, second) if kind is not None and kind is _kind(second) else None

    return compared


def _calculated(calculate: Callable[[object, object], object], left: Expression, right: Expression) -> Expression:
    def calculated(facts: Facts) -> object:
        first, second = left(facts), right(facts)
        if _kind(first) is not float or _kind(second) is not float:
            return None
        try:
            return calculate(first, second)
        except (ZeroDivisionError, OverflowError):
            return None

    return calculated


def _like_pattern(pattern: str, escape: str | None) -> re.Pattern[str]:
    """``%`` any text, ``_`` any character, the escape character before either takes it literally."""
    parts, literal = [], False
    for character in pattern:
        if literal:
            parts.append(re.escape(character))
            literal = False
        elif character == escape:
            literal = True
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    if literal:
        raise FilterError(f"the pattern {pattern!r} ends with its escape character")
    return re.compile("".join(parts), re.DOTALL)
