"""The token endpoint, asked as App Service's is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

from sandbox.managed_identity import ManagedIdentity
from tests.sandbox.resource_manager.samples import HandClock

ARM = "https://management.azure.com"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def identity(clock: HandClock) -> Iterator[ManagedIdentity]:
    with ManagedIdentity(clock=clock, lifetime=timedelta(hours=1), client_ids=frozenset({"known"})) as running:
        yield running


def ask(identity: ManagedIdentity, *, header: str | None = None, **changes: str | None) -> httpx.Response:
    query = {"api-version": "2019-08-01", "resource": ARM, **changes}
    return httpx.get(
        identity.endpoint,
        params={name: value for name, value in query.items() if value is not None},
        headers={"X-IDENTITY-HEADER": identity.header if header is None else header},
    )


def test_gives_out_a_token_in_the_shape_of_app_service(identity: ManagedIdentity, clock: HandClock) -> None:
    response = ask(identity)
    content = response.json()
    assert response.status_code == 200
    assert content.keys() == {"access_token", "expires_on", "resource", "token_type", "client_id"}
    assert content["expires_on"] == str(int(clock().timestamp()) + 3600)
    assert (content["resource"], content["token_type"]) == (ARM, "Bearer")
    assert identity.accepts(content["access_token"])
    assert identity.issued == 1
    [request] = identity.requests
    assert (request.time, request.resource, request.client_id, request.status) == (clock(), ARM, None, 200)


def test_a_token_expires(identity: ManagedIdentity, clock: HandClock) -> None:
    token = ask(identity).json()["access_token"]
    clock.advance(3599)
    assert identity.accepts(token)
    clock.advance(1)
    assert not identity.accepts(token)


def test_tokens_can_be_revoked(identity: ManagedIdentity) -> None:
    before = identity.issue()
    identity.revoke()
    assert not identity.accepts(before)
    assert not identity.accepts(before, frozenset({""}))
    assert identity.accepts(identity.issue())
    assert identity.issued == 2


@pytest.mark.parametrize(
    ("resource", "accepted"),
    [
        (ARM, True),
        (f"{ARM}/", True),
        ("https://management.core.windows.net/", True),
        ("https://management.usgovcloudapi.net", True),
        ("https://management.chinacloudapi.cn", True),
        ("https://servicebus.azure.net", False),
        ("https://management.azure.com.evil.example", False),
    ],
)
def test_arm_accepts_tokens_for_arm_only(identity: ManagedIdentity, resource: str, accepted: bool) -> None:
    token = ask(identity, resource=resource).json()["access_token"]
    assert identity.accepts(token) == accepted
    assert identity.accepts(token, frozenset({resource.rstrip("/")}))


def test_tokens_from_elsewhere_are_not_accepted(identity: ManagedIdentity) -> None:
    assert identity.accepts(identity.issue())
    assert not identity.accepts(identity.issue() + "x")
    assert not identity.accepts("")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"header": ""}, 401),
        ({"header": "wrong"}, 401),
        ({"api-version": None}, 400),
        ({"api-version": "2017-09-01"}, 400),
        ({"resource": None}, 400),
        ({"resource": ""}, 400),
        ({"client_id": "unknown"}, 400),
    ],
)
def test_wrong_requests_get_no_token(identity: ManagedIdentity, changes: dict[str, Any], status: int) -> None:
    response = ask(identity, **changes)
    assert response.status_code == status
    assert response.json().keys() == {"statusCode", "message"}
    assert identity.issued == 0


def test_only_the_one_path_is_served(identity: ManagedIdentity) -> None:
    assert (
        httpx.get(f"http://127.0.0.1:{identity.port}/", headers={"X-IDENTITY-HEADER": identity.header}).status_code
        == 404
    )


def test_fails_on_order(identity: ManagedIdentity) -> None:
    identity.fail_next(2, status=503)
    assert [ask(identity).status_code for _ in range(3)] == [503, 503, 200]


def test_azure_identity_finds_it_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # By the system's clock, as azure-identity would find tokens expired that end in the past.
    with ManagedIdentity(client_ids=frozenset({"known"})) as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        with ManagedIdentityCredential(client_id="known") as credential:
            credential.get_token(f"{ARM}/.default")
            credential.get_token(f"{ARM}/.default")
        assert [each.client_id for each in identity.requests] == ["known"]
        with ManagedIdentityCredential(client_id="unknown") as credential, pytest.raises(ClientAuthenticationError):
            credential.get_token(f"{ARM}/.default")


def test_it_is_found_again_on_the_same_port(identity: ManagedIdentity) -> None:
    token = ask(identity).json()["access_token"]
    endpoint = identity.endpoint
    identity.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoint)
    identity.start()
    assert identity.endpoint == endpoint
    assert identity.accepts(token)
