"""The REST API of Azure Resource Manager as far as maintenance of scale sets needs it: call in, answer out.

Source: the REST reference of Microsoft.Compute, 2024-07-01. Paths are compared without letter case, as in ARM.
The token has been checked before a call comes here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlencode

from sandbox.resource_manager import errors, parameters, views
from sandbox.resource_manager.errors import Refusal
from sandbox.resource_manager.messages import Answer, Request
from sandbox.resource_manager.operation_urls import OperationUrls
from sandbox.resource_manager.operations import Operation
from sandbox.resource_manager.scale_sets import Estate, ScaleSet
from sandbox.resource_manager.throttling import Limits, Policy, Throttle

_Item = TypeVar("_Item")

_UNLIMITED = {
    kind: {
        f"x-ms-ratelimit-remaining-subscription-{kind}": str(bucket - 1),
        f"x-ms-ratelimit-remaining-subscription-global-{kind}": str(15 * bucket - 1),
    }
    for kind, bucket in (("reads", Limits().reads.bucket), ("writes", Limits().writes.bucket))
}
"""What the headers say where nothing is limited: that the buckets are as good as full."""

_FILTER_BY_SCALE_SET = re.compile(r"'?virtualMachineScaleSet/id'?\s+eq\s+'([^']+)'", re.IGNORECASE)


@dataclass(slots=True)
class _Asked:
    """A call, read: the path's segments as sent and in small letters, and the query."""

    request: Request
    segments: list[str]
    fixed: list[str]
    query: dict[str, str]
    now: datetime

    @property
    def with_view(self) -> bool:
        return self.query.get("$expand", "").lower() == "instanceview"

    def only(self, method: str) -> None:
        if self.request.method != method:
            raise errors.method_not_allowed(self.request.method)


