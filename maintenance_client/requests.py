"""What the client sends. The worker validates it; the client only writes it down."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from azure.servicebus import ServiceBusMessage


@dataclass(frozen=True, slots=True)
class ScaleSet:
    """VM scale set, identified by subscription, resource group and name."""

    subscription_id: str
    resource_group_name: str
    name: str

    def to_document(self) -> dict[str, Any]:
        return {
            "subscriptionId": self.subscription_id,
            "resourceGroupName": self.resource_group_name,
            "vmScaleSetName": self.name,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How many instances are maintained at a time, and when to stop. What is None is left to the worker.

    `max_instances_per_wave` is a number, or a percentage as `"20%"`. `gate`: which waves wait for a proceed, for
    `gate_timeout` at the most; `at_gate_timeout`: what happens then.
    """

    max_instances_per_wave: int | str | None = None
    by_update_domain: bool | None = None
    pause_between_waves: timedelta | None = None
    max_failed_instances: int | None = None
    health_timeout: timedelta | None = None
    gate: Literal["first", "everyWave"] | None = None
    gate_timeout: timedelta | None = None
    at_gate_timeout: Literal["stop", "proceed"] | None = None

    def to_document(self) -> dict[str, Any]:
        return _without_none(
            {
                "maxInstancesPerWave": self.max_instances_per_wave,
                "byUpdateDomain": self.by_update_domain,
                "pauseBetweenWaves": _duration(self.pause_between_waves),
                "maxFailedInstances": self.max_failed_instances,
                "healthTimeout": _duration(self.health_timeout),
                "gate": self.gate,
                "gateTimeout": _duration(self.gate_timeout),
                "atGateTimeout": self.at_gate_timeout,
            }
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Waves may start in the time `duration` after each occurrence of `schedule`, a cron expression of five fields, in
    a time zone of the IANA database."""

    schedule: str
    duration: timedelta
    time_zone: str = "UTC"

    def to_document(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "duration": _duration(self.duration), "timeZone": self.time_zone}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRequest:
    """See to it that these instances have had their maintenance. No `instance_ids`: the whole scale set.

    `request_id` names the request in every event. Whoever may send a request twice chooses an id that is the same both
    times: while the first one is under way, the second ends as `duplicate` and starts nothing. Times are aware.
    """

    scale_set: ScaleSet
    instance_ids: tuple[str, ...] | None = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    not_before: datetime | None = None
    deadline: datetime | None = None
    rollout: Rollout | None = None
    windows: tuple[Window, ...] | None = None
    ineligible: Literal["skip", "reject"] | None = None
    dry_run: bool | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.instance_ids is not None and not self.instance_ids:
            # An empty list must not become the whole scale set, nor a message that is rejected much later.
            raise ValueError("instance_ids must name at least one instance, or be None for the whole scale set")
        for name in ("not_before", "deadline"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} must have a time zone: {moment.isoformat()}")

    def to_document(self) -> dict[str, Any]:
        return _without_none(
            {
                "schemaVersion": 1,
                **self.scale_set.to_document(),
                "requestId": self.request_id,
                "instanceIds": None if self.instance_ids is None else list(self.instance_ids),
                "notBefore": self.not_before and self.not_before.isoformat(),
                "deadline": self.deadline and self.deadline.isoformat(),
                "rollout": None if self.rollout is None else self.rollout.to_document(),
                "windows": None if self.windows is None else [window.to_document() for window in self.windows],
                "ineligible": self.ineligible,
                "dryRun": self.dry_run,
                "reason": self.reason,
            }
        )


def request_message(request: MaintenanceRequest) -> ServiceBusMessage:
    return _message(request.to_document(), request.request_id)


def cancellation_message(request_id: str, scale_set: ScaleSet, reason: str | None, own_id: str) -> ServiceBusMessage:
    document = {"schemaVersion": 1, **scale_set.to_document(), "cancel": request_id, "reason": reason}
    return _message(_without_none(document), own_id)


def proceed_message(
    request_id: str, scale_set: ScaleSet, wave: int, reason: str | None, own_id: str
) -> ServiceBusMessage:
    document = {"schemaVersion": 1, **scale_set.to_document(), "proceed": request_id, "wave": wave, "reason": reason}
    return _message(_without_none(document), own_id)


def _message(document: Mapping[str, Any], message_id: str) -> ServiceBusMessage:
    return ServiceBusMessage(
        json.dumps(document, ensure_ascii=False).encode(), message_id=message_id, content_type="application/json"
    )


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def _duration(value: timedelta | None) -> str | None:
    """ISO 8601, in seconds: `PT300S`, `PT0.5S`."""
    if value is None:
        return None
    whole, micros = divmod(value // timedelta(microseconds=1), 1_000_000)
    return f"PT{whole}{f'.{micros:06}'.rstrip('0').rstrip('.')}S"
