"""X"""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from maintenance.domain.errors import UntrustedUrl

_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)", re.IGNORECASE)
# All that is printed, but for back-slashes and '#'.
_HARMLESS = bytes(code for code in range(0x21, 0x7F) if chr(code) not in "\\#")
# A server may decode these before it splits a path; no path of ARM's has them.
_HIDDEN = re.compile(r"%2f|%5c", re.IGNORECASE)


def check_operation_url(url: str, *, endpoint: str, subscription_id: str) -> str:
    """The absolute form of an operation URL, unchanged but for being made absolute. Raises UntrustedUrl."""
    below = f"/subscriptions/{subscription_id}/providers/microsoft.compute/"
    return _check(url, endpoint=endpoint, below=below)


def check_next_link(url: str, *, endpoint: str, subscription_id: str) -> str:
    """The absolute form of a page link of a list. Raises UntrustedUrl."""
    return _check(url, endpoint=endpoint, below=f"/subscriptions/{subscription_id}/")


def _check(url: str, *, endpoint: str, below: str) -> str:
    # What different URL parsers read differently. By a table: the URLs are long, and there are many.
    if not url.isascii() or url.encode("ascii").translate(None, _HARMLESS):
        raise UntrustedUrl("(unreadable)", "it holds white space, control characters, back-slashes, '#', or no ASCII")
    before_query = _before_query(url)
    if before_query.startswith(f"{endpoint}/"):
        # As nearly always: the origin to the letter.
        absolute, path = url, before_query[len(endpoint) :]
    else:
        absolute, path = _of_same_origin(url, endpoint)
    lowered = path.lower()
    if not lowered.startswith(below.lower()) or (
        ("%" in lowered or "/." in lowered) and (_DOTS.search(path) or _HIDDEN.search(path))
    ):
        host = urlsplit(_before_query(absolute)).hostname or ""
        raise UntrustedUrl(host[:100], f"its path is not below {below}")
    return absolute


def _of_same_origin(url: str, endpoint: str) -> tuple[str, str]:
    """The absolute form and the path of a URL that is relative, or has the origin in another spelling."""
    expected = urlsplit(endpoint)
    try:
        # Joining rewrites what it touches, and a signed URL must stay as it is.
        absolute = url if urlsplit(_before_query(url)).scheme else urljoin(endpoint + "/", url)
        parts = urlsplit(_before_query(absolute))
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        raise UntrustedUrl("(unreadable)", "it is no URL") from None
    if "@" in parts.netloc:
        raise UntrustedUrl(host[:100], "it holds user information")
    if parts.scheme.lower() != expected.scheme.lower():
        raise UntrustedUrl(host[:100], f"its scheme is {parts.scheme[:20]!r}, not {expected.scheme!r}")
    if host.lower() != (expected.hostname or "").lower():
        raise UntrustedUrl(host[:100], f"only {expected.hostname!r} is trusted")
    if port != expected.port or parts.netloc.endswith(":"):
        raise UntrustedUrl(host[:100], "it names a port" if expected.port is None else "it names another port")
    return absolute, parts.path


def _before_query(url: str) -> str:
    # Nothing in a query decides where a URL leads, and it is 3 KB that would be read several times.
    return url.partition("?")[0]
