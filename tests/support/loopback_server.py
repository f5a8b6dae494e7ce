"""A server of a loopback port whose connections a test writes byte by byte; none outlives the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Turns of the loop from a client's connecting until `connected` is called: 3 on Python 3.11 and 3.12.
ACCEPTING = 5


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """`serve` has each connection, which is closed after it; yields the URL. A client that leaves is no error."""
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No coroutine: the task of one that is canceled before its first step would leave its socket open.
        serving[asyncio.create_task(served(reader, writer))] = writer

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        # A server that is closed while it accepts a connection leaves its socket open.
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)
        # Those that still wait for their client. Left to the loop's end, their sockets would stay open.
        for task, writer in serving.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)
        server.close()
        await server.wait_closed()
