"""Check of URLs from ARM's responses: the managed identity's token is sent only to ARM itself."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from maintenance.domain.errors import UntrustedUrl

_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)", re.IGNORECASE)
# All printable characters except back-slashes and '#'.
_HARMLESS = bytes(code for code in range(0x21, 0x7F) if chr(code) not in "\\#")
# A server may decode these before it splits a path; paths of ARM do not contain them.
_HIDDEN = re.compile(r"%2f|%5c", re.IGNORECASE)


def check_operation_url(url: str, *, endpoint: str, subscription_id: str) -> str:
    """Check an operation URL and return it in absolute form, otherwise unchanged. Raises UntrustedUrl."""
    below = f"/subscriptions/{subscription_id}/providers/microsoft.compute/"
    return _check(url, endpoint=endpoint, below=below)


def check_next_link(url: str, *, endpoint: str, subscription_id: str) -> str:
    """Check the `nextLink` of a list and return it in absolute form. Raises UntrustedUrl."""
    return _check(url, endpoint=endpoint, below=f"/subscriptions/{subscription_id}/")


def _check(url: str, *, endpoint: str, below: str) -> str:
    # URL parsers disagree on these characters. A table is fast: the URLs are long and many.
    if not url.isascii() or url.encode("ascii").translate(None, _HARMLESS):
        raise UntrustedUrl(
            "(unreadable)", "it contains white space, control characters, back-slashes, '#' or non-ASCII characters"
        )
    before_query = _before_query(url)
    if before_query.startswith(f"{endpoint}/"):
        # A fast path: nearly always the origin is spelled like the endpoint.
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
    """The absolute form and the path of a URL that is relative, or spells the origin differently."""
    expected = urlsplit(endpoint)
    try:
        # Joining normalises a URL, and a signed URL must not be changed.
        absolute = url if urlsplit(_before_query(url)).scheme else urljoin(endpoint + "/", url)
        parts = urlsplit(_before_query(absolute))
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        raise UntrustedUrl("(unreadable)", "it is malformed") from None
    if "@" in parts.netloc:
        raise UntrustedUrl(host[:100], "it contains user information")
    if parts.scheme.lower() != expected.scheme.lower():
        raise UntrustedUrl(host[:100], f"its scheme is {parts.scheme[:20]!r}, not {expected.scheme!r}")
    if host.lower() != (expected.hostname or "").lower():
        raise UntrustedUrl(host[:100], f"only {expected.hostname!r} is trusted")
    if port != expected.port or parts.netloc.endswith(":"):
        raise UntrustedUrl(host[:100], "it names a port" if expected.port is None else "it names another port")
    return absolute, parts.path


def _before_query(url: str) -> str:
    # The query does not decide where a URL leads, and it is 3 KB long.
    return url.partition("?")[0]
