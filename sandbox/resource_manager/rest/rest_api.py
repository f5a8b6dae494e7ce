"""The REST API of Azure Resource Manager as far as maintenance of scale sets needs it: request in, response out.

Source: the REST reference of Microsoft.Compute, 2024-07-01. Paths are compared without letter case, as in ARM.
The token has been checked before a call comes here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sandbox.resource_manager import errors
from sandbox.resource_manager.compute.instances import Instance
from sandbox.resource_manager.compute.operations import Operation
from sandbox.resource_manager.compute.scale_sets import ScaleSet
from sandbox.resource_manager.compute.state import ComputeState
from sandbox.resource_manager.errors import ArmError
from sandbox.resource_manager.rest import parameters, views
from sandbox.resource_manager.rest.messages import Request, Response
from sandbox.resource_manager.rest.operation_urls import OperationUrls
from sandbox.resource_manager.rest.pages import page_of
from sandbox.resource_manager.rest.throttling import LimitLeft, Limits, Policy, Throttle

_Item = TypeVar("_Item")

_UNLIMITED = {
    kind: {
        f"x-ms-ratelimit-remaining-subscription-{kind}": str(bucket - 1),
        f"x-ms-ratelimit-remaining-subscription-global-{kind}": str(15 * bucket - 1),
    }
    for kind, bucket in (("reads", Limits().reads.bucket), ("writes", Limits().writes.bucket))
}
"""The rate-limit headers without throttling: nearly full buckets."""

_FILTER_BY_SCALE_SET = re.compile(r"'?virtualMachineScaleSet/id'?\s+eq\s+'([^']+)'", re.IGNORECASE)


@dataclass(slots=True)
class _Call:
    """A parsed call: the path's segments as sent and in small letters, and the query."""

    request: Request
    segments: list[str]
    fixed: list[str]
    query: dict[str, str]
    now: datetime

    @property
    def with_view(self) -> bool:
        return self.query.get("$expand", "").lower() == "instanceview"

    @property
    def reads(self) -> bool:
        return self.request.method == "GET"

    def only(self, method: str) -> None:
        if self.request.method != method:
            raise errors.method_not_allowed(self.request.method)


