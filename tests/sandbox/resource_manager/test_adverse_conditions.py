"""What Azure does to those who believe what they see: views that lag, other campaigns, other hands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sandbox.resource_manager import Fault, InstanceSeed, ResourceManager, ScaleSetSeed
from tests.sandbox.resource_manager.samples import (
    COMPUTE,
    GROUP,
    START,
    SUBSCRIPTION,
    VERSION,
    HandClock,
    instance,
    scale_set,
)
from tests.support.limit import LIMIT

WEB = (SUBSCRIPTION, GROUP, "web")
SET = f"{COMPUTE}/virtualMachineScaleSets/web"
LISTING = f"{SET}/virtualMachines?$expand=instanceView&{VERSION}"
FLEX_LISTING = f"{COMPUTE}/virtualMachines?$expand=instanceView&{VERSION}"
PATH = "*/performMaintenance"


class Azure:
    """A Resource Manager, a clock moved by hand, and a client."""

    def __init__(self, *seeds: ScaleSetSeed, **options: Any) -> None:
        self.clock = HandClock()
        self.arm = ResourceManager(clock=self.clock, throttling=False, **options)
        for each in seeds:
            self.arm.seed(each)

    def __enter__(self) -> Azure:
        self.arm.start()
        self.http = httpx.Client(base_url=self.arm.endpoint, headers={"Authorization": "Bearer x"}, timeout=LIMIT)
        return self

    def __exit__(self, *exception: object) -> None:
        self.http.close()
        self.arm.close()

    def get(self, target: str) -> Any:
        response = self.http.get(target)
        assert response.status_code == 200, response.text
        return response.json()

    def listed(self, target: str = LISTING) -> dict[str, Any]:
        """Instances by id (VMs by name), their properties as listed."""
        return {each.get("instanceId", each["name"]): each["properties"] for each in self.get(target)["value"]}

    def status(self, instance_id: str = "0") -> dict[str, Any] | None:
        """maintenanceRedeployStatus."""
        found: dict[str, Any] | None = self.listed()[instance_id]["instanceView"].get("maintenanceRedeployStatus")
        return found

    def result(self, instance_id: str = "0") -> tuple[bool, str] | None:
        """Whether maintenance is allowed, and lastOperationResultCode."""
        status = self.status(instance_id)
        if status is None:
            return None
        return status["isCustomerInitiatedMaintenanceAllowed"], status["lastOperationResultCode"]

    def provisioning(self, instance_id: str = "0") -> tuple[str, str]:
        """The provisioning state, and when the status changed last."""
        properties = self.listed()[instance_id]
        status = properties["instanceView"]["statuses"][0]
        assert status["code"] == f"ProvisioningState/{properties['provisioningState'].lower()}"
        return properties["provisioningState"], status["time"][:19]

    def post(self, *ids: str) -> tuple[int, str | None]:
        """The status and the error's code of performMaintenance."""
        response = self.http.post(f"{SET}/performMaintenance?{VERSION}", json={"instanceIds": list(ids)})
        return response.status_code, response.json()["error"]["code"] if response.content else None


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()[:19]


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


# ------------------------------------------------------------------------------------------ views that lag


@pytest.mark.parametrize("by", ["resource manager", "scale set"])
def test_views_lag_while_post_decides_by_what_is(by: str) -> None:
    lag = after(30)
    seed = scale_set("web", instance("0"), instance("1"), **({"view_lag": lag} if by == "scale set" else {}))
    with Azure(seed, **({"view_lag": lag} if by == "resource manager" else {})) as azure:
        assert azure.result() == (True, "None")  # as seeded, at once
        assert azure.post("0") == (202, None)
        azure.clock.advance(12)
        assert azure.result() == (True, "None")
        assert azure.post("0") == (409, "OperationNotAllowed")
        assert azure.arm.instances(*WEB)[0].state == "completed"
        azure.clock.advance(18)
        assert (azure.result(), azure.provisioning()) == ((False, "None"), ("Updating", at(0)))
        azure.clock.advance(9)
        assert azure.provisioning() == ("Updating", at(0))
        azure.clock.advance(1)
        assert (azure.result(), azure.provisioning()) == ((False, "MaintenanceCompleted"), ("Succeeded", at(10)))


