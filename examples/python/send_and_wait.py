"""Ask for maintenance with the Python client, and wait for its end.

    python send_and_wait.py SUBSCRIPTION RESOURCE_GROUP SCALE_SET [INSTANCE ...]

Needs `pip install ./maintenance_client` and SERVICEBUS_CONNECTION_STRING; with a managed identity use
MaintenanceClient.from_namespace.
"""

import os
import sys

from maintenance_client import MaintenanceClient, MaintenanceRequest, Rollout, ScaleSet

scale_set = ScaleSet(*sys.argv[1:4])
request = MaintenanceRequest(
    scale_set=scale_set,
    instance_ids=tuple(sys.argv[4:]) or None,
    rollout=Rollout(max_instances_per_wave="50%"),
    reason="example",
)
with MaintenanceClient.from_connection_string(os.environ["SERVICEBUS_CONNECTION_STRING"]) as client:
    client.request(request)
    end = client.wait_for(request.request_id, os.environ.get("EVENTS_SUBSCRIPTION", "all-events"), timeout=6 * 3600)
print(end.kind, end.status)
for instance in end.instances:
    print(instance.instance_id, instance.outcome, instance.message or "")
