"""The way of people to Service Bus: a namespace by its host name, the token of a login, and TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.servicebus import TransportType
from azure.servicebus.exceptions import ServiceBusConnectionError

from maintenance_cli.exits import Code
from maintenance_cli.picture.messages import Entity
from maintenance_cli.reading.failures import of_entity
from tests.cli.calling import call
from tests.integration.bus.test_identity_of_namespace import HOST, Services


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    there = Services(tmp_path)
    with there.identity, there.arm, there.bus:
        for name, value in there.identity.environment.items():
            monkeypatch.setenv(name, value)
        yield there


async def test_login_is_enough_to_look_and_one_that_is_refused_is_4(services: Services) -> None:
    options = {
        "custom_endpoint_address": f"sb://localhost:{services.bus.port}",
        "transport_type": TransportType.Amqp,
        "ssl_context": services.trusted,
    }
    listed = await call({}, "list", "--namespace", HOST.partition(".")[0], "-o", "json", bus_options=options)
    assert (listed.code, listed.document) == (Code.AS_WISHED, [])
    services.refuses = True
    refused = await call({}, "list", "--namespace", HOST, bus_options=options)
    assert (refused.code, "does not let you read" in refused.err) == (Code.DENIED, True), refused.err


def test_missing_token_is_told_from_a_refused_one() -> None:
    failed = ServiceBusConnectionError(message="it failed")
    failed.__cause__ = ClientAuthenticationError("No account is logged in.\nMore.")
    unknown = of_entity(failed, Entity("q"))
    assert unknown.code is Code.DENIED
    assert unknown.why.startswith("no token for Service Bus: No account is logged in. Log in with `az login`")
    assert of_entity(ServiceBusConnectionError(message="it failed"), Entity("q")).code is Code.UNREACHABLE