class RestApi:
    """Answers calls from the estate. Not safe for threads: the server holds a lock around each use."""

    def __init__(self, estate: Estate, *, throttle: Throttle | None, retry_after: int | None, page_size: int) -> None:
        """`throttle`: None = no limits. `retry_after`: seconds, while an operation runs; None = not sent."""
        self._estate = estate
        self._throttle = throttle
        self._retry_after = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._page_size = page_size
        self._urls = OperationUrls()

    def answer(self, request: Request, now: datetime) -> Answer:
        """Do what the call asks for, by the time `now`. Errors are answers, too."""
        headers: dict[str, str] = {}
        try:
            answer = self._answer(request, now, headers)
        except Refusal as refusal:
            answer = Answer.refused(refusal)
        # A header that the answer has already (a refusal for throttling says what is left) wins.
        answer.headers = {**headers, **answer.headers}
        return answer

    def _answer(self, request: Request, now: datetime, headers: dict[str, str]) -> Answer:
        segments = request.segments
        fixed = [each.lower() for each in segments]
        if len(fixed) < 2 or fixed[0] != "subscriptions":
            raise errors.no_such_path(request.path)
        if len(fixed) == 8 and fixed[2] == "providers" and fixed[6] == "operations":
            # Its query is signed as a whole: nothing in it is looked at.
            asked = _Asked(request, segments, fixed, {}, now)
            headers.update(self._count(asked, "get-operation", fixed[7]))
            return self._operation(asked, fixed[7])
        asked = _Asked(request, segments, fixed, request.query(), now)
        parameters.check_api_version(asked.query)
        parameters.check_subscription(segments[1])
        headers.update(self._count(asked, _policy(asked), request.path.lower()))
        if fixed[2:4] == ["providers", "microsoft.compute"]:
            return self._in_subscription(asked)
        if fixed[2:3] == ["resourcegroups"] and fixed[4:6] == ["providers", "microsoft.compute"]:
            return self._in_resource_group(asked)
        raise errors.no_such_path(request.path)

    def _count(self, asked: _Asked, policy: Policy | None, resource: str) -> dict[str, str]:
        write = asked.request.method != "GET"
        if self._throttle is None:
            return _UNLIMITED["writes" if write else "reads"]
        return self._throttle.take(
            subscription=asked.fixed[1],
            write=write,
            policy=policy,
            resource=resource,
            now=asked.now,
        )

    # The paths

    def _in_subscription(self, asked: _Asked) -> Answer:
        match asked.fixed[4:]:
            case ["virtualmachinescalesets"]:
                return self._list_scale_sets(asked, self._estate.scale_sets_in(asked.segments[1]))
            case ["virtualmachines"]:
                return self._list_virtual_machines(asked, self._estate.scale_sets_in(asked.segments[1]))
        raise errors.no_such_path(asked.request.path)

    def _in_resource_group(self, asked: _Asked) -> Answer:
        subscription_id, group = asked.segments[1], asked.segments[3]
        match asked.fixed[6:]:
            case ["virtualmachinescalesets"]:
                return self._list_scale_sets(asked, self._estate.scale_sets_in(subscription_id, group))
            case ["virtualmachines"]:
                return self._list_virtual_machines(asked, self._estate.scale_sets_in(subscription_id, group))
            case ["virtualmachinescalesets", _, *below]:
                scale_set = self._estate.scale_set(subscription_id, group, asked.segments[7])
                return self._on_scale_set(asked, scale_set, below)
            case ["virtualmachines", _, *below]:
                scale_set, instance = self._estate.virtual_machine(subscription_id, group, asked.segments[7])
                return self._on_instance(asked, scale_set, instance.seed.instance_id, below)
        raise errors.no_such_path(asked.request.path)

    def _on_scale_set(self, asked: _Asked, scale_set: ScaleSet, below: list[str]) -> Answer:
        match below:
            case ["performmaintenance"]:
                asked.only("POST")
                if scale_set.flexible:
                    raise errors.not_for_flexible("performMaintenance.POST", scale_set.seed.name)
                return self._begin(asked, scale_set, parameters.instance_ids(asked.request.body))
            case ["virtualmachines"]:
                return self._list_instances(asked, scale_set)
            case ["virtualmachines", _, *rest]:
                if scale_set.flexible:
                    raise errors.instance_id_not_a_number()
                return self._on_instance(asked, scale_set, asked.segments[9], rest)
            case []:
                asked.only("GET")
                return Answer.json(views.as_json(views.scale_set(scale_set)))
            case ["instanceview"]:
                asked.only("GET")
                if scale_set.flexible:
                    raise errors.not_for_flexible("instanceView.GET", scale_set.seed.name)
                return Answer.json(views.as_json(views.scale_set_instance_view(scale_set)))
        raise errors.no_such_path(asked.request.path)

    def _on_instance(self, asked: _Asked, scale_set: ScaleSet, instance_id: str, below: list[str]) -> Answer:
        instance = scale_set.instance(instance_id)
        match below:
            case []:
                asked.only("GET")
                return Answer.json(views.instance(scale_set, instance, with_view=asked.with_view).encode())
            case ["instanceview"]:
                asked.only("GET")
                return Answer.json(views.as_json(views.instance_view(instance)))
            case ["performmaintenance"]:
                asked.only("POST")
                return self._begin(asked, scale_set, [instance_id])
        raise errors.no_such_path(asked.request.path)

    # What is done

    def _begin(self, asked: _Asked, scale_set: ScaleSet, instance_ids: list[str] | None) -> Answer:
        operation = self._estate.perform_maintenance(scale_set, instance_ids, asked.now)
        base = asked.request.base
        return Answer(
            202,
            {
                "Location": base + self._urls.location_target(operation),
                "Azure-AsyncOperation": base + self._urls.status_target(operation),
                **self._retry_after,
            },
        )

    def _operation(self, asked: _Asked, operation_id: str) -> Answer:
        asked.only("GET")
        operation = self._estate.operation(operation_id)
        if asked.request.is_verbatim(self._urls.status_target(operation)):
            return self._show_status(operation)
        if asked.request.is_verbatim(self._urls.location_target(operation)):
            return self._show_result(asked, operation)
        raise errors.operation_url_altered()

    def _show_status(self, operation: Operation) -> Answer:
        answer = Answer.json(views.operation_status(operation))
        if operation.ended is None:
            answer.headers.update(self._retry_after)
        return answer

    def _show_result(self, asked: _Asked, operation: Operation) -> Answer:
        if operation.ended is None:
            return Answer(202, {"Location": asked.request.base + asked.request.target, **self._retry_after})
        if operation.error is None:
            return Answer(200)
        # With which status a failed operation answers here is undocumented; the body is a CloudError.
        return Answer.json(views.as_json({"error": operation.error}), 409)

    # Listings

    def _list_scale_sets(self, asked: _Asked, found: list[ScaleSet]) -> Answer:
        return self._page(asked, found, lambda each: json.dumps(views.scale_set(each)))

    def _list_instances(self, asked: _Asked, scale_set: ScaleSet) -> Answer:
        if "$filter" in asked.query:
            raise errors.bad_parameter("$filter", "The sandbox has no filters on instances.")
        instances = list(scale_set.instances.values())
        if not scale_set.flexible:
            return self._page(asked, instances, lambda each: views.instance(scale_set, each, with_view=asked.with_view))
        if asked.with_view:
            # As in Azure: the instance views of a Flexible set's VMs are read VM by VM, or by listing VMs.
            raise errors.not_for_flexible("virtualMachines.GET", scale_set.seed.name)
        return self._page(asked, instances, lambda each: views.instance_of_flexible_set(scale_set, each))

    def _list_virtual_machines(self, asked: _Asked, scale_sets: list[ScaleSet]) -> Answer:
        flexible = [each for each in scale_sets if each.flexible]
        if "$filter" in asked.query:
            wanted = _FILTER_BY_SCALE_SET.fullmatch(asked.query["$filter"].strip())
            if wanted is None:
                raise errors.bad_parameter("$filter", "The one filter is: 'virtualMachineScaleSet/id' eq '…'.")
            flexible = [each for each in flexible if each.resource_id.lower() == wanted[1].lower()]
        machines = [(each, instance) for each in flexible for instance in each.instances.values()]
        return self._page(asked, machines, lambda each: views.instance(*each, with_view=asked.with_view))

    def _page(self, asked: _Asked, items: list[_Item], show: Callable[[_Item], str]) -> Answer:
        asked.only("GET")
        start = parameters.offset(asked.query.get("$skiptoken"))
        end = start + self._page_size
        next_link = None
        if end < len(items):
            query = urlencode(asked.query | {"$skiptoken": parameters.skip_token(end)})
            next_link = f"{asked.request.base}{asked.request.path}?{query}"
        return Answer.json(views.page([show(each) for each in items[start:end]], next_link))


def _policy(asked: _Asked) -> Policy | None:
    if asked.fixed[-1] == "performmaintenance":
        return "maintenance"
    if asked.request.method == "GET" and len(asked.fixed) == 9 and asked.fixed[-1] == "virtualmachines":
        return "list-instances"
    return None
