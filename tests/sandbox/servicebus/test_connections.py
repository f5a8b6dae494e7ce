"""The protocol by hand over real sockets: greetings, mechanisms, and whatever else a stranger may send."""

import random
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.servicebus import ServiceBus, Topology
from sandbox.servicebus.amqp.codec import Described, Int, Symbol, Uint, Ulong, encode, read
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.frames import AMQP_HEADER, SASL_HEADER, frame
from sandbox.servicebus.amqp.outcomes import error_of
from sandbox.servicebus.amqp.performatives import (
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Open,
    SaslInit,
    Transfer,
    performative,
)
from sandbox.servicebus.broker.messages import APPLICATION_PROPERTIES, DATA, HEADER, PROPERTIES, section
from tests.support.limit import LIMIT

TOPOLOGY = Topology.parse({"UserConfig": {"Namespaces": [{"Name": "test", "Queues": [{"Name": "q"}]}]}})


@pytest.fixture(scope="module")
def bus() -> Iterator[ServiceBus]:
    with ServiceBus(TOPOLOGY) as bus:
        yield bus


class Stranger:
    """A client of bytes."""

    def __init__(self, bus: ServiceBus) -> None:
        self.socket = socket.create_connection(("127.0.0.1", bus.port), timeout=LIMIT)
        self._received = b""

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def perform(self, *bodies: Composite, payload: bytes = b"") -> None:
        self.send(b"".join(frame(0, 0, body.encoded(), payload) for body in bodies))

    def take(self, size: int) -> bytes:
        while len(self._received) < size:
            more = self.socket.recv(65_536)
            if not more:
                raise EOFError(self._received)
            self._received += more
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def body(self) -> Described:
        """The next frame's body, heartbeats left out."""
        while True:
            size, offset, _, _ = struct.unpack(">IBBH", self.take(8))
            self.take(4 * offset - 8)
            data = self.take(size - 4 * offset)
            if data:
                value, _ = read(data, 0)
                assert isinstance(value, Described)
                return value

    def expect(self, kind: type[Composite]) -> Composite:
        """The next frame, which is of that kind."""
        got = performative(self.body())
        assert isinstance(got, kind), got
        return got

    def rest(self) -> bytes:
        """All that comes until the server closes; a reset is a close too."""
        try:
            while more := self.socket.recv(65_536):
                self._received += more
        except ConnectionResetError:
            pass
        return self._received

    def open(self) -> "Stranger":
        """With an open connection and a session."""
        self.send(AMQP_HEADER)
        self.perform(Open("stranger"), Begin(Uint(0), Uint(100), Uint(100)))
        assert self.take(8) == AMQP_HEADER
        self.expect(Open)
        self.expect(Begin)
        return self

    def attach(self, address: object, *, receiver: bool = False, handle: int = 0) -> Composite:
        """The server's response to an attach."""
        source, target = Described(Ulong(0x28), [address]), Described(Ulong(0x29), [address])
        count = None if receiver else Uint(0)
        self.perform(
            Attach(f"link-{handle}", Uint(handle), receiver, source=source, target=target, initial_delivery_count=count)
        )
        return self.expect(Attach)

    def closed_with(self) -> str:
        """The condition that the server closes with."""
        body = self.body()
        while body.descriptor != 0x18:
            body = self.body()
        assert isinstance(body.value, list)
        error = error_of(body.value[0])
        assert error is not None
        assert self.rest() == b""
        return error.condition


def alive(bus: ServiceBus) -> bool:
    """Whether the server still serves."""
    with Stranger(bus) as other:
        response = other.open().attach("q")
        return isinstance(response, Attach) and response.target is not None


# ------------------------------------------------------------------------------------------------ greetings


@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "MSSBCBS", "EXTERNAL", "PLAIN"])
def test_sasl_mechanisms(bus: ServiceBus, mechanism: str) -> None:
    with Stranger(bus) as client:
        client.send(SASL_HEADER)
        assert client.take(8) == SASL_HEADER
        offered = client.body()
        assert offered.descriptor == 0x40
        assert isinstance(offered.value, list)
        assert mechanism in offered.value[0].items
        client.send(frame(1, 0, SaslInit(Symbol(mechanism), b"").encoded()))
        outcome = client.body()
        assert isinstance(outcome.value, list)
        assert (outcome.descriptor, outcome.value[0]) == (0x44, 0)
        client.open()


