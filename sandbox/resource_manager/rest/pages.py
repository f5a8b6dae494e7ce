"""The pages of listings, and the links between them as Compute writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from sandbox.resource_manager.rest import parameters, views
from sandbox.resource_manager.rest.messages import Request, Response

_Item = TypeVar("_Item")
_PORTS = {"https": 443, "http": 80}


def page_of(
    request: Request, query: dict[str, str], items: Sequence[_Item], size: int, show: Callable[[_Item], str]
) -> Response:
    """The page of a listing that a call asks for, with a link to the next one, if there is any."""
    start = parameters.offset(query.get("$skiptoken"))
    end = start + size
    link = next_link(request, query, end) if end < len(items) else None
    return Response.json(views.page([show(each) for each in items[start:end]], link))


def next_link(request: Request, query: dict[str, str], start: int) -> str:
    """The link to the page that begins at an item.

    As Compute's, it names the port even where it is the scheme's own, and has the query as it was meant, not
    percent-encoded: a `$filter` comes back with its blanks (github.com/Azure/azure-sdk-for-java/issues/27991, 36506).
    """
    base = urlsplit(request.base)
    authority = base.netloc if base.port else f"{base.netloc}:{_PORTS[base.scheme]}"
    parts = {**query, "$skiptoken": parameters.skip_token(start)}
    return f"{base.scheme}://{authority}{request.path}?" + "&".join(f"{name}={value}" for name, value in parts.items())
