"""What docs/sandbox.md shows works as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.resource_manager import Limits, ResourceManager

DOCUMENT = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("json"))
def test_every_order_is_accepted(block: str) -> None:
    order: Any = json.loads(block)
    kind = "scale-sets" if "instances" in order else "faults"
    with ResourceManager() as arm:
        response = httpx.post(f"{arm.endpoint}/sandbox/{kind}", json=order)
        assert response.status_code == 201, response.text


def test_the_python_runs() -> None:
    for block in blocks("python"):
        exec(compile(block, "docs/sandbox.md", "exec"), {})  # noqa: S102 - the project's own documentation


@pytest.mark.parametrize("name", re.findall(r"`((?:GET|POST|DELETE) /sandbox/[^`]*)`", DOCUMENT))
def test_every_call_exists(name: str) -> None:
    method, path = name.split(" ")
    path = re.sub(r"\?.*|\[.*\]", "", path).replace("{number}", "1")
    with ResourceManager() as arm:
        httpx.post(f"{arm.endpoint}/sandbox/example")
        path = path.replace("{subscription}/{group}/{name}", "11111111-1111-4111-8111-111111111111/shop/web")
        response = httpx.request(
            method, arm.endpoint + path, json=[] if method == "POST" and "example" not in path else None
        )
        assert response.status_code in {200, 201, 204}, response.text


def test_the_limits_are_those_of_the_table() -> None:
    limits, table = Limits(), DOCUMENT[DOCUMENT.index("### Throttling") :]
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) a (second|minute) \|$", table, re.MULTILINE)
    shown = [(int(bucket), int(refill) / (60 if each == "minute" else 1)) for _, bucket, refill, each in rows]
    assert shown == [
        (rate.bucket, rate.per_second)
        for rate in (
            limits.reads,
            limits.writes,
            limits.maintenance_per_subscription,
            limits.list_instances_per_scale_set,
            limits.list_instances_per_subscription,
            limits.get_operation_per_operation,
            limits.get_operation_per_subscription,
        )
    ]
