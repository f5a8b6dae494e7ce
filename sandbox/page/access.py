"""Who may use the page: browsers on this machine, and what changes anything only with the page's token.

A name that somebody points at 127.0.0.1 (DNS rebinding) is told by its Host, another site's script by its Origin and
by Sec-Fetch-Site. The token comes in a header that no other site can set.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

TOKEN_HEADER: Final = "X-Sandbox-Token"  # noqa: S105 - the header's name

HEADERS: Final[Mapping[str, str]] = {
    # Trusted types: where the browser knows them, a text that is assigned as HTML is an error.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response."""

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SAME_SITE = {"same-origin", "none"}


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request is not served: an HTTP status, and what is wrong with which value."""

    status: int
    problem: str


def denied(
    method: str, path: str, headers: Mapping[str, str], *, hosts: int, token: str, open_paths: frozenset[str]
) -> Denied | None:
    """Why a request is not served; None where it may be.

    Args:
        method: in capitals.
        path: without the query.
        headers: by name, in any letter case.
        hosts: how many Host headers it has.
        token: the page's.
        open_paths: documents and static files, to which other sites may link.
    """
    host = headers.get("Host", "")
    if hosts != 1 or _name(host) not in _LOOPBACK:
        return Denied(403, f"The page is served on 127.0.0.1 and localhost only; the request's Host is {host!r}.")
    origin = headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        return Denied(403, f"The page serves no other sites; the request's Origin is {origin!r}.")
    site = headers.get("Sec-Fetch-Site", "none")
    if path not in open_paths and site not in _SAME_SITE:
        return Denied(403, f"The page serves no other sites; the request's Sec-Fetch-Site is {site!r}.")
    if method in ("GET", "HEAD"):
        return None
    if method != "POST":
        return Denied(405, f"{method} is not served: only GET, HEAD and POST are.")
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return Denied(415, "What is posted must be application/json.")
    if not has_token(headers, token):
        return Denied(401, "The token is missing or of an earlier sandbox: open the address that the sandbox printed.")
    return None


def has_token(headers: Mapping[str, str], token: str) -> bool:
    """Whether a request comes with the page's token."""
    return secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode())


def _name(host: str) -> str | None:
    if "@" in host or "/" in host:
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
