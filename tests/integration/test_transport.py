"""HTTP transport and ARM client over real sockets: the bytes sent, and the responses read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from maintenance.arm.client import ArmClient
from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import MAX_BODY, AiohttpTransport, BodyTooLargeError
from maintenance.version import VERSION
from tests.support.limit import LIMIT
from tests.support.loopback_server import listening

TARGET = "/operations/1?p=a%2Fb%2fc&t=63%41&c=MII/x+==&s=a_b-~%7E&h=%C3%BC"
RESPONSE = b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class FakeServer:
    """Server that records requests and responds with `pieces`; `hang_up`: it then closes the connection.

    `received_on`: the number of the connection of each request.
    """

    pieces: list[bytes] = field(default_factory=lambda: [RESPONSE])
    hang_up: bool = False
    received: list[bytes] = field(default_factory=list)
    received_on: list[int] = field(default_factory=list)
    connections: int = 0
    endpoint: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
            self.received.append(head + body)
            self.received_on.append(connection)
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
            if self.hang_up:
                return


@asynccontextmanager
async def serving(server: FakeServer) -> AsyncIterator[FakeServer]:
    async with listening(server.serve) as server.endpoint:
        yield server


class Token:
    async def token(self) -> str:
        return "t0ken"

    def invalidate(self, token: str) -> None:
        raise AssertionError("no response here is a 401")


class AnyTransport(httpx.AsyncBaseTransport):
    """The same transport, hidden behind the interface of httpx."""

    def __init__(self) -> None:
        self._inner = AiohttpTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def client(
    server: FakeServer, transport: Callable[[], httpx.AsyncBaseTransport] = AiohttpTransport
) -> AsyncIterator[ArmClient]:
    client = ArmClient(transport(), Token(), endpoint=server.endpoint, call_timeout=LIMIT)
    yield client
    await client.aclose()


def parts(received: bytes) -> tuple[bytes, set[bytes], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    return first, {header.lower() for header in headers}, body


BOTH = pytest.mark.parametrize("transport", [AiohttpTransport, AnyTransport])


@BOTH
async def test_signed_url_is_sent_verbatim(transport: Callable[[], httpx.AsyncBaseTransport]) -> None:
    async with serving(FakeServer()) as server, client(server, transport) as arm:
        await arm.send("GET", server.endpoint + TARGET)
        first, headers, body = parts(server.received[0])
    assert first == f"GET {TARGET} HTTP/1.1".encode()
    assert headers == {
        f"host: {server.endpoint.removeprefix('http://')}".encode(),
        b"accept: application/json",
        b"accept-encoding: identity",
        f"user-agent: vmss-maintenance/{VERSION}".encode(),
        b"authorization: bearer t0ken",
    }
    assert body == b""


@BOTH
async def test_content_type_is_sent_only_with_a_body(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(FakeServer()) as server, client(server, transport) as arm:
        await arm.send("POST", server.endpoint + TARGET)
        await arm.send("POST", server.endpoint + TARGET, b'{"instanceIds":["0"]}')
        bare, full = map(parts, server.received)
    assert not [header for header in bare[1] if header.startswith(b"content-type")]
    assert bare[2] == b""
    assert {b"content-type: application/json", b"content-length: 21"} <= full[1]
    assert full[2] == b'{"instanceIds":["0"]}'


@BOTH
async def test_response_headers_are_read_by_lower_case_name(transport: Callable[[], httpx.AsyncBaseTransport]) -> None:
    async with serving(FakeServer()) as server, client(server, transport) as arm:
        response = await arm.send("GET", server.endpoint + TARGET)
    assert (response.status, response.headers["retry-after"], response.body) == (200, "7", b"{}")
    assert response.headers.get("location") is None


@BOTH
async def test_url_with_origin_in_other_letter_case_is_sent(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(FakeServer()) as server, client(server, transport) as arm:
        await arm.send("GET", server.endpoint.replace("http", "HTTP") + TARGET)
    assert parts(server.received[0])[0] == f"GET {TARGET} HTTP/1.1".encode()


@BOTH
async def test_response_in_chunks_is_joined(transport: Callable[[], httpx.AsyncBaseTransport]) -> None:
    pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n", b"a" * 200_000, b"b" * 200_000, b"c" * 200_000]
    async with serving(FakeServer(pieces)) as server, client(server, transport) as arm:
        response = await arm.send("GET", server.endpoint + TARGET)
        again = await arm.send("GET", server.endpoint + TARGET)
    assert response.body == again.body == b"".join(pieces[1:])
    assert server.connections == 1


@BOTH
async def test_response_over_size_limit_is_not_read_to_its_end(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    piece = b"x" * (1 << 20)
    pieces = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    pieces += [b"100000\r\n" + piece + b"\r\n"] * (2 * MAX_BODY // len(piece))
    async with serving(FakeServer(pieces)) as server, client(server, transport) as arm:
        with pytest.raises(BodyTooLargeError, match="larger than 8,388,608 bytes"):
            await arm.send("GET", server.endpoint + TARGET)
        server.pieces = [RESPONSE]
        # The rest of it must not be read as the next response.
        assert (await arm.send("GET", server.endpoint + TARGET)).body == b"{}"
    assert server.connections == 2


@BOTH
async def test_post_on_broken_connection_is_not_retried(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(FakeServer([], hang_up=True)) as server, client(server, transport) as arm:
        with pytest.raises(httpx.ReadError, match="the connection broke"):
            await arm.send("POST", server.endpoint + TARGET)
    assert len(server.received) == 1


@BOTH
async def test_refused_connection_raises_connect_error(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(FakeServer()) as server:
        pass
    async with client(server, transport) as arm:
        with pytest.raises(httpx.ConnectError):
            await arm.send("POST", server.endpoint + TARGET)


@BOTH
async def test_call_to_unresponsive_server_times_out_and_its_connection_is_not_reused(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    shared = transport()
    async with serving(FakeServer([])) as server:
        hasty, patient = (
            ArmClient(shared, Token(), endpoint=server.endpoint, call_timeout=seconds) for seconds in (0.2, LIMIT)
        )
        # On a slow machine a call may time out before it is sent.
        while not server.received:
            with pytest.raises(TimeoutError):
                await hasty.send("GET", server.endpoint + TARGET)
        server.pieces = [RESPONSE]
        # The response may still arrive on the connection of the call that timed out.
        assert isinstance(await patient.send("GET", server.endpoint + TARGET), ArmResponse)
        *earlier, last = server.received_on
        await patient.aclose()
    assert last not in earlier


async def test_error_of_httpx_client_carries_its_request() -> None:
    async with (
        serving(FakeServer([], hang_up=True)) as server,
        httpx.AsyncClient(transport=AiohttpTransport()) as any_client,
    ):
        with pytest.raises(httpx.ReadError) as caught:
            await any_client.post(server.endpoint + "/x")
    assert (caught.value.request.method, caught.value.request.url.path) == ("POST", "/x")
