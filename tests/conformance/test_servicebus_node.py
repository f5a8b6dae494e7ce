"""The Service Bus as @azure/service-bus sees it, where Node.js and npm are."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.servicebus import ServiceBus
from tests.conformance.namespace import service_bus
from tests.support.limit import LIMIT
from tests.support.node_packages import installed

SOURCE = Path(__file__).parent / "node"


@pytest.fixture
def script() -> Path:
    """The script, beside the packages it imports."""
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    directory = installed("servicebus-conformance", *(f"{name}@{version}" for name, version in wanted.items()))
    return Path(shutil.copy(SOURCE / "conformance.mjs", directory))


@pytest.fixture
def bus() -> Iterator[ServiceBus]:
    with service_bus() as bus:
        yield bus


def test_what_another_sdk_finds(bus: ServiceBus, script: Path) -> None:
    run = subprocess.run(
        ["node", script, bus.connection_string], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "message": [{"text": "ü"}, "json", "s", {"k": 1}, 0],
        "abandoned": [1, {"k": 2}],
        "dead": ["a", "why", "because"],
        "deferred": "b",
        "peeked": [["kept", "scheduled"]],
        "subscribed": ["1", "2"],
        "rules": [["sql", "color = 'red'"], ["correlation", ["order", {"size": 1}]]],
        "ruleTwice": "MessagingEntityAlreadyExists",
        "noRule": "GeneralError",
        "filtered": ["red", "order"],
        "notFound": "MessagingEntityNotFound",
        "session": "SessionCannotBeLocked",  # what this SDK makes of any refusal of a session
        "lockLost": "MessageLockLost",
    }
    assert bus.counts("q").empty
