"""Client of the maintenance worker: send requests, cancel them, and read what became of them.

`MaintenanceClient` blocks; `maintenance_client.aio.MaintenanceClient` is the same with `async`. Needs azure-servicebus.
"""

from maintenance_client.client import MaintenanceClient
from maintenance_client.events import InstanceOutcome, MaintenanceEvent
from maintenance_client.requests import MaintenanceRequest, Rollout, ScaleSet, Window

__all__ = [
    "InstanceOutcome",
    "MaintenanceClient",
    "MaintenanceEvent",
    "MaintenanceRequest",
    "Rollout",
    "ScaleSet",
    "Window",
]
