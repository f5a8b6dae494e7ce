"""A connection that is accepted just as the tests' loopback server ends does not outlive it."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest

from tests.support.loopback_server import listening


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def connect_and_end_after(turns: int) -> None:
    """The server ends `turns` turns of the loop after a client has connected."""
    async with listening(never) as url:
        host, port = url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        for _ in range(turns):
            await asyncio.sleep(0)
    client.close()


@pytest.mark.parametrize("turns", range(6))
def test_connection_accepted_at_the_end_is_closed(turns: int) -> None:
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        asyncio.run(connect_and_end_after(turns))
        gc.collect()
    assert [str(warning.message) for warning in unclosed] == []
