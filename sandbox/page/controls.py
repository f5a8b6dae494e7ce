"""What the page does: send a request or a cancellation, post an alert, add and clear faults, move the clock, end the
worker. Each comes as JSON with a `do`, and is done as any client would: over AMQP, over HTTP.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from sandbox.clock import Clock, HandMovedClock
from sandbox.page.picture import key_of
from sandbox.resource_manager import Fault, Outcome, ResourceManager
from sandbox.servicebus import ServiceBus

_SENDING_SECONDS = 10.0
_LONGEST_BODY = 1_000_000
_DAY = 86_400


class WorkerProcess(Protocol):
    """A worker that the sandbox started."""

    @property
    def running(self) -> bool: ...

    def kill(self) -> None:
        """End it at once, as a crash would."""

    def start(self) -> None:
        """Start it again."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What there is besides the services. `post_alert` returns a status and a text; None: there is no such thing.
    `command`: of a shell, with `{}` for what it does."""

    clock: Clock
    requests_queue: str
    post_alert: Callable[[bytes], Awaitable[tuple[int, str]]] | None = None
    worker: WorkerProcess | None = None
    command: str | None = None


class ControlError(Exception):
    """What was asked for cannot be done; `problems` says why, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class _Send(_Command):
    do: Literal["send"]
    body: str = Field(max_length=_LONGEST_BODY)
    message_id: str | None = Field(default=None, min_length=1, max_length=128)


class _Alert(_Command):
    do: Literal["alert"]
    body: str = Field(max_length=_LONGEST_BODY)


class _ArmFault(_Command):
    do: Literal["fault"]
    kind: Literal["throttled", "unavailable", "cut-before", "cut-after"]
    calls: Literal["POST", "GET", "*"] = "*"
    times: int | None = Field(default=1, ge=1, le=1_000_000)
    retry_after: int = Field(default=5, ge=0, le=_DAY)


class _Lag(_Command):
    do: Literal["lag"]
    scale_set: str
    seconds: float = Field(gt=0, le=_DAY)


class _Failing(_Command):
    do: Literal["failing"]
    scale_set: str
    instance_id: str
    outcome: Outcome = "Failed"


class _Outage(_Command):
    do: Literal["outage"]
    entity: str
    seconds: float = Field(gt=0, le=_DAY)


class _Clear(_Command):
    do: Literal["clear"]
    fault: str


class _Advance(_Command):
    do: Literal["advance"]
    seconds: float = Field(gt=0, le=40 * _DAY)


class _Worker(_Command):
    do: Literal["kill-worker", "start-worker"]


_COMMAND: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Send | _Alert | _ArmFault | _Lag | _Failing | _Outage | _Clear | _Advance | _Worker,
        Field(discriminator="do"),
    ]
)


