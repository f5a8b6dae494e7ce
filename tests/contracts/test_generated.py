"""The committed contracts: equal to what the models say, valid, and true to their own examples."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from contracts.asyncapi import document
from contracts.event_models import EVENTS, InstanceOutcome
from contracts.event_schemas import EXAMPLES, cloud_event
from contracts.generated import files
from contracts.identity import ROOT
from contracts.yaml_text import yaml_text
from maintenance.domain.operation import Result, Status
from tests.support.contract import check_event, schemas
from tests.support.limit import LIMIT
from tests.support.node_packages import installed

META_SCHEMA = Path(__file__).parent / "asyncapi-3.0.0.json"
# The digest of each published schema by its `$id`.
PUBLISHED = Path(__file__).parent / "published.json"
PATHS = [str(path.relative_to(ROOT.parent)) for path in files()]


@pytest.mark.parametrize("path", PATHS)
def test_committed_file_is_what_the_models_say(path: str) -> None:
    committed = ROOT.parent / path
    assert committed.read_text(encoding="utf-8") == files()[committed], "run make contracts"


def test_no_file_is_committed_that_the_models_do_not_write() -> None:
    committed = {*(ROOT / "schemas").rglob("*.json"), *(ROOT.parent / "docs" / "reference").glob("*.md")}
    assert committed <= files().keys()


def test_schema_with_a_published_id_is_what_was_published() -> None:
    """Published with 0.2.0. Whoever knows a schema by its `$id` keeps a copy of it: what changes needs the next number
    (`contracts.identity.schema_id`), and a line in the file for it, beside the old one."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    digests = {identifier: _digest(schema) for identifier, schema in schemas().items()}
    changed = [identifier for identifier in published if digests.get(identifier) != published[identifier]]
    assert changed == [], "changed or gone: give what is new the next number, and leave what was published"
    assert digests == published, f"add to {PUBLISHED.name} when they are published"


@pytest.mark.parametrize("identifier", schemas())
def test_schema_is_valid_and_so_are_its_examples(identifier: str) -> None:
    schema = schemas()[identifier]
    Draft202012Validator.check_schema(schema)
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)
    undescribed = [name for name, field in schema["properties"].items() if not field.get("description")]
    assert undescribed == []


def test_each_end_and_outcome_of_the_worker_is_in_the_contract() -> None:
    outcome = InstanceOutcome.model_json_schema(by_alias=True)["properties"]["outcome"]
    assert set(outcome["enum"]) == {each.value for each in Result}
    statuses: set[str] = set()
    for model in EVENTS.values():
        status = model.model_json_schema()["properties"]["status"]
        statuses |= {status["const"]} if "const" in status else set(status["enum"])
    assert statuses - {"Accepted", "InProgress", "Deferred", "Awaiting", "Due"} == {each.value for each in Status}


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind in EVENTS for number in range(len(EXAMPLES[kind]))]
)
def test_example_of_an_event_is_what_its_schemas_say(kind: str, number: int) -> None:
    check_event(cloud_event(kind, number))


def test_asyncapi_document_is_valid() -> None:
    Draft7Validator(json.loads(META_SCHEMA.read_text(encoding="utf-8"))).validate(document())


@pytest.mark.long
def test_asyncapi_document_is_what_asyncapis_own_parser_accepts() -> None:
    directory = installed("asyncapi-parser", "@asyncapi/parser@3.6.6")
    script = shutil.copy(Path(__file__).parent / "validate.mjs", directory)
    command = ["node", script, str(ROOT / "asyncapi.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert run.returncode == 0, run.stderr
    channels = [["maintenance-requests", 5], ["maintenance-events", len(EVENTS)]]
    assert json.loads(run.stdout) == {"problems": [], "channels": channels}


def test_examples_of_asyncapi_messages_are_what_their_payloads_say() -> None:
    messages = document()["components"]["messages"]
    for message in messages.values():
        payload = Draft202012Validator(_resolved(message["payload"]["schema"]))
        for example in message["examples"]:
            payload.validate(example["payload"])
        # A payload that admits everything would be no contract.
        assert not payload.is_valid({"status": "Other", "type": "Other"})


def test_yaml_quotes_what_yaml_would_read_as_something_else() -> None:
    text = yaml_text({"no": "yes", "a-b": ["1.0", None, True, []], "$ref": {}, "x y": {"é": 1}})
    assert text == ('"no": "yes"\na-b:\n  - "1.0"\n  - null\n  - true\n  - []\n$ref: {}\n"x y":\n  "é": 1\n')


def _digest(schema: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _resolved(schema: Any) -> Any:
    """The schema with the files that it refers to in their place, as a tool reads it."""
    match schema:
        case {"$ref": str(path)} if path.startswith("./"):
            return json.loads((ROOT / path).read_text(encoding="utf-8"))
        case dict():
            return {name: _resolved(value) for name, value in schema.items()}
        case list():
            return [_resolved(each) for each in schema]
    return schema
