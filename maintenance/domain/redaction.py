"""What may be logged or published: secrets are replaced, and what is not printable is escaped.

Secrets are found by an allow-list. Of a URL, scheme, host and path may be shown; of a pair whose name says that it is
secret, the name; of a long run of characters, what reads like words, numbers and ids. All else becomes `…`.
"""

from __future__ import annotations

import functools
import logging
import re
import traceback
from pathlib import Path

# Longer texts are cut before they are searched: 16,000 characters take 25 ms at worst, in which nothing else is done.
MAX_TEXT = 16_000
CACHED = 500
# A run of this many characters is a secret unless it reads like something else. The shortest keys and tokens of Azure
# have 32; passwords of people are found by the name beside them.
LONG = 20
QUOTES = ("'", '"')

_KEY_BLOCK = re.compile(r"-----BEGIN [^-\n]{1,60}-----.*?(?:-----END [^-\n]{1,60}-----|\Z)", re.DOTALL)
# Scheme, user information, host and path, query or fragment.
_URL = re.compile(r"([a-z][a-z0-9+.\-]{0,20}://)([^\s\"'<>/?#@]*@)?([^\s\"'<>?#]*)([?#][^\s\"'<>]*)?", re.IGNORECASE)
_ENCODED_QUERY = re.compile(r"(%3a%2f%2f[^\s\"'<>?#]{0,200}?)%3f[^\s\"'<>]*", re.IGNORECASE)
# The same without scheme, which ARM may send, and blob URLs are written in; and a query by itself.
_RELATIVE = re.compile(r"((?:/[^\s\"'<>?#/]*|(?<![^\s\"'(=,]))\?)[\w$.\-%]{1,100}=[^\s\"'<>]*")
_PAIRS = re.compile(
    r"(?<![\w.\-%$])[\w.\-%$]{1,100}=[^\s&\"'<>;,=]*={0,2}(?:&(?:amp;)?[\w.\-%$]{1,100}=[^\s&\"'<>;,=]*={0,2})+"
)
_SCHEME = re.compile(
    r"\b(Bearer|SharedAccessSignature|SharedKeyLite|SharedKey|Negotiate|Basic(?=\s+\S*(?-i:[A-Z0-9+/=])))(\s+)[^\s\"'<>,]+",
    re.IGNORECASE,
)
_STEMS = (
    *(
        "secret",
        "password",
        "passwort",
        "passwd",
        "passphrase",
        "pwd",
        "pass",
        "token",
        "credential",
        "signature",
        "sig",
    ),
    *("key", "assertion", "sas", "authorization", "cookie", "identity[-_]?header", "connection[-_ ]?string"),
)
_NAME = rf"(?:{'|'.join(_STEMS)})(?:s|[-_]?\d{{1,2}}|[-_]?(?:hash|value|text|plain))?"
_SECRET_NAME = re.compile(rf"{_NAME}$", re.IGNORECASE)
# Words that end like a secret's name and are none.
_HARMLESS_NAME = re.compile(r"(?:monkey|turkey|hockey|whiskey|jockey|compass|bypass)$", re.IGNORECASE)
# The whole of these headers, which have several parts.
_HEADERS = re.compile(r"((?:authorization|cookie)\s{0,5}:\s{0,5})[^\n]+", re.IGNORECASE)
_PAIR = re.compile(
    rf"(?<![\w.\-$])(?P<name>[\w.\-$]{{0,200}}?{_NAME})(?P<sep>(?:\\*[\"']|&quot;)?\s{{0,20}}(?:[:=]|%3d)\s{{0,20}})"
    r"(?P<value>\"(?:[^\"\\]|\\.)*|'(?:[^'\\]|\\.)*|(?P<quote>\\+[\"']|&quot;)(?:(?!(?P=quote)).)*|\[[^\]]*"
    r"|[^;\n\"'<>{}\[\]]{1,200}(?=;\s?[\w ]{1,40}=)|[^\s;&,\"'<>{}\[\]]+)",
    re.DOTALL | re.IGNORECASE,
)
# Of a command line, or quoted in prose.
_ARGUMENT = re.compile(
    rf"(?<![\w\-])(?:(?P<flag>--?[\w\-]{{0,60}}?{_NAME}\s{{1,5}})(?P<value>\"[^\"]*|'[^']*|[^\s\"']+)"
    rf"|(?P<prose>\w{{0,60}}?{_NAME}\s{{1,5}})(?P<quoted>\"[^\"]*|'[^']*))",
    re.IGNORECASE,
)
_ELEMENT = re.compile(r"(<(?:\w{1,50}:)?([\w.\-]{1,200})(?:\s[^<>]{0,500})?>)([^<]+)(?=<)")
# {"name": "password", "value": "…"}, <add key="password" value="…"/>
_NAMED_VALUE = re.compile(
    r"((?:name|key|header)[\"']?\s*[:=]\s*[\"']([^\"'\\]{1,200})[\"']\s*,?\s*[\"']?value[\"']?\s*[:=]\s*[\"'])[^\"']*",
    re.IGNORECASE,
)
_TOKEN_FORMS = re.compile(
    r"\beyJ[\w\-]{8,}[\w\-.]*|\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|sk-|AKIA)[\w\-]{10,}"
    r"|[\w.\-~]{3}\d?Q~[\w.\-~]{20,}|\bMII[A-Za-z0-9+/=]{20,}"
)
_RUN = re.compile(rf"[A-Za-z0-9+/_\-~.%=]{{{LONG},}}")
_IDS = re.compile(
    # GUIDs, and digests such as our own ids end in; a key of that length is found by its name.
    r"(?<![0-9A-Za-z])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{8,32})(?![0-9A-Za-z])",
    re.IGNORECASE,
)
_HEX = re.compile(r"[0-9a-f]{33,}", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


# Every rule but that of long runs needs one of these, in small letters. Most texts of ARM have none of them.
_MARKS = (
    *("=", "<", "://", "%3", "-----begin", "value", "header", "connection", "bearer", "negotiate", "basic"),
    *("sharedaccess", "secret", "pass", "pwd", "token", "credential", "sig", "key", "assertion", "sas"),
    *("authorization", "cookie", "eyj", "github_pat_", "glpat-", "xox", "sk-", "akia", "q~", "mii"),
)
_GITHUB = re.compile(r"gh[a-z]_", re.IGNORECASE)


def redact(text: str) -> str:
    """Replace the secrets in `text` with `…`."""
    if len(text) > CACHED:
        return _redact(text[:MAX_TEXT]) + "…" * (len(text) > MAX_TEXT)
    return _redact_once(text)


def _redact(text: str) -> str:
    if not needs_all_rules(text):
        # In a fiftieth of the time: an end names 1,000 instances, each with a message of its own.
        return _RUN.sub(lambda found: _without_secrets(found[0]), text)
    return redact_by_all_rules(text)


def needs_all_rules(text: str) -> bool:
    """Whether a text has anything that a rule but that of long runs looks for."""
    # Where letter case is ignored, some letters beyond ASCII are taken for others within.
    if not text.isascii():
        return True
    small = text.lower()
    return any(mark in small for mark in _MARKS) or _GITHUB.search(small) is not None


def redact_by_all_rules(text: str) -> str:
    """The plain path, which `redact` takes where a text has anything that a rule looks for."""
    text = _KEY_BLOCK.sub("…", text)
    text = _URL.sub(_without_query, text)
    text = _ENCODED_QUERY.sub(r"\1%3F…", text)
    text = _SCHEME.sub(r"\1\2…", text)
    text = _TOKEN_FORMS.sub("…", text)
    text = _NAMED_VALUE.sub(lambda found: found[1] + "…" if _is_secret(found[2]) else found[0], text)
    text = _ELEMENT.sub(lambda found: found[1] + "…" if _is_secret(found[2]) else found[0], text)
    text = _ARGUMENT.sub(_without_argument, text)
    text = _HEADERS.sub(r"\1…", text)
    text = _PAIR.sub(_without_value, text)
    text = _RELATIVE.sub(r"\1…", text)
    text = _PAIRS.sub("…", text)
    return _RUN.sub(lambda found: _without_secrets(found[0]), text)


# An event names 1,000 instances with a few different messages; each takes 0.1 ms.
_redact_once = functools.lru_cache(maxsize=1024)(_redact)


def _without_query(found: re.Match[str]) -> str:
    scheme, user, rest, query = found.groups()
    mark = "?…" if query and len(query) > 1 else query or ""
    return f"{scheme}{'…@' if user else ''}{rest}{mark}"


def _without_value(found: re.Match[str]) -> str:
    if _HARMLESS_NAME.search(found["name"]):
        return found[0]
    first = found["value"][0]
    opening = found["quote"] or (first if first in (*QUOTES, "[") else "")
    return f"{found['name']}{found['sep']}{opening}…"


def _without_argument(found: re.Match[str]) -> str:
    opening = (found["value"] or found["quoted"])[0]
    return f"{found['flag'] or found['prose']}{opening if opening in QUOTES else ''}…"


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS_NAME.search(name)


def _without_secrets(run: str) -> str:
    """A long run of characters as it may be shown: whole, in parts, or not at all."""
    if not _is_random(run):
        return run
    parts = re.split(r"([/=.])", run)
    shown = "".join("…" if len(part) >= LONG and _is_random(part) else part for part in parts)
    # Where no part of it is random by itself, it is by its separators: base64 has slashes.
    return "…" if shown == run else shown


def _is_random(run: str) -> bool:
    """Whether the run does not read like words, numbers and ids: its letters and digits change more often."""
    rest = _IDS.sub("", run)
    letters = sum(map(str.isalnum, rest))
    if letters < LONG:
        return False
    if any(not each.isalpha() and not each.isdigit() for each in _HEX.findall(rest)):
        return True
    kinds = sum(any(map(kind, rest)) for kind in (str.isupper, str.islower, str.isdigit))
    if kinds == 3 and ("+" in rest or rest.endswith("=") or any(len(part) > 31 for part in re.split(r"[\W_]", rest))):
        return True
    return kinds > 1 and letters < 3.2 * len(_WORDS.findall(rest))


def printable(text: str) -> str:
    """`text` as one line: everything that is not printable is escaped as Python does it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class PrintableFilter(logging.Filter):
    """Makes of each record one line of printable text, whoever wrote what is in it, and of an exception its place."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:
            # Logging must not raise: the arguments do not fit, or one of them cannot be shown.
            message = f"(a log line that cannot be formatted) {record.msg!s:.500}"
        if record.exc_info and record.exc_info[1] is not None:
            message += f" ({place_of(record.exc_info[1])})"
        record.exc_info = record.exc_text = record.stack_info = None
        record.msg, record.args = printable(message), None
        return True


def make_logs_printable(name: str = "maintenance") -> None:
    """Install the filter for the loggers below `name`, those that exist and those to come."""
    installed = _Gate(PrintableFilter())
    loggers = logging.root.manager.loggerDict
    for each in [name, *(known for known in loggers if known.startswith(f"{name}."))]:
        logger = logging.getLogger(each)
        if not any(isinstance(one, PrintableFilter) for one in logger.filters):
            logger.addFilter(PrintableFilter())
    # A logger's filters see its own records only; a handler sees those of loggers below it, and before the root's do.
    parent = logging.getLogger(name)
    if not any(isinstance(handler, _Gate) for handler in parent.handlers):
        parent.handlers.insert(0, installed)


class _Gate(logging.Handler):
    """Handler that emits nothing; records pass its filter on their way to the handlers of the root."""

    def __init__(self, gate: logging.Filter) -> None:
        super().__init__()
        self.addFilter(gate)

    def emit(self, record: logging.LogRecord) -> None:
        pass


# Of a traceback in a log record.
MOST_CAUSES, MOST_FRAMES = 10, 30


def place_of(error: BaseException) -> str:
    """What failed unexpectedly and where, without the values it failed on: they may hold anything."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


def traceback_of(error: BaseException) -> dict[str, str]:
    """An attribute for the log record of what failed unexpectedly: where it came from and what led to it, by type and
    place, the last first. Without texts and values, as above."""
    lines: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen and len(seen) < MOST_CAUSES:
        seen.add(id(cause))
        lines.append(type(cause).__name__)
        for frame in reversed(traceback.extract_tb(cause.__traceback__)[-MOST_FRAMES:]):
            place = "/".join(Path(frame.filename).parts[-3:])
            lines.append(f"  {place}:{frame.lineno} {frame.name}")
        led_to_it = cause.__cause__ or cause.__context__
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else led_to_it
    return {"vmss.maintenance.traceback": "\n".join(lines)}
