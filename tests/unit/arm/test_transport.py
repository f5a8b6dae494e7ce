"""Limits of the transport on what a response brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import MAX_FIELD, MAX_HEADERS, AiohttpTransport


@asynccontextmanager
async def server(response: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


async def get(headers: str) -> ArmResponse:
    async with server(f"HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\n{{}}".encode()) as endpoint:
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
