"""The HTTP client for Azure Resource Manager: httpx's requests and transports, without its client.

`httpx.AsyncClient` reads each URL character by character, and keeps cookies, a history and hooks for each call; with
operation URLs of 3.5 KB that is most of what a call costs. Here the endpoint is read once, and the rest of a URL is
handed to the transport as it stands: it is signed, and must not be rewritten anyway. Headers are made once per token,
and bodies are taken from the transport without httpx's decoders: no encoding was asked for.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import httpx

from maintenance.observations import ArmAnswer

TIMEOUT = httpx.Timeout(connect=10, read=30, write=10, pool=30)
# Over all of one call, since the read time-out starts anew with each piece of an answer.
CALL_TIMEOUT = 60.0
# Asked for no encoding ARM sends none, so that a page's size is what is read.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vmss-maintenance/0.1"}


class Auth(Protocol):
    """What is used of `identity.ManagedIdentityAuth`."""

    async def token(self) -> str: ...

    def refused(self, token: str) -> None: ...


class ArmClient:
    """One per process; follows no redirect, since the token would go along, and reads no environment.

    `endpoint` has no trailing slash. A request carries its path and query in the extension `target` (httpx's own name
    for it), beside the URL of the endpoint.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        auth: Auth,
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
        self._plain = {"Host": self._url.netloc.decode("ascii"), **HEADERS}
        self._last: tuple[str, httpx.Headers, httpx.Headers] | None = None

    async def send(self, method: str, url: str, body: bytes | None = None) -> ArmAnswer:
        """One call, sent once. `url` is absolute and of the endpoint's origin, `body` is JSON.

        Raises `httpx.TransportError`, TimeoutError, and what the auth raises.
        """
        target = self._target(url)
        async with asyncio.timeout(self._call_timeout):
            token = await self._auth.token()
            plain, json = self._headers(token)
            request = httpx.Request(
                method,
                self._url,
                headers=plain if body is None else json,
                # As content httpx would read all headers once more, to add a length that aiohttp adds as well.
                stream=httpx.ByteStream(body or b""),
                extensions={"timeout": self._timeouts, "target": target},
            )
            request.read()
            response = await self._transport.handle_async_request(request)
            content = await _read(response)
        if response.status_code == 401:
            self._auth.refused(token)
        headers: dict[str, str] = {}
        for name, value in response.headers.raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return ArmAnswer(response.status_code, headers, content)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _headers(self, token: str) -> tuple[httpx.Headers, httpx.Headers]:
        """Those of calls without a body, and with one."""
        if self._last is None or self._last[0] != token:
            plain = {**self._plain, "Authorization": f"Bearer {token}"}
            json = {**plain, "Content-Type": "application/json"}
            self._last = (token, httpx.Headers(plain), httpx.Headers(json))
        return self._last[1:]

    def _target(self, url: str) -> bytes:
        if url.startswith(self._endpoint + "/"):
            return url[len(self._endpoint) :].encode("ascii")
        # The same origin in another spelling: the check of URLs reads hosts without letter case.
        return httpx.URL(url).raw_path


async def _read(response: httpx.Response) -> bytes:
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport is not asynchronous")
    return b"".join([part async for part in response.stream])
