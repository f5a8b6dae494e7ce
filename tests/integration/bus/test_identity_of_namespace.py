"""The way to Service Bus in production: the namespace's host name, a managed identity's token, and TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azure.servicebus import TransportType
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from maintenance.configuration.texts import NAMESPACE
from maintenance.settings import read_settings
from maintenance.worker import Worker
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import ResourceManager, seed_example
from sandbox.servicebus import ServiceBus, Topology
from tests.support.entities import ENTITIES, OPERATIONS, TOPOLOGY
from tests.support.environment import QUICK, request
from tests.support.limit import LIMIT

HOST = "shop-maintenance.servicebus.windows.net"
AUDIENCE = "https://servicebus.azure.net"
CLIENT_ID = "22222222-3333-4444-8555-666666666666"


def certificate(folder: Path) -> Path:
    """A certificate for the namespace's host name, with its key, in a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "namespace.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class Services:
    """Azure with a namespace that takes no key: only TLS, and tokens of the identity with `CLIENT_ID`."""

    def __init__(self, folder: Path) -> None:
        pem = certificate(folder)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pem)
        self.identity = ManagedIdentity()
        self.arm = ResourceManager(tokens=self.identity.accepts, duration=timedelta(seconds=0.1))
        self.bus = ServiceBus(Topology.read(TOPOLOGY), tls=server, tokens=self.accepts)
        self.trusted = ssl.create_default_context(cafile=str(pem))
        self.refuses = False

    def accepts(self, token: str) -> bool:
        return not self.refuses and self.identity.accepts(token, frozenset({AUDIENCE}))

    def worker(self, **options: Any) -> Worker:
        settings = {
            **QUICK,
            NAMESPACE: HOST,
            "ServiceBusConnection__clientId": CLIENT_ID,
            "ARM_ENDPOINT": self.arm.endpoint,
            "MAINTENANCE_ALLOWED_SCOPES": request()["subscriptionId"],
        }
        options = {
            "custom_endpoint_address": f"sb://localhost:{self.bus.port}",
            "transport_type": TransportType.Amqp,
            **options,
        }
        return Worker(read_settings(settings), bus_options=options, bus_timeout=20.0, patience=0.0)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(each.body) for each in self.bus.peek(ENTITIES[-1], 100)]


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    there = Services(tmp_path)
    with there.identity, there.arm, there.bus:
        seed_example(there.arm, duration=timedelta(seconds=0.1))
        for name, value in there.identity.environment.items():
            monkeypatch.setenv(name, value)
        yield there


def message() -> func.ServiceBusMessage:
    """A request as the host's trigger hands it on."""

    class Message(func.ServiceBusMessage):
        message_id = "from-production"
        sequence_number = 7
        delivery_count = 1
        enqueued_time_utc = datetime.now(UTC)
        correlation_id = None
        application_properties: dict[str, Any] = {}  # noqa: RUF012

        def get_body(self) -> bytes:
            return json.dumps(request("api", instanceIds=["0"])).encode()

    return Message()


async def test_request_is_carried_out_with_the_tokens_of_an_identity_over_tls(services: Services) -> None:
    worker = services.worker(ssl_context=services.trusted)
    await worker.receive(message())
    give_up = time.monotonic() + LIMIT
    while not any(each["type"].endswith("completed.v1") for each in services.events()):
        assert time.monotonic() < give_up, services.events()
        await worker.poll()
    await worker.close()
    assert services.events()[-1]["data"]["status"] == "Succeeded"
    asked = {(each.resource.rstrip("/"), each.client_id) for each in services.identity.requests if each.resource}
    assert (AUDIENCE, CLIENT_ID) in asked
    assert ("https://management.azure.com", None) in asked


async def test_namespace_that_refuses_the_identity_is_logged_and_the_message_is_redelivered(
    services: Services,
) -> None:
    services.refuses = True
    worker = services.worker(ssl_context=services.trusted)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(Exception, match=OPERATIONS):
            await worker.receive(message())
        await worker.close()
    assert services.bus.peek(OPERATIONS, 10) == []


async def test_namespace_whose_certificate_no_authority_signed_is_refused(services: Services) -> None:
    worker = services.worker()
    async with asyncio.timeout(LIMIT):
        with pytest.raises(Exception, match="ServiceBusConnectionError"):
            await worker.receive(message())
        await worker.close()
    assert services.bus.peek(OPERATIONS, 10) == []