class RestApi:
    """Handles calls on the scale sets. Not safe for threads: the server holds a lock around each use."""

    def __init__(
        self, compute: ComputeState, *, throttle: Throttle | None, retry_after: int | None, page_size: int
    ) -> None:
        """`throttle`: None = no limits. `retry_after`: seconds, while an operation runs; None = not sent."""
        self.compute = compute
        self._throttle = throttle
        self._retry_after = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._page_size = page_size
        self._urls = OperationUrls()

    def respond(self, request: Request, now: datetime) -> Response:
        """Handle a call at the time `now`. Errors are responses, too."""
        headers: dict[str, str] = {}
        try:
            response = self._respond(request, now, headers)
        except ArmError as error:
            response = Response.of_error(error)
        # A header that the response has already (an error for throttling says what is left) wins.
        response.headers = {**headers, **response.headers}
        return response

    def limits_left(self, now: datetime) -> list[LimitLeft]:
        """What is left of each limit that was used."""
        return [] if self._throttle is None else self._throttle.left(now)

    def scale_set_of(self, request: Request) -> ScaleSet | None:
        """The scale set that a call is about, or that the VM belongs to that it is about; None = of none."""
        segments = request.segments
        if len(segments) < 8 or segments[5].lower() != "microsoft.compute":
            return None
        names = segments[1], segments[3], segments[7]
        try:
            match segments[6].lower():
                case "virtualmachinescalesets":
                    return self.compute.scale_sets.named(*names)
                case "virtualmachines":
                    return self.compute.scale_sets.virtual_machine(*names)[0]
        except ArmError:
            pass
        return None

    def _respond(self, request: Request, now: datetime, headers: dict[str, str]) -> Response:
        segments = request.segments
        fixed = [each.lower() for each in segments]
        if len(fixed) < 2 or fixed[0] != "subscriptions":
            raise errors.no_such_path(request.path)
        if len(fixed) == 8 and fixed[2] == "providers" and fixed[6] == "operations":
            # Its query is signed as a whole: nothing in it is looked at.
            call = _Call(request, segments, fixed, {}, now)
            headers.update(self._count(call, "get-operation", fixed[7]))
            return self._operation(call, fixed[7])
        call = _Call(request, segments, fixed, request.query(), now)
        parameters.check_api_version(call.query)
        parameters.check_subscription(segments[1])
        headers.update(self._count(call, _policy(call), request.path.lower()))
        if fixed[2:4] == ["providers", "microsoft.compute"]:
            return self._in_subscription(call)
        if fixed[2:3] == ["resourcegroups"] and fixed[4:6] == ["providers", "microsoft.compute"]:
            return self._in_resource_group(call)
        raise errors.no_such_path(request.path)

    def _count(self, call: _Call, policy: Policy | None, resource: str) -> dict[str, str]:
        write = call.request.method != "GET"
        if self._throttle is None:
            return _UNLIMITED["writes" if write else "reads"]
        return self._throttle.take(
            subscription=call.fixed[1],
            write=write,
            policy=policy,
            resource=resource,
            now=call.now,
        )

    # The paths

    def _in_subscription(self, call: _Call) -> Response:
        match call.fixed[4:]:
            case ["virtualmachinescalesets"]:
                return self._list_scale_sets(call, self.compute.scale_sets.within(call.segments[1]))
            case ["virtualmachines"]:
                return self._list_virtual_machines(call, self.compute.scale_sets.within(call.segments[1]))
        raise errors.no_such_path(call.request.path)

    def _in_resource_group(self, call: _Call) -> Response:
        subscription_id, group = call.segments[1], call.segments[3]
        match call.fixed[6:]:
            case ["virtualmachinescalesets"]:
                return self._list_scale_sets(call, self.compute.scale_sets.within(subscription_id, group))
            case ["virtualmachines"]:
                return self._list_virtual_machines(call, self.compute.scale_sets.within(subscription_id, group))
            case ["virtualmachinescalesets", _, *below]:
                scale_set = self.compute.scale_sets.named(subscription_id, group, call.segments[7])
                return self._on_scale_set(call, scale_set, below)
            case ["virtualmachines", _, *below]:
                shown_at = call.now if call.reads else None
                scale_set, instance = self.compute.scale_sets.virtual_machine(
                    subscription_id, group, call.segments[7], shown_at
                )
                return self._on_instance(call, scale_set, instance.seed.instance_id, below)
        raise errors.no_such_path(call.request.path)

    def _on_scale_set(self, call: _Call, scale_set: ScaleSet, below: list[str]) -> Response:
        match below:
            case ["performmaintenance"]:
                call.only("POST")
                if scale_set.flexible:
                    raise errors.not_for_flexible("performMaintenance.POST", scale_set.seed.name)
                return self._begin(call, scale_set, parameters.instance_ids(call.request.body))
            case ["virtualmachines"]:
                return self._list_instances(call, scale_set)
            case ["virtualmachines", _, *rest]:
                if scale_set.flexible:
                    raise errors.instance_id_not_a_number()
                return self._on_instance(call, scale_set, call.segments[9], rest)
            case []:
                call.only("GET")
                return Response.json(views.as_json(views.scale_set(scale_set, call.now)))
            case ["instanceview"]:
                call.only("GET")
                if scale_set.flexible:
                    raise errors.not_for_flexible("instanceView.GET", scale_set.seed.name)
                return Response.json(views.as_json(views.scale_set_instance_view(scale_set.shown(call.now).values())))
        raise errors.no_such_path(call.request.path)

    def _on_instance(self, call: _Call, scale_set: ScaleSet, instance_id: str, below: list[str]) -> Response:
        # Reads show what views report, performMaintenance decides by what is.
        instance = scale_set.instance(instance_id, call.now if call.reads else None)
        match below:
            case []:
                call.only("GET")
                return Response.json(views.instance(scale_set, instance, with_view=call.with_view).encode())
            case ["instanceview"]:
                call.only("GET")
                return Response.json(views.as_json(views.instance_view(instance)))
            case ["performmaintenance"]:
                call.only("POST")
                return self._begin(call, scale_set, [instance_id])
        raise errors.no_such_path(call.request.path)

    # What is done

    def _begin(self, call: _Call, scale_set: ScaleSet, instance_ids: list[str] | None) -> Response:
        operation = self.compute.perform_maintenance(scale_set, instance_ids, call.now)
        base = call.request.base
        return Response(
            202,
            {
                "Location": base + self._urls.location_target(operation),
                "Azure-AsyncOperation": base + self._urls.status_target(operation),
                **self._retry_after,
            },
        )

    def _operation(self, call: _Call, operation_id: str) -> Response:
        call.only("GET")
        operation = self.compute.operation(operation_id)
        if call.request.is_verbatim(self._urls.status_target(operation)):
            return self._show_status(operation)
        if call.request.is_verbatim(self._urls.location_target(operation)):
            return self._show_result(call, operation)
        raise errors.operation_url_altered()

    def _show_status(self, operation: Operation) -> Response:
        response = Response.json(views.operation_status(operation))
        if operation.ended is None:
            response.headers.update(self._retry_after)
        return response

    def _show_result(self, call: _Call, operation: Operation) -> Response:
        if operation.ended is None:
            return Response(202, {"Location": call.request.base + call.request.target, **self._retry_after})
        if operation.error is None:
            return Response(200)
        # The status of the response for a failed operation is undocumented; the body is a CloudError.
        return Response.json(views.as_json({"error": operation.error}), 409)

    # Listings

    def _list_scale_sets(self, call: _Call, found: list[ScaleSet]) -> Response:
        return self._page(call, found, lambda each: json.dumps(views.scale_set(each, call.now)))

    def _list_instances(self, call: _Call, scale_set: ScaleSet) -> Response:
        if "$filter" in call.query:
            raise errors.bad_parameter("$filter", "The sandbox has no filters on instances.")
        instances = list(scale_set.shown(call.now).values())
        if not scale_set.flexible:
            return self._page(call, instances, lambda each: _listed(call, scale_set, each), [scale_set])
        if call.with_view:
            # As in Azure: the instance views of a Flexible set's VMs are read VM by VM, or by listing VMs.
            raise errors.not_for_flexible("virtualMachines.GET", scale_set.seed.name)
        return self._page(call, instances, lambda each: views.instance_of_flexible_set(scale_set, each), [scale_set])

    def _list_virtual_machines(self, call: _Call, scale_sets: list[ScaleSet]) -> Response:
        flexible = [each for each in scale_sets if each.flexible]
        if "$filter" in call.query:
            wanted = _FILTER_BY_SCALE_SET.fullmatch(call.query["$filter"].strip())
            if wanted is None:
                raise errors.bad_parameter("$filter", "The one filter is: 'virtualMachineScaleSet/id' eq '…'.")
            flexible = [each for each in flexible if each.resource_id.lower() == wanted[1].lower()]
        machines = [(each, instance) for each in flexible for instance in each.shown(call.now).values()]
        return self._page(call, machines, lambda each: _listed(call, *each), flexible)

    def _page(
        self, call: _Call, items: list[_Item], show: Callable[[_Item], str], scale_sets: Iterable[ScaleSet] = ()
    ) -> Response:
        """A page as short as the shortest of these scale sets has them."""
        call.only("GET")
        sizes = [each.seed.page_size for each in scale_sets if each.seed.page_size is not None]
        return page_of(call.request, call.query, items, min([self._page_size, *sizes]), show)


def _listed(call: _Call, scale_set: ScaleSet, instance: Instance) -> str:
    """An instance in a listing, which may leave out its view."""
    hidden = instance.hidden.strike() if call.with_view else None
    return views.instance(scale_set, instance, with_view=call.with_view, hidden=hidden)


def _policy(call: _Call) -> Policy | None:
    if call.fixed[-1] == "performmaintenance":
        return "maintenance"
    if call.request.method == "GET" and len(call.fixed) == 9 and call.fixed[-1] == "virtualmachines":
        return "list-instances"
    return None
