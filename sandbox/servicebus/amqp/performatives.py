"""AMQP frame bodies: the performatives, and those of SASL.

OASIS AMQP 1.0, part 2, section 2.7 (performatives); part 5, section 5.3 (SASL).
"""

from dataclasses import dataclass, field
from typing import Final

from sandbox.servicebus.amqp.codec import CodecError, Described, Symbol, Ubyte, Uint, Ulong, Ushort
from sandbox.servicebus.amqp.composites import Composite, Map
from sandbox.servicebus.amqp.outcomes import AmqpError

# Defaults of the specification.
_ANY_UINT, _ANY_USHORT = Uint(0xFFFFFFFF), Ushort(0xFFFF)
_MIXED, _FIRST = Ubyte(2), Ubyte(0)  # settle modes of sender and receiver (section 2.8.2, 2.8.3)


@dataclass(frozen=True, slots=True)
class Open(Composite):
    """Section 2.7.1."""

    code = 0x10
    container_id: str
    hostname: str | None = None
    max_frame_size: Uint = _ANY_UINT
    channel_max: Ushort = _ANY_USHORT
    idle_timeout: Uint | None = None
    outgoing_locales: object = None
    incoming_locales: object = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Map | None = None


@dataclass(frozen=True, slots=True)
class Begin(Composite):
    """Section 2.7.2."""

    code = 0x11
    remote_channel: Ushort | None = field(default=None, kw_only=True)
    next_outgoing_id: Uint
    incoming_window: Uint
    outgoing_window: Uint
    handle_max: Uint = _ANY_UINT
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Map | None = None


@dataclass(frozen=True, slots=True)
class Attach(Composite):
    """Section 2.7.3. ``role`` is true for a receiver. Source and target stay as they came, to be echoed."""

    code = 0x12
    name: str
    handle: Uint
    role: bool
    snd_settle_mode: Ubyte = _MIXED
    rcv_settle_mode: Ubyte = _FIRST
    source: Described | None = None
    target: Described | None = None
    unsettled: Map | None = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: Uint | None = None
    max_message_size: Ulong | None = None
    offered_capabilities: object = None
    desired_capabilities: object = None
    properties: Map | None = None


@dataclass(frozen=True, slots=True)
class Flow(Composite):
    """Section 2.7.4."""

    code = 0x13
    next_incoming_id: Uint | None = field(default=None, kw_only=True)
    incoming_window: Uint
    next_outgoing_id: Uint
    outgoing_window: Uint
    handle: Uint | None = None
    delivery_count: Uint | None = None
    link_credit: Uint | None = None
    available: Uint | None = None
    drain: bool = False
    echo: bool = False
    properties: Map | None = None


@dataclass(frozen=True, slots=True)
class Transfer(Composite):
    """Section 2.7.5. The payload follows it in the frame."""

    code = 0x14
    handle: Uint
    delivery_id: Uint | None = None
    delivery_tag: bytes | None = None
    message_format: Uint | None = None
    settled: bool | None = None
    more: bool = False
    rcv_settle_mode: Ubyte | None = None
    state: object = None
    resume: bool = False
    aborted: bool = False
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class Disposition(Composite):
    """Section 2.7.6. ``role`` is that of the one who sends it."""

    code = 0x15
    role: bool
    first: Uint
    last: Uint | None = None
    settled: bool = False
    state: object = None
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class Detach(Composite):
    """Section 2.7.7."""

    code = 0x16
    handle: Uint
    closed: bool = False
    error: Described | AmqpError | None = None


@dataclass(frozen=True, slots=True)
class End(Composite):
    """Section 2.7.8."""

    code = 0x17
    error: Described | AmqpError | None = None


@dataclass(frozen=True, slots=True)
class Close(Composite):
    """Section 2.7.9."""

    code = 0x18
    error: Described | AmqpError | None = None


@dataclass(frozen=True, slots=True)
class SaslMechanisms(Composite):
    """Section 5.3.3.1."""

    code = 0x40
    sasl_server_mechanisms: object


@dataclass(frozen=True, slots=True)
class SaslInit(Composite):
    """Section 5.3.3.2."""

    code = 0x41
    mechanism: Symbol
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class SaslOutcome(Composite):
    """Section 5.3.3.6. 0 is success, 1 failed authentication."""

    code = 0x44
    outcome: Ubyte
    additional_data: bytes | None = None


_FRAMES: Final[dict[int, type[Composite]]] = {
    kind.code: kind for kind in (Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close, SaslInit)
}


def performative(value: object) -> Composite:
    """The performative that a decoded frame body is. Raises :class:`CodecError` for anything else."""
    if isinstance(value, Described) and isinstance(value.descriptor, Ulong):
        kind = _FRAMES.get(value.descriptor)
        if kind is not None:
            return kind.of(value.value)
    raise CodecError("a frame without a known performative")