def test_lagging_view_of_one_instance_and_of_the_set() -> None:
    with Azure(scale_set("web", instance("0"), view_lag=after(30))) as azure:
        azure.arm.remove(*WEB, "0")
        azure.arm.place(*WEB, instance("7"))

        def seen() -> tuple[Any, ...]:
            statuses = [azure.http.get(f"{SET}/virtualMachines/{each}?{VERSION}").status_code for each in "07"]
            capacity = azure.get(f"{SET}?{VERSION}")["sku"]["capacity"]
            return list(azure.listed()), capacity, *statuses

        assert seen() == (["0"], 1, 200, 400)
        assert azure.post("0") == (400, "InvalidParameter")
        azure.clock.advance(30)
        assert seen() == (["7"], 1, 400, 200)


def test_lagging_views_of_a_flexible_set() -> None:
    seed = scale_set("flex", instance("vm_a"), orchestration_mode="Flexible", view_lag=after(30))
    with Azure(seed) as azure:
        post = f"{COMPUTE}/virtualMachines/vm_a/performMaintenance?{VERSION}"
        one = f"{COMPUTE}/virtualMachines/vm_a?$expand=instanceView&{VERSION}"
        assert azure.http.post(post).status_code == 202
        assert azure.http.post(post).status_code == 409
        states = [azure.listed(FLEX_LISTING)["vm_a"], azure.get(one)["properties"]]
        assert [each["provisioningState"] for each in states] == ["Succeeded"] * 2
        azure.clock.advance(35)
        states = [azure.listed(FLEX_LISTING)["vm_a"], azure.get(one)["properties"]]
        assert [each["provisioningState"] for each in states] == ["Updating"] * 2


def test_lag_may_not_be_negative() -> None:
    with pytest.raises(ValueError, match="view_lag"):
        ResourceManager(view_lag=after(-1))


# ---------------------------------------------------------------------------------------------- campaigns


def test_earlier_campaign_shows_its_result_window_and_time() -> None:
    seed = instance(
        "0",
        earlier_result="MaintenanceCompleted",
        changed_before=timedelta(days=1),
        window_closes_after=timedelta(days=5),
    )
    with Azure(scale_set("web", seed)) as azure:
        assert azure.result() == (True, "MaintenanceCompleted")
        assert azure.provisioning() == ("Succeeded", at(-86_400))
        status = azure.status()
        assert status is not None
        assert status["preMaintenanceWindowStartTime"] == (START - timedelta(days=30)).isoformat()
        assert azure.post("0") == (202, None)
        assert azure.result() == (False, "None")
        azure.clock.advance(10)
        assert azure.result() == (False, "MaintenanceCompleted")


@pytest.mark.parametrize("delay", [0, 60])
def test_next_campaign_begins_after_maintenance(delay: float) -> None:
    with Azure(scale_set("web", instance("0", planned_again_after=after(delay)))) as azure:
        before = azure.status()
        azure.post("0")
        azure.clock.advance(10)
        if delay:
            assert azure.result() == (False, "MaintenanceCompleted")
            azure.clock.advance(delay)
        assert azure.result() == (True, "MaintenanceCompleted")
        now = azure.status()
        assert before is not None
        assert now is not None
        assert now["preMaintenanceWindowStartTime"] == (START + after(10 + delay)).isoformat()
        assert now["preMaintenanceWindowEndTime"] > before["preMaintenanceWindowEndTime"]
        azure.clock.advance(timedelta(days=34).total_seconds() + 60)  # the first campaign's window closes, not this one
        assert azure.result() == (True, "MaintenanceCompleted")
        assert azure.post("0") == (202, None)


def test_window_of_the_next_campaign_closes_too() -> None:
    with Azure(scale_set("web", instance("0", planned_again_after=after(0)))) as azure:
        azure.post("0")
        azure.clock.advance(10 + timedelta(days=35).total_seconds())
        assert azure.arm.instances(*WEB)[0].state == "window-closed"


def test_status_is_gone_after_maintenance() -> None:
    seeds = instance("0", status_gone_after=after(0)), instance("1", status_gone_after=after(60))
    with Azure(scale_set("web", *seeds)) as azure:
        azure.post("0", "1")
        azure.clock.advance(10)
        assert (azure.result("0"), azure.result("1")) == (None, (False, "MaintenanceCompleted"))
        assert azure.arm.instances(*WEB)[0].last_outcome == "Succeeded"
        azure.clock.advance(60)
        assert azure.result("1") is None


def test_maintenance_is_withdrawn() -> None:
    seeds = (instance(each, withdrawn_after=after(5), planned_again_after=after(60)) for each in "01")
    with Azure(scale_set("web", *seeds)) as azure:
        azure.post("0")
        azure.clock.advance(5)
        assert (azure.result("0"), azure.result("1")) == ((False, "None"), None)
        assert azure.post("1") == (409, "OperationNotAllowed")
        azure.clock.advance(5)
        assert azure.result("0") is None
        azure.clock.advance(60)
        assert (azure.result("0"), azure.result("1")) == ((True, "None"), None)


