"""Sample values for unit tests: a scale set, a time, an operation, instances, a request."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from maintenance.arm.responses import ArmResponse
from maintenance.domain.instances import Instance, MaintenanceStatus
from maintenance.domain.messages import Envelope
from maintenance.domain.operation import Operation
from maintenance.domain.resources import ScaleSet

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
RUN = "0123456789abcdef0123456789abcdef"
LONG_AGO = NOW - timedelta(days=30)
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
OTHER_SUBSCRIPTION = "99999999-2222-3333-4444-555555555555"
SCALE_SET = ScaleSet(SUBSCRIPTION, "web-rg", "web")
ENDPOINT = "https://management.azure.com"
# As recorded: a certificate and a signature in the query, with a percent-encoding that must not be normalised.
SIGNED_QUERY = "p=af5aab90-1a2b&api-version=2017-03-30&t=638&c=MIIHpTCCBo2gAwIBAgITfw%2f&s=Ab-cd_EF%2F%2f~&h=x"
OPERATION_URL = (
    f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/operations/op-1"
    f"?{SIGNED_QUERY}"
)
RECORDED = Path(__file__).parent.parent / "data" / "arm"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def recorded(name: str) -> ArmResponse:
    """A recorded or documented response of ARM."""
    response = json.loads((RECORDED / name).read_text())["response"]
    return ArmResponse(response["status"], response["headers"], response["body"].encode())


def new_operation(**changes: Any) -> Operation:
    """A new operation on the instances 0, 1 and 2."""
    operation = Operation(
        run_id=RUN,
        request_id="req-1",
        scale_set=SCALE_SET,
        requested_at=NOW,
        deadline=NOW + timedelta(hours=6),
        targets=("0", "1", "2"),
    )
    return replace(operation, **changes)


def eligible(instance_id: str, **changes: Any) -> Instance:
    return replace(Instance(instance_id, maintenance=MaintenanceStatus(True), changed_at=LONG_AGO), **changes)


def in_progress(instance_id: str, changed_at: datetime = NOW) -> Instance:
    return Instance(instance_id, provisioning="updating", maintenance=MaintenanceStatus(False), changed_at=changed_at)


def completed(instance_id: str, changed_at: datetime = LONG_AGO) -> Instance:
    return Instance(instance_id, maintenance=MaintenanceStatus(False, "maintenancecompleted"), changed_at=changed_at)


def aborted(instance_id: str, changed_at: datetime = LONG_AGO) -> Instance:
    status = MaintenanceStatus(True, "maintenanceaborted", "the host was needed elsewhere")
    return Instance(instance_id, maintenance=status, changed_at=changed_at)


def without_maintenance(instance_id: str) -> Instance:
    return Instance(instance_id, changed_at=LONG_AGO)


def request_body(**fields: Any) -> dict[str, Any]:
    """A valid request's document with changed fields; `...` omits one."""
    document: dict[str, Any] = {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": "web-rg",
        "vmScaleSetName": "web",
        "instanceIds": ["0", "1", "2"],
        **fields,
    }
    return {name: value for name, value in document.items() if value is not ...}


def envelope(body: object, **changes: Any) -> Envelope:
    """A first delivery of `body`, as JSON unless it is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return replace(Envelope(body=raw, message_id="req-1", sequence_number=7, enqueued_at=NOW), **changes)
