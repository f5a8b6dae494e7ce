"""The control API under `/sandbox/` on the Resource Manager's port: seed, inspect, inject faults, list calls, reset.

It needs no token, so it is for this machine alone: a Host that is not loopback’s is an error (a name that someone
points at 127.0.0.1), and so is a call of a web page (it carries an Origin). JSON has the fields of
`ScaleSetSeed`, `InstanceSeed` and `Fault` in camelCase; durations are seconds or ISO 8601; unknown fields are errors.

| call | does |
|---|---|
| `GET /sandbox/scale-sets` | all scale sets with their instances as they stand |
| `POST /sandbox/scale-sets` | places one scale set, or a list of them |
| `GET /sandbox/scale-sets/{subscription}/{group}/{name}` | one scale set |
| `POST /sandbox/example` | places the example environment; optional body `{"duration": 4}` |
| `GET /sandbox/operations` | operations that can still be read, and how they stand |
| `GET /sandbox/calls?method=…&path=…` | the calls received, filtered by method and by text in the path |
| `DELETE /sandbox/calls` | removes them |
| `GET /sandbox/faults` | the faults, how often they struck, and how often they still will |
| `POST /sandbox/faults` | adds one fault, or a list of them |
| `DELETE /sandbox/faults`, `DELETE /sandbox/faults/{number}` | removes all, or one |
| `POST /sandbox/reset` | as new: no scale sets, operations, faults, calls; all buckets full |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from sandbox.resource_manager.calls import Call, Calls
from sandbox.resource_manager.compute.instances import InstanceReport
from sandbox.resource_manager.compute.seeds import ScaleSetSeed, seed_example
from sandbox.resource_manager.errors import ArmError
from sandbox.resource_manager.faults import Fault, FaultReport, Faults
from sandbox.resource_manager.rest import views
from sandbox.resource_manager.rest.messages import Request, Response

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

_SEEDS: TypeAdapter[list[ScaleSetSeed]] = TypeAdapter(list[ScaleSetSeed])
_FAULTS: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])
_FAULT_REPORTS: TypeAdapter[list[FaultReport]] = TypeAdapter(list[FaultReport])
_INSTANCES: TypeAdapter[list[InstanceReport]] = TypeAdapter(list[InstanceReport])
_DURATION: TypeAdapter[timedelta] = TypeAdapter(timedelta)
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class Controlled(Protocol):
    """The Resource Manager, as far as the control API uses it."""

    calls: Calls
    faults: Faults

    @property
    def scale_sets(self) -> list[ScaleSetSeed]: ...

    def seed(self, scale_set: ScaleSetSeed) -> None: ...

    def instances(self, subscription_id: str, resource_group_name: str, name: str) -> list[InstanceReport]: ...

    def operations(self) -> list[dict[str, Any]]: ...

    def reset(self) -> None: ...


def control(resource_manager: Controlled, request: Request, headers: Mapping[str, str]) -> Response:
    """Handle a call under `/sandbox/`. Every problem is a response with an `error` in it."""
    try:
        _check_origin(headers)
        return _Control(resource_manager, request).respond()
    except ArmError as error:
        return Response.of_error(error)
    except ValidationError as error:
        details = tuple(
            {"code": each["type"], "target": ".".join(map(str, each["loc"])), "message": each["msg"]}
            for each in error.errors(include_url=False, include_context=False)
        )
        return Response.of_error(ArmError(400, "InvalidRequest", "The body is invalid.", None, details))
    except ValueError as error:
        return Response.of_error(ArmError(400, "InvalidRequest", str(error)))


def _check_origin(headers: Mapping[str, str]) -> None:
    host = headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in _LOOPBACK:
        raise ArmError(403, "HostNotLoopback", f"/sandbox/ serves loopback names only, not {host!r}.")
    if "Origin" in headers:
        raise ArmError(403, "OriginNotAllowed", "/sandbox/ does not serve web pages.")


class _Control:
    """One call on the control API."""

    def __init__(self, resource_manager: Controlled, request: Request) -> None:
        self._arm = resource_manager
        self._request = request

    def respond(self) -> Response:
        method, (_, *path) = self._request.method, self._request.segments
        match path:
            case [] if method == "GET":
                return _json({"documentation": (__doc__ or "").splitlines()})
            case ["scale-sets", *names]:
                return self._scale_sets(method, names)
            case ["calls"]:
                return self._calls(method)
            case ["faults", *number]:
                return self._faults(method, number)
            case ["operations"] if method == "GET":
                return _json(self._arm.operations())
            case ["example"] if method == "POST":
                return self._example()
            case ["reset"] if method == "POST":
                self._arm.reset()
                return Response(204)
        return self._unknown()

    def _scale_sets(self, method: str, names: list[str]) -> Response:
        match [method, *names]:
            case ["GET"]:
                return _json([self._scale_set(each) for each in self._arm.scale_sets])
            case ["POST"]:
                return self._seed(_SEEDS.validate_python(self._list()))
            case ["GET", subscription_id, resource_group_name, name]:
                return self._one_scale_set((subscription_id, resource_group_name, name))
        return self._unknown()

    def _calls(self, method: str) -> Response:
        calls = self._arm.calls
        if method == "GET":
            query = self._request.query()
            found = calls.matching(query.get("method", ""), query.get("path", ""))
            return _json({"total": calls.total, "calls": [_call(each) for each in found]})
        if method == "DELETE":
            calls.clear()
            return Response(204)
        return self._unknown()

    def _faults(self, method: str, number: list[str]) -> Response:
        faults = self._arm.faults
        match [method, *number]:
            case ["GET"]:
                return Response.json(_FAULT_REPORTS.dump_json(faults.reports(), by_alias=True))
            case ["POST"]:
                ordered = _FAULTS.validate_python(self._list())
                return _json({"numbers": [faults.add(each) for each in ordered]}, 201)
            case ["DELETE"]:
                faults.reset()
                return Response(204)
            case ["DELETE", each] if re.fullmatch("[0-9]+", each):
                faults.remove(int(each))
                return Response(204)
        return self._unknown()

    def _unknown(self) -> Response:
        raise ArmError(404, "NotFound", f"There is no {self._request.method} {self._request.path}: see GET /sandbox/")

    def _body(self) -> Any:
        return _ANYTHING.validate_json(self._request.body) if self._request.body else None

    def _list(self) -> Any:
        body = self._body()
        return body if isinstance(body, list) else [body]

    def _seed(self, seeds: list[ScaleSetSeed]) -> Response:
        for each in seeds:
            self._arm.seed(each)
        return _json([self._scale_set(each) for each in seeds], 201)

    def _example(self) -> Response:
        body = self._body() or {}
        if not isinstance(body, dict) or body.keys() - {"duration"}:
            raise ValueError("the body is an object with nothing in it but duration")
        seed_example(self._arm, duration=_DURATION.validate_python(body.get("duration", 4)))
        return _json([self._scale_set(each) for each in self._arm.scale_sets], 201)

    def _one_scale_set(self, names: tuple[str, str, str]) -> Response:
        wanted = tuple(each.lower() for each in names)
        for each in self._arm.scale_sets:
            if (each.subscription_id.lower(), each.resource_group_name.lower(), each.name.lower()) == wanted:
                return _json(self._scale_set(each))
        raise ArmError(404, "NotFound", f"There is no scale set {'/'.join(names)}.")

    def _scale_set(self, seed: ScaleSetSeed) -> dict[str, Any]:
        instances = self._arm.instances(seed.subscription_id, seed.resource_group_name, seed.name)
        return {
            "subscriptionId": seed.subscription_id,
            "resourceGroupName": seed.resource_group_name,
            "name": seed.name,
            "location": seed.location,
            "orchestrationMode": seed.orchestration_mode,
            "instances": _INSTANCES.dump_python(instances, mode="json", by_alias=True),
        }


def _call(call: Call) -> dict[str, Any]:
    return {
        "time": call.time.isoformat(),
        "method": call.method,
        "path": call.path,
        "query": list(call.query),
        "headers": dict(call.headers),
        "tokenSeen": call.token_seen,
        "authorized": call.authorized,
        "body": call.body.decode(errors="replace") or None,
        "status": call.status,
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response.json(views.as_json(value), status)
