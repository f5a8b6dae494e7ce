"""Events as a subscriber receives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.contract import check_event


@dataclass(frozen=True, slots=True)
class Event:
    """CloudEvent as a subscriber receives it, with the properties of its message."""

    message_id: str
    subject: str
    correlation_id: str
    properties: dict[str, Any]
    document: dict[str, Any]

    def __post_init__(self) -> None:
        check_event(self.document)

    @property
    def kind(self) -> str:
        return str(self.document["type"]).split(".")[-2]

    @property
    def status(self) -> str:
        return str(self.document["data"]["status"])

    @property
    def run_id(self) -> str:
        """Run that the event is about: every message of it has an id made of this."""
        return str(self.document["data"]["runId"])

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.document["data"]
        return data

    @property
    def outcomes(self) -> dict[str, str]:
        return {entry["instanceId"]: entry["outcome"] for entry in self.data.get("instances", [])}

    @property
    def ends(self) -> bool:
        return self.kind in ("completed", "rejected", "duplicate")
