"""httpx transport over aiohttp, which sends a request exactly as given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp
import httpx
from yarl import URL

from maintenance.arm.responses import ArmResponse

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
# A page of instance views has a few KB per instance, so a larger body cannot be a response of ARM.
MAX_BODY = 8 * 1024 * 1024
CONNECT_TIMEOUT = 10.0
# Of a response's headers. Operation URLs have 3.5 KB each today, and aiohttp refuses a header of over 8 KB by default.
MAX_FIELD = 64 * 1024
MAX_HEADERS = 500


class BodyTooLargeError(httpx.ReadError):
    """The response's body is larger than `MAX_BODY` bytes."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx transport that sends each request as it is: URL verbatim, no redirects, cookies, proxies or retries.

    `limit` bounds the open connections. Only the time to connect is limited here (`connect_timeout`, seconds), since
    only here it is known that nothing was sent. A caller limits the whole call, with one timer.

    Raises `httpx.ConnectError` or `httpx.ConnectTimeout` if the request was certainly not sent, and other
    `httpx.TransportError` if it may have been.
    """

    def __init__(self, *, limit: int = 100, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, method: str, url: str, headers: Headers, body: bytes | None = None) -> ArmResponse:
        """Send one request without creating httpx objects, which takes half as long as the call itself."""
        session = self._open()
        try:
            response = await session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                # aiohttp sends a Content-Type even without a body, which the REST reference does not have.
                skip_auto_headers=None if method == "GET" else ("Content-Type",),
            )
            try:
                content = await _read(response.content)
            except BaseException:
                response.close()
                raise
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError("no connection") from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(f"the connection broke ({type(error).__name__})") from error
        return ArmResponse(response.status, response.headers, content)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request of any httpx client. Its time-outs are ignored.

        The extension `target` (httpx's own name) is sent verbatim in place of the URL's path and query.
        """
        url = str(request.url)
        if (target := request.extensions.get("target")) is not None:
            url = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{target.decode('ascii')}"
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        try:
            response = await self.exchange(request.method, url, headers, await request.aread() or None)
        except httpx.TransportError as error:
            error.request = request
            raise
        return httpx.Response(
            response.status,
            headers=list(response.headers.items()),
            stream=httpx.ByteStream(response.body),
            request=request,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # A session needs a running event loop, so it is opened with the first request.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._limit),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
                trust_env=False,
                max_line_size=MAX_FIELD,
                max_field_size=MAX_FIELD,
                max_headers=MAX_HEADERS,
            )
        return self._session


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while not content.at_eof():
        body += await content.readany()
        if len(body) > MAX_BODY:
            raise BodyTooLargeError(f"the response is larger than {MAX_BODY:,} bytes")
    return bytes(body)
