"""Latency of the sandbox: each direction takes as long as it says, in order, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.latency import Latency, late, parse_latencies
from tests.simulation.loop import Loop


class Echo(asyncio.Protocol):
    """Sends back what it is given, and closes at the end of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def eof_received(self) -> bool:
        return False


class Wire(asyncio.Transport):
    """Notes when something was written to it, and when it was closed."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop
        self.seen: list[tuple[float, bytes]] = []

    def write(self, data: Any) -> None:
        self.seen.append((round(self._loop.time(), 6), bytes(data)))

    def close(self) -> None:
        self.seen.append((round(self._loop.time(), 6), b"closed"))


def echoed(latency: Latency, draw: Callable[[], float]) -> list[tuple[float, bytes]]:
    """Three pieces a millisecond apart, and the end."""
    loop = Loop(random.Random(0), shuffled=False)  # noqa: S311 - no secret
    wire, protocol = Wire(loop), late(Echo, latency, loop, draw=draw)()
    protocol.connection_made(wire)
    for number in range(3):
        loop.call_at(number / 1000, protocol.data_received, str(number).encode())
    loop.call_at(0.003, protocol.eof_received)
    loop.run(until=10, most_steps=1_000)
    loop.close()
    return wire.seen


def test_each_direction_takes_as_long_as_it_says() -> None:
    assert echoed(Latency(0.005), lambda: 0.0) == [(0.01, b"0"), (0.011, b"1"), (0.012, b"2"), (0.013, b"closed")]


def test_jitter_keeps_the_order() -> None:
    drawn = iter([1.0, 0.0, 0.0, 0.0] + [0.0] * 10)
    assert [data for _, data in echoed(Latency(0.005, 0.02), lambda: next(drawn))] == [b"0", b"1", b"2", b"closed"]


def test_latencies_are_read_by_service() -> None:
    assert parse_latencies("servicebus=5ms, arm=80ms+20ms") == {
        "servicebus": Latency(0.005),
        "arm": Latency(0.08, 0.02),
    }


@pytest.mark.parametrize("text", ["", "arm", "arm=80", "bus=5ms", "arm=5ms,arm=6ms", "arm=-5ms", "arm=5ms+"])
def test_what_is_no_latency_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write servicebus=5ms,arm=80ms"):
        parse_latencies(text)
