"""The same with azure-servicebus alone: send a request, and peek until an event ends it.

python send_and_wait_servicebus.py SUBSCRIPTION RESOURCE_GROUP SCALE_SET [INSTANCE ...]
"""

import json
import os
import sys
import time
import uuid

from azure.servicebus import ServiceBusClient, ServiceBusMessage

request = {
    "subscriptionId": sys.argv[1],
    "resourceGroupName": sys.argv[2],
    "vmScaleSetName": sys.argv[3],
    "requestId": str(uuid.uuid4()),
}
if sys.argv[4:]:
    request["instanceIds"] = sys.argv[4:]
subscription = os.environ.get("EVENTS_SUBSCRIPTION", "all-events")
with ServiceBusClient.from_connection_string(os.environ["SERVICEBUS_CONNECTION_STRING"]) as client:
    with client.get_queue_sender("maintenance-requests") as sender:
        # Bytes, not an AMQP value: the body must be UTF-8 JSON in a data section.
        sender.send_messages(ServiceBusMessage(json.dumps(request).encode(), message_id=request["requestId"]))
    with client.get_subscription_receiver("maintenance-events", subscription) as receiver:
        number = 1
        while True:
            messages = receiver.peek_messages(100, sequence_number=number)
            for message in messages:
                number = message.sequence_number + 1
                event = json.loads(b"".join(message.body))
                kind = event["type"].split(".")[-2]
                if event["data"]["requestId"] == request["requestId"] and kind in (
                    "completed",
                    "rejected",
                    "duplicate",
                ):
                    print(kind, event["data"]["status"])
                    sys.exit(0)
            if not messages:
                time.sleep(1)
