"""The text of one setting, read into its value. Pure; each function raises ValueError with the rule it breaks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit

from maintenance.domain.errors import InvalidRequest
from maintenance.domain.formats import FURTHEST_AHEAD, parse_duration, parse_json
from maintenance.domain.redaction import redact
from maintenance.domain.resources import GUID

CONNECTION = "ServiceBusConnection"
NAMESPACE = f"{CONNECTION}__fullyQualifiedNamespace"
LONGEST_RECEIVE_WAIT = timedelta(seconds=30)
_ENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/~\-]{0,258}[A-Za-z0-9_])?", re.ASCII)
_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?", re.I | re.ASCII
)


def flag(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError("must be true or false")


def span(text: str) -> timedelta:
    span = parse_duration(text)
    if not span:
        raise ValueError("must not be zero")
    return span


def deadline(text: str) -> timedelta:
    """As far ahead as a request may reach."""
    deadline = span(text)
    if deadline > FURTHEST_AHEAD:
        raise ValueError("must be at most P35D, which is as far ahead as a request may reach")
    return deadline


def receive_wait(text: str) -> timedelta:
    wait = parse_duration(text)
    if wait > LONGEST_RECEIVE_WAIT:
        raise ValueError("must be at most PT30S, so that ticks end in time")
    return wait


def number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise ValueError("must be a whole number from 1 to 1000")
    return int(text)


def entity(text: str) -> str:
    if not _ENTITY.fullmatch(text):
        raise ValueError("must be the name of a queue or topic: letters, digits, '.', '-', '_', '~' or '/'")
    return text


def client_id(text: str) -> str:
    if not GUID.fullmatch(text):
        raise ValueError("must be the client id of a user-assigned identity, a GUID; not its name or resource id")
    return text


def guid(text: str) -> str:
    if not GUID.fullmatch(text):
        raise ValueError("must be a GUID with dashes")
    return text


def guids(text: str) -> tuple[str, ...]:
    return tuple(guid(name) for name in parse_names(text))


def split_url(text: str) -> SplitResult | None:
    """The parts of a URL with a host and a valid port, or without one; None if it is malformed."""
    try:
        parts = urlsplit(text)
        malformed = not parts.hostname or not text.isprintable() or " " in text or parts.port == 0
    except ValueError:
        return None
    return None if malformed else parts


def token_scope(text: str) -> str:
    parts = split_url(text)
    if parts is None or parts.scheme not in ("https", "api") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be a token scope, for example https://management.azure.com/.default")
    return text


def namespace(text: str) -> str:
    """The host name of a namespace, also out of the URL that the portal and Bicep show."""
    if "=" in text or ";" in text:
        raise ValueError(f"must be the namespace's host name; a connection string belongs into {CONNECTION}")
    parts = split_url(text if "://" in text else f"sb://{text}")
    host = "" if parts is None else parts.hostname or ""
    if (
        parts is None
        or parts.scheme.lower() not in ("https", "sb", "amqps")
        or "@" in parts.netloc
        or parts.port not in (None, 443, 5671)
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or not _HOST.fullmatch(host)
    ):
        raise ValueError("must be the namespace's host name, for example my-namespace.servicebus.windows.net")
    return host


def connection_string_problem(text: str) -> str | None:
    """Why this is no connection string of a namespace; None if it is. Repeats nothing of it."""
    if not text.lower().startswith("endpoint="):
        return f"must be a connection string, which starts with Endpoint=; a host name belongs into {NAMESPACE}"
    pairs: dict[str, str] = {}
    for part in text.strip("; ").split(";"):
        name, equals, value = part.partition("=")
        key = name.strip().lower()
        if not equals or not key.isalpha():
            return "must consist of names and values, Name=Value, separated by semicolons"
        if key in pairs:
            return "must name each of its parts once"
        pairs[key] = value.strip()
    if any(mark in text for mark in "<>{}"):
        return "must have values in place of what an example leaves open, such as <key>"
    endpoint = split_url(pairs["endpoint"])
    if endpoint is None or endpoint.scheme.lower() != "sb" or endpoint.path.strip("/") or "@" in endpoint.netloc:
        return "must have an endpoint such as sb://my-namespace.servicebus.windows.net/"
    if "entitypath" in pairs:
        return "must be of the namespace, not of one queue or topic: its EntityPath must be left out"
    by_key = pairs.get("sharedaccesskeyname") and pairs.get("sharedaccesskey")
    if not by_key and not pairs.get("sharedaccesssignature"):
        return "must have both the name of a shared access key and the key"
    return None


def endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL, for example https://management.azure.com") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an https URL with a host, for example https://management.azure.com")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must have no path, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, since a token is sent there (http is accepted for a loopback address only)")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # ARM's own URLs omit the default port, and are trusted only if they are spelled like the endpoint.
    default = port is None or port == (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}" + ("" if default else f":{port}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas or semicolons; they may contain spaces. Raises ValueError if there are none."""
    names = tuple(name for part in text.replace(";", ",").split(",") if (name := part.strip()))
    if not names:
        raise ValueError("must contain a name, or not be set")
    return names


def parse_severities(text: str) -> tuple[str, ...]:
    """Parse a list of severities, `Sev0` to `Sev4`. Raises ValueError that lists the invalid ones."""
    names = parse_names(text)
    if invalid := [name for name in names if name.lower() not in ("sev0", "sev1", "sev2", "sev3", "sev4")]:
        raise ValueError(f"must consist of Sev0 to Sev4, not {redact(', '.join(invalid))[:200]}")
    return names


def parse_rollout(text: str) -> Mapping[str, Any]:
    """Parse the JSON of a request's `rollout`; returned unchanged. Raises ValueError with every problem."""
    from maintenance.requests.schema import read_part  # noqa: PLC0415 - indexing must not import pydantic

    try:
        rollout = parse_json(text)
        read_part("rollout", rollout)
    except InvalidRequest as error:
        raise ValueError("; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)) from None
    except ValueError:
        raise ValueError('must be a JSON object, for example {"maxInstancesPerWave": "20%"}') from None
    return rollout or {}
