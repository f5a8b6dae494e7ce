"""One client's connection: SASL, open, sessions, heartbeats, and a clean close on any input.

OASIS AMQP 1.0, part 2, sections 2.2 to 2.4; part 5, section 5.3. Any SASL mechanism is let in: the sandbox
listens on loopback and guards nothing.
"""

import asyncio
import logging
from itertools import count
from typing import Final, Protocol
from uuid import uuid4

from sandbox.servicebus.amqp import frames
from sandbox.servicebus.amqp.codec import Array, CodecError, Symbol, Ubyte, Uint, Ushort
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.outcomes import AmqpError, error_of
from sandbox.servicebus.amqp.performatives import Begin, Close, Open, SaslInit, SaslMechanisms, SaslOutcome
from sandbox.servicebus.protocol.sessions import AmqpSession, LinkFactory

log = logging.getLogger(__name__)

# MSSBCBS is what .NET asks for, EXTERNAL and PLAIN what some AMQP libraries do.
MECHANISMS: Final = ("ANONYMOUS", "MSSBCBS", "EXTERNAL", "PLAIN")
IDLE_TIMEOUT: Final = 240_000  # ms, as Azure announces, for heartbeats. Not enforced: TCP detects a dead peer
CHANNELS: Final = 255
_NUMBERS: Final = count(1)


class ConnectionService(LinkFactory, Protocol):
    """What the connections of a server share."""

    connections: "set[Connection]"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The server's event loop."""

    @property
    def closed(self) -> bool:
        """Whether the server is closing: new connections are aborted."""

    @property
    def unresponsive(self) -> bool:
        """Whether all connections neither read nor write, as a fault has it."""

    def administer(self, received: bytes) -> bytes | None:
        """The response to a request of HTTP; None while it is not complete."""


