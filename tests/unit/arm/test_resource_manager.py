"""Requests that are sent to Resource Manager, verbatim, and the token that authorises them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import ClientAuthenticationError

from maintenance.arm.client import ArmClient
from maintenance.arm.identity import ManagedIdentityAuth
from maintenance.arm.resource_manager import MAX_ENTRIES, MAX_LISTED_BYTES, MAX_PAGES, ResourceManager
from maintenance.domain.errors import IdentityUnavailable, RefusedError, TransientError
from maintenance.domain.observations import Accepted, ErrorDetail, Refused, Throttled, Unreported
from maintenance.domain.operation import Call
from maintenance.domain.resources import ScaleSet
from tests.support.samples import NOW, SUBSCRIPTION, recorded

ENDPOINT = "https://management.azure.com"
SCALE_SET = ScaleSet(SUBSCRIPTION, "shop", "web")
PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web"
OPERATION = f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/we/operations/1"
SIGNED = f"{OPERATION}?p=a%2Fb%2fc&api-version=2024-11-01&t=63%41&c=MII/x+==&s=a_b-~%7E&h=%C3%BC"


class Tokens:
    """Credential that issues a new token each time, for an hour."""

    def __init__(self) -> None:
        self.issued = 0
        self.scopes: list[str] = []
        self.failing = False

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        if self.failing:
            raise ClientAuthenticationError("no identity here")
        self.issued += 1
        self.scopes += scopes
        return AccessTokenInfo(f"token-{self.issued}", 3600 * self.issued, refresh_on=1800 * self.issued)


class FakeTransport(httpx.AsyncBaseTransport):
    """Transport that returns the given responses in order and records the requests."""

    def __init__(self, *responses: httpx.Response) -> None:
        self._responses = list(responses)
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return self._responses.pop(0)

    def target(self, number: int = 0) -> str:
        return bytes(self.sent[number].extensions["target"]).decode()


def arm(
    transport: FakeTransport, tokens: Tokens | None = None, now: Callable[[], float] = lambda: 0.0
) -> ResourceManager:
    auth = ManagedIdentityAuth(tokens or Tokens(), "https://management.azure.com/.default", now=now)
    return ResourceManager(ArmClient(transport, auth, endpoint=ENDPOINT), endpoint=ENDPOINT, now=lambda: NOW)


def accepted() -> httpx.Response:
    return httpx.Response(202, headers={"Azure-AsyncOperation": SIGNED, "Location": f"{OPERATION}?location"})


async def test_post_for_instances_matches_rest_reference() -> None:
    transport = FakeTransport(accepted())
    submission = await arm(transport).perform_maintenance(SCALE_SET, ("0", "3"))

    (request,) = transport.sent
    assert request.method == "POST"
    assert transport.target() == f"{PATH}/performMaintenance?api-version=2024-07-01"
    assert request.url.host == "management.azure.com"
    assert request.headers["Host"] == "management.azure.com"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {"instanceIds": ["0", "3"]}
    assert submission == Accepted(SIGNED, "async-operation", None), "the signed URL verbatim, not the Location"


async def test_post_for_whole_scale_set_has_no_body_and_no_content_type() -> None:
    transport = FakeTransport(accepted())
    await arm(transport).perform_maintenance(SCALE_SET, None)

    (request,) = transport.sent
    assert request.content == b""
    assert "Content-Type" not in request.headers


async def test_empty_list_of_instances_is_never_sent() -> None:
    transport = FakeTransport()
    with pytest.raises(ValueError, match="empty list"):
        await arm(transport).perform_maintenance(SCALE_SET, ())
    assert transport.sent == []


async def test_post_for_vm_of_flexible_scale_set_uses_its_own_url() -> None:
    transport = FakeTransport(accepted())
    await arm(transport).perform_vm_maintenance(SCALE_SET, "vm_1")
    group = PATH.partition("/providers/")[0]
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/vm_1/performMaintenance"
    assert transport.target() == f"{path}?api-version=2024-07-01"
    assert transport.sent[0].content == b""


async def test_operation_url_is_polled_verbatim() -> None:
    transport = FakeTransport(httpx.Response(200, json={"status": "InProgress"}))
    await arm(transport).read_operation(SCALE_SET, Call(("0",), SIGNED))
    assert ENDPOINT + transport.target() == SIGNED


async def test_instances_are_listed_with_views_over_all_pages() -> None:
    more = f"{ENDPOINT}{PATH}/virtualMachines?$skiptoken=abc%3D&api-version=2024-07-01"
    first = httpx.Response(200, json={"value": [{"instanceId": "0"}], "nextLink": more})
    transport = FakeTransport(first, httpx.Response(200, json={"value": [{"instanceId": "3"}]}))
    instances = await arm(transport).list_instances(SCALE_SET)

    assert [instance.instance_id for instance in instances] == ["0", "3"]
    assert transport.target(0) == f"{PATH}/virtualMachines?$expand=instanceView&api-version=2024-07-01"
    assert ENDPOINT + transport.target(1) == more


async def test_403_by_policy_is_reported_without_advice_to_grant_a_permission() -> None:
    transport = FakeTransport(from_file("refused_403_by_policy.json"))
    submission = await arm(transport).perform_maintenance(RECORDED_SET, None)
    assert submission == Refused(
        ErrorDetail("RequestDisallowedByPolicy", "Resource 'web' was disallowed by policy.", target="web"), 403
    )


@pytest.mark.parametrize(
    "code",
    [
        *(
            "RequestDisallowedByPolicy",
            "RequestDisallowedByAzure",
            "ReadOnlyDisabledSubscription",
            "DisallowedProvider",
        ),
        *("DenyAssignmentAuthorizationFailed", "SubscriptionNotRegistered", "NotAllowedOnFreeTrial", "ScopeLocked"),
    ],
)
async def test_403_advises_a_permission_only_where_one_is_missing(code: str) -> None:
    for each, advised in ((code, False), ("AuthorizationFailed", True), ("LinkedAuthorizationFailed", True)):
        denied = httpx.Response(403, json={"error": {"code": each, "message": "No."}})
        manager = arm(FakeTransport(denied, denied, denied))
        submission = await manager.perform_maintenance(SCALE_SET, ("0",))
        reading = await manager.read_operation(SCALE_SET, Call(("0",), SIGNED))
        with pytest.raises(RefusedError) as refused:
            await manager.list_instances(SCALE_SET)
        assert isinstance(submission, Refused)
        assert isinstance(reading, Unreported)
        for error in (submission.error, reading.error, refused.value.error):
            assert error.code == each
            assert ("needs the permission Microsoft.Compute/" in error.message) is advised


RECORDED_SET = ScaleSet("11111111-1111-4111-8111-111111111111", "shop", "web")


def from_file(name: str) -> httpx.Response:
    response = recorded(name)
    return httpx.Response(response.status, headers=dict(response.headers), content=response.body)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("next_link_with_port.json", "?api-version=2024-07-01&$skiptoken=MTEx"),
        (
            "next_link_with_spaces.json",
            "?api-version=2024-07-01&$filter='virtualMachineScaleSet/id'%20eq%20'"
            f"{RECORDED_SET.resource_id}'&$expand=instanceView&$skiptoken=MTEx",
        ),
    ],
)
async def test_recorded_page_link_is_followed_at_the_configured_origin(name: str, query: str) -> None:
    transport = FakeTransport(from_file(name), httpx.Response(200, json={"value": []}))
    assert len(await arm(transport).list_instances(RECORDED_SET, flexible="spaces" in name)) == 1
    assert transport.target(1).partition("?")[2] == query[1:]
    assert transport.sent[1].url.host == "management.azure.com"
    assert transport.sent[1].url.port is None
    assert transport.sent[1].headers["Host"] == "management.azure.com"


async def test_recorded_operation_url_with_port_is_polled_at_the_configured_origin() -> None:
    running = httpx.Response(200, json={"status": "InProgress"})
    transport = FakeTransport(from_file("accepted_202_with_port.json"), running)
    submission = await arm(transport).perform_maintenance(RECORDED_SET, None)
    assert isinstance(submission, Accepted)
    await arm(transport).read_operation(RECORDED_SET, Call(("0",), submission.url))
    assert transport.target(1).startswith("/subscriptions/")
    assert transport.sent[1].headers["Host"] == "management.azure.com"


async def test_group_with_letters_of_any_script_is_percent_encoded_in_every_call() -> None:
    scale_set = ScaleSet(SUBSCRIPTION, "größe-東京", "web")
    encoded = "/resourceGroups/gr%C3%B6%C3%9Fe-%E6%9D%B1%E4%BA%AC/"
    nothing = [httpx.Response(200, json={"value": []}) for _ in range(3)]
    transport = FakeTransport(accepted(), accepted(), *nothing)
    manager = arm(transport)
    await manager.perform_maintenance(scale_set, ("0",))
    await manager.perform_vm_maintenance(scale_set, "web_0")
    await manager.is_flexible(scale_set)
    await manager.list_instances(scale_set)
    await manager.list_instances(scale_set, flexible=True)
    targets = [transport.target(number) for number in range(5)]
    assert all(encoded in target.partition("?")[0] for target in targets)
    assert encoded in targets[4].partition("?")[2], "in the filter as well"
    assert all(target.isascii() for target in targets)


class EndlessTransport(httpx.AsyncBaseTransport):
    """Transport on which each page of a list names another one. `link` makes it, from the number of pages sent.
    `most`: pages beyond these never come."""

    def __init__(self, page: dict[str, object], link: Callable[[int], str], *, most: int = 10_000) -> None:
        self._page = page
        self._link = link
        self._most = most
        self.pages = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.pages += 1
        if self.pages > self._most:
            await asyncio.Event().wait()
        return httpx.Response(200, json={**self._page, "nextLink": self._link(self.pages)})


def listing(transport: httpx.AsyncBaseTransport, *, timeout: float = 60) -> ResourceManager:
    auth = ManagedIdentityAuth(Tokens(), "scope", now=lambda: 0.0)
    client = ArmClient(transport, auth, endpoint=ENDPOINT)
    return ResourceManager(client, endpoint=ENDPOINT, now=lambda: NOW, listing_timeout=timeout)


def another(number: int) -> str:
    return f"{ENDPOINT}{PATH}/virtualMachines?$skiptoken={number}"


MANY = [{"instanceId": str(number)} for number in range(1_000)]
LARGE = [{"instanceId": "0", "filling": "x" * 7_000_000}]
ENDLESS: dict[str, tuple[dict[str, object], Callable[[int], str], str, int]] = {
    "pages": ({"value": []}, another, "TooManyPages", MAX_PAGES),
    "entries": ({"value": MANY}, another, "ListTooLong", MAX_ENTRIES // 1_000 + 1),
    "bytes": ({"value": LARGE}, another, "ListTooLong", MAX_LISTED_BYTES // 7_000_000 + 1),
    "the same page again": ({"value": []}, lambda _: another(1), "EndlessList", 2),
    "the same page in other letters": (
        {"value": []},
        lambda n: another(1) if n == 1 else another(1).replace("https://m", "HTTPS://M"),
        "EndlessList",
        2,
    ),
    "a round of pages": ({"value": []}, lambda n: another(n % 3), "EndlessList", 4),
    "the first page": (
        {"value": []},
        lambda _: f"{ENDPOINT}:443{PATH}/virtualMachines?$expand=instanceView&api-version=2024-07-01",
        "EndlessList",
        1,
    ),
}


@pytest.mark.parametrize(("page", "link", "code", "pages"), ENDLESS.values(), ids=ENDLESS.keys())
async def test_endless_list_ends_with_an_error(
    page: dict[str, object], link: Callable[[int], str], code: str, pages: int
) -> None:
    transport = EndlessTransport(page, link)
    with pytest.raises(RefusedError) as refused:
        await listing(transport).list_instances(SCALE_SET)
    assert (refused.value.error.code, transport.pages) == (code, pages)


async def test_slow_list_ends_in_time_and_is_read_again_later() -> None:
    transport = EndlessTransport({"value": []}, another, most=2)
    with pytest.raises(TransientError, match=r"does not end within 0\.1 seconds"):
        await listing(transport, timeout=0.1).list_instances(SCALE_SET)
    assert transport.pages <= 3


async def test_token_is_reused_until_it_should_be_refreshed() -> None:
    time = 0.0
    tokens = Tokens()
    transport = FakeTransport(*[httpx.Response(200, json={"status": "InProgress"}) for _ in range(4)])
    manager = arm(transport, tokens, now=lambda: time)
    call = Call(("0",), SIGNED)
    for moment in (0.0, 1799.0, 1800.0, 1801.0):
        time = moment
        await manager.read_operation(SCALE_SET, call)

    used = [request.headers["Authorization"] for request in transport.sent]
    assert used == ["Bearer token-1", "Bearer token-1", "Bearer token-2", "Bearer token-2"]
    assert set(tokens.scopes) == {"https://management.azure.com/.default"}


async def test_cached_token_is_used_while_token_endpoint_fails() -> None:
    time = 0.0
    tokens = Tokens()
    transport = FakeTransport(*[httpx.Response(200, json={"status": "InProgress"}) for _ in range(2)])
    manager = arm(transport, tokens, now=lambda: time)
    await manager.read_operation(SCALE_SET, Call(("0",), SIGNED))
    tokens.failing, time = True, 2000.0
    await manager.read_operation(SCALE_SET, Call(("0",), SIGNED))
    assert transport.sent[1].headers["Authorization"] == "Bearer token-1"


async def test_no_token_sends_nothing() -> None:
    tokens = Tokens()
    tokens.failing = True
    transport = FakeTransport()
    submission = await arm(transport, tokens).perform_maintenance(SCALE_SET, ("0",))
    assert isinstance(submission, Throttled)
    assert submission.error.code == "IdentityUnavailable"
    assert transport.sent == []


async def test_invalidated_token_is_replaced_by_another() -> None:
    tokens = Tokens()
    auth = ManagedIdentityAuth(tokens, "scope", now=lambda: 0.0)
    assert [await auth.token(), await auth.token()] == ["token-1", "token-1"]
    auth.invalidate("token-1")
    auth.invalidate("token-0")
    assert [await auth.token(), await auth.token()] == ["token-2", "token-2"]
    auth.invalidate("token-1")
    assert await auth.token() == "token-2", "one that was refused earlier"


async def test_failing_endpoint_without_a_cached_token_is_unavailable() -> None:
    tokens = Tokens()
    tokens.failing = True
    with pytest.raises(IdentityUnavailable):
        await ManagedIdentityAuth(tokens, "scope", now=lambda: 0.0).token()