def test_client_of_another_protocol_gets_the_supported_header(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.send(b"AMQP\x00\x00\x09\x01")  # AMQP 0-9-1
        assert client.rest() == AMQP_HEADER
    with Stranger(bus) as client:
        client.send(b"PUT / HTTP/1.1\r\n\r\n")
        assert client.rest() == b""
    with Stranger(bus) as client:  # the administration API, which describes entities and does nothing else
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.rest().startswith(b"HTTP/1.1 404 ")
    assert alive(bus)


def test_a_greeting_may_come_byte_by_byte(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in AMQP_HEADER + frame(0, 0, Open("slow").encoded()):
            client.send(bytes((byte,)))
        assert client.take(8) == AMQP_HEADER
        client.expect(Open)


def test_heartbeats_come_at_half_of_what_the_client_asks(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.send(AMQP_HEADER + frame(0, 0, Open("dozing", idle_timeout=Uint(200)).encoded()))
        client.take(8)
        client.expect(Open)
        assert client.take(16) == 2 * bytes.fromhex("0000000802000000")


# -------------------------------------------------------------------------------------------------- garbage


@given(st.binary(min_size=1, max_size=100), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_random_bytes_close_that_connection_and_no_other(bus: ServiceBus, data: bytes, greeted: bool) -> None:
    with Stranger(bus) as client:
        if greeted:
            client.open()
        # Followed by what cannot be the rest of a frame: nobody should wait for more.
        client.send(data + b"\xff" * 16)
        client.socket.shutdown(socket.SHUT_WR)
        assert b"amqp:internal-error" not in client.rest()
    assert alive(bus)


def test_damaged_frames_close_that_connection_and_no_other(bus: ServiceBus) -> None:
    random_ = random.Random(7)  # noqa: S311  noise
    whole = [
        frame(0, 0, body.encoded(), b"payload")
        for body in (
            Begin(Uint(0), Uint(1), Uint(1)),
            Attach("a", Uint(1), True, source=Described(Ulong(0x28), ["q"])),
            Flow(Uint(1), Uint(1), Uint(1), handle=Uint(0)),
            Transfer(Uint(0), Uint(0), b"tag"),
            Disposition(True, Uint(0)),
            Detach(Uint(0)),
        )
    ]
    for _ in range(600):
        with Stranger(bus) as client:
            client.open()
            damaged = bytearray(random_.choice(whole))
            for _ in range(random_.randint(1, 4)):
                damaged[random_.randrange(4, len(damaged))] = random_.randrange(256)
            client.send(bytes(damaged))
            client.socket.shutdown(socket.SHUT_WR)
            assert b"amqp:internal-error" not in client.rest()
    assert alive(bus)


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (struct.pack(">IBBH", 65_537, 2, 0, 0), "amqp:connection:framing-error"),  # larger than agreed
        (struct.pack(">IBBH", 7, 2, 0, 0), "amqp:connection:framing-error"),  # smaller than its header
        (struct.pack(">IBBH", 8, 1, 0, 0), "amqp:connection:framing-error"),
        (struct.pack(">IBBH", 8, 3, 0, 0), "amqp:connection:framing-error"),  # the body begins after the end
        (struct.pack(">IBBH", 8, 2, 7, 0), "amqp:connection:framing-error"),
        (frame(0, 0, b"\x00\x53"), "amqp:decode-error"),
        (frame(0, 0, encode("text")), "amqp:decode-error"),
        (frame(0, 0, encode(Described(Ulong(0x99), []))), "amqp:decode-error"),
        (frame(0, 0, encode(Described(Ulong(0x12), []))), "amqp:decode-error"),  # mandatory fields missing
        (frame(0, 0, encode(Described(Ulong(0x12), ["name", "handle", True]))), "amqp:decode-error"),
        (frame(0, 0, encode(Described(Ulong(0x18), [None] * 9))), "amqp:decode-error"),
        (frame(0, 0, Begin(Uint(0), Uint(1), Uint(1)).encoded()), "amqp:decode-error"),  # a channel in use
        (frame(0, 0, Open("again").encoded()), "amqp:decode-error"),
    ],
)
def test_protocol_violation_closes_the_connection(bus: ServiceBus, data: bytes, condition: str) -> None:
    with Stranger(bus) as client:
        client.open().send(data)
        assert client.closed_with() == condition
    assert alive(bus)


def test_frames_before_open_end_the_connection(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.send(AMQP_HEADER + frame(0, 0, Begin(Uint(0), Uint(1), Uint(1)).encoded()))
        assert client.rest() == AMQP_HEADER


# ----------------------------------------------------------------------------------------------------- links


def message(body: bytes) -> bytes:
    return section(DATA, body)


def test_a_message_that_is_none_closes_the_connection(bus: ServiceBus) -> None:
    for damaged in (b"\x00\x53\x75", encode("text"), section(PROPERTIES, {}), section(HEADER, [])[:-1]):
        with Stranger(bus) as client:
            client.open().attach("q")
            client.expect(Flow)
            client.perform(Transfer(Uint(0), Uint(0), b"tag"), payload=damaged)
            assert client.closed_with() == "amqp:decode-error"
    assert alive(bus)


def test_a_delivery_id_used_twice_closes_the_connection(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.open().attach("q")
        client.expect(Flow)
        for _ in range(2):
            client.perform(Transfer(Uint(0), Uint(0), b"tag"), payload=message(b"a"))
        assert client.closed_with() == "amqp:decode-error"


def test_a_delivery_in_pieces_and_one_that_is_aborted(bus: ServiceBus) -> None:
    bus.clear()
    whole = message(b"in pieces")
    with Stranger(bus) as client:
        client.open().attach("amqps://some.host:1234/Q")  # addresses come like that too
        client.expect(Flow)
        client.perform(Transfer(Uint(0), Uint(0), b"0", more=True), payload=whole[:5])
        client.perform(Transfer(Uint(0), more=True, aborted=True), payload=b"")
        client.perform(Transfer(Uint(0), Uint(1), b"1", more=True), payload=whole[:5])
        client.perform(Transfer(Uint(0)), payload=whole[5:])
        settled = client.expect(Disposition)
        assert isinstance(settled, Disposition)
        assert (settled.first, settled.settled) == (1, True)
    assert [peeked.body for peeked in bus.peek("q")] == [b"in pieces"]


@pytest.mark.parametrize(
    ("address", "condition"),
    [("nix", "amqp:not-found"), (None, "amqp:invalid-field"), ("q/$DeadLetterQueue", "amqp:not-allowed")],
)
def test_failed_attach_is_followed_by_a_detach(bus: ServiceBus, address: object, condition: str) -> None:
    with Stranger(bus) as client:
        response = client.open().attach(address)
        assert isinstance(response, Attach)
        assert response.source is None
        assert response.target is None
        detach = client.expect(Detach)
        assert isinstance(detach, Detach)
        error = error_of(detach.error)
        assert error is not None
        assert error.condition == condition
        client.perform(Detach(Uint(0), closed=True))  # the client's response, which gets none
        assert isinstance(client.attach("q", handle=1), Attach)


def test_transactions_are_an_error(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.open()
        client.perform(Attach("tx", Uint(0), False, target=Described(Ulong(0x30), [])))
        client.expect(Attach)
        detach = client.expect(Detach)
        assert isinstance(detach, Detach)
        error = error_of(detach.error)
        assert error is not None
        assert error.condition == "amqp:not-implemented"


# --------------------------------------------------------------------------------------------- flow control


def received(client: Stranger) -> bytes:
    """The body of the next transfer's message; frames of 8 bytes of header, then the performative."""
    while True:
        size, _, _, _ = struct.unpack(">IBBH", client.take(8))
        data = client.take(size - 8)
        if not data:
            continue
        body, end = read(data, 0)
        transfer = performative(body)
        if isinstance(transfer, Transfer):
            at = end
            while at < len(data):
                value, at = read(data, at)
                if isinstance(value, Described) and value.descriptor == DATA:
                    assert isinstance(value.value, bytes)
                    return value.value


def grant(credit: int, *, window: int = 100, handle: int = 0, drain: bool = False, echo: bool = False) -> Flow:
    """A client's flow that grants credit from the beginning of the link on."""
    return Flow(
        next_incoming_id=Uint(0),
        incoming_window=Uint(window),
        next_outgoing_id=Uint(0),
        outgoing_window=Uint(100),
        handle=Uint(handle),
        delivery_count=Uint(0),
        link_credit=Uint(credit),
        drain=drain,
        echo=echo,
    )


def window_of(size: int, *, after: int) -> Flow:
    """A client's flow that opens the session's window after a number of frames."""
    return Flow(Uint(size), Uint(0), Uint(100), next_incoming_id=Uint(after))


def fill(bus: ServiceBus, count: int) -> None:
    bus.clear()
    with Stranger(bus) as client:
        client.open().attach("q")
        client.expect(Flow)
        for number in range(count):
            client.perform(Transfer(Uint(0), Uint(number), b"t"), payload=message(b"%d" % number))
            client.expect(Disposition)


def test_no_more_messages_come_than_the_credit_allows(bus: ServiceBus) -> None:
    fill(bus, 5)
    with Stranger(bus) as client:
        client.open().attach("q", receiver=True)
        client.perform(grant(2, window=100, handle=0))
        assert [received(client), received(client)] == [b"0", b"1"]
        assert bus.counts("q").active == 3
        # Credit counts from the delivery count that the client states, so repeating it grants nothing.
        client.perform(grant(2, window=100, handle=0, echo=True))
        client.expect(Flow)
        assert bus.counts("q").active == 3


def test_no_more_frames_come_than_the_window_allows(bus: ServiceBus) -> None:
    fill(bus, 5)
    with Stranger(bus) as client:
        client.open().attach("q", receiver=True)
        client.perform(grant(100, window=2, handle=0))
        assert [received(client), received(client)] == [b"0", b"1"]
        assert bus.counts("q").locked == 2
        client.perform(window_of(2, after=2))
        assert [received(client), received(client)] == [b"2", b"3"]
        assert bus.counts("q").locked == 4


def test_the_window_counts_the_frames_of_one_message_too(bus: ServiceBus) -> None:
    bus.clear()
    whole = message(b"x" * 1000)
    with Stranger(bus) as sender:
        sender.open().attach("q")
        sender.expect(Flow)
        sender.perform(Transfer(Uint(0), Uint(0), b"t"), payload=whole)
        sender.expect(Disposition)
    with Stranger(bus) as client:
        client.send(AMQP_HEADER)  # with the smallest frames there may be: the message takes three
        client.perform(Open("small", max_frame_size=Uint(512)), Begin(Uint(0), Uint(1), Uint(100)))
        assert client.take(8) == AMQP_HEADER
        client.expect(Open)
        client.expect(Begin)
        client.attach("q", receiver=True)
        client.perform(grant(1, window=1))
        assert more(client)
        client.perform(Flow(Uint(0), Uint(0), Uint(100), next_incoming_id=Uint(1), echo=True))
        client.expect(Flow)  # and not the second frame
        client.perform(window_of(2, after=1))
        assert [more(client), more(client)] == [True, False]


def more(client: Stranger) -> bool:
    """Whether the next frame, a transfer, says that the message goes on."""
    transfer = client.expect(Transfer)
    assert isinstance(transfer, Transfer)
    return transfer.more


def test_draining_hands_out_what_is_there_and_takes_the_credit_back(bus: ServiceBus) -> None:
    fill(bus, 2)
    with Stranger(bus) as client:
        client.open().attach("q", receiver=True)
        client.perform(grant(10, window=100, handle=0, drain=True))
        assert [received(client), received(client)] == [b"0", b"1"]
        flow = client.expect(Flow)
        assert isinstance(flow, Flow)
        assert (flow.delivery_count, flow.link_credit, flow.drain) == (10, 0, True)
        fill(bus, 1)
        assert bus.counts("q").active == 1


def test_competing_receivers_take_turns(bus: ServiceBus) -> None:
    bus.clear()
    with Stranger(bus) as one, Stranger(bus) as two:
        for client in (one, two):
            client.open().attach("q", receiver=True)
            client.perform(grant(10, window=100, handle=0, echo=True))
            client.expect(Flow)
        fill(bus, 4)
        assert [received(one), received(one)] in ([b"0", b"2"], [b"1", b"3"])
        assert [received(two), received(two)] in ([b"0", b"2"], [b"1", b"3"])


# ---------------------------------------------------------------------------------------------- management


def test_response_carries_the_requests_id_with_its_type(bus: ServiceBus) -> None:
    with Stranger(bus) as client:
        client.open().attach("$cbs")
        client.expect(Flow)
        client.attach("$cbs", receiver=True, handle=1)
        client.perform(grant(9, window=9, handle=1))
        request = section(PROPERTIES, [Ulong(7)]) + section(APPLICATION_PROPERTIES, {"operation": "put-token"})
        client.perform(Transfer(Uint(0), Uint(0), b"t"), payload=request + section(0x77, "token"))
        size, _, _, _ = struct.unpack(">IBBH", client.take(8))
        data = client.take(size - 8)
        assert section(PROPERTIES, [None] * 5 + [Ulong(7)]) in data
        assert encode("status-code") + encode(Int(200)) in data
