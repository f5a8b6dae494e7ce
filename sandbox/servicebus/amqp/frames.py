"""Framing: a stream of bytes split into protocol headers and frames (OASIS AMQP 1.0, part 2, sections 2.2 and 2.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sandbox.servicebus.amqp.codec import CodecError, read
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.performatives import performative

AMQP, SASL = 0, 1  # types of frames
AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
MAX_FRAME: Final = 65_536  # what Azure announces
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"

_HEADER: Final = struct.Struct(">IBBH")


class FramingError(CodecError):
    """The bytes cannot be cut into frames any more: nothing but closing the connection helps."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame. ``body`` is ``None`` in a heartbeat; ``payload`` is what follows the body of a transfer."""

    kind: int
    channel: int
    body: Composite | None
    payload: bytes


def frame(kind: int, channel: int, body: bytes, payload: bytes = b"") -> bytes:
    """The bytes of a frame around an encoded body."""
    return _HEADER.pack(8 + len(body) + len(payload), 2, kind, channel) + body + payload


class FrameStream:
    """Collects bytes as they come and gives back what is whole."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._pending += data

    def http(self) -> bytes | None:
        """All that came, where it is a request of HTTP rather than a protocol header of AMQP."""
        return bytes(self._pending) if self._pending[:4] == b"GET " else None

    def header(self) -> bytes | None:
        """The protocol header, if all eight bytes are there. Raises :class:`FramingError` as soon as it is none."""
        start = bytes(self._pending[:4])
        if not b"AMQP".startswith(start):
            raise FramingError(f"a protocol header begins with AMQP, not with {start!r}")
        if len(self._pending) < 8:
            return None
        header = bytes(self._pending[:8])
        del self._pending[:8]
        return header

    def frames(self) -> Iterator[Frame]:
        """The whole frames. Raises :class:`FramingError`, or :class:`CodecError` for what one holds."""
        while len(self._pending) >= 8:
            size, offset, kind, channel = _HEADER.unpack_from(self._pending)
            if size > MAX_FRAME:
                raise FramingError(f"a frame of {size} bytes; {MAX_FRAME} were agreed")
            if size < 8 or offset < 2 or 4 * offset > size or kind not in (AMQP, SASL):
                raise FramingError(f"no frame header: size {size}, offset {offset}, type {kind}")
            if len(self._pending) < size:
                return
            data = bytes(self._pending[4 * offset : size])
            del self._pending[:size]
            if not data:
                yield Frame(kind, channel, None, b"")
                continue
            body, end = read(data, 0)
            yield Frame(kind, channel, performative(body), data[end:])
