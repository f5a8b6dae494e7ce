"""The faults that the page adds and clears, and those among them that no service lists itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sandbox.page.control.commands import ALL, ArmFault, Clear, ClearAll, ControlError, Failing, Lag, Outage
from sandbox.page.picture import key_of
from sandbox.resource_manager import Fault, Outcome, ResourceManager
from sandbox.servicebus import ServiceBus

FaultCommand = ArmFault | Lag | Failing | Outage | Clear | ClearAll


class FaultControls:
    """Faults of the services. Used on one event loop."""

    def __init__(self, bus: ServiceBus, arm: ResourceManager) -> None:
        self._bus, self._arm = bus, arm
        self._lags: dict[str, float] = {}
        self._failing: dict[tuple[str, str], Outcome] = {}

    def of_sets(self) -> dict[str, str]:
        """The lagging views and failing instances that were added here, as texts by their keys."""
        # A reset of the Resource Manager removes them with their scale sets.
        there = {key_of(seed) for seed in self._arm.scale_sets} if self._lags or self._failing else set()
        self._lags = {key: lag for key, lag in self._lags.items() if key in there}
        self._failing = {each: outcome for each, outcome in self._failing.items() if each[0] in there}
        found = {f"lag:{key}": f"{_short(key)}: views lag by {lag:g} s" for key, lag in self._lags.items()}
        for (key, instance_id), outcome in self._failing.items():
            found[f"failing:{key}\n{instance_id}"] = f"{_short(key)}/{instance_id}: maintenance ends as {outcome}"
        return found

    def carry_out(self, command: FaultCommand) -> str:
        """Add or clear; returns what was done, in words. Raises LookupError, ValueError or ControlError."""
        match command:
            case ArmFault():
                number = self._arm.faults.add(_fault(command))
                return f"Fault {number} strikes the next call that matches."
            case Lag(scale_set=key, seconds=seconds):
                self._arm.lag_views(*_names(key), timedelta(seconds=seconds))
                self._lags[key] = seconds
                return f"Views of {_short(key)} lag by {seconds:g} s from now on."
            case Failing(scale_set=key, instance_id=instance_id, outcome=outcome):
                return self._fail(key, instance_id, outcome)
            case Outage(entity=entity, seconds=seconds):
                for name in self._away(entity):
                    self._bus.faults.outage(name, timedelta(seconds=seconds))
                return f"{'Service Bus' if entity == ALL else entity} is away for {seconds:g} s."
            case Clear(fault=fault):
                self._clear(fault)
                return "The fault is cleared."
            case ClearAll():
                self._arm.faults.reset()
                self._bus.faults.reset()
                for fault in self.of_sets():
                    self._clear(fault)
                return "All faults are cleared."

    def _fail(self, key: str, instance_id: str, outcome: Outcome) -> str:
        try:
            self._arm.set_outcome(*_names(key), instance_id, outcome)
        except KeyError:
            raise ControlError(f"{_short(key)} has no instance {instance_id!r}.") from None
        if outcome == "Succeeded":
            self._failing.pop((key, instance_id), None)
        else:
            self._failing[key, instance_id] = outcome
        return f"The maintenance of {_short(key)}/{instance_id} will end as {outcome}."

    def _away(self, entity: str) -> list[str]:
        """An outage of a topic is one of its subscriptions."""
        return [name for name in self._bus.entities() if "/" not in name] if entity == ALL else [entity]

    def _clear(self, fault: str) -> None:
        kind, _, rest = fault.partition(":")
        match kind:
            case "arm" if rest.isdecimal():
                self._arm.faults.remove(int(rest))
            case "bus":
                self._clear_bus(rest.partition(":")[2])
            case "lag" if rest in self._lags:
                del self._lags[rest]
                self._arm.lag_views(*_names(rest), timedelta(0))
            case "failing" if tuple(rest.split("\n", 1)) in self._failing:
                key, instance_id = rest.split("\n", 1)
                self._fail(key, instance_id, "Succeeded")
            case _:
                raise ControlError(f"There is no fault {fault!r} (any more).")

    def _clear_bus(self, entity: str) -> None:
        if entity:
            self._bus.faults.accept(entity)
        else:
            self._bus.faults.reset()


def _fault(command: ArmFault) -> Fault:
    path = "*/performMaintenance" if command.calls == "POST" else "*"
    fault = Fault(method=command.calls, path=path, times=command.times)
    retry_after = {"Retry-After": str(command.retry_after)}
    match command.kind:
        case "throttled":
            body = {"code": "OperationNotAllowed", "message": "The server rejected the request: too many requests."}
            return replace(fault, status=429, headers=retry_after, json=body)
        case "unavailable":
            return replace(fault, status=503, headers=retry_after)
        case "cut-before":
            return replace(fault, cut="before")
        case "cut-after":
            return replace(fault, cut="after")


def _names(key: str) -> tuple[str, str, str]:
    subscription, _, rest = key.partition("/")
    group, _, name = rest.partition("/")
    return subscription, group, name


def _short(key: str) -> str:
    return key.partition("/")[2]
