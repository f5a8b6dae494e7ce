"""The HTTP client for Azure Resource Manager: httpx's requests, auth and transports, without its client.

`httpx.AsyncClient` reads each URL character by character, and keeps cookies, a history and hooks for each call; with
operation URLs of 3.5 KB that is most of what a call costs. Here the endpoint is read once, and the rest of a URL is
handed to the transport as it stands: it is signed, and must not be rewritten anyway.
"""

from __future__ import annotations

import asyncio

import httpx

from maintenance.observations import ArmAnswer

TIMEOUT = httpx.Timeout(connect=10, read=30, write=10, pool=30)
# Over all of one call, since the read time-out starts anew with each piece of an answer.
CALL_TIMEOUT = 60.0
# Asked for no encoding ARM sends none, so that a page's size is what is read.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vmss-maintenance/0.1"}


class ArmClient:
    """One per process; follows no redirect, since the token would go along, and reads no environment.

    `endpoint` has no trailing slash. A request carries its path and query in the extension `target` (httpx's own name
    for it), beside the URL of the endpoint.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        auth: httpx.Auth | None,
        *,
        endpoint: str,
        timeout: httpx.Timeout = TIMEOUT,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._transport = transport
        self._auth = auth
        self._endpoint = endpoint
        self._url = httpx.URL(endpoint)
        self._timeouts = timeout.as_dict()
        self._call_timeout = call_timeout
        self._plain = httpx.Headers({"Host": self._url.netloc.decode("ascii"), **HEADERS})
        self._json = httpx.Headers({**self._plain, "Content-Type": "application/json"})

    async def send(self, method: str, url: str, body: bytes | None = None) -> ArmAnswer:
        """One call, sent once. `url` is absolute and of the endpoint's origin, `body` is JSON.

        Raises `httpx.TransportError`, TimeoutError, and what the auth raises.
        """
        request = httpx.Request(
            method,
            self._url,
            headers=self._plain if body is None else self._json,
            content=body if method == "GET" else body or b"",
            extensions={"timeout": self._timeouts, "target": self._target(url)},
        )
        async with asyncio.timeout(self._call_timeout):
            response = await self._authorized(request)
        headers: dict[str, str] = {}
        for name, value in response.headers.raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return ArmAnswer(response.status_code, headers, response.content)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _authorized(self, request: httpx.Request) -> httpx.Response:
        if self._auth is None:
            return await self._transport.handle_async_request(request)
        flow = self._auth.async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = await self._transport.handle_async_request(request)
                try:
                    request = await flow.asend(response)
                except StopAsyncIteration:
                    return response
        finally:
            await flow.aclose()

    def _target(self, url: str) -> bytes:
        if url.startswith(self._endpoint + "/"):
            return url[len(self._endpoint) :].encode("ascii")
        # The same origin in another spelling: the check of URLs reads hosts without letter case.
        return httpx.URL(url).raw_path
