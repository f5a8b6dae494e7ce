"""The transport: the same calls as with httpx, and limits on what a response brings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.arm.client import ArmClient
from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import MAX_FIELD, MAX_HEADERS, AiohttpTransport
from tests.support.loopback_server import listening


async def get(headers: str) -> ArmResponse:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\n{{}}".encode())
        await writer.drain()

    async with listening(serve) as endpoint:
        transport = AiohttpTransport()
        try:
            return await transport.exchange("GET", f"{endpoint}/", {})
        finally:
            await transport.aclose()


async def test_long_header_is_read() -> None:
    url = "https://management.azure.com/" + "a" * 60_000
    response = await get(f"Azure-AsyncOperation: {url}\r\n")
    assert response.headers["azure-asyncoperation"] == url


async def test_many_headers_are_read() -> None:
    response = await get("".join(f"x-h{number}: v\r\n" for number in range(400)))
    assert (response.headers["x-h399"], response.body) == ("v", b"{}")


@pytest.mark.parametrize(
    "headers",
    [f"Location: {'a' * (MAX_FIELD + 10)}\r\n", "".join(f"x-h{number}: v\r\n" for number in range(MAX_HEADERS + 10))],
    ids=["a header", "headers"],
)
async def test_headers_have_a_bound(headers: str) -> None:
    with pytest.raises(httpx.ReadError):
        await get(headers)


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await get("")).status == 200


@dataclass(frozen=True)
class Exchange:
    """A call, and the response that the server gives to it."""

    method: str
    target: str
    body: bytes | None
    status: int
    headers: dict[str, str]
    content: bytes
    chunks: int


NAMES = st.sampled_from(["Location", "Azure-AsyncOperation", "Retry-After", "x-ms-request-id", "X-Ms-Ratelimit"])
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=300)
EXCHANGES = st.builds(
    Exchange,
    method=st.sampled_from(["GET", "POST"]),
    # As urls.py lets URLs through: nothing that any client would read otherwise.
    target=st.text("ab9-._~!$&'()*+,;=:@%/?", max_size=200)
    .map(lambda text: f"/{text}".replace("%", "%2F"))
    # aiohttp drops an empty query, which no URL of ARM has.
    .map(lambda target: target.removesuffix("?") if target.count("?") == 1 else target),
    body=st.none() | st.binary(min_size=1, max_size=400),
    status=st.sampled_from([200, 202, 400, 404, 409, 429, 500, 503]),
    # Each once: of one that is repeated aiohttp gives the first, and httpx all.
    headers=st.dictionaries(NAMES, VALUES),
    content=st.binary(max_size=3000),
    chunks=st.integers(0, 3),
)


class Server:
    """Gives each call the exchange's response, and keeps what was sent."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.received: list[tuple[str, dict[str, str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        self.received.append((head[0], sent, await reader.readexactly(int(sent.get("content-length", 0)))))
        lines = [
            f"HTTP/1.1 {self._exchange.status} Anything",
            *(f"{name}: {text}" for name, text in self._exchange.headers.items()),
        ]
        content, chunks = self._exchange.content, self._exchange.chunks
        if not chunks:
            lines.append(f"Content-Length: {len(content)}")
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)
        else:
            writer.write("\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode("latin-1"))
            size = len(content) // chunks + 1
            for start in range(0, len(content), size):
                part = content[start : start + size]
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        await writer.drain()


class Token:
    async def token(self) -> str:
        return "a-token"

    def invalidate(self, token: str) -> None: ...


async def exchanged(exchange: Exchange, transport: httpx.AsyncBaseTransport) -> tuple[object, ...]:
    """What the server received, and the response as the client reads it."""
    server = Server(exchange)
    async with listening(server.serve) as endpoint:
        client = ArmClient(transport, Token(), endpoint=endpoint)
        response = await client.send(exchange.method, endpoint + exchange.target, exchange.body)
        await client.aclose()
    ((line, sent, body),) = server.received
    # The servers have other ports, and httpx's own transport says nothing of the connection.
    sent = {name: value for name, value in sent.items() if name not in ("host", "connection")}
    first = {name.lower(): response.headers.get(name) for name in exchange.headers}
    return line, sent, body, response.status, response.body, first


@given(EXCHANGES)
@settings(max_examples=40)
def test_call_without_httpx_objects_is_as_with_httpx_and_its_own_transport(exchange: Exchange) -> None:
    async def both() -> list[tuple[object, ...]]:
        # Without certificates, which httpx would read from the disk each time.
        transports = AiohttpTransport(), httpx.AsyncHTTPTransport(verify=False)
        return [await exchanged(exchange, each) for each in transports]

    ours, theirs = asyncio.run(both())
    assert ours == theirs
