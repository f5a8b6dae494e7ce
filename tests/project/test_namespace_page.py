"""The commands of docs/namespace.md make what infra/topology.json describes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "namespace.md").read_text()
NAMESPACE = json.loads((ROOT / "infra" / "topology.json").read_text())["UserConfig"]["Namespaces"][0]
ENTITIES = {each["Name"]: each["Properties"] for each in (*NAMESPACE["Queues"], *NAMESPACE["Topics"])}
# An option of az, the property of the topology, and what Azure takes where the option is left out.
OPTIONS = {
    "--lock-duration": ("LockDuration", None),
    "--max-delivery-count": ("MaxDeliveryCount", None),
    "--duplicate-detection": ("RequiresDuplicateDetection", "false"),
    "--enable-dead-lettering-on-message-expiration": ("DeadLetteringOnMessageExpiration", "false"),
    "--duplicate-detection-history-time-window": ("DuplicateDetectionHistoryTimeWindow", "PT10M"),
    "--default-message-time-to-live": ("DefaultMessageTimeToLive", "P10675199DT2H48M5.4775807S"),
}


def commands() -> dict[str, dict[str, str]]:
    """The options of each `az … create`, by the name of the queue or topic."""
    found = {}
    page = PAGE.replace("\\\n", " ")
    for text in re.findall(r"^az servicebus (?:queue|topic) create (.*)$", page, re.MULTILINE):
        words = shlex.split(text)
        options = dict(zip(words[::2], words[1::2], strict=True))
        found[options["--name"]] = options
    return found


def test_command_for_every_queue_and_topic_is_there() -> None:
    assert commands().keys() == ENTITIES.keys()


@pytest.mark.parametrize("name", ENTITIES)
def test_command_makes_the_entity_as_deployed(name: str) -> None:
    options, properties = commands()[name], ENTITIES[name]
    for option, (key, default) in OPTIONS.items():
        if key in properties:
            assert options.get(option, default) == str(properties[key]).replace("True", "true").replace(
                "False", "false"
            ), option