def test_provisioning_may_end_as_failed() -> None:
    seeds = instance("0", provisioning_state_after="Failed"), instance("1", provisioning_state="Failed")
    with Azure(scale_set("web", *seeds)) as azure:
        assert (azure.provisioning("0")[0], azure.provisioning("1")[0]) == ("Succeeded", "Failed")
        azure.post("0", "1")
        assert azure.provisioning("1")[0] == "Updating"
        azure.clock.advance(10)
        assert (azure.provisioning("0")[0], azure.provisioning("1")[0]) == ("Failed", "Failed")
        assert azure.result("0") == (False, "MaintenanceCompleted")
        status = azure.listed()["0"]["instanceView"]["statuses"][0]
        assert (status["level"], status["displayStatus"]) == ("Error", "Provisioning failed")


def test_bad_ends_come_with_their_message() -> None:
    seeds = (
        instance("0", outcome="RetryLater"),
        instance("1", outcome="Aborted"),
        instance("2", state="retry-later"),
        instance("3", state="aborted"),
    )
    with Azure(scale_set("web", *seeds)) as azure:
        azure.post("0", "1")
        azure.clock.advance(10)
        found = [azure.status(each) or {} for each in "0123"]
        assert [each["lastOperationResultCode"] for each in found] == ["RetryLater", "MaintenanceAborted"] * 2
        assert [bool(each["lastOperationMessage"]) for each in found] == [True] * 4


# --------------------------------------------------------------------------------------------- other hands


def test_somebody_else_updates_an_instance() -> None:
    with Azure(scale_set("web", instance("0"), instance("1"))) as azure:
        azure.clock.advance(5)
        azure.arm.update(*WEB, "0", after(60))
        assert azure.provisioning() == ("Updating", at(5))
        assert azure.result() == (True, "None")
        assert azure.post("0", "1") == (409, "Conflict")
        assert azure.post("1") == (202, None)
        with pytest.raises(ValueError, match="web_1 is under maintenance"):
            azure.arm.update(*WEB, "1", after(1))
        azure.clock.advance(60)
        assert azure.provisioning() == ("Succeeded", at(65))
        assert (azure.result(), azure.arm.instances(*WEB)[0].maintenance_count) == ((True, "None"), 0)
        for wrong in (("web", "9"), ("none", "0")):
            with pytest.raises(LookupError):
                azure.arm.update(SUBSCRIPTION, GROUP, *wrong, after(1))


def test_updates_at_random_are_the_same_for_the_same_seed() -> None:
    def seen(seed: int, *ids: str) -> dict[str, list[str]]:
        arm = ResourceManager(
            clock=(clock := HandClock()), foreign_updates=2, foreign_update_duration=after(600), seed=seed
        )
        arm.seed(scale_set("web", *(instance(each) for each in ids)))
        found: dict[str, list[str]] = {each: [] for each in ids}
        for _ in range(500):
            clock.advance(60)
            for each in arm.instances(*WEB):
                found[each.instance_id].append(each.provisioning_state)
        return found

    first = seen(1, "0", "1")
    assert first == seen(1, "0", "1")
    assert first["0"] == seen(1, "0", "2")["0"]  # whoever else is there
    assert first["0"] != first["1"]
    assert first["0"] != seen(2, "0", "1")["0"]
    share = sum(state == "Updating" for states in first.values() for state in states) / 1000
    assert 0.1 < share < 0.5  # a third of half an hour, and what comes between


def test_updates_at_random_end_with_the_instance_and_leave_maintenance_alone() -> None:
    arm = ResourceManager(clock=(clock := HandClock()), foreign_updates=60, foreign_update_duration=after(30))
    arm.seed(scale_set("web", instance("0", duration=timedelta(days=1), state="in-progress"), instance("1")))
    arm.remove(*WEB, "1")
    clock.advance(86_000)
    (left,) = arm.instances(*WEB)
    assert (left.state, left.maintenance_count) == ("in-progress", 1)
    arm.remove(*WEB, "0")
    clock.advance(timedelta(days=40).total_seconds())
    arm.mature()
    with arm._api.current() as api:
        assert not len(api.compute.timeline)


