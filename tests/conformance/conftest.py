"""The sandbox as Microsoft's clients see it: a token endpoint and a Resource Manager, both over HTTP on loopback.

The clients are unmodified and so is their pipeline. One switch of theirs is set: azure-core sends bearer tokens over
https only, unless the option `enforce_https=False` is given. It can be given with each call
(`client.virtual_machines.get(…, enforce_https=False)`); `PlainHttp` gives it for all calls of a client, polls and
pages included, as a policy in `per_call_policies`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy

from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import (
    EXAMPLE_RESOURCE_GROUP,
    EXAMPLE_SUBSCRIPTION_ID,
    InstanceSeed,
    ResourceManager,
    ScaleSetSeed,
    seed_example,
)

POLLING_SECONDS = 0.01
DURATION = timedelta(milliseconds=30)


class PlainHttp(SansIOHTTPPolicy[Any, Any]):
    """Lets azure-core send the token to loopback, where there is no TLS."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.context.options["enforce_https"] = False


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[ManagedIdentity]:
    """A token endpoint that `ManagedIdentityCredential` finds by the environment."""
    with ManagedIdentity() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def arm(identity: ManagedIdentity) -> Iterator[ResourceManager]:
    """The example environment, two instances on a page, and a scale set `broken` whose maintenance ends badly."""
    with ResourceManager(tokens=identity.accepts, page_size=2) as running:
        seed_example(running, duration=DURATION)
        running.seed(
            ScaleSetSeed(
                EXAMPLE_SUBSCRIPTION_ID,
                EXAMPLE_RESOURCE_GROUP,
                "broken",
                instances=(
                    InstanceSeed("0", duration=DURATION),
                    InstanceSeed("1", duration=DURATION, outcome="Failed", vm_health="healthy"),
                    InstanceSeed("2", duration=DURATION, outcome="Aborted"),
                ),
            )
        )
        yield running
