"""Azure Monitor alerts: over HTTP through the real function app, and over the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from azure.servicebus.aio import ServiceBusClient

from maintenance.domain.messages import MAX_ALERT
from maintenance.worker import worker
from sandbox.cli.commands import main as sandbox_command
from sandbox.functions_host import FunctionsHost, load_app, read_host_json
from sandbox.managed_identity import ManagedIdentity
from sandbox.resource_manager import Fault, InstanceSeed, ResourceManager, ScaleSetSeed
from sandbox.servicebus import ServiceBus, Topology
from tests.support.alert_payloads import ALERTED, TESTS, health, payload, scale_set_id, targeting
from tests.support.contract_watch import CONTRACT_WATCH
from tests.support.entities import TOPOLOGY
from tests.support.environment import DURATION, Environment
from tests.support.limit import LIMIT
from tests.support.received import Event
from tests.support.running import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT = Path(__file__).parent.parent.parent
KEY = "the-key-of-the-alerts"
# All instances in one wave.
ONE_WAVE = {"MAINTENANCE_ALERT_ROLLOUT": "{}"}


def seed(arm: ResourceManager, name: str, *, state: Any = "eligible", location: str = "westeurope") -> None:
    instances = tuple(InstanceSeed(str(number), state=state, duration=DURATION) for number in range(2))
    arm.seed(ScaleSetSeed(ALERTED, "shop", name, location=location, instances=instances))


@contextmanager
def small_environment() -> Iterator[Environment]:
    """Five scale sets, listed in three pages; three have planned maintenance, one of them in another region."""
    with (
        ManagedIdentity() as identity,
        ResourceManager(tokens=identity.accepts, duration=DURATION, throttling=False, page_size=2) as arm,
        ServiceBus(Topology.read(TOPOLOGY)) as bus,
    ):
        seed_all(arm)
        CONTRACT_WATCH.watch(bus)
        yield Environment(bus, arm, identity)


def seed_all(arm: ResourceManager) -> None:
    seed(arm, "api")
    seed(arm, "done", state="completed")
    seed(arm, "idle", state="not-planned")
    seed(arm, "uk", location="uksouth")
    seed(arm, "web")


@dataclass
class App:
    """The function app as Azure runs it, with its HTTP functions."""

    job: Running
    http: httpx.AsyncClient
    endpoint: str

    async def post(self, document: object, **headers: str) -> httpx.Response:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.http.post("/api/alerts", content=body, headers={"x-functions-key": KEY, **headers})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_app() -> AsyncIterator[App]:
    with small_environment() as services, pytest.MonkeyPatch.context() as patch:
        settings = services.app_settings(
            POLL_SCHEDULE="0 0 0 1 1 *", MAINTENANCE_ALERT_CUSTOM_PROPERTY="true", **ONE_WAVE
        )
        for name, value in settings.items():
            patch.setenv(name, value)
        worker.cache_clear()
        host = FunctionsHost(
            load_app(PROJECT), environment=settings, host_json=read_host_json(PROJECT), function_key=KEY
        )
        client = ServiceBusClient.from_connection_string(services.bus.connection_string)
        async with client:
            job = Running(services, worker(), client)
            async with host, httpx.AsyncClient(base_url=host.http_endpoint or "", timeout=LIMIT) as http:
                await job.open()
                yield App(job, http, host.http_endpoint or "")
            # Once no function runs any more, as in `running`.
            await job.close()
        worker.cache_clear()


@pytest.fixture
def app(shared_app: App) -> App:
    """The module's app, its environment reset."""
    services = shared_app.job.environment
    # As for the fixture `job`: what earlier runs noted would keep this test's waiting.
    services.bus.clear()
    services.arm.reset()
    seed_all(services.arm)
    services.events.clear()
    return shared_app


