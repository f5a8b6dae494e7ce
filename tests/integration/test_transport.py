"""What the transport puts on the wire, and what it makes of what comes back: over real sockets, to the byte."""

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

TARGET = "/operations/1?p=a%2Fb%2fc&t=63%41&c=MII/x+==&s=a_b-~%7E&h=%C3%BC"
ANSWER = b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Wire:
    """A server that keeps what it received, a request at a time, and answers with `pieces`, or hangs up without any."""

    pieces: list[bytes] = field(default_factory=lambda: [ANSWER])
    hang_up: bool = False
    received: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
                self.received.append(head + body)
                for piece in self.pieces:
                    writer.write(piece)
                    await writer.drain()
                if self.hang_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(wire: Wire) -> AsyncIterator[Wire]:
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    async with server:
        yield wire


class Token:
    async def token(self) -> str:
        return "t0ken"

    def invalidate(self, token: str) -> None:
        raise AssertionError("no answer here is a 401")


class AnyTransport(httpx.AsyncBaseTransport):
    """The same connections, for those who know no more of them than that they are httpx's."""

    def __init__(self) -> None:
        self._inner = AiohttpTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def client(
    wire: Wire, transport: Callable[[], httpx.AsyncBaseTransport] = AiohttpTransport, *, call_timeout: float = 30
) -> AsyncIterator[ArmClient]:
    made = ArmClient(transport(), Token(), endpoint=wire.endpoint, call_timeout=call_timeout)
    yield made
    await made.aclose()


def parts(received: bytes) -> tuple[bytes, set[bytes], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    return first, {header.lower() for header in headers}, body


BOTH = pytest.mark.parametrize("transport", [AiohttpTransport, AnyTransport])


@BOTH
async def test_a_signed_url_is_sent_to_the_letter(transport: Callable[[], httpx.AsyncBaseTransport]) -> None:
    async with serving(Wire()) as wire, client(wire, transport) as arm:
        await arm.send("GET", wire.endpoint + TARGET)
        first, headers, body = parts(wire.received[0])
    assert first == f"GET {TARGET} HTTP/1.1".encode()
    assert headers == {
        f"host: 127.0.0.1:{wire.port}".encode(),
        b"accept: application/json",
        b"accept-encoding: identity",
        b"user-agent: vmss-maintenance/0.1",
        b"authorization: bearer t0ken",
    }
    assert body == b""


@BOTH
async def test_a_type_is_declared_for_a_body_and_for_nothing_else(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(Wire()) as wire, client(wire, transport) as arm:
        await arm.send("POST", wire.endpoint + TARGET)
        await arm.send("POST", wire.endpoint + TARGET, b'{"instanceIds":["0"]}')
        bare, full = map(parts, wire.received)
    assert not [header for header in bare[1] if header.startswith(b"content-type")]
    assert bare[2] == b""
    assert {b"content-type: application/json", b"content-length: 21"} <= full[1]
    assert full[2] == b'{"instanceIds":["0"]}'


@BOTH
async def test_headers_are_found_by_their_lower_case_names(transport: Callable[[], httpx.AsyncBaseTransport]) -> None:
    async with serving(Wire()) as wire, client(wire, transport) as arm:
        answer = await arm.send("GET", wire.endpoint + TARGET)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (200, "7", b"{}")
    assert answer.headers.get("location") is None


@BOTH
async def test_an_origin_in_another_spelling_is_the_same_origin(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(Wire()) as wire, client(wire, transport) as arm:
        await arm.send("GET", wire.endpoint.replace("http", "HTTP") + TARGET)
    assert parts(wire.received[0])[0] == f"GET {TARGET} HTTP/1.1".encode()


@BOTH
async def test_an_answer_in_pieces_is_put_together(transport: Callable[[], httpx.AsyncBaseTransport]) -> None:
    pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n", b"a" * 200_000, b"b" * 200_000, b"c" * 200_000]
    async with serving(Wire(pieces)) as wire, client(wire, transport) as arm:
        answer = await arm.send("GET", wire.endpoint + TARGET)
        again = await arm.send("GET", wire.endpoint + TARGET)
    assert answer.body == again.body == b"".join(pieces[1:])
    assert wire.connections == 1


@BOTH
async def test_an_answer_larger_than_any_of_arms_is_not_read_to_its_end(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    piece = b"x" * (1 << 20)
    pieces = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    pieces += [b"100000\r\n" + piece + b"\r\n"] * (2 * MAX_BODY // len(piece))
    async with serving(Wire(pieces)) as wire, client(wire, transport) as arm:
        with pytest.raises(BodyTooLargeError, match="larger than 8,388,608 bytes"):
            await arm.send("GET", wire.endpoint + TARGET)
        wire.pieces = [ANSWER]
        # What is left of it must not be taken for the next answer.
        assert (await arm.send("GET", wire.endpoint + TARGET)).body == b"{}"
    assert wire.connections == 2


@BOTH
async def test_a_post_whose_connection_breaks_is_not_sent_twice(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(Wire([], hang_up=True)) as wire, client(wire, transport) as arm:
        with pytest.raises(httpx.ReadError, match="the connection broke"):
            await arm.send("POST", wire.endpoint + TARGET)
    assert len(wire.received) == 1


@BOTH
async def test_where_nobody_listens_nothing_was_sent_and_that_is_said(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(Wire()) as wire:
        pass
    async with client(wire, transport) as arm:
        with pytest.raises(httpx.ConnectError):
            await arm.send("POST", wire.endpoint + TARGET)


@BOTH
async def test_a_silent_server_is_left_after_the_time_for_a_call(
    transport: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    async with serving(Wire([])) as wire, client(wire, transport, call_timeout=0.2) as arm:
        with pytest.raises(TimeoutError):
            await arm.send("GET", wire.endpoint + TARGET)
        wire.pieces = [ANSWER]
        # The connection that an answer may still come on is not used again.
        assert isinstance(await arm.send("GET", wire.endpoint + TARGET), ArmResponse)
    assert wire.connections == 2


async def test_errors_carry_their_request_where_there_is_one() -> None:
    async with serving(Wire([], hang_up=True)) as wire, httpx.AsyncClient(transport=AiohttpTransport()) as any_client:
        with pytest.raises(httpx.ReadError) as caught:
            await any_client.post(wire.endpoint + "/x")
    assert (caught.value.request.method, caught.value.request.url.path) == ("POST", "/x")
