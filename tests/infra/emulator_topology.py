"""infra/topology.json cut to the limits of Microsoft's emulator: python -m tests.infra.emulator_topology."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from maintenance.domain.formats import parse_duration
from tests.infra.bicep import topology

# https://github.com/Azure/azure-service-bus-emulator-installer
LONGEST = {"DefaultMessageTimeToLive": timedelta(hours=1), "DuplicateDetectionHistoryTimeWindow": timedelta(minutes=5)}
MAX_DELIVERIES = 10


def capped() -> dict[str, Any]:
    """The topology with every value cut to what the emulator takes."""
    document = topology()
    namespace = document["UserConfig"]["Namespaces"][0]
    subscriptions = [each for topic in namespace["Topics"] for each in topic["Subscriptions"]]
    for entity in (*namespace["Queues"], *namespace["Topics"], *subscriptions):
        properties = entity["Properties"]
        for name, longest in LONGEST.items():
            if name in properties and parse_duration(properties[name]) > longest:
                properties[name] = "PT1H" if longest == timedelta(hours=1) else "PT5M"
        if properties.get("MaxDeliveryCount", 0) > MAX_DELIVERIES:
            properties["MaxDeliveryCount"] = MAX_DELIVERIES
    return document


if __name__ == "__main__":
    sys.stdout.write(json.dumps(capped(), indent=2) + "\n")