@asynccontextmanager
async def queue_only(patch: pytest.MonkeyPatch, **settings: str) -> AsyncIterator[Running]:
    with small_environment() as services:
        for name, value in services.identity.environment.items():
            patch.setenv(name, value)
        async with running(services, **{**ONE_WAVE, **settings}) as job:
            yield job


def ends(job: Running) -> dict[str, Event]:
    """The final event of the request for each scale set; `?` for requests without one."""
    return {str(event.data.get("vmScaleSetName", "?")): event for event in job.environment.events if event.ends}


def ended(job: Running, *names: str) -> Callable[[], bool]:
    return lambda: set(names) <= set(ends(job))


def maintained(job: Running) -> dict[str, int]:
    """How often the instances of each scale set were maintained, without zeros."""
    counts = {
        name: sum(each.maintenance_count for each in job.environment.arm.instances(ALERTED, "shop", name))
        for name in ("api", "done", "idle", "uk", "web")
    }
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("headers", "query"),
    [({}, ""), ({"x-functions-key": "wrong"}, ""), ({}, "?code=wrong"), ({"x-functions-key": ""}, "")],
)
async def test_alert_without_function_key_returns_401(app: App, headers: dict[str, str], query: str) -> None:
    response = await app.http.post(f"/api/alerts{query}", json=health(trackingId="KEY"), headers=headers)
    assert response.status_code == 401
    assert app.job.environment.left_over() == []


async def test_function_key_in_query_is_accepted(app: App) -> None:
    response = await app.http.post(f"/api/alerts?code={KEY}", json=payload(TESTS[0]))
    assert (response.status_code, response.json()["status"]) == (200, "test")
    assert (await app.http.get(f"/api/alerts?code={KEY}")).status_code == 404


async def test_planned_maintenance_is_done_once_on_scale_sets_that_have_it(app: App) -> None:
    job = app.job
    first = await app.post(health(trackingId="ONCE-1"))
    assert first.status_code == 202
    await job.until(ended(job, "api", "web"))
    again = await app.post(health(trackingId="ONCE-1"))
    update = await app.post(health(trackingId="once-1", essentials={"alertId": "update"}, title="Reminder"))
    assert again.json() == first.json()
    assert update.status_code == 202
    await job.drain()
    await job.read_events()

    assert {name: event.status for name, event in ends(job).items()} == {"api": "Succeeded", "web": "Succeeded"}
    assert maintained(job) == {"api": 2, "web": 2}
    assert len([event for event in job.environment.events if event.ends]) == 2
    assert all("ONCE-1" in event.data["reason"] for event in ends(job).values())
    assert len({event.correlation_id for event in job.environment.events}) == 1


async def test_concurrent_updates_maintain_no_scale_set_twice(app: App) -> None:
    job = app.job
    updates = [health(trackingId="TOGETHER-1", essentials={"alertId": f"update-{number}"}) for number in range(6)]
    responses = await asyncio.gather(*(app.post(update) for update in updates))
    assert {response.status_code for response in responses} == {202}
    await job.until(ended(job, "api", "web"))
    await job.drain()
    assert maintained(job) == {"api": 2, "web": 2}


async def test_alert_on_instance_maintains_only_that_instance(app: App) -> None:
    alert = targeting(f"{scale_set_id('WEB')}/virtualMachines/1", custom={"maintenance": "perform"}, alertId="one")
    response = await app.post(alert)
    (request_id,) = response.json()["requestIds"]
    events = await app.job.finish(request_id)
    assert events[request_id].outcomes == {"1": "Completed"}
    assert maintained(app.job) == {"web": 1}


async def test_ignored_alert_calls_no_resource_manager(app: App) -> None:
    response = await app.post(payload("common_metric_static"))
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert list(app.job.environment.arm.calls) == []


async def test_invalid_alert_returns_problem_details(app: App) -> None:
    response = await app.post({"schemaId": "mine", "data": 1})
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert {problem["field"] for problem in response.json()["problems"]} == {"schemaId", "data"}
    large = await app.post(b"{" + b" " * MAX_ALERT + b"}")
    assert (large.status_code, large.headers["content-type"]) == (413, "application/problem+json")


