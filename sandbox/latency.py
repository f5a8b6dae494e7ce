"""A network's latency on loopback: what a server receives and what it sends arrives later, in its order."""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LATENCY = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)ms(?:\+(\d{1,5}(?:\.\d{1,3})?)ms)?")
SERVICES = ("servicebus", "arm")


@dataclass(frozen=True, slots=True)
class Latency:
    """Of each direction of a call, in seconds; `jitter`: up to so much more, at random."""

    seconds: float = 0.0
    jitter: float = 0.0

    def __bool__(self) -> bool:
        return self.seconds > 0 or self.jitter > 0


NONE = Latency()


def parse_latencies(text: str) -> dict[str, Latency]:
    """`servicebus=5ms,arm=80ms+20ms` by service. Raises ValueError."""
    found: dict[str, Latency] = {}
    for part in text.split(","):
        service, _, latency = part.strip().partition("=")
        read = _LATENCY.fullmatch(latency)
        if service not in SERVICES or read is None or service in found:
            raise ValueError(
                f"{part.strip()!r} is no latency: write servicebus=5ms,arm=80ms, or arm=80ms+20ms for up to 20 ms more"
            )
        found[service] = Latency(float(read[1]) / 1000, float(read[2] or 0) / 1000)
    return found


class _Line:
    """One direction: what is put in happens later, in its order. One timer at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, latency: Latency, draw: Callable[[], float]) -> None:
        self._loop, self._latency, self._draw = loop, latency, draw
        self._waiting: deque[tuple[float, Callable[..., object], tuple[Any, ...]]] = deque()

    def put(self, happens: Callable[..., object], *arguments: Any) -> None:
        due = self._loop.time() + self._latency.seconds + self._latency.jitter * self._draw()
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, happens, arguments))
        if len(self._waiting) == 1:
            self._loop.call_at(due, self._happen)

    def _happen(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            _, happens, arguments = self._waiting[0]
            try:
                happens(*arguments)
            finally:
                if self._waiting:
                    self._waiting.popleft()
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._happen)

    def drop(self) -> None:
        self._waiting.clear()


class _LateTransport(asyncio.Transport):
    """A transport whose writes, and whose end, arrive later."""

    def __init__(self, transport: asyncio.Transport, line: _Line) -> None:
        super().__init__()
        self._real, self._line = transport, line
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._line.put(self._real.write, bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._line.put(self._real.close)

    def abort(self) -> None:
        self._closing = True
        self._line.drop()
        self._real.abort()

    def is_closing(self) -> bool:
        return self._closing or self._real.is_closing()

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._real.pause_reading()

    def resume_reading(self) -> None:
        self._real.resume_reading()

    def is_reading(self) -> bool:
        return self._real.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._real.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._real.get_write_buffer_size()


class _LateProtocol(asyncio.Protocol):
    """A protocol whose data arrives later."""

    def __init__(
        self, protocol: asyncio.Protocol, latency: Latency, loop: asyncio.AbstractEventLoop, draw: Callable[[], float]
    ) -> None:
        self._protocol = protocol
        self._received, self._sent = _Line(loop, latency, draw), _Line(loop, latency, draw)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  narrows the type
        self._transport = transport
        self._protocol.connection_made(_LateTransport(transport, self._sent))

    def data_received(self, data: bytes) -> None:
        self._received.put(self._protocol.data_received, data)

    def eof_received(self) -> bool:
        self._received.put(self._end)
        # The connection stays open for what is still on its way.
        return True

    def _end(self) -> None:
        if not self._protocol.eof_received():
            self._sent.put(self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._received.drop()
        self._sent.drop()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def late(
    made: Callable[[], asyncio.Protocol],
    latency: Latency,
    loop: asyncio.AbstractEventLoop,
    *,
    draw: Callable[[], float] = random.random,
) -> Callable[[], asyncio.Protocol]:
    """What makes a server's protocols, each behind such a latency. `draw` gives numbers from 0 to 1."""
    return (lambda: _LateProtocol(made(), latency, loop, draw)) if latency else made
