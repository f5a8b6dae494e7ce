"""HTTP client of Azure Resource Manager: one authorised call, sent once, within one time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx

from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import AiohttpTransport
from maintenance.arm.urls import origin_bound
from maintenance.version import VERSION

# Seconds, over all of one call: connecting, sending, and the whole response.
CALL_TIMEOUT = 45.0
# Without compression, so that the size limit of a body is the size of what is read.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"vmss-maintenance/{VERSION}"}


class Auth(Protocol):
    """The part of `identity.ManagedIdentityAuth` that the client uses."""

    async def token(self) -> str: ...

    def invalidate(self, token: str) -> None: ...


# The method, and the response's status and headers; None and none where no response came.
CallWatch = Callable[[str, int | None, Mapping[str, str]], None]


class ArmClient:
    """Client that sends authorised calls to ARM; one per process.

    It follows no redirect, since the token would be sent along, and reads no proxy settings from the environment.
    `endpoint` has no trailing slash. It accepts any httpx transport; with `AiohttpTransport` it calls `exchange`, which
    creates no httpx objects. `call_timeout` is in seconds. `watch` is told of every call, in the task that made it.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        auth: Auth,
        *,
        endpoint: str,
        call_timeout: float = CALL_TIMEOUT,
        watch: CallWatch | None = None,
    ) -> None:
        self._watch = watch
        self._transport = transport
        self._auth = auth
        self._endpoint = endpoint
        self._url = httpx.URL(endpoint)
        self._call_timeout = call_timeout
        self._exchange = transport.exchange if isinstance(transport, AiohttpTransport) else self._exchange_by_httpx
        self._headers = {"Host": self._url.netloc.decode("ascii"), **HEADERS}

    async def send(self, method: str, url: str, body: bytes | None = None) -> ArmResponse:
        """Send one call, once. `url` is absolute and has the endpoint's origin; `body` is JSON.

        Raises `httpx.TransportError`, TimeoutError, and what the auth raises.
        """
        # ARM may spell its own origin in another letter case, or with the default port.
        url = origin_bound(url, self._endpoint)
        async with asyncio.timeout(self._call_timeout):
            token = await self._auth.token()
            headers = {**self._headers, "Authorization": f"Bearer {token}"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            try:
                response = await self._exchange(method, url, headers, body)
            except BaseException:
                if self._watch is not None:
                    self._watch(method, None, {})
                raise
        if self._watch is not None:
            self._watch(method, response.status, response.headers)
        if response.status == 401:
            self._auth.invalidate(token)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _exchange_by_httpx(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> ArmResponse:
        request = httpx.Request(
            method,
            self._url,
            headers=headers,
            content=body,
            extensions={"target": url[len(self._endpoint) :].encode("ascii")},
        )
        response = await self._transport.handle_async_request(request)
        return ArmResponse(response.status_code, response.headers, await response.aread())
