"""A validator that knows the committed schemas alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.message_schemas import MessageSchemas

CONTRACTS = MessageSchemas(Path(__file__).parents[2] / "contracts" / "schemas")
(EVENT,) = (each for each in CONTRACTS.named("maintenance-event")["examples"] if each["type"].endswith(".duplicate.v1"))
(REQUEST, _) = CONTRACTS.named("maintenance-request")["examples"]
(CANCELLATION,) = CONTRACTS.named("maintenance-cancellation")["examples"]


def test_event_of_the_contract_has_no_problem() -> None:
    assert CONTRACTS.problem_of_event(json.dumps(EVENT).encode()) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ""}, "$.id: "),
        ({"dataschema": "https://example.com/1"}, "$.dataschema: "),
        ({"data": {**EVENT["data"], "status": "Done"}}, "$.status: "),
        ({"data": {}}, "required property"),
    ],
)
def test_event_that_is_not_as_its_schemas_say_has_a_problem(changes: dict[str, Any], reason: str) -> None:
    problem = CONTRACTS.problem_of_event(json.dumps({**EVENT, **changes}).encode())
    assert problem is not None
    assert reason in problem


def test_event_that_is_no_json_has_a_problem() -> None:
    assert str(CONTRACTS.problem_of_event(b"{")).startswith("no JSON")


def test_request_and_cancellation_are_judged_by_their_own_schemas() -> None:
    assert CONTRACTS.takes_request(json.dumps(REQUEST).encode())
    assert CONTRACTS.takes_request(json.dumps(CANCELLATION).encode())
    assert not CONTRACTS.takes_request(json.dumps({**REQUEST, "instanceIDs": ["1"]}).encode())
    assert not CONTRACTS.takes_request(json.dumps({**CANCELLATION, "requestId": "r"}).encode())


def test_schema_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="maintenance-event; there are none"):
        MessageSchemas(tmp_path).named("maintenance-event")
