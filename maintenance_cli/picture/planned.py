"""What a request would do now: each instance with its state and window, and the waves. As the worker plans. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from maintenance.domain.errors import Problem
from maintenance.domain.instances import Instance, InstanceState
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Result
from maintenance.domain.resources import ScaleSet, fold
from maintenance.lifecycle.planning import split_targets
from maintenance.policies.waves import own_limit
from maintenance.requests.schema import MaintenanceRequest, read_request

# In `MaintenanceStatus.window`: until when customers may start the maintenance themselves, and when Azure begins.
_SELF_SERVICE_ENDS, _AZURE_STARTS = 1, 2


@dataclass(frozen=True, slots=True)
class PlannedInstance:
    """An instance of the set, or one that was asked for and is not there. `wave` from 1; None where it is in none, and
    `why` says the reason. `window_ends`: as ARM writes it."""

    instance_id: str
    state: str
    wave: int | None
    why: str
    update_domain: int | None = None
    window_ends: str | None = None
    azure_starts: str | None = None
    down: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`at_once`: how many instances may be down together; None where nothing bounds it. `problems`: why the worker
    would reject the request. `down`: how many instances of the set are down or updating now."""

    scale_set: ScaleSet
    flexible: bool
    instances: tuple[PlannedInstance, ...]
    waves: tuple[tuple[str, ...], ...]
    at_once: int | None
    down: int
    problems: tuple[Problem, ...] = ()

    def to_document(self) -> dict[str, Any]:
        return {
            "resourceId": self.scale_set.resource_id,
            "orchestrationMode": "Flexible" if self.flexible else "Uniform",
            "waves": [list(wave) for wave in self.waves],
            "maxDownAtOnce": self.at_once,
            "downNow": self.down,
            "instances": [
                {
                    "instanceId": each.instance_id,
                    "state": each.state,
                    "wave": each.wave,
                    "why": each.why,
                    "updateDomain": each.update_domain,
                    "selfServiceWindowEnds": each.window_ends,
                    "azureStarts": each.azure_starts,
                    "down": each.down,
                }
                for each in self.instances
            ],
            "problems": [str(problem) for problem in self.problems],
        }


def plan_of(request: MaintenanceRequest, instances: Sequence[Instance], *, flexible: bool, now: datetime) -> Plan:
    """The plan of a request, by the instances as they are shown now."""
    operation = request.operation(
        requested_at=now, deadline=now + timedelta(hours=1), dry_run=False, envelope=Envelope(body=b"")
    )
    operation, problems = split_targets(replace(operation, flexible=flexible), instances)
    wave_of = {fold(each): at for at, wave in enumerate(operation.waves, 1) for each in wave}
    wanted = None if request.instance_ids is None else {fold(each) for each in request.instance_ids}
    shown = [
        _planned(each, wave_of.get(fold(each.instance_id)))
        for each in instances
        if wanted is None or fold(each.instance_id) in wanted
    ]
    shown += [
        PlannedInstance(each, InstanceState.NOT_FOUND.value, None, outcome.message or "")
        for each, outcome in operation.outcomes.items()
        if outcome.result is Result.NOT_FOUND
    ]
    by_id = {each.instance_id: each for each in instances}
    return Plan(
        scale_set=request.scale_set,
        flexible=flexible,
        instances=tuple(shown),
        waves=operation.waves,
        at_once=own_limit(operation, by_id) if operation.waves else None,
        down=sum(each.is_down for each in instances),
        problems=problems,
    )


def request_of(document: dict[str, Any], message_id: str | None = None) -> MaintenanceRequest:
    """The request in a document, read as the worker reads it. Raises InvalidRequest with every problem."""
    return read_request(Envelope(body=b"", message_id=message_id), document)


def _planned(instance: Instance, wave: int | None) -> PlannedInstance:
    window = instance.maintenance.window if instance.maintenance else ()
    return PlannedInstance(
        instance_id=instance.instance_id,
        state=instance.state.value,
        wave=wave,
        why=instance.why,
        update_domain=instance.update_domain,
        window_ends=_at(window, _SELF_SERVICE_ENDS),
        azure_starts=_at(window, _AZURE_STARTS),
        down=instance.is_down,
    )


def _at(window: Sequence[str], place: int) -> str | None:
    return (window[place] or None) if len(window) > place else None
