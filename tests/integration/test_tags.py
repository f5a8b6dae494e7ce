"""Tags over real SDKs and sockets: read beside the views for direct requests, and with the listing by a scan."""

from __future__ import annotations

import json
from datetime import timedelta

from sandbox.resource_manager import InstanceSeed, ScaleSetSeed
from tests.support.time_travel import Journey, journey, tick

SUBSCRIPTION = "12345678-9999-4999-8999-999999999999"
MINUTE = timedelta(minutes=1)


def place(azure: Journey, name: str, **tags: str) -> dict[str, str]:
    """Whose tags may be changed later."""
    instances = tuple(InstanceSeed(str(number), duration=MINUTE) for number in range(4))
    azure.environment.arm.seed(ScaleSetSeed(SUBSCRIPTION, "shop", name, instances=instances, tags=tags))
    return tags


def posted(azure: Journey, name: str) -> list[list[str]]:
    calls = azure.calls(SUBSCRIPTION, f"/{name}/performMaintenance")
    return [json.loads(call.body)["instanceIds"] for call in calls]


async def test_direct_requests_are_narrowed_by_tags_where_the_app_reads_them() -> None:
    async with journey([SUBSCRIPTION], MAINTENANCE_TAGS="true") as azure:
        place(azure, "db", **{"Maintenance-Exclude": "True"})
        place(azure, "web", **{"maintenance-rollout": '{"maxInstancesPerWave": 2}', "owner": "shop"})
        for name in ("db", "web"):
            await azure.send(SUBSCRIPTION, name, vmScaleSetName=name)
        ends = await azure.finish("db", "web")
        assert {name: end.status for name, end in ends.items()} == {"db": "Rejected", "web": "Succeeded"}
        assert [each["field"] for each in ends["db"].data["problems"]] == ["tag maintenance-exclude"]
        assert posted(azure, "db") == []
        assert posted(azure, "web") == [["0", "1"], ["2", "3"]]


async def test_tags_cost_nothing_where_the_app_does_not_read_them() -> None:
    async with journey([SUBSCRIPTION]) as azure:
        place(azure, "web", **{"maintenance-exclude": "true"})
        await azure.send(SUBSCRIPTION, "web", vmScaleSetName="web")
        assert (await azure.finish("web"))["web"].status == "Succeeded"
        paths = [call.path for call in azure.calls(SUBSCRIPTION)]
        assert paths and not any(path.endswith("/virtualMachineScaleSets/web") for path in paths)


async def test_scan_requests_what_tags_allow_as_they_allow_it() -> None:
    async with journey([SUBSCRIPTION], MAINTENANCE_SCAN="request") as azure:
        place(azure, "db", **{"maintenance-exclude": "true"})
        place(azure, "api", **{"maintenance-windows": "nightly"})
        place(azure, "web", **{"maintenance-rollout": '{"maxInstancesPerWave": 1, "pauseBetweenWaves": "PT0S"}'})
        await azure.job.worker.scan()
        for _ in range(3):
            await tick(azure.job)
        await azure.job.read_events()
        due = {each.data["vmScaleSetName"]: each.data for each in azure.environment.events if each.kind == "due"}
        kinds = {name: [each["kind"] for each in data["hindrances"]] for name, data in due.items()}
        assert kinds == {"db": ["Excluded"], "api": ["Tags"], "web": []}
        await azure.finish(due["web"]["requested"])
        assert posted(azure, "web") == [["0"], ["1"], ["2"], ["3"]]
        assert posted(azure, "db") == posted(azure, "api") == []
