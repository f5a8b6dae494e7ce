"""What is sent to Resource Manager, to the letter of the REST reference, and by whose token."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import ClientAuthenticationError

from maintenance.arm.client import ArmClient
from maintenance.arm.identity import ManagedIdentityAuth
from maintenance.arm.resource_manager import ResourceManager
from maintenance.domain.errors import IdentityUnavailable
from maintenance.domain.observations import Accepted, Throttled
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet
from tests.support.samples import NOW, SUBSCRIPTION

ENDPOINT = "https://management.azure.com"
SCALE_SET = ScaleSet(SUBSCRIPTION, "shop", "web")
PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web"
OPERATION = f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/we/operations/1"
SIGNED = f"{OPERATION}?p=a%2Fb%2fc&api-version=2024-11-01&t=63%41&c=MII/x+==&s=a_b-~%7E&h=%C3%BC"


class Tokens:
    """A credential that gives a new token each time, for an hour."""

    def __init__(self) -> None:
        self.given = 0
        self.scopes: list[str] = []
        self.failing = False

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        if self.failing:
            raise ClientAuthenticationError("no identity here")
        self.given += 1
        self.scopes += scopes
        return AccessTokenInfo(f"token-{self.given}", 3600 * self.given, refresh_on=1800 * self.given)


class Wire(httpx.AsyncBaseTransport):
    """Answers each request in turn, and keeps what was sent."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers = list(answers)
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return self._answers.pop(0)

    def target(self, number: int = 0) -> str:
        return bytes(self.sent[number].extensions["target"]).decode()


def arm(wire: Wire, tokens: Tokens | None = None, now: Callable[[], float] = lambda: 0.0) -> ResourceManager:
    auth = ManagedIdentityAuth(tokens or Tokens(), "https://management.azure.com/.default", now=now)
    return ResourceManager(ArmClient(wire, auth, endpoint=ENDPOINT), endpoint=ENDPOINT, now=lambda: NOW)


def accepted() -> httpx.Response:
    return httpx.Response(202, headers={"Azure-AsyncOperation": SIGNED, "Location": f"{OPERATION}?location"})


async def test_maintenance_of_instances_is_posted_as_the_rest_reference_has_it() -> None:
    wire = Wire(accepted())
    submission = await arm(wire).perform_maintenance(SCALE_SET, ("0", "3"))

    (request,) = wire.sent
    assert request.method == "POST"
    assert wire.target() == f"{PATH}/performMaintenance?api-version=2024-07-01"
    assert request.url.host == "management.azure.com"
    assert request.headers["Host"] == "management.azure.com"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {"instanceIds": ["0", "3"]}
    assert submission == Accepted(SIGNED, "async-operation", None), "the signed URL as it came, not the Location"


async def test_a_whole_scale_set_is_posted_without_a_body_or_its_type() -> None:
    wire = Wire(accepted())
    await arm(wire).perform_maintenance(SCALE_SET, None)

    (request,) = wire.sent
    assert request.content == b""
    assert "Content-Type" not in request.headers


async def test_an_empty_list_of_instances_is_never_sent() -> None:
    wire = Wire()
    with pytest.raises(ValueError, match="empty list"):
        await arm(wire).perform_maintenance(SCALE_SET, ())
    assert wire.sent == []


async def test_a_vm_of_a_flexible_set_is_posted_by_itself() -> None:
    wire = Wire(accepted())
    await arm(wire).perform_vm_maintenance(SCALE_SET, "vm_1")
    group = PATH.partition("/providers/")[0]
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/vm_1/performMaintenance"
    assert wire.target() == f"{path}?api-version=2024-07-01"
    assert wire.sent[0].content == b""


async def test_an_operation_is_read_by_its_url_to_the_letter() -> None:
    wire = Wire(httpx.Response(200, json={"status": "InProgress"}))
    await arm(wire).read_operation(SCALE_SET, Call(("0",), SIGNED))
    assert ENDPOINT + wire.target() == SIGNED


async def test_instances_are_listed_with_their_views_page_by_page() -> None:
    more = f"{ENDPOINT}{PATH}/virtualMachines?$skiptoken=abc%3D&api-version=2024-07-01"
    first = httpx.Response(200, json={"value": [{"instanceId": "0"}], "nextLink": more})
    wire = Wire(first, httpx.Response(200, json={"value": [{"instanceId": "3"}]}))
    instances = await arm(wire).list_instances(SCALE_SET)

    assert [instance.instance_id for instance in instances] == ["0", "3"]
    assert wire.target(0) == f"{PATH}/virtualMachines?$expand=instanceView&api-version=2024-07-01"
    assert ENDPOINT + wire.target(1) == more


async def test_one_token_serves_all_calls_until_it_should_be_refreshed() -> None:
    time = 0.0
    tokens = Tokens()
    wire = Wire(*[httpx.Response(200, json={"status": "InProgress"}) for _ in range(4)])
    manager = arm(wire, tokens, now=lambda: time)
    call = Call(("0",), SIGNED)
    for moment in (0.0, 1799.0, 1800.0, 1801.0):
        time = moment
        await manager.read_operation(SCALE_SET, call)

    used = [request.headers["Authorization"] for request in wire.sent]
    assert used == ["Bearer token-1", "Bearer token-1", "Bearer token-2", "Bearer token-2"]
    assert set(tokens.scopes) == {"https://management.azure.com/.default"}


async def test_a_held_token_outlives_trouble_at_the_token_endpoint() -> None:
    time = 0.0
    tokens = Tokens()
    wire = Wire(*[httpx.Response(200, json={"status": "InProgress"}) for _ in range(2)])
    manager = arm(wire, tokens, now=lambda: time)
    await manager.read_operation(SCALE_SET, Call(("0",), SIGNED))
    tokens.failing, time = True, 2000.0
    await manager.read_operation(SCALE_SET, Call(("0",), SIGNED))
    assert wire.sent[1].headers["Authorization"] == "Bearer token-1"


async def test_without_a_token_nothing_is_sent() -> None:
    tokens = Tokens()
    tokens.failing = True
    wire = Wire()
    submission = await arm(wire, tokens).perform_maintenance(SCALE_SET, ("0",))
    assert isinstance(submission, Throttled)
    assert submission.error.code == "IdentityUnavailable"
    assert wire.sent == []


async def test_the_identity_is_an_auth_for_any_httpx_client() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(401 if len(seen) == 1 else 200)

    tokens = Tokens()
    auth = ManagedIdentityAuth(tokens, "scope", now=lambda: 0.0)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=auth) as client:
        for _ in range(3):
            await client.get("https://management.azure.com/")
    assert seen == ["Bearer token-1", "Bearer token-2", "Bearer token-2"], "another one after a 401"

    tokens.failing = True
    with pytest.raises(IdentityUnavailable):
        await ManagedIdentityAuth(tokens, "scope", now=lambda: 0.0).token()
