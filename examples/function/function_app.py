"""Azure Function of another team's: reacts to the ends of maintenance, by a subscription of its own.

The subscription needs no filter for this, but may have one: type = 'vmss.maintenance.completed.v1'.
"""

import json
import logging

import azure.functions as func

app = func.FunctionApp()


@app.service_bus_topic_trigger(
    arg_name="message",
    topic_name="maintenance-events",
    subscription_name="%EVENTS_SUBSCRIPTION%",
    connection="ServiceBusConnection",
)
def on_maintenance(message: func.ServiceBusMessage) -> None:
    event = json.loads(message.get_body())
    # Types and fields that came later are passed over; delivery is at least once, so what is done must bear that.
    if event["type"] != "vmss.maintenance.completed.v1":
        return
    data = event["data"]
    failed = [each["instanceId"] for each in data["instances"] if each["outcome"] in ("Failed", "Unknown")]
    logging.info("Maintenance %s of %s: %s, failed: %s", data["requestId"], data["resourceId"], data["status"], failed)
