"""The page over HTTP, as a browser's scripts use it: real services, real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from azure.servicebus import ServiceBusMessage

from sandbox.otlp import Span
from sandbox.page import Page
from sandbox.page.access import HEADERS
from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID, InstanceSeed, ScaleSetSeed
from tests.sandbox.page.samples import HOSTILE, WEB, Seen, Services, services, watch
from tests.support.entities import COORDINATION, OPERATIONS, REQUESTS, TOPIC
from tests.support.limit import LIMIT

EVENTS = f"{TOPIC}/Subscriptions/all-events"
AUDIT = f"{TOPIC}/Subscriptions/maintenance-audit"


@pytest.fixture(scope="module")
def shared() -> Iterator[Services]:
    with services(documents={"alert": b"{}"}) as running:
        yield running


@pytest.fixture
def sandbox(shared: Services) -> Services:
    return shared.cleared()


def send(sandbox: Services, entity: str, *messages: ServiceBusMessage) -> None:
    sandbox.sender(entity).send_messages(list(messages))


def faults_of(seen: Seen) -> dict[str, Any]:
    return seen.sections.get("faults", {})


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/icon.svg", "/stream-of-nothing", "/documents/alert"])
def test_every_response_keeps_scripts_of_others_out(sandbox: Services, path: str) -> None:
    response = sandbox.get(path)
    assert response.status_code == (404 if "nothing" in path else 200)
    assert {name: response.headers[name] for name in HEADERS} == dict(HEADERS)


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "/static/app.js", "//etc/passwd", "/app.js/x"])
def test_no_file_but_the_pages_own_is_served(sandbox: Services, path: str) -> None:
    assert sandbox.get(path).status_code == 404


def test_other_sites_get_nothing(sandbox: Services) -> None:
    assert sandbox.get("/stream", Host="evil.example").status_code == 403
    assert sandbox.get("/messages?entity=maintenance-requests", Origin="https://evil.example").status_code == 403


def test_nothing_is_changed_without_the_token(sandbox: Services) -> None:
    command = {"do": "fault", "kind": "unavailable"}
    for headers in ({}, {"X-Sandbox-Token": "guessed"}):
        response = httpx.post(f"{sandbox.url}/do", json=command, headers=headers, trust_env=False)
        assert response.status_code == 401
        # How a window that outlived its sandbox learns that it can only look.
        assert sandbox.get("/allowed", **headers).json() == {"allowed": False}
    assert sandbox.arm.faults.reports() == []
    assert sandbox.get("/allowed", **{"X-Sandbox-Token": sandbox.token}).json() == {"allowed": True}


def test_token_is_in_nothing_that_is_served(sandbox: Services) -> None:
    seen = watch(sandbox.url, lambda seen: seen.frames)
    assert sandbox.token not in json.dumps([seen.sections, seen.calls, seen.events])
    assert sandbox.token not in sandbox.get("/").text


def test_snapshot_holds_the_scale_sets_and_entities(sandbox: Services) -> None:
    seen = watch(sandbox.url, lambda seen: seen.frames)
    assert seen.frames == ["snapshot"]
    assert seen.sections["sets"][WEB]["location"] == "westeurope"
    assert seen.sections["instances"][f"{WEB}\n7"]["domain"] == 2
    assert seen.sections["entities"].keys() == {REQUESTS, OPERATIONS, COORDINATION, TOPIC, EVENTS, AUDIT}


def test_fault_added_on_the_page_strikes_the_next_call_and_both_show(sandbox: Services) -> None:
    assert sandbox.perform(do="fault", kind="throttled", calls="*", times=1, retryAfter=7).status_code == 200
    seen = watch(sandbox.url, faults_of)
    assert "429, Retry-After: 7" in str(faults_of(seen))
    assert sandbox.call_arm() == 429
    watch(sandbox.url, lambda seen: not faults_of(seen) and seen.calls[-1]["status"] == 429, seen, after=seen.last_id)
    assert sandbox.call_arm() == 200


def test_call_is_opened_without_its_token(sandbox: Services) -> None:
    secret = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.x"
    sandbox.call_arm("/unknown", "POST", bearer=secret, body=f'{{"note": "{secret}"}}')
    seen = watch(sandbox.url, lambda seen: seen.calls)
    whole = sandbox.get(f"/calls/{seen.calls[-1]['n']}").json()
    assert (whole["tokenSeen"], whole["query"]) == (True, ["api-version"])
    assert whole["body"] == '{"note": "…"}'
    assert "eyJ" not in json.dumps(whole)


def test_reconnected_page_misses_nothing_and_gets_nothing_twice(sandbox: Services) -> None:
    before = sandbox.arm.calls.total
    seen = watch(sandbox.url, lambda seen: len(seen.calls) >= 0)
    for _ in range(3):
        sandbox.call_arm()
    watch(sandbox.url, lambda seen: len(seen.calls) >= before + 3, seen, after=seen.last_id)
    assert "snapshot" not in seen.frames[1:]
    numbers = [call["n"] for call in seen.calls]
    assert numbers == sorted(set(numbers))


def test_messages_are_seen_without_being_touched(sandbox: Services) -> None:
    due = sandbox.clock() + timedelta(minutes=5)
    send(sandbox, REQUESTS, *(ServiceBusMessage(f'{{"n": {n}}}'.encode(), message_id=f"m{n}") for n in range(5)))
    send(sandbox, REQUESTS, ServiceBusMessage(b"{}", message_id="later", scheduled_enqueue_time_utc=due))
    before = sandbox.bus.peek(REQUESTS)
    entity = watch(sandbox.url, lambda seen: seen.sections["entities"][REQUESTS]["scheduled"]).sections["entities"]
    assert (entity[REQUESTS]["active"], entity[REQUESTS]["nextDue"]) == (5, due.isoformat(timespec="milliseconds"))
    listed = sandbox.get(f"/messages?entity={REQUESTS}&skip=2&most=3").json()
    assert (listed["total"], [each["id"] for each in listed["messages"]]) == (6, ["m2", "m3", "m4"])
    whole = sandbox.get(f"/messages/{listed['messages'][0]['number']}?entity={REQUESTS}").json()
    assert whole["body"] == '{"n": 2}'
    assert sandbox.bus.peek(REQUESTS) == before


@pytest.mark.parametrize(
    "path", ["/messages?entity=none", "/messages/99?entity=maintenance-requests", "/calls/9999999"]
)
def test_what_is_not_there_is_named(sandbox: Services, path: str) -> None:
    response = sandbox.get(path)
    assert response.status_code == 404
    assert response.json()["problems"]


@pytest.mark.parametrize("path", ["/messages?entity=maintenance-requests&skip=x", "/calls/x", "/messages/1e9?entity=x"])
def test_number_that_is_none_is_a_problem_of_the_request(sandbox: Services, path: str) -> None:
    assert sandbox.get(path).status_code == 400


def test_signed_query_in_a_record_is_not_shown(sandbox: Services) -> None:
    url = "https://management.azure.com/operations/1?p=1&c=MIIoZjn5XD86FkCKTJiLop7a&s=sIgNaTuRe"
    send(sandbox, OPERATIONS, ServiceBusMessage(json.dumps({"url": url}).encode(), message_id="r:s1"))
    (message,) = sandbox.get(f"/messages?entity={OPERATIONS}").json()["messages"]
    body = sandbox.get(f"/messages/{message['number']}?entity={OPERATIONS}").json()["body"]
    assert body == '{"url": "https://management.azure.com/operations/1?…"}'


def test_event_is_told_once_and_survives_being_received(sandbox: Services) -> None:
    data = {"requestId": HOSTILE, "status": "Succeeded", "instances": [{"outcome": "Failed", "message": HOSTILE}]}
    event = {"type": "vmss.maintenance.completed.v1", "data": data}
    seen = watch(sandbox.url, lambda seen: seen.frames)
    send(sandbox, TOPIC, ServiceBusMessage(json.dumps(event).encode(), message_id="e1"))
    sandbox.bus.clear()
    watch(sandbox.url, lambda seen: seen.events, seen, after=seen.last_id)
    ((told),) = [each for each in seen.events if each["id"] == "e1"]
    assert (told["kind"], told["request"], told["status"]) == ("completed", HOSTILE, "Succeeded")
    assert HOSTILE in told["detail"]


@pytest.mark.parametrize("listed", [5, {"a": 1}, ["x"], [{"outcome": 1, "message": []}], None])
def test_event_that_nobody_wrote_does_not_end_the_stream(sandbox: Services, listed: Any) -> None:
    before = watch(sandbox.url, lambda seen: seen.frames)
    data = {"instances": listed, "problems": listed, "wave": listed, "error": listed, "requestId": listed}
    body = json.dumps({"type": listed, "traceparent": listed, "data": data}).encode()
    record = json.dumps({"schemaVersion": 2, "run_id": "r", "scale_set": listed, "number": listed, "phase": listed})
    send(sandbox, OPERATIONS, ServiceBusMessage(record.encode(), message_id="r:s1"))
    send(sandbox, TOPIC, ServiceBusMessage(body), ServiceBusMessage(b"\xff"), ServiceBusMessage(json.dumps(data)))
    total = len(before.events) + 3
    watch(sandbox.url, lambda seen: len(seen.events) == total, before, after=before.last_id)


def test_request_is_sent_as_it_was_written(sandbox: Services) -> None:
    body = f'{{"vmScaleSetName": "{HOSTILE}", "vmScaleSetName": 1}}'
    assert sandbox.perform(do="send", body=body, messageId="mine").json() == {"done": f"Sent to {REQUESTS}."}
    (message,) = sandbox.bus.peek(REQUESTS)
    assert (message.message_id, message.body.decode()) == ("mine", body)


def test_request_that_service_bus_refuses_is_reported(sandbox: Services) -> None:
    assert sandbox.perform(do="outage", entity=REQUESTS, seconds=60).status_code == 200
    response = sandbox.perform(do="send", body="{}")
    assert (response.status_code, REQUESTS in response.text) == (400, True)
    seen = watch(sandbox.url, faults_of)
    assert list(faults_of(seen)) == [f"bus:outage:{REQUESTS}"]
    assert sandbox.perform(do="clear", fault=f"bus:outage:{REQUESTS}").status_code == 200
    assert sandbox.perform(do="send", body="{}").status_code == 200


def test_lag_and_failing_instance_are_added_shown_and_cleared(sandbox: Services) -> None:
    assert sandbox.perform(do="lag", scaleSet=WEB, seconds=30).status_code == 200
    assert sandbox.perform(do="failing", scaleSet=WEB, instanceId="3", outcome="Failed").status_code == 200
    found = faults_of(watch(sandbox.url, lambda seen: len(faults_of(seen)) == 2))
    assert [each["text"] for each in found.values()] == [
        "shop/web: views lag by 30 s",
        "shop/web/3: maintenance ends as Failed",
    ]
    sandbox.arm.update(EXAMPLE_SUBSCRIPTION_ID, "shop", "web", "0", timedelta(hours=1))
    views = f"{sandbox.arm.endpoint}/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}/resourceGroups/shop/providers"
    views += "/Microsoft.Compute/virtualMachineScaleSets/web/virtualMachines?api-version=2024-07-01"

    def shown() -> str:
        response = httpx.get(views, headers={"Authorization": "Bearer x"}, trust_env=False)
        return str(response.json()["value"][0]["properties"]["provisioningState"])

    assert shown() == "Succeeded"
    for fault in found:
        assert sandbox.perform(do="clear", fault=fault).status_code == 200
    assert shown() == "Updating"
    assert sandbox.perform(do="clear", fault=next(iter(found))).status_code == 400


def test_outage_of_all_of_service_bus_and_every_other_fault_is_cleared_at_once(sandbox: Services) -> None:
    for command in (
        {"do": "outage", "entity": "*", "seconds": 60},
        {"do": "fault", "kind": "cut-before", "times": None},
        {"do": "lag", "scaleSet": WEB, "seconds": 30},
        {"do": "failing", "scaleSet": WEB, "instanceId": "3"},
    ):
        assert sandbox.perform(**command).status_code == 200
    found = faults_of(watch(sandbox.url, lambda seen: len(faults_of(seen)) == 7))
    away = [fault.removeprefix("bus:outage:") for fault in found if fault.startswith("bus:outage:")]
    assert away == [COORDINATION, TOPIC, OPERATIONS, REQUESTS]
    assert sandbox.call_arm() is None
    assert sandbox.perform(do="clear-all").status_code == 200
    watch(sandbox.url, lambda seen: not faults_of(seen))
    assert sandbox.call_arm() == 200
    sandbox.close_senders()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ({}, "do"),
        ({"do": "reboot"}, "do"),
        ({"do": "fault", "kind": "throttled", "times": 0}, "times"),
        ({"do": "fault", "kind": "throttled", "tmies": 1}, "tmies"),
        ({"do": "lag", "scaleSet": "no/such/set", "seconds": 1}, "'no'"),
        ({"do": "failing", "scaleSet": WEB, "instanceId": "99"}, "99"),
        ({"do": "outage", "entity": "none", "seconds": 1}, "none"),
        ({"do": "outage", "entity": "none", "seconds": "NaN"}, "seconds"),
        ({"do": "advance", "seconds": -1}, "seconds"),
        ({"do": "clear", "fault": "arm:x"}, "arm:x"),
        ({"do": "kill-worker"}, "worker"),
        ({"do": "alert", "body": "{}"}, "worker"),
    ],
)
def test_command_that_cannot_be_carried_out_says_why(sandbox: Services, command: dict[str, Any], problem: str) -> None:
    response = sandbox.perform(**command)
    assert response.status_code == 400
    assert problem in " ".join(response.json()["problems"])


def test_clock_moved_on_the_page_moves_what_falls_due(sandbox: Services) -> None:
    due = sandbox.clock() + timedelta(minutes=5)
    send(sandbox, REQUESTS, ServiceBusMessage(b"{}", scheduled_enqueue_time_utc=due))
    assert sandbox.perform(do="advance", seconds=301).status_code == 200
    assert sandbox.bus.counts(REQUESTS).active == 1
    seen = watch(sandbox.url, lambda seen: seen.sections["entities"][REQUESTS]["active"] == 1)
    assert seen.sections["clock"]["now"] == sandbox.clock().isoformat(timespec="milliseconds")


def test_changed_instances_are_sent_and_not_the_others(sandbox: Services) -> None:
    sandbox.arm.seed(ScaleSetSeed("s", "g", "n", instances=tuple(InstanceSeed(str(n)) for n in range(3))))
    seen = watch(sandbox.url, lambda seen: "s/g/n" in seen.sections["sets"])
    sizes: list[int] = []

    def one_updated(seen: Seen) -> bool:
        return bool(seen.sections["instances"]["s/g/n\n1"]["provisioning"] == "Updating")

    class Counted(Seen):
        def take(self, event: str, content: dict[str, Any]) -> None:
            sizes.append(len(content["changes"].get("instances", {}).get("set", {})))
            super().take(event, content)

    counted = Counted(sections=seen.sections)
    sandbox.arm.update("s", "g", "n", "1", timedelta(hours=1))
    watch(sandbox.url, one_updated, counted, after=seen.last_id)
    assert sizes[-1] == 1


def test_restarted_page_sends_a_snapshot_on_the_same_port() -> None:
    with services() as sandbox:
        seen = watch(sandbox.url, lambda seen: seen.frames)
        sandbox.page.close()
        sandbox.call_arm()
        sandbox.page.start()
        watch(sandbox.url, lambda seen: len(seen.frames) > 1, seen, after=seen.last_id)
        assert seen.frames == ["snapshot", "snapshot"]


def test_page_that_is_closed_while_windows_look_ends_at_once() -> None:
    with services() as sandbox:
        looks = threading.Event()
        ended = threading.Event()

        def look() -> None:
            with pytest.raises((httpx.HTTPError, AssertionError)):
                watch(sandbox.url, lambda seen: looks.set())
            ended.set()

        window = threading.Thread(target=look)
        window.start()
        assert looks.wait(LIMIT)
        sandbox.page.close()
        assert ended.wait(LIMIT)
        window.join()
        assert sandbox.page.watchers == 0


def test_page_on_a_port_that_is_taken_observes_nothing(sandbox: Services) -> None:
    observers = len(sandbox.arm.observers)
    with pytest.raises(OSError, match="in use"):
        Page(sandbox.bus, sandbox.arm, port=sandbox.page.port).start()
    assert len(sandbox.arm.observers) == observers


def test_trace_is_given_in_the_order_in_which_it_is_drawn_and_without_secrets() -> None:
    second = 1_000_000_000
    url = "https://management.azure.com/operations/1?sig=abcdefghijklmnop"

    def span(span_id: str, parent_id: str, start: int, end: int, **more: Any) -> Span:
        return Span("t" * 32, span_id, parent_id, f"span {span_id}", "client", start * second, end * second, **more)

    spans = [
        span("run", "sender", 1, 9, attributes={}),
        span("wave 2", "run", 5, 9, attributes={}, failed=True, status=f"refused at {url}"),
        span("poll", "wave 1", 2, 3, attributes={"url.full": url, "vmss.name": HOSTILE}),
        span("wave 1", "run", 1, 5, attributes={}),
    ]
    with services(traces=lambda trace_id: spans if trace_id == "t" * 32 else []) as sandbox:
        found = sandbox.get(f"/traces/{'t' * 32}").json()
        nobody = sandbox.get("/traces/other").json()
    assert (found["taken"], found["lasts"], found["left"]) == (True, 8_000, 0)
    drawn = [(each["depth"], each["name"], each["from"], each["lasts"]) for each in found["spans"]]
    assert drawn == [
        (0, "span run", 0, 8_000),
        (1, "span wave 2", 4_000, 4_000),
        (1, "span wave 1", 0, 4_000),
        (2, "span poll", 1_000, 1_000),
    ]
    assert "abcdefghijklmnop" not in json.dumps(found)
    assert found["spans"][3]["attributes"]["vmss.name"] == HOSTILE
    assert nobody == {"taken": True, "spans": [], "lasts": 0, "left": 0}


def test_trace_where_nobody_takes_spans_is_no_error(sandbox: Services) -> None:
    response = sandbox.get("/traces/x")
    assert (response.status_code, response.json()["taken"]) == (200, False)
