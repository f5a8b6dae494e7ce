"""What the page may ask for, as JSON with a `do`, and how it is read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from sandbox.resource_manager import Outcome

ALL = "*"
"""In place of an entity: all of Service Bus."""

_LONGEST_BODY = 1_000_000
_DAY = 86_400


class ControlError(Exception):
    """What was asked for cannot be done; `problems` says why, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Send(_Command):
    """Send a message to the requests queue."""

    do: Literal["send"]
    body: str = Field(max_length=_LONGEST_BODY)
    message_id: str | None = Field(default=None, min_length=1, max_length=128)


class Alert(_Command):
    """Post an alert to the worker."""

    do: Literal["alert"]
    body: str = Field(max_length=_LONGEST_BODY)


class ArmFault(_Command):
    """Let calls to Resource Manager fail."""

    do: Literal["fault"]
    kind: Literal["throttled", "unavailable", "cut-before", "cut-after"]
    calls: Literal["POST", "GET", "*"] = "*"
    times: int | None = Field(default=1, ge=1, le=1_000_000)
    retry_after: int = Field(default=5, ge=0, le=_DAY)


class Lag(_Command):
    """Let the views of a scale set lag."""

    do: Literal["lag"]
    scale_set: str
    seconds: float = Field(gt=0, le=_DAY)


class Failing(_Command):
    """Let the maintenance of an instance end otherwise."""

    do: Literal["failing"]
    scale_set: str
    instance_id: str
    outcome: Outcome = "Failed"


class Outage(_Command):
    """Let a queue or a topic be away, or all of them."""

    do: Literal["outage"]
    entity: str
    seconds: float = Field(gt=0, le=_DAY)


class ClearAll(_Command):
    """Clear all faults."""

    do: Literal["clear-all"]


class Clear(_Command):
    """Clear one fault, by its key."""

    do: Literal["clear"]
    fault: str


class Advance(_Command):
    """Move the clock."""

    do: Literal["advance"]
    seconds: float = Field(gt=0, le=40 * _DAY)


class Worker(_Command):
    """Kill the worker, or start it again."""

    do: Literal["kill-worker", "start-worker"]


_COMMAND: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Send | Alert | ArmFault | Lag | Failing | Outage | Clear | ClearAll | Advance | Worker,
        Field(discriminator="do"),
    ]
)


def read_command(body: bytes) -> Any:
    """The command in a JSON document. Raises ControlError with all problems."""
    try:
        return _COMMAND.validate_json(body)
    except ValidationError as error:
        raise ControlError(*(_problem(each) for each in error.errors(include_url=False))) from None


def _problem(error: Any) -> str:
    where = ".".join(map(str, error["loc"][1:] or error["loc"]))
    return f"{where}: {error['msg']}" if where else str(error["msg"])
