"""Events are published while Azure's SDKs add trace properties of their own to every message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.settings import settings

from maintenance.telemetry.start import turn_sdk_tracing_off
from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.telemetry import global_telemetry
from tests.support.time_travel import journey

SUBSCRIPTION = "77777777-6666-4666-8666-666666666666"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"


@pytest.fixture
def sdk_tracing() -> Iterator[None]:
    # Without a provider their spans have no ids, and so leave messages as they are.
    with global_telemetry():
        settings.tracing_implementation = "opentelemetry"
        assert settings.tracing_implementation() is not None, "azure-core-tracing-opentelemetry is missing"
        yield
        settings.tracing_implementation.unset_value()


async def test_sdk_tracing_on_events_are_published_with_the_trace_of_their_request(sdk_tracing: None) -> None:
    async with journey([SUBSCRIPTION], worker_options={"patience": 0.0}) as azure:
        azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", "web", instances=(InstanceSeed("0"),)))
        names = {"subscriptionId": SUBSCRIPTION, "resourceGroupName": "shop", "vmScaleSetName": "web"}
        # The client of the test is traced too: under text keys its message would have the name twice.
        properties: dict[Any, Any] = {b"traceparent": PARENT}
        await azure.job.send(names, message_id="one", properties=properties)
        ended = (await azure.finish("one"))["one"]
    assert ended.status == "Succeeded"
    assert ended.properties["traceparent"] == ended.document["traceparent"] == PARENT


def test_worker_turns_sdk_tracing_off_unless_it_is_asked_for(sdk_tracing: None) -> None:
    turn_sdk_tracing_off({"AZURE_SDK_TRACING_IMPLEMENTATION": "opentelemetry"})
    assert settings.tracing_implementation() is not None
    turn_sdk_tracing_off({"AZURE_SDK_TRACING_IMPLEMENTATION": " "})
    assert settings.tracing_implementation() is None