def test_instance_is_scaled_in_between_reading_and_post() -> None:
    with Azure(scale_set("web", instance("0"), instance("1"), view_lag=after(60))) as azure:
        azure.arm.faults.add(Fault(method="POST", path=PATH, scale_in=("1", "9")))
        assert list(azure.listed()) == ["0", "1"]
        assert azure.post("0", "1") == (400, "InvalidParameter")
        assert [each.state for each in azure.arm.instances(*WEB)] == ["eligible"]
        assert list(azure.listed()) == ["0", "1"]
        assert azure.post("0") == (202, None)


def test_instance_is_updated_between_reading_and_post() -> None:
    with Azure(scale_set("web", instance("0"), instance("1"))) as azure:
        order = {"method": "POST", "path": PATH, "update": ["1"], "updateDuration": "PT2M"}
        assert httpx.post(f"{azure.arm.endpoint}/sandbox/faults", json=order).status_code == 201
        assert azure.post("0", "1") == (409, "Conflict")
        assert [each.provisioning_state for each in azure.arm.instances(*WEB)] == ["Succeeded", "Updating"]
        azure.clock.advance(120)
        assert azure.post("0", "1") == (202, None)


def test_vm_of_a_flexible_set_is_scaled_in_before_its_post() -> None:
    with Azure(scale_set("flex", instance("vm_a"), orchestration_mode="Flexible")) as azure:
        azure.arm.faults.add(Fault(method="POST", scale_in=("vm_a",)))
        response = azure.http.post(f"{COMPUTE}/virtualMachines/vm_a/performMaintenance?{VERSION}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "ResourceNotFound")


@pytest.mark.parametrize("path", ["/subscriptions/x", f"{COMPUTE}/disks/d", SET.replace("web", "none")])
def test_scaling_in_what_a_call_is_not_about_does_nothing(path: str) -> None:
    with Azure(scale_set("web", instance("0"))) as azure:
        azure.arm.faults.add(Fault(scale_in=("0",)))
        assert azure.http.get(f"{path}?{VERSION}").status_code in {400, 404}
        assert len(azure.arm.instances(*WEB)) == 1


def test_one_write_at_a_time_on_a_scale_set() -> None:
    with Azure(scale_set("web", instance("0"), instance("1"), one_write_at_a_time=True)) as azure:
        assert azure.post("0") == (202, None)
        assert azure.post("1") == (409, "Conflict")
        azure.clock.advance(10)
        azure.arm.update(*WEB, "0", after(10))
        assert azure.post("1") == (409, "Conflict")
        azure.clock.advance(10)
        assert azure.post("1") == (202, None)


def test_somebody_elses_write_on_the_scale_set_refuses_the_call() -> None:
    with Azure(scale_set("web", instance("0"))) as azure:
        azure.arm.write(*WEB, after(60))
        assert azure.post("0") == (409, "Conflict")
        assert azure.provisioning() == ("Succeeded", at(-60 * 86_400))
        azure.clock.advance(60)
        assert azure.post("0") == (202, None)
        with pytest.raises(LookupError):
            azure.arm.write(SUBSCRIPTION, GROUP, "none", after(60))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (400, "InvalidParameter")), ({"unknown_instance_status": 404}, (404, "NotFound"))],
)
def test_instance_that_is_gone_refuses_the_whole_call(options: dict[str, Any], expected: tuple[int, str]) -> None:
    with Azure(scale_set("web", instance("0"), **options)) as azure:
        assert azure.post("0", "1") == expected
        assert [each.maintenance_count for each in azure.arm.instances(*WEB)] == [0]


# -------------------------------------------------------------------------------------- views not told


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("how", ["null", "missing"])
def test_listings_do_not_tell_the_view_of_an_instance(how: Any, flexible: bool) -> None:
    mode = "Flexible" if flexible else "Uniform"
    seeds = instance("0", view_hidden=how, view_hidden_times=2), instance("1")
    with Azure(scale_set("web", *seeds, orchestration_mode=mode)) as azure:
        target = FLEX_LISTING if flexible else LISTING
        for _ in range(2):
            azure.get(target.replace("$expand=instanceView&", ""))  # says nothing of views: is not counted
            found = azure.listed(target)
            assert found["0"].get("instanceView", "missing") == (None if how == "null" else "missing")
            assert "maintenanceRedeployStatus" in found["1"]["instanceView"]
        assert "maintenanceRedeployStatus" in azure.listed(target)["0"]["instanceView"]


