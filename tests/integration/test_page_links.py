"""Page links as Compute writes them: the usual port named, blanks in the filter. The worker follows them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
import pytest_asyncio

from maintenance.arm.client import ArmClient
from maintenance.arm.resource_manager import ResourceManager
from maintenance.arm.transport import AiohttpTransport
from maintenance.domain.resources import ScaleSet
from sandbox import resource_manager
from sandbox.clock import system_clock
from sandbox.resource_manager import EXAMPLE_RESOURCE_GROUP, EXAMPLE_SUBSCRIPTION_ID, InstanceSeed, ScaleSetSeed

# Letters that have to be percent-encoded, in a group as Azure allows it.
GROUP = "gr\u00f6\u00dfe (1)"


class AtTheUsualPort(httpx.AsyncBaseTransport):
    """Transport for an ARM at `http://localhost`, which is where the sandbox listens on another port."""

    def __init__(self, port: int) -> None:
        self._transport = AiohttpTransport()
        self._port = port
        self.sent: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.port is None
        assert request.headers["Host"] == "localhost"
        target = request.extensions["target"].decode("ascii")
        self.sent.append(target)
        moved = httpx.Request(
            request.method,
            request.url.copy_with(port=self._port),
            headers=request.headers,
            extensions={"target": request.extensions["target"]},
        )
        return await self._transport.handle_async_request(moved)

    async def aclose(self) -> None:
        await self._transport.aclose()


class Token:
    async def token(self) -> str:
        return "token"

    def invalidate(self, token: str) -> None:
        raise AssertionError("the token was refused")


class There:
    def __init__(self, arm: resource_manager.ResourceManager) -> None:
        self.arm = arm
        self.transport = AtTheUsualPort(arm.port)
        client = ArmClient(self.transport, Token(), endpoint="http://localhost")
        self.gateway = ResourceManager(client, endpoint="http://localhost", now=system_clock)

    def seed(self, scale_set: ScaleSet, mode: str, *ids: str) -> None:
        seed = ScaleSetSeed(
            scale_set.subscription_id,
            scale_set.resource_group_name,
            scale_set.name,
            instances=tuple(InstanceSeed(each, duration=timedelta(seconds=1)) for each in ids),
            page_size=2,
        )
        self.arm.seed(replace(seed, orchestration_mode="Flexible") if mode == "Flexible" else seed)


@pytest_asyncio.fixture
async def there() -> AsyncIterator[There]:
    with resource_manager.ResourceManager() as arm:
        here = There(arm)
        yield here
        await here.transport.aclose()


@pytest.mark.parametrize("group", [EXAMPLE_RESOURCE_GROUP, GROUP])
@pytest.mark.parametrize("mode", ["Uniform", "Flexible"])
async def test_all_pages_are_read_at_the_usual_port(there: There, mode: str, group: str) -> None:
    scale_set = ScaleSet(EXAMPLE_SUBSCRIPTION_ID, group, "web")
    ids = [f"{prefix}{each}" for each in range(5) for prefix in ["vm" if mode == "Flexible" else ""]]
    there.seed(scale_set, mode, *ids)
    listed = await there.gateway.list_instances(scale_set, flexible=mode == "Flexible")
    assert [each.instance_id for each in listed] == ids
    assert len(there.transport.sent) == 3
    assert all(target.isascii() and " " not in target for target in there.transport.sent)
    if mode == "Flexible":
        assert "%20eq%20" in there.transport.sent[-1]


async def test_links_of_the_sandbox_name_the_usual_port_and_have_blanks(there: There) -> None:
    """So that what follows them is put to the test."""
    scale_set = ScaleSet(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, "web")
    there.seed(scale_set, "Flexible", "a", "b", "c")
    path = f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}/resourceGroups/{EXAMPLE_RESOURCE_GROUP}"
    path += "/providers/Microsoft.Compute/virtualMachines?api-version=2024-07-01&$filter="
    path += f"'virtualMachineScaleSet/id'%20eq%20'{scale_set.resource_id}'"
    request = httpx.Request(
        "GET", "http://localhost", headers={"Authorization": "Bearer x"}, extensions={"target": path.encode()}
    )
    response = await there.transport.handle_async_request(request)
    link = json.loads(await response.aread())["nextLink"]
    assert link.startswith("http://localhost:80/subscriptions/")
    assert "'virtualMachineScaleSet/id' eq '/subscriptions/" in link
