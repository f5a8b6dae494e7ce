"""Prepares each wave before it starts: reads `awaiting` events, drains the wave's instances, and lets the wave go.

Whoever wants a person to decide asks one in `drain`, and sends nothing where the answer is no.

python open_gates.py SECONDS      how long to wait for the next event

EVENTS_SUBSCRIPTION must be a subscription of its own, best with the filter type = 'vmss.maintenance.awaiting.v1'.
"""

import os
import sys

from maintenance_client import MaintenanceClient


def drain(scale_set: str, instance_ids: list[str]) -> bool:
    """Take the instances out of their load balancer here. False: leave the wave at its gate."""
    print("draining", ", ".join(instance_ids) or "all", "of", scale_set)
    return True


with MaintenanceClient.from_connection_string(os.environ["SERVICEBUS_CONNECTION_STRING"]) as client:
    for event in client.events(os.environ["EVENTS_SUBSCRIPTION"], max_wait=float(sys.argv[1])):
        if event.kind == "awaiting" and drain(event.data["resourceId"], event.data["instanceIds"]):
            client.proceed(event, reason="drained")
