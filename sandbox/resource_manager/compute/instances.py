"""One instance of a scale set and its maintenance. The time is passed in; nothing here has a clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from sandbox.resource_manager.compute.seeds import AS_JSON, Hiding, InstanceSeed, Outcome, ResultCode, State

WINDOW = timedelta(days=35)
"""How long customers may begin a planned maintenance themselves, by Azure's documentation."""

_ENDS_AS: dict[Outcome, State] = {
    "Succeeded": "completed",
    "Failed": "aborted",
    "RetryLater": "retry-later",
    "Aborted": "aborted",
}

_MESSAGES: dict[Outcome, str | None] = {
    "Succeeded": None,
    "Failed": "Maintenance redeploy failed due to an internal error.",
    "RetryLater": "Maintenance could not be started at this time. Please retry later.",
    "Aborted": "Maintenance redeploy was aborted.",
}


_SEEDED_MESSAGES: dict[State, str | None] = {"aborted": _MESSAGES["Aborted"], "retry-later": _MESSAGES["RetryLater"]}


@dataclass(eq=False, slots=True)
class HiddenView:
    """How often listings leave out an instance's view; `left`: None = always."""

    how: Hiding | None = None
    left: int | None = 0

    def strike(self) -> Hiding | None:
        """How this listing leaves it out, counted; None = it does not."""
        if self.how is None or self.left == 0:
            return None
        if self.left is not None:
            self.left -= 1
        return self.how


@dataclass(eq=False, slots=True)
class Instance:
    """The state of one instance. `version` rises with each change, so that a rendered view can be kept."""

    seed: InstanceSeed
    vm_name: str
    state: State
    power_state: str
    provisioned: datetime
    window_closes: datetime
    vm_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    vm_health: str | None = None
    provisioning: str = "Succeeded"
    earlier_result: ResultCode | None = None
    withdrawn: bool = False
    updates: int = 0
    message: str | None = None
    begun: int = 0
    finished: int = 0
    last_outcome: Outcome | None = None
    hidden: HiddenView = field(default_factory=HiddenView)
    rendered: str | None = None

    @classmethod
    def seeded(cls, seed: InstanceSeed, scale_set_name: str, *, flexible: bool, now: datetime) -> Instance:
        """A new instance. The VM's name is `{set}_{id}` in Uniform sets, the id itself in Flexible ones."""
        closed = seed.state == "window-closed"
        return cls(
            seed=seed,
            vm_name=seed.instance_id if flexible else f"{scale_set_name}_{seed.instance_id}",
            state=seed.state,
            power_state=seed.power_state,
            provisioned=now - seed.changed_before,
            window_closes=now - timedelta(days=1) if closed else now + seed.window_closes_after,
            vm_health=seed.vm_health,
            provisioning=seed.provisioning_state,
            earlier_result=seed.earlier_result,
            message=_SEEDED_MESSAGES.get(seed.state),
            hidden=HiddenView(seed.view_hidden, seed.view_hidden_times),
        )

    @property
    def may_begin(self) -> bool:
        """Whether a customer may begin the maintenance: isCustomerInitiatedMaintenanceAllowed."""
        return self.state in {"eligible", "retry-later"}

    @property
    def updating(self) -> bool:
        """Whether something is done to it: maintenance, or an update by somebody else."""
        return self.state == "in-progress" or self.updates > 0

    @property
    def provisioning_state(self) -> str:
        """provisioningState."""
        return "Updating" if self.updating else self.provisioning

    @property
    def last_result_code(self) -> str:
        """lastOperationResultCode."""
        if self.state == "eligible":
            return self.earlier_result or "None"
        return {
            "completed": "MaintenanceCompleted",
            "aborted": "MaintenanceAborted",
            "retry-later": "RetryLater",
        }.get(self.state, "None")

    @property
    def next_outcome(self) -> Outcome:
        """How the maintenance that is about to begin, or under way, ends."""
        outcomes = self.seed.outcome
        if isinstance(outcomes, str):
            return outcomes
        return outcomes[min(self.finished, len(outcomes) - 1)]

    def will_end_as(self, outcome: Outcome) -> None:
        """Maintenance ends like this from now on, whatever the seed said."""
        self.seed = replace(self.seed, outcome=outcome)

    def begin(self, now: datetime) -> None:
        """Maintenance begins: the VM is redeployed, and is neither running nor healthy meanwhile."""
        self.state = "in-progress"
        self.begun += 1
        self.message = None
        self.provisioned = now
        # What the power state is meanwhile is undocumented; that the VM is down is not.
        self.power_state = "starting"
        if self.vm_health is not None:
            self.vm_health = "unhealthy"
        self.rendered = None

    def finish(self, now: datetime) -> Outcome:
        """Maintenance ends as the seed has it; returns the outcome."""
        outcome = self.next_outcome
        self.finished += 1
        self.last_outcome = outcome
        self.state = _ENDS_AS[outcome]
        self.message = _MESSAGES[outcome]
        self.provisioning = self.seed.provisioning_state_after or self.seed.provisioning_state
        self.provisioned = now
        self.power_state = self.seed.power_state_after or self.seed.power_state
        self.rendered = None
        if self.withdrawn:
            self.withdraw()
        return outcome

    def withdraw(self) -> None:
        """No maintenance is planned any more; of one under way that shows when it ends."""
        if self.state == "in-progress":
            self.withdrawn = True
            return
        self.state = "not-planned"
        self.message = None
        self.withdrawn = False
        self.rendered = None

    def plan_again(self, result: ResultCode | None, now: datetime) -> None:
        """The next campaign begins, of which the last one's result is still reported."""
        self.state = "eligible"
        self.earlier_result = result
        self.message = None
        self.window_closes = now + WINDOW
        self.rendered = None

    def begin_update(self, now: datetime) -> None:
        """Somebody else begins to update it."""
        self.updates += 1
        self.provisioned = now
        self.rendered = None

    def end_update(self, now: datetime) -> None:
        """Somebody else's update is over, and the instance as before."""
        self.updates -= 1
        self.provisioned = now
        self.rendered = None

    def recover(self) -> None:
        """The application is healthy again after maintenance, or as unhealthy as it was seeded."""
        if self.state != "in-progress":
            self.vm_health = self.seed.vm_health
            self.rendered = None

    def close_window(self, now: datetime) -> None:
        """The time for customers to begin it themselves is over, unless a later campaign has another window."""
        if self.may_begin and self.window_closes <= now:
            self.state = "window-closed"
            self.rendered = None


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """An instance as tests and `/sandbox/scale-sets` read it.

    Attributes:
        maintenance_count: how often maintenance was begun.
        finished_count: how often it came to an end, well or badly.
        last_outcome: how it ended the last time.
        message: lastOperationMessage, where there is one.
    """

    instance_id: str
    vm_name: str
    state: State
    maintenance_count: int
    finished_count: int
    last_outcome: Outcome | None
    update_domain: int | None
    fault_domain: int
    provisioning_state: str
    power_state: str
    vm_health: str | None
    message: str | None = None

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_JSON

    @classmethod
    def of(cls, instance: Instance) -> InstanceReport:
        return cls(
            instance_id=instance.seed.instance_id,
            vm_name=instance.vm_name,
            state=instance.state,
            maintenance_count=instance.begun,
            finished_count=instance.finished,
            last_outcome=instance.last_outcome,
            update_domain=instance.seed.update_domain,
            fault_domain=instance.seed.fault_domain,
            provisioning_state=instance.provisioning_state,
            power_state=instance.power_state,
            vm_health=instance.vm_health,
            message=instance.message,
        )
