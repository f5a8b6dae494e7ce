"""Between HTTP messages and the values that requests and answers are here."""

from __future__ import annotations

from aiohttp import web

from sandbox.resource_manager.ids import new_guid
from sandbox.resource_manager.messages import Answer

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


def response_of(answer: Answer) -> web.Response:
    """The answer with the headers that all of ARM's answers have."""
    request_id = new_guid()
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={
            **_ALWAYS,
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": request_id,
            "x-ms-routing-request-id": f"WESTEUROPE:{request_id}",
            **answer.headers,
        },
    )
