"""The secret scanner that all tests are under finds what is planted, and lets pass what is in its place."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.support.environment import OPERATIONS, REQUESTS, TOPIC, Estate, estate, request
from tests.support.secret_scanner import DEAD, SECRECY, Secrecy

SIGNED = "https://management.azure.com/x?api-version=1&s=c2lnbmF0dXJlLW9mLWFybQ&h=abcdefghij"


@pytest.fixture
def place() -> Iterator[Estate]:
    """An estate of its own whose secrets the suite's check does not find: they are planted."""
    with estate() as services:
        yield services
        services.bus.clear()
        SECRECY.leaks()


@pytest.fixture
def watch(place: Estate) -> Secrecy:
    watch = Secrecy()
    watch.watch(place)
    return watch


def secrets(place: Estate) -> dict[str, str]:
    return {
        "token": place.identity.issue(),
        "identity header": place.identity.header,
        "any token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "signature": SIGNED,
        "key": place.bus.connection_string,
        "bare key": place.bus.connection_string.partition("SharedAccessKey=")[2].partition(";")[0],
    }


KINDS = ["token", "identity header", "any token", "signature", "key", "bare key"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_planted_in_a_log_is_found(place: Estate, watch: Secrecy, kind: str) -> None:
    secret = secrets(place)[kind]
    logger = logging.getLogger("planted")
    logger.propagate = False
    logger.addHandler(watch)
    try:
        logger.warning("all is well")
        assert watch.leaks() == []
        logger.warning("in the text: %s", secret)
        assert watch.leaks()
        try:
            raise ValueError(secret)
        except ValueError:
            logger.exception("in the trace")
        assert watch.leaks()
    finally:
        logger.removeHandler(watch)


async def test_what_is_planted_in_messages_is_found(place: Estate, watch: Secrecy) -> None:
    client = ServiceBusClient.from_connection_string(place.bus.connection_string)
    async with (
        client,
        client.get_topic_sender(TOPIC) as events,
        client.get_queue_sender(OPERATIONS) as records,
        client.get_queue_receiver(OPERATIONS) as receiver,
    ):

        def leaks() -> list[str]:
            watch.look_through(place)
            return watch.leaks()

        for kind, secret in secrets(place).items():
            await events.send_messages(ServiceBusMessage(f"published {secret}"))
            assert leaks(), kind
            place.bus.clear()
            await events.send_messages(ServiceBusMessage("published", application_properties={"reason": secret}))
            assert leaks(), kind
            place.bus.clear()
            await records.send_messages(ServiceBusMessage(f'{{"url": "{secret}"}}'))
            (message,) = await receiver.receive_messages(max_wait_time=5)
            # A record has to hold the URL that is polled, and a dead letter keeps the body it came with.
            assert bool(leaks()) == (kind != "signature"), kind
            await receiver.dead_letter_message(message, reason="Why", error_description=f"because of {secret}")
            assert any(leak.startswith("why") for leak in watch.leaks()), kind
            assert any(DEAD in leak for leak in leaks()), kind
            place.bus.clear()


async def test_the_body_of_a_request_is_its_senders_own(place: Estate, watch: Secrecy) -> None:
    client = ServiceBusClient.from_connection_string(place.bus.connection_string)
    async with client, client.get_queue_sender(REQUESTS) as sender:
        await sender.send_messages(ServiceBusMessage(str(request(reason=SIGNED))))
    watch.look_through(place)
    assert watch.leaks() == []


def test_the_suites_own_check_listens_to_the_worker() -> None:
    heard = SECRECY.heard
    logging.getLogger("maintenance.anything").debug("a word in passing")
    assert SECRECY.heard == heard + 1
    logging.getLogger("maintenance.anything").warning("a URL: %s", SIGNED)
    assert [leak.partition(":")[0] for leak in SECRECY.leaks()] == ["log"]
