"""The Resource Manager over HTTP: tokens, faults on the wire, calls written down, `/sandbox/`, starting and closing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sandbox.resource_manager import (
    EXAMPLE_RESOURCE_GROUP,
    EXAMPLE_SUBSCRIPTION_ID,
    ArmEvent,
    CallReceived,
    Fault,
    InstanceChanged,
    InstanceSeed,
    ResourceManager,
    seed_example,
)
from tests.sandbox.resource_manager.samples import (
    COMPUTE,
    GROUP,
    SUBSCRIPTION,
    VERSION,
    HandClock,
    instance,
    scale_set,
)
from tests.support.limit import LIMIT

WEB = f"{COMPUTE}/virtualMachineScaleSets/web"
POST = f"{WEB}/performMaintenance?{VERSION}"
GET = f"{WEB}?{VERSION}"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def arm(clock: HandClock) -> Iterator[ResourceManager]:
    with ResourceManager(clock=clock, tokens=lambda token: token == "good") as running:
        running.seed(scale_set("web", instance("0"), instance("1")))
        yield running


@pytest.fixture
def http(arm: ResourceManager) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=arm.endpoint, headers={"Authorization": "Bearer good"}, timeout=LIMIT) as client:
        yield client


def begun(arm: ResourceManager) -> list[int]:
    return [each.maintenance_count for each in arm.instances(SUBSCRIPTION, GROUP, "web")]


def wait_for_post(arm: ResourceManager) -> None:
    """Until a POST is in the list of calls. Observers are told of a call only once it has its response."""
    while not arm.calls.matching("POST"):
        time.sleep(0.001)


# Tokens


@pytest.mark.parametrize(
    ("header", "code", "seen"),
    [
        (None, "AuthenticationFailed", False),
        ("", "AuthenticationFailed", False),
        ("Basic good", "AuthenticationFailed", False),
        ("Bearer", "AuthenticationFailed", False),
        ("Bearer bad", "InvalidAuthenticationToken", True),
    ],
)
def test_without_a_good_token_nothing_is_done(arm: ResourceManager, header: str | None, code: str, seen: bool) -> None:
    response = httpx.post(arm.endpoint + POST, headers={} if header is None else {"Authorization": header})
    assert (response.status_code, response.json()["error"]["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")
    assert begun(arm) == [0, 0]
    [call] = arm.calls
    assert (call.token_seen, call.authorized, call.status) == (seen, False, 401)


def test_without_a_check_any_token_will_do() -> None:
    with ResourceManager() as arm:
        arm.seed(scale_set("web", instance("0")))
        assert httpx.get(arm.endpoint + GET, headers={"Authorization": "bearer x"}).status_code == 200
        assert httpx.get(arm.endpoint + GET).status_code == 401


# Calls


def test_calls_are_written_down_without_secrets(arm: ResourceManager, http: httpx.Client, clock: HandClock) -> None:
    http.post(f"{POST}&secret=s3cr3t", json={"instanceIds": ["1"]}, headers={"X-Trace": "t"})
    [call] = arm.calls
    assert (call.time, call.method, call.path, call.query) == (
        clock(),
        "POST",
        f"{WEB}/performMaintenance",
        ("api-version", "secret"),
    )
    assert (call.token_seen, call.authorized, call.status) == (True, True, 202)
    assert call.json == {"instanceIds": ["1"]}
    assert call.headers["x-trace"] == "t"
    assert "authorization" not in call.headers
    assert "good" not in repr(call)
    assert "s3cr3t" not in repr(call)


def test_only_the_last_calls_are_kept() -> None:
    with ResourceManager(keep_calls=3) as arm, httpx.Client(base_url=arm.endpoint) as client:
        for at in range(5):
            client.get(f"/{at}")
        assert [call.path for call in arm.calls] == ["/2", "/3", "/4"]
        assert (len(arm.calls), arm.calls.total) == (3, 5)
        assert arm.calls[-1].path == "/4"
        assert [call.path for call in arm.calls[:2]] == ["/2", "/3"]
        assert [call.path for call in arm.calls.matching("get", "4")] == ["/4"]
        arm.calls.clear()
        assert arm.calls == []


# Faults on the wire


def test_a_call_cut_before_the_work_does_nothing(arm: ResourceManager, http: httpx.Client) -> None:
    arm.faults.add(Fault(method="POST", cut="before"))
    with pytest.raises(httpx.ReadError, match="reset"):
        http.post(POST)
    assert begun(arm) == [0, 0]
    assert [(call.method, call.status) for call in arm.calls] == [("POST", None)]
    assert http.post(POST).status_code == 202


def test_a_call_cut_after_the_work_has_done_it(arm: ResourceManager, http: httpx.Client) -> None:
    arm.faults.add(Fault(method="POST", cut="after"))
    with pytest.raises(httpx.ReadError, match="reset"):
        http.post(POST)
    assert begun(arm) == [1, 1]
    assert [(call.authorized, call.status) for call in arm.calls] == [(True, None)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(method="POST", delay=timedelta(minutes=5)), [0, 0]),
        (Fault(method="POST", delay_response=timedelta(minutes=5)), [1, 1]),
    ],
)
def test_a_delayed_call_is_in_the_list_and_holds_up_no_other(
    arm: ResourceManager, http: httpx.Client, fault: Fault, expected: list[int]
) -> None:
    arm.faults.add(fault)
    with pytest.raises(httpx.ReadTimeout):
        http.post(POST, timeout=httpx.Timeout(LIMIT, read=0.2))
    wait_for_post(arm)
    assert [(call.method, call.status) for call in arm.calls] == [("POST", None)]
    assert http.get(GET).status_code == 200
    assert begun(arm) == expected


def test_an_error_after_the_work_was_done(arm: ResourceManager, http: httpx.Client) -> None:
    arm.faults.add(Fault(method="POST", status=502, work=True, body="<html>Bad gateway</html>"))
    response = http.post(POST)
    assert (response.status_code, response.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert response.text == "<html>Bad gateway</html>"
    assert begun(arm) == [1, 1]


def test_a_redirect_and_a_hostile_location(arm: ResourceManager, http: httpx.Client) -> None:
    arm.faults.add(Fault(status=307, headers={"Location": "https://evil.example/steal"}))
    arm.faults.add(Fault(headers={"Location": "https://evil.example/", "Azure-AsyncOperation": None}))
    redirected = http.post(POST)
    assert (redirected.status_code, redirected.headers["Location"]) == (307, "https://evil.example/steal")
    assert begun(arm) == [0, 0]
    accepted = http.post(POST)
    assert (accepted.status_code, accepted.headers["Location"]) == (202, "https://evil.example/")
    assert "Azure-AsyncOperation" not in accepted.headers
    assert begun(arm) == [1, 1]


def test_a_body_of_10_mb(arm: ResourceManager, http: httpx.Client) -> None:
    arm.faults.add(Fault(body_size=10_000_000))
    assert len(http.get(GET).content) == 10_000_000


def test_fault_matches_polls_of_location_only(arm: ResourceManager, http: httpx.Client) -> None:
    accepted = http.post(POST)
    arm.faults.add(Fault(query="*monitor=true*", status=200, json={"status": "Failed"}))
    assert http.get(accepted.headers["Azure-AsyncOperation"]).json()["status"] == "InProgress"
    assert http.get(accepted.headers["Location"]).json() == {"status": "Failed"}
    assert http.get(accepted.headers["Location"]).status_code == 202


# The scale sets, from Python


def test_links_name_the_host_that_was_asked(arm: ResourceManager) -> None:
    url = f"http://localhost:{arm.port}"
    accepted = httpx.post(url + POST, headers={"Authorization": "Bearer good"})
    assert accepted.headers["Location"].startswith(url + "/subscriptions/")


def test_instances_come_and_go(arm: ResourceManager, clock: HandClock) -> None:
    arm.remove(SUBSCRIPTION, GROUP, "web", "0")
    arm.place(SUBSCRIPTION, GROUP, "web", InstanceSeed("1", state="completed"))
    arm.place(SUBSCRIPTION, GROUP, "web", InstanceSeed("8", state="in-progress", duration=timedelta(seconds=5)))
    found = {each.instance_id: each.state for each in arm.instances(SUBSCRIPTION, GROUP, "web")}
    assert found == {"1": "completed", "8": "in-progress"}
    clock.advance(5)
    assert arm.instances(SUBSCRIPTION, GROUP, "web")[-1].state == "completed"
    for ask in (
        lambda: arm.instances(SUBSCRIPTION, GROUP, "none"),
        lambda: arm.remove(SUBSCRIPTION, GROUP, "web", "0"),
        lambda: arm.place(SUBSCRIPTION, GROUP, "none", InstanceSeed("0")),
    ):
        with pytest.raises(LookupError):
            ask()


def test_observers_hear_calls_and_changes_as_they_happen() -> None:
    heard: list[ArmEvent] = []
    all_done = threading.Event()

    def observe(event: ArmEvent) -> None:
        heard.append(event)
        if type(event).__name__ == "OperationEnded":
            all_done.set()

    # By the system's clock: nobody asks, so it is the server that has to look.
    with ResourceManager() as arm:
        arm.seed(scale_set("web", instance("0", duration=timedelta(milliseconds=20))))
        arm.observers.append(observe)
        assert httpx.post(arm.endpoint + POST, headers={"Authorization": "Bearer x"}).status_code == 202
        assert all_done.wait(LIMIT)
    assert [type(each).__name__ for each in heard] == [
        "InstanceChanged",
        "OperationStarted",
        "CallReceived",
        "InstanceChanged",
        "OperationEnded",
    ]
    assert isinstance(heard[2], CallReceived)
    assert heard[2].call.status == 202
    assert isinstance(heard[3], InstanceChanged)
    assert (heard[3].before, heard[3].state) == ("in-progress", "completed")


def test_an_observer_that_fails_harms_nobody_else(
    arm: ResourceManager, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[ArmEvent] = []

    def fail(_: ArmEvent) -> None:
        raise RuntimeError("no screen")

    arm.observers.extend([fail, heard.append])
    assert http.post(POST).status_code == 202
    assert [type(each).__name__ for each in heard].count("InstanceChanged") == 2
    assert "no screen" in caplog.text


def test_the_example_environment() -> None:
    arm = ResourceManager()
    seed_example(arm, duration=timedelta(seconds=1))

    def states(name: str) -> dict[str, str]:
        found = arm.instances(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, name)
        return {each.instance_id: each.state for each in found}

    assert states("web") == dict.fromkeys(["0", "1", "3", "4", "6", "7"], "eligible")
    web = arm.instances(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, "web")
    assert [each.update_domain for each in web] == [0, 0, 1, 1, 2, 2]
    assert list(states("api").values()) == ["eligible"] * 4
    assert list(states("batch").values()) == ["eligible", "eligible", "completed", "not-planned"]
    assert list(states("idle").values()) == ["not-planned"] * 3
    assert set(states("flex").values()) == {"eligible"}
    assert all(name.startswith("flex_") for name in states("flex"))


# Starting and closing


def test_it_is_found_again_on_the_same_port_with_all_it_had(arm: ResourceManager) -> None:
    headers, endpoint = {"Authorization": "Bearer good"}, arm.endpoint
    accepted = httpx.post(arm.endpoint + POST, headers=headers)
    arm.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoint + GET)
    arm.start()
    assert arm.endpoint == endpoint
    assert httpx.get(accepted.headers["Azure-AsyncOperation"], headers=headers).json()["status"] == "InProgress"


def test_closing_drops_connections_at_once(arm: ResourceManager, http: httpx.Client) -> None:
    http.get(GET)
    arm.faults.add(Fault(delay=timedelta(minutes=5)))

    def wait() -> None:
        with pytest.raises(httpx.HTTPError):
            http.post(POST)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for_post(arm)
    arm.close()
    waiting.join()  # the fault would have kept it for five minutes


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        ResourceManager(port=taken.getsockname()[1]).start()


def test_reset_leaves_nothing(arm: ResourceManager, http: httpx.Client) -> None:
    accepted = http.post(POST)
    arm.faults.add(Fault())
    arm.reset()
    assert arm.scale_sets == []
    assert len(arm.calls) == 0
    assert arm.faults.reports() == []
    arm.seed(scale_set("web", instance("0")))
    assert http.get(accepted.headers["Azure-AsyncOperation"]).status_code == 404


# /sandbox/


def seed_as_json(**changes: Any) -> dict[str, Any]:
    return {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": GROUP,
        "name": "api",
        "instances": [
            {"instanceId": "0", "duration": 2.5, "outcome": ["Failed", "Succeeded"]},
            {"instanceId": "3", "duration": "PT1M", "state": "completed", "vmHealth": "healthy"},
        ],
        **changes,
    }


def test_seeds_and_inspects_over_http(arm: ResourceManager, clock: HandClock) -> None:
    with httpx.Client(base_url=f"{arm.endpoint}/sandbox") as control:
        created = control.post("/scale-sets", json=seed_as_json())
        assert created.status_code == 201
        assert [each["name"] for each in control.get("/scale-sets").json()] == ["web", "api"]
        httpx.post(
            f"{arm.endpoint}{COMPUTE}/virtualMachineScaleSets/api/performMaintenance?{VERSION}",
            headers={"Authorization": "Bearer good"},
            json={"instanceIds": ["0"]},
        )
        clock.advance(2.5)
        found = control.get(f"/scale-sets/{SUBSCRIPTION}/{GROUP.upper()}/API").json()
        assert [(each["instanceId"], each["state"], each["lastOutcome"]) for each in found["instances"]] == [
            ("0", "aborted", "Failed"),
            ("3", "completed", None),
        ]
        [operation] = control.get("/operations").json()
        assert (operation["status"], operation["vmNames"]) == ("Failed", ["api_0"])
        [call] = control.get("/calls?method=post&path=performMaintenance").json()["calls"]
        assert (call["tokenSeen"], call["authorized"], call["body"]) == (True, True, '{"instanceIds":["0"]}')
        assert control.delete("/calls").status_code == 204
        assert control.get("/calls").json() == {"total": 0, "calls": []}
        assert control.post("/example", json={"duration": "PT1S"}).status_code == 201
        assert len(control.get("/scale-sets").json()) == 7
        assert control.post("/reset").status_code == 204
        assert control.get("/scale-sets").json() == []
        assert "POST /sandbox/scale-sets" in control.get("/").text


def test_orders_faults_over_http(arm: ResourceManager, http: httpx.Client) -> None:
    with httpx.Client(base_url=f"{arm.endpoint}/sandbox") as control:
        ordered = control.post(
            "/faults",
            json=[
                {"method": "POST", "path": "*/performMaintenance", "status": 503, "headers": {"Retry-After": "7"}},
                {"path": "*/performMaintenance", "headers": {"Location": None}, "times": None},
            ],
        )
        assert (ordered.status_code, ordered.json()) == (201, {"numbers": [1, 2]})
        unavailable, accepted = http.post(POST), http.post(POST)
        assert (unavailable.status_code, unavailable.headers["Retry-After"]) == (503, "7")
        assert accepted.status_code == 202
        assert "Location" not in accepted.headers
        assert [(each["number"], each["hits"], each["left"]) for each in control.get("/faults").json()] == [
            (1, 1, 0),
            (2, 1, None),
        ]
        assert control.delete("/faults/2").status_code == 204
        assert [each["number"] for each in control.get("/faults").json()] == [1]
        assert control.delete("/faults").status_code == 204
        assert control.get("/faults").json() == []


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("scale-sets", seed_as_json(nmae="x"), "nmae"),
        ("scale-sets", seed_as_json(instances=[{"instanceId": "0", "state": "fine"}]), "state"),
        ("scale-sets", seed_as_json(instances=[{"instanceId": "a"}]), "decimal"),
        ("scale-sets", None, "dictionary"),
        ("scale-sets", b"{", "JSON"),
        ("faults", {"status": 1000}, "status"),
        ("faults", {"statuscode": 500}, "statuscode"),
        ("faults", {"cut": "off"}, "cut"),
        ("example", {"durations": 1}, "duration"),
    ],
)
def test_invalid_bodies_are_errors_that_say_why(arm: ResourceManager, path: str, body: Any, named: str) -> None:
    options: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    failed = httpx.post(f"{arm.endpoint}/sandbox/{path}", **options)
    assert failed.status_code == 400
    assert named in failed.text
    assert len(arm.scale_sets) == 1
    assert arm.faults.reports() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[broken"}, 403),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
def test_control_api_serves_this_machine_only(arm: ResourceManager, headers: dict[str, str], status: int) -> None:
    assert httpx.get(f"{arm.endpoint}/sandbox/scale-sets", headers=headers).status_code == status


def test_unknown_orders_and_calls_on_the_sandbox_are_not_calls_on_arm(arm: ResourceManager) -> None:
    assert httpx.get(f"{arm.endpoint}/sandbox/nothing").status_code == 404
    assert httpx.put(f"{arm.endpoint}/sandbox/faults").status_code == 404
    assert httpx.patch(f"{arm.endpoint}/sandbox/calls").status_code == 404
    assert len(arm.calls) == 0