async def test_alert_command_posts_an_alert(
    app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SANDBOX_FUNCTION_KEY")
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(payload(TESTS[0])))
    bad.write_text("{}")

    async def run(*arguments: str) -> int:
        return await asyncio.to_thread(sandbox_command, ["alert", *arguments, "--endpoint", app.endpoint])

    assert await run(str(good), "--key", KEY) == 0
    assert '"status": "test"' in capsys.readouterr().out
    assert await run(str(bad), "--key", KEY) == 1
    assert await run(str(tmp_path / "none.json"), "--key", KEY) == 2
    assert await run(str(good)) == 2
    assert "SANDBOX_FUNCTION_KEY" in capsys.readouterr().err


async def test_alert_from_queue_reads_pages_and_retries_after_throttling(app: App) -> None:
    job, arm = app.job, app.job.environment.arm
    busy = {"code": "OperationNotAllowed", "message": "too many requests"}
    lists = "*/providers/Microsoft.Compute/virtualMachineScaleSets"
    arm.faults.add(Fault(path=lists, skip=1, status=429, headers={"Retry-After": "1"}, json=busy))
    arm.faults.add(Fault(path="*/web/virtualMachines", status=503, json={"error": busy}))
    await job.send(health(trackingId="QUEUE-1"), message_id="alert")
    await job.until(ended(job, "api", "web"))
    await job.drain()
    pages = [call.status for call in arm.calls if call.path.endswith("/virtualMachineScaleSets")]
    assert pages == [200, 429, 200, 200, 200]
    assert maintained(job) == {"api": 2, "web": 2}
    assert {event.kind for event in job.environment.events} == {"accepted", "completed"}


async def test_hostile_next_link_ends_discovery(app: App) -> None:
    evil = {"value": [], "nextLink": "https://evil.example/subscriptions/x?$skiptoken=1"}
    app.job.environment.arm.faults.add(Fault(path="*/virtualMachineScaleSets", status=200, json=evil))
    await app.post(health(trackingId="EVIL-1"))
    await app.job.until(ended(app.job, "?"))
    (problem,) = ends(app.job)["?"].data["problems"]
    assert "evil.example" in problem["message"]


async def test_malformed_alert_on_queue_is_rejected_once(app: App) -> None:
    await app.job.send({"schemaId": "azureMonitorCommonAlertSchema", "data": {}}, message_id="bad-alert")
    events = await app.job.finish("bad-alert")
    await app.job.drain()
    assert events["bad-alert"].kind == "rejected"
    assert len(app.job.environment.events) == 1


async def test_alert_cannot_widen_scopes_or_undo_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    only_api = {
        "MAINTENANCE_ALLOWED_SCOPES": scale_set_id("api"),
        "MAINTENANCE_ALERT_DRY_RUN": "true",
        "MAINTENANCE_ALERT_CUSTOM_PROPERTY": "true",
    }
    async with queue_only(monkeypatch, **only_api) as job:
        await job.send(health(IsSynthetic="False", dryRun="false"), message_id="alert")
        hostile = {
            "maintenance": "perform",
            "dryRun": "false",
            "MAINTENANCE_ALLOWED_SCOPES": f"/subscriptions/{ALERTED}",
        }
        await job.send(targeting(scale_set_id("web"), custom=hostile), message_id="metric")
        await job.until(ended(job, "api"))
        await job.drain()
        assert set(ends(job)) == {"api"}
        assert ends(job)["api"].data["dryRun"] is True
        assert ends(job)["api"].outcomes == {"0": "WouldMaintain", "1": "WouldMaintain"}
        assert job.environment.posts() == []
        views_read_of = {
            call.path.split("/")[8] for call in job.environment.arm.calls if call.path.endswith("/virtualMachines")
        }
        assert views_read_of == {"api"}