class Controls:
    """Carries out commands on the services. Used on one event loop."""

    def __init__(self, bus: ServiceBus, arm: ResourceManager, tools: Tools) -> None:
        self._bus, self._arm, self._tools = bus, arm, tools
        self._lags: dict[str, float] = {}
        self._failing: dict[tuple[str, str], Outcome] = {}

    def about(self) -> dict[str, Any]:
        """What can be done here, for the page's section of that name."""
        tools = self._tools
        worker = None if tools.worker is None else "running" if tools.worker.running else "ended"
        return {
            "requests": tools.requests_queue,
            "command": tools.command,
            "canAlert": tools.post_alert is not None,
            "canMoveClock": isinstance(tools.clock, HandMovedClock),
            "worker": worker,
        }

    def faults_of_sets(self) -> dict[str, str]:
        """The lagging views and failing instances that were added here, as texts by their keys."""
        # A reset of the Resource Manager removes them with their scale sets.
        there = {key_of(seed) for seed in self._arm.scale_sets} if self._lags or self._failing else set()
        self._lags = {key: lag for key, lag in self._lags.items() if key in there}
        self._failing = {each: outcome for each, outcome in self._failing.items() if each[0] in there}
        found = {f"lag:{key}": f"{_short(key)}: views lag by {lag:g} s" for key, lag in self._lags.items()}
        for (key, instance_id), outcome in self._failing.items():
            found[f"failing:{key}\n{instance_id}"] = f"{_short(key)}/{instance_id}: maintenance ends as {outcome}"
        return found

    async def carry_out(self, body: bytes) -> str:
        """Do what a JSON document asks for; returns what was done, in words. Raises ControlError."""
        try:
            command = _COMMAND.validate_json(body)
        except ValidationError as error:
            raise ControlError(*(_problem(each) for each in error.errors(include_url=False))) from None
        try:
            return await self._carry_out(command)
        except (LookupError, ValueError, OSError) as error:
            raise ControlError(str(error)) from error

    async def _carry_out(self, command: object) -> str:
        match command:
            case _Send():
                return await self._send(command)
            case _Alert(body=body):
                if self._tools.post_alert is None:
                    raise ControlError("There is no worker here to post an alert to: start one with `up --worker`.")
                status, text = await self._tools.post_alert(body.encode())
                return f"HTTP {status} {text}"
            case _ArmFault():
                number = self._arm.faults.add(_fault(command))
                return f"Fault {number} strikes the next call that matches."
            case _Lag(scale_set=key, seconds=seconds):
                self._arm.lag_views(*_names(key), timedelta(seconds=seconds))
                self._lags[key] = seconds
                return f"Views of {_short(key)} lag by {seconds:g} s from now on."
            case _Failing(scale_set=key, instance_id=instance_id, outcome=outcome):
                return self._fail(key, instance_id, outcome)
            case _Outage(entity=entity, seconds=seconds):
                self._bus.faults.outage(entity, timedelta(seconds=seconds))
                return f"{entity} is away for {seconds:g} s."
            case _Clear(fault=key):
                self._clear(key)
                return "The fault is cleared."
            case _Advance(seconds=seconds):
                if not isinstance(self._tools.clock, HandMovedClock):
                    raise ControlError("The clock here is the machine's: it cannot be moved.")
                self._tools.clock.advance(timedelta(seconds=seconds))
                return f"The clock was moved by {seconds:g} s."
            case _Worker(do=what):
                return self._change_worker(what)
        raise AssertionError(command)

    async def _send(self, command: _Send) -> str:
        # An SDK that takes half a second to import, on a thread: the stream goes on meanwhile.
        sdk = await asyncio.to_thread(importlib.import_module, "azure.servicebus")
        client_type = (await asyncio.to_thread(importlib.import_module, "azure.servicebus.aio")).ServiceBusClient
        queue = self._tools.requests_queue
        body = command.body.encode("utf-8", "backslashreplace")
        try:
            async with (
                asyncio.timeout(_SENDING_SECONDS),
                client_type.from_connection_string(self._bus.connection_string, retry_total=0) as client,
                client.get_queue_sender(queue) as sender,
            ):
                await sender.send_messages(sdk.ServiceBusMessage(body, message_id=command.message_id))
        except (sdk.exceptions.ServiceBusError, TimeoutError) as error:
            reason = str(error) or f"no response within {_SENDING_SECONDS:g} s"
            raise ControlError(f"The message was not sent to {queue}: {reason}") from error
        return f"Sent to {queue}."

    def _fail(self, key: str, instance_id: str, outcome: Outcome) -> str:
        try:
            self._arm.set_outcome(*_names(key), instance_id, outcome)
        except KeyError:
            raise ControlError(f"{_short(key)} has no instance {instance_id!r}.") from None
        if outcome == "Succeeded":
            self._failing.pop((key, instance_id), None)
        else:
            self._failing[key, instance_id] = outcome
        return f"The maintenance of {_short(key)}/{instance_id} will end as {outcome}."

    def _clear(self, fault: str) -> None:
        kind, _, rest = fault.partition(":")
        match kind:
            case "arm" if rest.isdecimal():
                self._arm.faults.remove(int(rest))
            case "bus":
                self._clear_bus(rest.partition(":")[2])
            case "lag" if rest in self._lags:
                del self._lags[rest]
                self._arm.lag_views(*_names(rest), timedelta(0))
            case "failing" if tuple(rest.split("\n", 1)) in self._failing:
                key, instance_id = rest.split("\n", 1)
                self._fail(key, instance_id, "Succeeded")
            case _:
                raise ControlError(f"There is no fault {fault!r} (any more).")

    def _clear_bus(self, entity: str) -> None:
        if entity:
            self._bus.faults.accept(entity)
        else:
            self._bus.faults.reset()

    def _change_worker(self, what: str) -> str:
        worker = self._tools.worker
        if worker is None:
            raise ControlError("The sandbox did not start the worker, so it does not end it: see `up --worker`.")
        if what == "kill-worker":
            worker.kill()
            return "The worker was killed."
        worker.start()
        return "The worker was started."


def _fault(command: _ArmFault) -> Fault:
    path = "*/performMaintenance" if command.calls == "POST" else "*"
    fault = Fault(method=command.calls, path=path, times=command.times)
    retry_after = {"Retry-After": str(command.retry_after)}
    match command.kind:
        case "throttled":
            body = {"code": "OperationNotAllowed", "message": "The server rejected the request: too many requests."}
            return replace(fault, status=429, headers=retry_after, json=body)
        case "unavailable":
            return replace(fault, status=503, headers=retry_after)
        case "cut-before":
            return replace(fault, cut="before")
        case "cut-after":
            return replace(fault, cut="after")


def _problem(error: Any) -> str:
    where = ".".join(map(str, error["loc"][1:] or error["loc"]))
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _names(key: str) -> tuple[str, str, str]:
    subscription, _, rest = key.partition("/")
    group, _, name = rest.partition("/")
    return subscription, group, name


def _short(key: str) -> str:
    return key.partition("/")[2]
