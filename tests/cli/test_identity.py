"""The way of people to Service Bus: a namespace by its host name, the token of a login, and TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.servicebus import TransportType

from maintenance_cli.exits import Code
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
    assert (refused.code, "az login" in refused.err) == (Code.DENIED, True), refused.err
