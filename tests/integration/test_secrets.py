"""The secret scanner of the test suite finds planted secrets, and accepts them where they are allowed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from opentelemetry import metrics, trace

from maintenance.domain.messages import Envelope
from tests.support.contract_watch import CONTRACT_WATCH
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC
from tests.support.environment import Environment, environment, request
from tests.support.limit import LIMIT
from tests.support.secret_scanner import DEAD, SECRET_SCANNER, SecretScanner
from tests.support.telemetry import Recorded, global_telemetry, scan_metrics

SIGNED = "https://management.azure.com/x?api-version=1&s=c2lnbmF0dXJlLW9mLWFybQ&h=abcdefghij"


@pytest.fixture
def azure() -> Iterator[Environment]:
    """An environment of its own; the planted secrets that the suite's own scanner finds are discarded."""
    with environment() as services:
        yield services
        services.bus.clear()
        SECRET_SCANNER.leaks()


@pytest.fixture
def scanner(azure: Environment) -> SecretScanner:
    scanner = SecretScanner()
    scanner.watch_environment(azure)
    return scanner


def secrets(azure: Environment) -> dict[str, str]:
    return {
        "token": azure.identity.issue(),
        "identity header": azure.identity.header,
        "any token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "signature": SIGNED,
        "key": azure.bus.connection_string,
        "bare key": azure.bus.connection_string.partition("SharedAccessKey=")[2].partition(";")[0],
    }


KINDS = ["token", "identity header", "any token", "signature", "key", "bare key"]


@pytest.mark.parametrize("kind", KINDS)
def test_secret_in_log_is_found(azure: Environment, scanner: SecretScanner, kind: str) -> None:
    secret = secrets(azure)[kind]
    logger = logging.getLogger("planted")
    logger.propagate = False
    logger.addHandler(scanner)
    try:
        logger.warning("nothing secret")
        assert scanner.leaks() == []
        logger.warning("in the text: %s", secret)
        assert scanner.leaks()
        try:
            raise ValueError(secret)
        except ValueError:
            logger.exception("in the trace")
        assert scanner.leaks()
    finally:
        logger.removeHandler(scanner)


async def test_secret_in_message_is_found(azure: Environment, scanner: SecretScanner) -> None:
    client = ServiceBusClient.from_connection_string(azure.bus.connection_string)
    async with (
        client,
        client.get_topic_sender(TOPIC) as events,
        client.get_queue_sender(OPERATIONS) as records,
        client.get_queue_receiver(OPERATIONS) as receiver,
    ):

        def leaks() -> list[str]:
            scanner.scan_queues(azure)
            return scanner.leaks()

        for kind, secret in secrets(azure).items():
            await events.send_messages(ServiceBusMessage(f"published {secret}"))
            assert leaks(), kind
            azure.bus.clear()
            await events.send_messages(ServiceBusMessage("published", application_properties={"reason": secret}))
            assert leaks(), kind
            azure.bus.clear()
            await records.send_messages(ServiceBusMessage(f'{{"url": "{secret}"}}'))
            (message,) = await receiver.receive_messages(max_wait_time=LIMIT)
            # A record has to hold the URL that is polled, and a dead letter retains its body.
            assert bool(leaks()) == (kind != "signature"), kind
            await receiver.dead_letter_message(message, reason="Why", error_description=f"because of {secret}")
            assert any(leak.startswith("dead letter reason") for leak in scanner.leaks()), kind
            assert any(DEAD in leak for leak in leaks()), kind
            azure.bus.clear()
    # They were no events.
    CONTRACT_WATCH.forget()


async def test_secret_in_request_body_is_ignored(azure: Environment, scanner: SecretScanner) -> None:
    client = ServiceBusClient.from_connection_string(azure.bus.connection_string)
    async with client, client.get_queue_sender(REQUESTS) as sender:
        await sender.send_messages(ServiceBusMessage(str(request(reason=SIGNED))))
    scanner.scan_queues(azure)
    assert scanner.leaks() == []


def test_suites_scanner_reads_worker_log_at_debug_level() -> None:
    scanned = SECRET_SCANNER.scanned
    logging.getLogger("maintenance.anything").debug("a debug line")
    assert SECRET_SCANNER.scanned == scanned + 1
    logging.getLogger("maintenance.anything").warning("a URL: %s", SIGNED)
    assert [leak.partition(":")[0] for leak in SECRET_SCANNER.leaks()] == ["log"]


async def test_secret_in_span_or_metric_of_a_worker_is_found() -> None:
    recorded = Recorded(lambda: datetime.now(UTC))
    with recorded.watch.receiving(Envelope(body=b"", sequence_number=1), None):
        trace.get_current_span().set_attribute("planted", SIGNED)
    assert [leak.partition(":")[0] for leak in SECRET_SCANNER.leaks()] == ["span"]
    with global_telemetry() as reader:
        metrics.get_meter("planted").create_counter("planted").add(1, {"url": SIGNED})
    scan_metrics(reader)
    assert [leak.partition(":")[0] for leak in SECRET_SCANNER.leaks()] == ["metrics"]
