"""Conversion between the messages of aiohttp and those of this package."""

from __future__ import annotations

from aiohttp import web

from sandbox.resource_manager.ids import new_guid
from sandbox.resource_manager.rest.messages import Response

_ALWAYS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


def bearer_token(http_request: web.BaseRequest) -> str | None:
    """The token of the Authorization header; None if there is none, or another scheme."""
    scheme, _, token = http_request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def to_web_response(response: Response) -> web.Response:
    """The response for aiohttp, with the headers that all of ARM's responses have."""
    request_id = new_guid()
    return web.Response(
        status=response.status,
        body=response.body,
        headers={
            **_ALWAYS,
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": request_id,
            "x-ms-routing-request-id": f"WESTEUROPE:{request_id}",
            **response.headers,
        },
    )