def test_views_are_hidden_from_now_on() -> None:
    with Azure(scale_set("web", instance("0"), view_lag=after(10))) as azure:
        azure.arm.hide_view(*WEB, "0", times=None, how="missing")
        assert ["instanceView" in azure.listed()["0"] for _ in range(3)] == [False] * 3
        one = azure.get(f"{SET}/virtualMachines/0?$expand=instanceView&{VERSION}")
        assert one["properties"]["instanceView"]  # only listings are like that
        azure.arm.hide_view(*WEB, "0", times=0)
        assert azure.result() == (True, "None")
        with pytest.raises(LookupError):
            azure.arm.hide_view(*WEB, "9")


def test_update_domain_is_not_reported() -> None:
    with Azure(scale_set("web", instance("0", update_domain=None), instance("1", update_domain=4))) as azure:
        views = [azure.listed()[each]["instanceView"].get("platformUpdateDomain", "none") for each in "01"]
        assert views == ["none", 4]
        assert [each.update_domain for each in azure.arm.instances(*WEB)] == [None, 4]


def test_unhealthy_and_stopped_instances() -> None:
    seeds = instance("0", vm_health="unhealthy"), instance("1", power_state="stopped")
    with Azure(scale_set("web", *seeds)) as azure:
        first, second = (azure.listed()[each]["instanceView"] for each in "01")
        assert first["vmHealth"]["status"]["code"] == "HealthState/unhealthy"
        assert second["statuses"][1]["code"] == "PowerState/stopped"
        assert azure.post("0", "1") == (202, None)


def test_all_of_it_can_be_ordered_over_http() -> None:
    order = {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": GROUP,
        "name": "web",
        "viewLag": "PT30S",
        "oneWriteAtATime": True,
        "unknownInstanceStatus": 404,
        "instances": [
            {"instanceId": "0", "earlierResult": "MaintenanceCompleted", "changedBefore": "P1D"},
            {"instanceId": "1", "plannedAgainAfter": 0, "statusGoneAfter": 5, "withdrawnAfter": "PT1H"},
            {"instanceId": "2", "provisioningStateAfter": "Failed", "viewHidden": "null", "viewHiddenTimes": None},
            {"instanceId": "3", "updateDomain": None},
        ],
    }
    with Azure() as azure:
        assert httpx.post(f"{azure.arm.endpoint}/sandbox/scale-sets", json=order).status_code == 201
        (seed,) = azure.arm.scale_sets
        assert (seed.view_lag, seed.one_write_at_a_time, seed.unknown_instance_status) == (after(30), True, 404)
        assert seed.instances[1] == InstanceSeed(
            "1", planned_again_after=after(0), status_gone_after=after(5), withdrawn_after=after(3600)
        )
        assert azure.result("0") == (True, "MaintenanceCompleted")
        fault = {"method": "POST", "scaleIn": ["0"]}
        assert httpx.post(f"{azure.arm.endpoint}/sandbox/faults", json=fault).status_code == 201
        assert azure.post("0") == (404, "NotFound")


@pytest.mark.parametrize("look", [lambda arm: arm.mature(), lambda arm: None])
def test_lagging_view_does_not_depend_on_who_looked(look: Callable[[ResourceManager], None]) -> None:
    with Azure(scale_set("web", instance("0"), view_lag=after(30))) as azure:
        azure.post("0")
        for _ in range(11):
            azure.clock.advance(3)
            look(azure.arm)
        assert azure.provisioning() == ("Updating", at(0))


def test_view_that_begins_to_lag_shows_the_present_first_and_ends_to_lag() -> None:
    with Azure(scale_set("web", instance("0"))) as azure:
        azure.arm.lag_views(*WEB, timedelta(seconds=30))
        azure.arm.update(*WEB, "0", timedelta(minutes=5))
        assert azure.listed()["0"]["provisioningState"] == "Succeeded"
        azure.clock.advance(30)
        assert azure.listed()["0"]["provisioningState"] == "Updating"
        azure.clock.advance(285)
        assert azure.listed()["0"]["provisioningState"] == "Updating"
        azure.arm.lag_views(*WEB, timedelta(0))
        assert azure.listed()["0"]["provisioningState"] == "Succeeded"


def test_outcome_that_is_set_is_that_of_a_maintenance_under_way() -> None:
    with Azure(scale_set("web", instance("0"))) as azure:
        azure.http.post(f"{SET}/performMaintenance?{VERSION}")
        azure.arm.set_outcome(*WEB, "0", "Failed")
        azure.clock.advance(10)
        (report,) = azure.arm.instances(*WEB)
    assert (report.state, report.last_outcome) == ("aborted", "Failed")
    assert report.message == "Maintenance redeploy failed due to an internal error."
