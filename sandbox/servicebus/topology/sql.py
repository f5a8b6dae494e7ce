"""SQL filters of subscriptions: parsed into a function from a message to true, false or unknown.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-sql-filter. Three-valued logic as
in SQL-92: what is absent is unknown, unknown spreads, and only *true* lets a message pass. Operands that cannot be
compared (a string with a number) give unknown. Functions other than EXISTS, and actions, are not part of it.
"""

import operator
import re
from typing import Final

from sandbox.servicebus.topology.expressions import (
    ARITHMETIC,
    COMPARISONS,
    Expression,
    Facts,
    FilterError,
    both_of,
    calculation,
    comparable,
    comparison,
    either_of,
    like_pattern,
    negation_of,
)

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
            result = either_of(result, self._and())
        return result

    def _and(self) -> Expression:
        result = self._not()
        while self._take("AND"):
            result = both_of(result, self._not())
        return result

    def _not(self) -> Expression:
        return negation_of(self._not()) if self._take("NOT") else self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        if sign := self._take(*COMPARISONS):
            return comparison(COMPARISONS[sign], left, self._sum())
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
        return negation_of(result) if negative else result

    def _in(self, left: Expression) -> Expression:
        self._expect("(")
        result = comparison(operator.eq, left, self._sum())
        while self._take(","):
            result = either_of(result, comparison(operator.eq, left, self._sum()))
        self._expect(")")
        return result

    def _like(self, left: Expression) -> Expression:
        pattern, escape = self._string(), None
        if self._take("ESCAPE"):
            escape = self._string()
            if len(escape) != 1:
                raise FilterError(f"{self._text!r}: ESCAPE takes one character, not {escape!r}")
        matches = like_pattern(pattern, escape).fullmatch

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
            result = calculation(ARITHMETIC[sign], result, self._product())
        return result

    def _product(self) -> Expression:
        result = self._signed()
        while sign := self._take("*", "/", "%"):
            result = calculation(ARITHMETIC[sign], result, self._signed())
        return result

    def _signed(self) -> Expression:
        sign = self._take("+", "-")
        if sign is None:
            return self._operand()
        return calculation(ARITHMETIC[sign], lambda facts: 0, self._signed())

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
            return lambda facts: comparable(facts.user(name))
        try:
            known = SYSTEM_PROPERTIES[name.casefold()]
        except KeyError:
            raise FilterError(f"{self._text!r}: there is no system property {name!r}") from None
        return lambda facts: comparable(facts.system(known))

    def _name(self) -> str:
        kind, token, _ = self._tokens[self._next]
        if kind not in ("word", "quoted"):
            raise self._error("a property is expected")
        self._next += 1
        if kind == "word":
            return token
        close = "]" if token[0] == "[" else '"'
        return token[1:-1].replace(close * 2, close)