class Connection(asyncio.Protocol):
    """One client's connection; a :class:`FrameSink` to its sessions. Everything runs on the server's loop."""

    def __init__(self, service: ConnectionService) -> None:
        self.max_frame = frames.MAX_FRAME
        self.number = next(_NUMBERS)  # in the order of their beginning
        self.frozen = False  # a fault: it stays open, and neither reads nor writes
        self._service = service
        self._writable = True
        self._transport: asyncio.Transport | None = None
        self._stream = frames.FrameStream()
        self._expects_header = True
        self._opened = self._closing = False
        self._sessions: dict[int, AmqpSession] = {}
        self._out = bytearray()
        self._heartbeat: asyncio.TimerHandle | None = None

    # ----------------------------------------------------------------------------------- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  narrows the type
        self._transport = transport
        if self._service.closed:
            transport.abort()
        self._service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`. A client that disconnects without a close is not an error: many do."""
        self._service.connections.discard(self)
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for session in self._sessions.values():
            session.ended()
        self._sessions.clear()
        self._transport = None

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`. The client reads slower than messages come: deliver no more."""
        self._writable = False

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._writable = True
        for session in self._sessions.values():
            session.resume()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`. Whatever cannot be understood closes this connection, and no other."""
        if self._closing or self.unresponsive:
            return
        self._stream.feed(data)
        try:
            self._read()
        except frames.FramingError as error:
            self.close(AmqpError.because("amqp:connection:framing-error", str(error)))
        except CodecError as error:
            self.close(AmqpError.because("amqp:decode-error", str(error)))
        except Exception as error:  # the server must live, whatever one client has managed to send
            log.exception("Failed unexpectedly while handling a frame")
            self.close(AmqpError.because("amqp:internal-error", repr(error)))

    # ------------------------------------------------------------------------------------ reading

    def _read(self) -> None:
        while not self._closing:
            if self._expects_header:
                if not self._opened and (request := self._stream.http()) is not None:
                    if (response := self._service.administer(request)) is not None:
                        self._write(response)
                        self._end()
                    return
                header = self._stream.header()
                if header is None:
                    return
                self._on_header(header)
                continue
            for frame in self._stream.frames():
                if frame.body is not None:
                    self._on_frame(frame, frame.body)
                if self._closing or self._expects_header:
                    break
            else:
                return

    def _on_header(self, header: bytes) -> None:
        self._expects_header = False
        if header == frames.SASL_HEADER:
            self._write(header)
            mechanisms = SaslMechanisms(Array(Symbol, tuple(Symbol(name) for name in MECHANISMS)))
            self._write(frames.frame(frames.SASL, 0, mechanisms.encoded()))
        elif header == frames.AMQP_HEADER:
            self._write(header)
        else:  # section 2.2: respond with the header that is supported, and close
            self._write(frames.AMQP_HEADER)
            self._end()

    def _on_frame(self, frame: frames.Frame, body: Composite) -> None:
        if isinstance(body, SaslInit):
            self._write(frames.frame(frames.SASL, 0, SaslOutcome(Ubyte(0)).encoded()))
            self._expects_header = True
        elif isinstance(body, Open):
            self._on_open(body)
        elif not self._opened:
            raise CodecError(f"{type(body).__name__} before Open")
        elif isinstance(body, Begin):
            if frame.channel > CHANNELS or frame.channel in self._sessions:
                raise CodecError(f"channel {frame.channel} cannot begin a session")
            self._sessions[frame.channel] = AmqpSession(self, self._service, frame.channel, body)
        elif isinstance(body, Close):
            if (error := error_of(body.error)) is not None:
                log.info("Connection closed by the client: %s %s", error.condition, error.description)
            self.send(0, Close())
            self._end()
        elif (session := self._sessions.get(frame.channel)) is not None:
            session.on_frame(body, frame.payload)
            if session.over:
                del self._sessions[frame.channel]
        # Frames for a session that has ended are ignored: azure-servicebus sends DETACH after END.

    def _on_open(self, request: Open) -> None:
        if self._opened:
            raise CodecError("a second Open")
        self._opened = True
        self.max_frame = max(512, min(request.max_frame_size, frames.MAX_FRAME))
        self.send(
            0,
            Open(
                container_id=uuid4().hex,
                max_frame_size=Uint(frames.MAX_FRAME),
                channel_max=Ushort(CHANNELS),
                idle_timeout=Uint(IDLE_TIMEOUT),
            ),
        )
        if request.idle_timeout:
            self._beat(request.idle_timeout / 2000)

    def _beat(self, every: float) -> None:
        if not self.unresponsive:
            self._write(frames.EMPTY_FRAME)
        self._heartbeat = self._service.loop.call_later(every, self._beat, every)

    # ------------------------------------------------------------------------------------ writing

    @property
    def unresponsive(self) -> bool:
        """Whether it neither reads nor writes."""
        return self.frozen or self._service.unresponsive

    @property
    def writable(self) -> bool:
        """Whether the client keeps up. A message sent while unresponsive would be locked and never arrive."""
        return self._writable and not self.unresponsive

    def send(self, channel: int, body: Composite, payload: bytes = b"") -> None:
        """Send one frame."""
        self._write(frames.frame(frames.AMQP, channel, body.encoded(), payload))

    def send_encoded(self, data: bytes) -> None:
        """Send a frame that is encoded already."""
        self._write(data)

    def _write(self, data: bytes) -> None:
        if not self._out:  # one system call for all that one turn of the loop writes
            self._service.loop.call_soon(self._flush)
        self._out += data

    def _flush(self) -> None:
        if self._transport is not None and self._out and not self.unresponsive:
            self._transport.write(bytes(self._out))
        self._out.clear()

    def close(self, error: AmqpError) -> None:
        """Close the connection with an error, which is sent only after Open."""
        log.info("Connection closed: %s %s", error.condition, error.description)
        if self._opened and not self._closing:
            self.send(0, Close(error))
        self._end()

    def _end(self) -> None:
        self._closing = True
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Reset the connection without a close."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def sessions(self) -> tuple[AmqpSession, ...]:
        """The sessions that are open."""
        return tuple(self._sessions.values())
