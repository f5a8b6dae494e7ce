"""URLs of ARM: made of names, and checked where a response brings them.

The managed identity's token goes along, so it is sent only to ARM's own origin (RFC 6454: the scheme's default port may
be named or left out).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from urllib.parse import quote, urljoin, urlsplit

from maintenance.domain.errors import UntrustedUrl
from maintenance.domain.resources import ScaleSet, fold

_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)", re.IGNORECASE)
# All printable characters except back-slashes and '#'.
_HARMLESS = bytes(code for code in range(0x21, 0x7F) if chr(code) not in "\\#")
# A server may decode these before it splits a path; paths of ARM do not contain them.
_HIDDEN = re.compile(r"%2f|%5c", re.IGNORECASE)
_DEFAULT_PORTS = {"https": 443, "http": 80}


def group_path(scale_set: ScaleSet) -> str:
    """Path of the scale set's resource group. Each name is one segment, percent-encoded as UTF-8."""
    return (
        f"/subscriptions/{_segment(scale_set.subscription_id)}/resourceGroups/{_segment(scale_set.resource_group_name)}"
    )


def scale_set_path(scale_set: ScaleSet) -> str:
    """Path of the scale set; see `group_path`."""
    return f"{group_path(scale_set)}/providers/Microsoft.Compute/virtualMachineScaleSets/{_segment(scale_set.name)}"


def vm_path(scale_set: ScaleSet, vm_name: str) -> str:
    """Path of a VM of a Flexible scale set; it is in the scale set's resource group. See `group_path`."""
    return f"{group_path(scale_set)}/providers/Microsoft.Compute/virtualMachines/{_segment(vm_name)}"


def subscription_path(subscription_id: str) -> str:
    return f"/subscriptions/{_segment(subscription_id)}"


def _segment(name: str) -> str:
    if not name.strip("."):
        # No quoting keeps these from being read as steps in the path.
        raise ValueError(f"{name!r} cannot be a segment of a path")
    return quote(name, safe="()")


def origin_bound(url: str, endpoint: str) -> str:
    """A checked URL with its origin spelled like the endpoint's; everything behind it stays verbatim."""
    if url.startswith(endpoint + "/"):
        return url
    return endpoint + "/" + url.partition("://")[2].partition("/")[2]


def check_operation_url(url: str, *, endpoint: str, subscription_id: str) -> str:
    """Check an operation URL and return it in absolute form, otherwise unchanged. Raises UntrustedUrl."""
    below = f"/subscriptions/{subscription_id}/providers/microsoft.compute/"
    return _check(url, endpoint=endpoint, below=below)


def check_next_link(url: str, *, endpoint: str, subscription_id: str) -> str:
    """Check the `nextLink` of a list and return it in absolute form. Raises UntrustedUrl.

    Compute writes the caller's `$filter` into it unencoded: blanks become `%20`, and letters that are not ASCII their
    UTF-8 form. Nothing else is changed.
    """
    return _check(_encoded(url), endpoint=endpoint, below=f"/subscriptions/{subscription_id}/")


def _encoded(url: str) -> str:
    if url.isascii():
        return url.replace(" ", "%20")
    # Past the origin only: no host may be made of look-alikes.
    start = url.find("/", url.find("://") + 3) if "://" in _before_query(url) else 0
    if start < 0:
        return url
    return url[:start] + "".join(map(_encoded_letter, url[start:]))


def _encoded_letter(character: str) -> str:
    letter = not character.isascii() and unicodedata.category(character)[0] in "LMN"
    return quote(character) if letter else "%20" if character == " " else character


def _check(url: str, *, endpoint: str, below: str) -> str:
    # URL parsers disagree on these characters.
    if not url.isascii() or url.encode("ascii").translate(None, _HARMLESS):
        raise UntrustedUrl(
            "(unreadable)", "it contains white space, control characters, back-slashes, '#' or non-ASCII characters"
        )
    absolute, path = _of_same_origin(url, endpoint)
    if not fold(path).startswith(fold(below)) or _DOTS.search(path) or _HIDDEN.search(path):
        host = urlsplit(_before_query(absolute)).hostname or ""
        raise UntrustedUrl(host[:100], f"its path is not below {below}")
    return absolute


def _of_same_origin(url: str, endpoint: str) -> tuple[str, str]:
    """The absolute form and the path of a URL, which may be relative or spell the origin differently."""
    scheme, trusted, expected_port = _origin(endpoint)
    try:
        # Joining normalises a URL, and a signed URL must not be changed.
        absolute, parts = url, urlsplit(_before_query(url))
        if not parts.scheme:
            absolute = urljoin(endpoint + "/", url)
            parts = urlsplit(_before_query(absolute))
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        raise UntrustedUrl("(unreadable)", "it is malformed") from None
    if "@" in parts.netloc:
        raise UntrustedUrl(host[:100], "it contains user information")
    if parts.scheme.lower() != scheme.lower():
        raise UntrustedUrl(host[:100], f"its scheme is {parts.scheme[:20]!r}, not {scheme!r}")
    if host.lower() != trusted.lower():
        raise UntrustedUrl(host[:100], f"only {trusted!r} is trusted")
    default = _DEFAULT_PORTS.get(scheme.lower())
    if (port or default) != (expected_port or default) or port == 0 or parts.netloc.endswith(":"):
        raise UntrustedUrl(host[:100], "it names another port")
    return absolute, parts.path


@functools.lru_cache(maxsize=8)
def _origin(endpoint: str) -> tuple[str, str, int | None]:
    parts = urlsplit(endpoint)
    return parts.scheme, parts.hostname or "", parts.port


def _before_query(url: str) -> str:
    # The query does not decide where a URL leads, and it is 3 KB long.
    return url.partition("?")[0]
