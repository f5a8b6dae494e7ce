"""Calls and responses of the REST API, as values, by a clock moved by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.resource_manager.compute.seeds import ScaleSetSeed
from sandbox.resource_manager.compute.state import ComputeState
from sandbox.resource_manager.rest.messages import Request, Response
from sandbox.resource_manager.rest.pages import next_link
from sandbox.resource_manager.rest.rest_api import RestApi
from sandbox.resource_manager.rest.throttling import Limits, Throttle
from tests.sandbox.resource_manager.samples import (
    COMPUTE,
    SUBSCRIPTION,
    VERSION,
    HandClock,
    instance,
    scale_set,
)

BASE = "http://127.0.0.1:1"
VMSS1 = f"{COMPUTE}/virtualMachineScaleSets/vmss1"

# Recorded from Azure: the response to a performMaintenance without a body.
RECORDED_409 = (
    b'{\r\n  "error": {\r\n    "code": "OperationNotAllowed",\r\n    "message": '
    b"\"Operation 'performMaintenance' is not allowed on VM 'vmss1_1' "
    b'since the Subscription of this VM is not eligible."\r\n  }\r\n}'
)


class Arm:
    """The REST API over scale sets, and the clock both go by."""

    def __init__(self, *seeds: ScaleSetSeed, retry_after: int | None = None, page_size: int = 100) -> None:
        self.clock = HandClock()
        self.compute = ComputeState(duration=timedelta(seconds=20), retention=timedelta(hours=1))
        for each in seeds:
            self.compute.seed(each, self.clock())
        self.api = RestApi(self.compute, throttle=Throttle(Limits()), retry_after=retry_after, page_size=page_size)

    def call(self, method: str, target: str, body: Any = b"") -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.compute.mature(self.clock())
        return self.api.respond(Request(method, target.removeprefix(BASE), BASE, content), self.clock())

    def get(self, target: str) -> Any:
        response = self.call("GET", target)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def begin(self, body: Any = b"") -> Response:
        response = self.call("POST", f"{VMSS1}/performMaintenance?{VERSION}", body)
        assert response.status == 202, response.body
        return response


def error(response: Response) -> tuple[int, str]:
    return response.status, json.loads(response.body)["error"]["code"]


def test_error_for_an_ineligible_instance_is_as_recorded() -> None:
    arm = Arm(scale_set("vmss1", instance("0"), instance("1", state="not-planned")))
    response = arm.call("POST", f"{VMSS1}/performMaintenance?{VERSION}")
    assert (response.status, response.body) == (409, RECORDED_409)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"
    assert response.headers["x-ms-ratelimit-remaining-resource"].startswith("Microsoft.Compute/VMScaleSetActions")


def test_an_accepted_call_has_both_urls_and_no_body() -> None:
    response = Arm(scale_set("vmss1", instance("0"))).begin({"instanceIds": ["0"]})
    assert response.body == b""
    assert "Content-Type" not in response.headers
    assert "Retry-After" not in response.headers
    for name in ("Location", "Azure-AsyncOperation"):
        url = response.headers[name]
        assert url.startswith(f"{BASE}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/")
        assert 3000 < len(url) < 4000
        assert "api-version=2024-07-01" not in url
    assert response.headers["Location"] != response.headers["Azure-AsyncOperation"]


def test_retry_after_is_sent_while_it_runs_if_so_configured() -> None:
    arm = Arm(scale_set("vmss1", instance("0")), retry_after=17)
    response = arm.begin()
    urls = [response.headers["Location"], response.headers["Azure-AsyncOperation"]]
    assert response.headers["Retry-After"] == "17"
    assert [arm.call("GET", url).headers.get("Retry-After") for url in urls] == ["17", "17"]
    arm.clock.advance(10)
    assert [arm.call("GET", url).headers.get("Retry-After") for url in urls] == [None, None]


def test_an_operation_that_succeeds() -> None:
    arm = Arm(scale_set("vmss1", instance("0")))
    accepted = arm.begin()
    status_url, location = accepted.headers["Azure-AsyncOperation"], accepted.headers["Location"]
    running = arm.call("GET", status_url)
    name = status_url.partition("?")[0].rpartition("/")[2]
    assert running.body == (
        b'{\r\n  "startTime": "2026-03-01T12:00:00.0000000+00:00",\r\n  "status": "InProgress",\r\n'
        b'  "name": "' + name.encode() + b'"\r\n}'
    )
    waiting = arm.call("GET", location)
    assert (waiting.status, waiting.body, waiting.headers["Location"]) == (202, b"", location)
    arm.clock.advance(10)
    done = arm.get(status_url)
    assert done["status"] == "Succeeded"
    assert done["endTime"] == "2026-03-01T12:00:10.0000000+00:00"
    assert "error" not in done
    finished = arm.call("GET", location)
    assert (finished.status, finished.body) == (200, b"")


def test_an_operation_that_fails() -> None:
    arm = Arm(scale_set("vmss1", instance("0", outcome="Failed")))
    accepted = arm.begin()
    arm.clock.advance(10)
    status = arm.get(accepted.headers["Azure-AsyncOperation"])
    assert (status["status"], status["error"]["code"]) == ("Failed", "VMRedeploymentFailed")
    assert error(arm.call("GET", accepted.headers["Location"])) == (409, "VMRedeploymentFailed")


def test_operations_vanish() -> None:
    arm = Arm(scale_set("vmss1", instance("0")))
    accepted = arm.begin()
    arm.clock.advance(10 + 3600)
    for name in ("Location", "Azure-AsyncOperation"):
        assert arm.call("GET", accepted.headers[name]).status == 404


@pytest.mark.parametrize(
    "alter",
    [
        lambda url: url + "0",
        lambda url: url.replace("&t=", "&T="),
        lambda url: url.replace("api-version=2024-11-01", VERSION),
        lambda url: url.partition("&s=")[0],
        lambda url: url.partition("?")[0],
        lambda url: url.replace("westeurope", "northeurope"),
    ],
)
def test_the_operations_url_is_good_verbatim_only(alter: Any) -> None:
    arm = Arm(scale_set("vmss1", instance("0")))
    url = arm.begin().headers["Azure-AsyncOperation"]
    assert error(arm.call("GET", alter(url))) == (403, "AuthorizationFailed")
    path, _, query = url.removeprefix(BASE).partition("?")
    assert arm.call("GET", f"{path.upper()}?{query}").status == 200


def test_paths_are_compared_without_letter_case() -> None:
    arm = Arm(scale_set("vmss1", instance("0")))
    assert arm.get(f"{VMSS1.upper()}?{VERSION}")["name"] == "vmss1"
    assert arm.get(f"{VMSS1.lower()}/VIRTUALMACHINES/0?{VERSION}")["instanceId"] == "0"


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", VMSS1, (400, "MissingApiVersionParameter")),
        ("GET", f"{VMSS1}?api-version=", (400, "MissingApiVersionParameter")),
        ("GET", f"{VMSS1}?api-version=2199-01-01", (400, "InvalidApiVersionParameter")),
        ("POST", f"{VMSS1}/performMaintenance", (400, "MissingApiVersionParameter")),
        ("GET", f"/subscriptions/not-a-guid/providers/x?{VERSION}", (400, "InvalidSubscriptionId")),
        ("GET", f"/elsewhere?{VERSION}", (404, "InvalidResourceType")),
        ("GET", f"{COMPUTE}/disks/d?{VERSION}", (404, "InvalidResourceType")),
        ("GET", f"{VMSS1}/performMaintenance?{VERSION}", (405, "HttpMethodNotAllowed")),
        ("DELETE", f"{VMSS1}?{VERSION}", (405, "HttpMethodNotAllowed")),
        ("POST", f"{VMSS1}/virtualMachines?{VERSION}", (405, "HttpMethodNotAllowed")),
        ("GET", f"{VMSS1}/virtualMachines/9/instanceView?{VERSION}", (400, "InvalidParameter")),
        ("GET", f"{VMSS1}/virtualMachines?{VERSION}&$skiptoken=x", (400, "InvalidParameter")),
        ("GET", f"{VMSS1}/virtualMachines?{VERSION}&$filter=x", (400, "InvalidParameter")),
        ("GET", f"{COMPUTE}/virtualMachines?{VERSION}&$filter=x", (400, "InvalidParameter")),
        ("GET", f"{COMPUTE}/virtualMachines/vmss1_0?{VERSION}", (404, "ResourceNotFound")),
        ("GET", f"{COMPUTE}/virtualMachineScaleSets/other?{VERSION}", (404, "ResourceNotFound")),
    ],
)
def test_wrong_calls(method: str, target: str, expected: tuple[int, str]) -> None:
    assert error(Arm(scale_set("vmss1", instance("0"))).call(method, target)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "InvalidRequestContent")),
        (b"\xff", (400, "InvalidRequestContent")),
        ([], (400, "InvalidRequestContent")),
        ({"instanceIds": "0"}, (400, "InvalidRequestContent")),
        ({"instanceIds": [0]}, (400, "InvalidRequestContent")),
        ({"instanceIds": []}, (400, "InvalidParameter")),
        ({"instanceIds": ["1"]}, (400, "InvalidParameter")),
    ],
)
def test_wrong_bodies_maintain_nothing(body: Any, expected: tuple[int, str]) -> None:
    arm = Arm(scale_set("vmss1", instance("0")))
    assert error(arm.call("POST", f"{VMSS1}/performMaintenance?{VERSION}", body)) == expected
    assert arm.compute.scale_sets.named(SUBSCRIPTION, "group-1", "vmss1").instance("0").begun == 0


@pytest.mark.parametrize("body", [b"", {}, {"instanceIds": None}])
def test_a_body_without_ids_is_all_instances(body: Any) -> None:
    arm = Arm(scale_set("vmss1", instance("0"), instance("2")))
    arm.begin(body)
    assert {
        each.begun for each in arm.compute.scale_sets.named(SUBSCRIPTION, "group-1", "vmss1").instances.values()
    } == {1}


def test_listings_come_in_pages() -> None:
    arm = Arm(scale_set("vmss1", *(instance(str(at)) for at in range(5))), page_size=2)
    url, pages = f"{VMSS1}/virtualMachines?%24expand=instanceView&{VERSION}", []
    while url:
        page = arm.get(url)
        pages.append([each["instanceId"] for each in page["value"]])
        assert all("instanceView" in each["properties"] for each in page["value"])
        url = page.get("nextLink", "")
        assert url == "" or url.startswith(f"{BASE}{VMSS1}/virtualMachines?")
    assert pages == [["0", "1"], ["2", "3"], ["4"]]


def test_link_of_a_flexible_set_has_blanks_and_its_shorter_pages() -> None:
    flexible = replace(scale_set("flex", instance("a"), instance("b"), instance("c")), orchestration_mode="Flexible")
    arm = Arm(replace(flexible, page_size=2))
    wanted = f"'virtualMachineScaleSet/id' eq '{VMSS1.replace('vmss1', 'flex')}'"
    path = f"{VMSS1.partition('/virtualMachineScaleSets')[0]}/virtualMachines"
    first = arm.get(f"{path}?$filter={quote(wanted)}&$expand=instanceView&{VERSION}")
    assert f"$filter={wanted}&" in first["nextLink"]
    second = arm.get(first["nextLink"])
    assert [len(first["value"]), len(second["value"])] == [2, 1]
    assert "nextLink" not in second


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("https://management.azure.com", "https://management.azure.com:443"),
        ("http://arm.test", "http://arm.test:80"),
        ("http://127.0.0.1:8070", "http://127.0.0.1:8070"),
    ],
)
def test_link_names_the_port_even_where_it_is_the_usual_one(base: str, named: str) -> None:
    request = Request("GET", "/subscriptions/s/x?api-version=1", base)
    assert next_link(request, request.query(), 2).startswith(f"{named}/subscriptions/s/x?api-version=1&$skiptoken=")


def test_listings_have_the_line_ends_and_ids_of_compute() -> None:
    arm = Arm(scale_set("vmss1", instance("0"), instance("1")))
    body = arm.call("GET", f"{VMSS1}/virtualMachines?$expand=instanceView&{VERSION}").body
    assert body.count(b"\n") == body.count(b"\r\n") > 20
    assert "/resourceGroups/GROUP-1/" in json.loads(body)["value"][0]["id"]


def status_of(view: dict[str, Any]) -> dict[str, str]:
    return {each["code"].partition("/")[0]: each["code"] for each in view["statuses"]}


def test_the_instance_view_through_a_maintenance() -> None:
    arm = Arm(scale_set("vmss1", instance("0", update_domain=3, vm_health="healthy")))

    def look() -> tuple[dict[str, Any], dict[str, Any]]:
        [found] = arm.get(f"{VMSS1}/virtualMachines?$expand=instanceView&{VERSION}")["value"]
        single = arm.get(f"{VMSS1}/virtualMachines/0/instanceView?{VERSION}")
        assert found["properties"]["instanceView"] == single
        return found["properties"], single["maintenanceRedeployStatus"]

    properties, before = look()
    assert properties["provisioningState"] == "Succeeded"
    assert properties["instanceView"]["platformUpdateDomain"] == 3
    assert before["isCustomerInitiatedMaintenanceAllowed"] is True
    assert before["lastOperationResultCode"] == "None"
    assert before["lastOperationMessage"] is None
    windows = [
        datetime.fromisoformat(before[f"{which}Window{end}Time"])
        for which, end in [
            ("preMaintenance", "Start"),
            ("preMaintenance", "End"),
            ("maintenance", "Start"),
            ("maintenance", "End"),
        ]
    ]
    assert windows[0] < arm.clock() < windows[1] <= windows[2] < windows[3]
    assert windows[1] - windows[0] == timedelta(days=35)

    arm.begin()
    properties, during = look()
    assert properties["provisioningState"] == "Updating"
    assert status_of(properties["instanceView"])["ProvisioningState"] == "ProvisioningState/updating"
    assert properties["instanceView"]["statuses"][0]["time"] == "2026-03-01T12:00:00.0000000+00:00"
    assert properties["instanceView"]["vmHealth"]["status"]["code"] == "HealthState/unhealthy"
    assert (during["isCustomerInitiatedMaintenanceAllowed"], during["lastOperationResultCode"]) == (False, "None")

    arm.clock.advance(10)
    properties, done = look()
    view = properties["instanceView"]
    assert properties["provisioningState"] == "Succeeded"
    assert status_of(view) == {
        "ProvisioningState": "ProvisioningState/succeeded",
        "PowerState": "PowerState/running",
    }
    assert view["statuses"][0]["time"] == "2026-03-01T12:00:10.0000000+00:00"
    assert view["vmHealth"]["status"]["code"] == "HealthState/healthy"
    assert done["isCustomerInitiatedMaintenanceAllowed"] is False
    assert done["lastOperationResultCode"] == "MaintenanceCompleted"


def test_a_listing_is_never_stale() -> None:
    seeds = [
        instance("0", window_closes_after=timedelta(seconds=100), outcome="RetryLater"),
        instance("1", vm_health="healthy", health_recovers_after=timedelta(seconds=20)),
    ]
    arm = Arm(scale_set("vmss1", *seeds))
    arm.begin()
    for _ in range(12):
        for each in arm.get(f"{VMSS1}/virtualMachines?$expand=instanceView&{VERSION}")["value"]:
            single = arm.get(f"{VMSS1}/virtualMachines/{each['instanceId']}/instanceView?{VERSION}")
            assert each["properties"]["instanceView"] == single
        arm.clock.advance(10)


def test_the_instance_view_after_a_failure() -> None:
    arm = Arm(scale_set("vmss1", instance("0", outcome="Failed"), instance("1", outcome="RetryLater")))
    arm.begin()
    arm.clock.advance(10)
    found = arm.get(f"{VMSS1}/virtualMachines?$expand=instanceView&{VERSION}")["value"]
    failed, later = (each["properties"]["instanceView"]["maintenanceRedeployStatus"] for each in found)
    assert (failed["lastOperationResultCode"], failed["isCustomerInitiatedMaintenanceAllowed"]) == (
        "MaintenanceAborted",
        False,
    )
    assert failed["lastOperationMessage"]
    assert (later["lastOperationResultCode"], later["isCustomerInitiatedMaintenanceAllowed"]) == ("RetryLater", True)


def test_nothing_planned_has_no_status_at_all() -> None:
    arm = Arm(scale_set("vmss1", instance("0", state="not-planned")))
    assert "maintenanceRedeployStatus" not in arm.get(f"{VMSS1}/virtualMachines/0/instanceView?{VERSION}")


def test_scale_sets_are_listed_by_subscription_and_by_group() -> None:
    elsewhere = ScaleSetSeed(SUBSCRIPTION, "other", "far")
    arm = Arm(scale_set("vmss1", instance("0")), scale_set("flex", orchestration_mode="Flexible"), elsewhere)
    by_subscription = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachineScaleSets?{VERSION}"
    assert [each["name"] for each in arm.get(by_subscription)["value"]] == ["vmss1", "flex", "far"]
    by_group = arm.get(f"{COMPUTE}/virtualMachineScaleSets?{VERSION}")["value"]
    assert [each["properties"]["orchestrationMode"] for each in by_group] == ["Uniform", "Flexible"]


def test_a_flexible_set_takes_maintenance_vm_by_vm_only() -> None:
    arm = Arm(scale_set("flex", instance("vm_a"), instance("vm_b"), orchestration_mode="Flexible"))
    flex = f"{COMPUTE}/virtualMachineScaleSets/flex"
    assert error(arm.call("POST", f"{flex}/performMaintenance?{VERSION}")) == (400, "BadRequest")
    assert error(arm.call("POST", f"{flex}/virtualMachines/vm_a/performMaintenance?{VERSION}")) == (
        400,
        "InvalidParameter",
    )
    assert error(arm.call("GET", f"{flex}/virtualMachines?$expand=instanceView&{VERSION}")) == (400, "BadRequest")
    assert error(arm.call("GET", f"{flex}/instanceView?{VERSION}")) == (400, "BadRequest")
    accepted = arm.call("POST", f"{COMPUTE}/virtualMachines/VM_A/performMaintenance?{VERSION}")
    assert accepted.status == 202
    arm.clock.advance(10)
    assert arm.get(accepted.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    listed = arm.get(f"{COMPUTE}/virtualMachines?$expand=instanceView&{VERSION}")["value"]
    codes = [
        each["properties"]["instanceView"]["maintenanceRedeployStatus"]["lastOperationResultCode"] for each in listed
    ]
    assert codes == ["MaintenanceCompleted", "None"]


words = st.sampled_from(
    f"subscriptions {SUBSCRIPTION} resourceGroups Group-1 providers Microsoft.Compute virtualMachineScaleSets vmss1"
    " flex virtualMachines 0 vm instanceView performMaintenance locations westeurope operations .. %2F %zz %ff ".split(
        " "
    )
)
queries = st.lists(
    st.sampled_from([VERSION, "$expand=instanceView", "$filter='", "$skiptoken=ZnJvbTotMQ==", "=", "%", "$skiptoken=é"])
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    start=st.sampled_from(["", COMPUTE, VMSS1]),
    path=st.lists(words, max_size=10),
    query=queries,
    body=st.binary(max_size=20) | st.just(b'{"instanceIds": ["0"]}'),
)
def test_every_call_gets_a_response(method: str, start: str, path: list[str], query: list[str], body: bytes) -> None:
    arm = Arm(scale_set("vmss1", instance("0")), scale_set("flex", instance("vm"), orchestration_mode="Flexible"))
    response = arm.call(method, "/".join([start, *path]) + "?" + "&".join(query), body)
    assert 200 <= response.status < 500
    if response.body:
        json.loads(response.body)
    if response.status >= 400:
        assert {"code", "message"} <= json.loads(response.body)["error"].keys()


def test_an_operations_own_bucket_runs_empty() -> None:
    arm = Arm(scale_set("vmss1", instance("0")))
    url = arm.begin().headers["Azure-AsyncOperation"]
    assert [arm.call("GET", url).status for _ in range(46)] == [200] * 45 + [429]
    throttled = arm.call("GET", url)
    assert "error" not in json.loads(throttled.body)
    assert throttled.headers["Retry-After"] == "4"
    arm.clock.advance(4)
    assert arm.call("GET", url).status == 200
