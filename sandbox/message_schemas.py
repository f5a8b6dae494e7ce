"""What a stranger's JSON Schema validator says of messages, who has nothing but a folder of schemas by their `$id`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from referencing import Registry, Resource

ENVELOPE = "maintenance-event"
REQUEST, CANCELLATION = "maintenance-request", "maintenance-cancellation"
# The schema of what has this field; what has none of them is a request.
BY_FIELD = {
    "cancel": CANCELLATION,
    "pause": "maintenance-pause",
    "resume": "maintenance-resume",
    "proceed": "maintenance-proceed",
}


def schema_of(document: Mapping[str, Any]) -> str:
    """The name of the schema that a message to the requests queue has to fulfil."""
    return next((name for field, name in BY_FIELD.items() if field in document), REQUEST)


class MessageSchemas:
    """The schemas below a folder, each `schema.json` by its `$id`. Nothing is fetched."""

    def __init__(self, folder: Path) -> None:
        documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("schema.json"))]
        self.by_id: dict[str, dict[str, Any]] = {document["$id"]: document for document in documents}
        self._registry: Registry[Any] = Registry().with_resources(
            (identifier, Resource.from_contents(schema)) for identifier, schema in self.by_id.items()
        )

    def validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        """The validator of a schema, which may refer to those of the folder."""
        return Draft202012Validator(schema, registry=self._registry, format_checker=FormatChecker())

    def named(self, name: str) -> dict[str, Any]:
        """The newest schema of a name. Raises LookupError where there is none."""
        numbers = {int(each.split("/")[-2]): each for each in self.by_id if f"/schemas/{name}/" in each}
        if numbers:
            return self.by_id[numbers[max(numbers)]]
        raise LookupError(f"no schema is called {name}; there are {', '.join(self.by_id) or 'none'}")

    def problem_of_event(self, body: bytes) -> str | None:
        """What is wrong with a CloudEvent in structured JSON, or with its data by its `dataschema`; None: nothing."""
        try:
            event = json.loads(body)
            self.validator(self.named(ENVELOPE)).validate(event)
            self.validator(self.by_id[event["dataschema"]]).validate(event["data"])
        except ValidationError as error:
            return f"{error.json_path}: {error.message}"
        except ValueError as error:
            return f"no JSON: {error}"
        return None

    def takes_request(self, body: bytes) -> bool:
        """Whether the schema accepts a body that is one of a request, a cancellation, a pause, its end or a proceed."""
        document = json.loads(body)
        return bool(self.validator(self.named(schema_of(document))).is_valid(document))
