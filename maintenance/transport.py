"""httpx over aiohttp's connections.

Not the package httpx-aiohttp, though it does the same: it hands URLs to yarl as text, which decodes what was
percent-encoded, and ARM's operation URLs are signed as they are written. It also reads bodies of any size.
"""

from __future__ import annotations

import aiohttp
import httpx
from yarl import URL

# A page of instance views has a few KB an instance. What is larger than this is no answer of ARM's.
MAX_BODY = 8 * 1024 * 1024
NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
SENT_AS_GIVEN = ("Content-Type", "Accept-Encoding", "User-Agent", "Accept")


class BodyTooLargeError(httpx.ReadError):
    """The answer's body is larger than `MAX_BODY` bytes."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends each request as it is: URL verbatim, no redirects, no cookies, no proxies, no retry of a POST.

    `limit` bounds the open connections. Raises `httpx.ConnectError` or `httpx.ConnectTimeout` where the request was
    certainly not sent, other `httpx.TransportError` where it may have been.
    """

    def __init__(self, *, limit: int = 100) -> None:
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None
        self._last_timeout: tuple[object, aiohttp.ClientTimeout] = (None, NO_TIMEOUT)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """`request.extensions` may hold a `timeout`, and a `target` to be sent as it is in place of the URL's own."""
        session = self._session or self._open()
        try:
            async with session.request(
                request.method,
                _url(request),
                headers=[(name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
                timeout=self._timeout(request.extensions.get("timeout")),
            ) as response:
                return httpx.Response(
                    response.status,
                    headers=response.raw_headers,
                    stream=httpx.ByteStream(await _read(response, request)),
                    request=request,
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time", request=request) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError("no connection", request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(f"the connection broke ({type(error).__name__})", request=request) from error

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _timeout(self, wanted: dict[str, float | None] | None) -> aiohttp.ClientTimeout:
        # A client gives the same mapping with each request.
        known, timeout = self._last_timeout
        if wanted is None:
            return NO_TIMEOUT
        if known is not wanted:
            timeout = aiohttp.ClientTimeout(
                total=None,
                connect=wanted.get("pool"),
                sock_connect=wanted.get("connect"),
                sock_read=wanted.get("read"),
            )
            self._last_timeout = (wanted, timeout)
        return timeout

    def _open(self) -> aiohttp.ClientSession:
        # Only inside a running loop can a session be made, and a process has one loop and one transport.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._limit),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # aiohttp declares a type even for no body; ARM is sent what the REST reference has, and no more.
                skip_auto_headers=SENT_AS_GIVEN,
                trust_env=False,
            )
        return self._session


def _url(request: httpx.Request) -> URL:
    target = request.extensions.get("target")
    if target is None:
        return URL(str(request.url), encoded=True)
    return URL(f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{target.decode('ascii')}", encoded=True)


async def _read(response: aiohttp.ClientResponse, request: httpx.Request) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise BodyTooLargeError(f"the answer is larger than {MAX_BODY:,} bytes", request=request)
    return bytes(body)
