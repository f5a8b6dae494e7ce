"""The Service Bus as @azure/service-bus sees it, where Node.js and npm are."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.servicebus import ServiceBus
from tests.conformance.namespace import service_bus

SOURCE = Path(__file__).parent / "node"
INSTALLED = Path(__file__).parents[2] / "build" / "servicebus-conformance"  # kept from run to run, not in git


@pytest.fixture
def script() -> Path:
    """The script, beside the packages it imports."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed: @azure/service-bus is not tried")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    wanted = (SOURCE / "package.json").read_text()
    manifest = INSTALLED / "package.json"
    if not (INSTALLED / "node_modules").exists() or not manifest.exists() or manifest.read_text() != wanted:
        manifest.unlink(missing_ok=True)
        shutil.copy(SOURCE / "package.json", INSTALLED / "installing.json")
        patience = ["--fetch-retries=0", "--fetch-timeout=30000"]  # where there is no registry, say so soon
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--no-save", *patience]
        try:
            subprocess.run(
                [*command, *_packages(wanted)], cwd=INSTALLED, capture_output=True, text=True, timeout=60, check=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"@azure/service-bus cannot be installed: {error} {str(error.stderr)[-300:]}")
        (INSTALLED / "installing.json").rename(manifest)  # last: says that the installation is whole
    return Path(shutil.copy(SOURCE / "conformance.mjs", INSTALLED))


def _packages(manifest: str) -> list[str]:
    return [f"{name}@{version}" for name, version in json.loads(manifest)["dependencies"].items()]


@pytest.fixture
def bus() -> Iterator[ServiceBus]:
    with service_bus() as bus:
        yield bus


def test_what_another_sdk_finds(bus: ServiceBus, script: Path) -> None:
    run = subprocess.run(
        ["node", script, bus.connection_string], capture_output=True, text=True, timeout=60, check=False
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
