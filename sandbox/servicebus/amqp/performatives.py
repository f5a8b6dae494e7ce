"""AMQP frame bodies: performatives, outcomes and errors, each a list of typed fields behind a code.

OASIS AMQP 1.0, part 2, section 2.7 (performatives); part 3, section 3.4 (outcomes); part 5, section 5.3 (SASL).
Trailing fields may be left out by a sender, so fields have defaults. All fields are always sent: older
clients index them by position.
"""

from dataclasses import dataclass, field, fields
from types import UnionType
from typing import ClassVar, Final, Self

from sandbox.servicebus.amqp.codec import CodecError, Described, Symbol, Ubyte, Uint, Ulong, Ushort, encode

Map = dict[object, object]

# Defaults of the specification.
_ANY_UINT, _ANY_USHORT = Uint(0xFFFFFFFF), Ushort(0xFFFF)
_MIXED, _FIRST = Ubyte(2), Ubyte(0)  # settle modes of sender and receiver (section 2.8.2, 2.8.3)


class Composite:
    """A described list. Subclasses are dataclasses of their fields in wire order; ``None`` is an absent one."""

    __slots__ = ()
    code: ClassVar[int]

    @classmethod
    def of(cls, values: object) -> Self:
        """From the decoded list. Raises :class:`CodecError` for a missing, wrong or surplus field."""
        declared = _declared(cls)
        if not isinstance(values, list) or len(values) > len(declared):
            raise CodecError(f"{cls.__name__} is a list of up to {len(declared)} fields")
        given: dict[str, object] = {}
        for (name, kind), value in zip(declared, values, strict=False):
            if value is None:
                continue  # absent: the default holds
            if not isinstance(value, kind):
                raise CodecError(f"{cls.__name__}.{name} cannot be a {type(value).__name__}")
            given[name] = value
        try:
            return cls(**given)
        except TypeError as error:
            raise CodecError(f"{cls.__name__} lacks a mandatory field: {error}") from error

    def described(self) -> Described:
        """The described list, all fields of it."""
        values = [getattr(self, name) for name, _ in _declared(type(self))]
        return Described(Ulong(self.code), [_described(value) for value in values])

    def encoded(self) -> bytes:
        """The bytes of :meth:`described`."""
        return encode(self.described())


def _described(value: object) -> object:
    return value.described() if isinstance(value, Composite) else value


_known: dict[type[Composite], tuple[tuple[str, type | UnionType], ...]] = {}


def _declared(cls: type[Composite]) -> tuple[tuple[str, type | UnionType], ...]:
    """Name and accepted types of each field. The annotations are the wire types: no second list to keep."""
    if cls not in _known:
        kinds: dict[str, type | UnionType] = {}
        for declared in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            kind = declared.type
            assert not isinstance(kind, str)  # noqa: S101  this module has no postponed annotations
            kinds[declared.name] = dict if kind == Map | None else kind
        _known[cls] = tuple(kinds.items())
    return _known[cls]


# ------------------------------------------------------------------------------- errors and outcomes


@dataclass(frozen=True, slots=True)
class AmqpError(Composite):
    """Part 2, section 2.8.14. ``info`` is never empty: azure-servicebus hangs on an error of two fields."""

    code = 0x1D
    condition: Symbol
    description: str | None = None
    info: Map | None = None

    @classmethod
    def because(cls, condition: str, description: str) -> "AmqpError":
        """An error in the form that all clients read."""
        return cls(Symbol(condition), description, {Symbol("x-opt-origin"): "sandbox"})


@dataclass(frozen=True, slots=True)
class Received(Composite):
    """A delivery that is on its way."""

    code = 0x23
    section_number: Uint
    section_offset: Ulong


@dataclass(frozen=True, slots=True)
class Accepted(Composite):
    """Sent: stored. Received: completed."""

    code = 0x24


@dataclass(frozen=True, slots=True)
class Rejected(Composite):
    """Sent: an error. Received: to be dead-lettered."""

    code = 0x25
    error: Described | AmqpError | None = None


@dataclass(frozen=True, slots=True)
class Released(Composite):
    """Received: unlocked, as if never delivered."""

    code = 0x26


@dataclass(frozen=True, slots=True)
class Modified(Composite):
    """Received: abandoned, or deferred if undeliverable here."""

    code = 0x27
    delivery_failed: bool | None = None
    undeliverable_here: bool | None = None
    message_annotations: Map | None = None


Outcome = Accepted | Rejected | Released | Modified
_STATES: Final[dict[int, type[Composite]]] = {c.code: c for c in (Received, Accepted, Rejected, Released, Modified)}


def delivery_state(value: object) -> Composite | None:
    """The delivery state that a transfer or disposition carries. Raises :class:`CodecError` if it is unknown."""
    if value is None:
        return None
    if isinstance(value, Described) and isinstance(value.descriptor, int):
        kind = _STATES.get(value.descriptor)
        if kind is not None:
            return kind.of(value.value)
    raise CodecError("an unknown delivery state")


def error_of(value: object) -> AmqpError | None:
    """The error in a detach, close or rejected outcome, if there is one."""
    if isinstance(value, AmqpError):
        return value
    if isinstance(value, Described) and value.descriptor == AmqpError.code:
        return AmqpError.of(value.value)
    return None


# ------------------------------------------------------------------------------------ performatives


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
