"""The variant of the topology for Microsoft's emulator."""

from __future__ import annotations

from maintenance.domain.formats import parse_duration
from tests.infra.bicep import topology
from tests.infra.emulator_topology import LONGEST, MAX_DELIVERIES, capped


def test_capped_topology_is_within_the_limits_and_has_every_entity() -> None:
    namespace = capped()["UserConfig"]["Namespaces"][0]
    original = topology()["UserConfig"]["Namespaces"][0]
    assert namespace["Name"] == "sbemulatorns"
    for kind in ("Queues", "Topics"):
        assert [each["Name"] for each in namespace[kind]] == [each["Name"] for each in original[kind]]
    assert all(topic["Subscriptions"] for topic in namespace["Topics"])
    entities = [
        *namespace["Queues"],
        *namespace["Topics"],
        *(s for t in namespace["Topics"] for s in t["Subscriptions"]),
    ]
    for entity in entities:
        properties = entity["Properties"]
        assert all(
            parse_duration(properties[name]) <= longest for name, longest in LONGEST.items() if name in properties
        )
        assert properties.get("MaxDeliveryCount", 1) <= MAX_DELIVERIES
