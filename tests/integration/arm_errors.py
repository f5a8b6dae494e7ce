"""Errors of Azure Resource Manager, one by one, with the expected result of each.

`docs/reliability.md` has the same rows, by the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sandbox.resource_manager import Fault, Outcome, http_date
from tests.support.time_travel import START

HTML = "<!DOCTYPE html><html><body>Our services aren't available right now</body></html>"
PAUSE = timedelta(minutes=10)
SECONDS = {"Retry-After": "600"}
DATE = {"Retry-After": http_date(START + PAUSE)}
# Longer than any test: a call that is delayed by this gets no response.
NEVER = timedelta(hours=1)
ADVICE = {"error": {"code": "OperationNotAllowed", "message": "A system upgrade is in progress. Please retry later."}}
# Secrets in an error of ARM, which must not get into a log or an event (tests/support/secret_scanner.py).
SECRETS = (
    " Called with Bearer eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJhcm0ifQ.c2lnbmF0dXJl"
    " at https://management.azure.com/x?api-version=1&c=MIIHpTCCBo2gAwIBAgIT&s=c2lnbmF0dXJlLW9mLWFybQ"
)
NOT_ELIGIBLE = {
    "error": {"code": "OperationNotAllowed", "message": f"The Subscription of this VM is not eligible.{SECRETS}"}
}
DENIED = {"error": {"code": "AuthorizationFailed", "message": f"The client has no authorization to do that.{SECRETS}"}}
BROKEN = {"error": {"code": "InternalError", "message": f"It broke.{SECRETS}"}}
FAILED = {
    "status": "Failed",
    "error": {"code": "VMRedeploymentFailed", "message": f"The host was lost.{SECRETS}"},
}
ACTION = "Microsoft.Compute/virtualMachineScaleSets"
ALWAYS = None


@dataclass(frozen=True, kw_only=True)
class ErrorCase:
    """Error of ARM during one request for the instances 0 and 1 of a scale set.

    `posts`, `polls`, `views`: the number of calls that ARM receives (None: any); there may be one more of the views for
    each POST, which reads them itself unless PLAN did in the same tick. `afterwards`: the faults begin with the POST.
    `second`: the outcome of instance 1, where it is not that of instance 0. `at_least`: the pause before the second
    call of the kind that the first fault affects. `maintained`: how often each instance is maintained. `error`: parts
    of the event's error. `logs`: part of a log line. `within`: the request's deadline. `lasts`: how long its
    maintenance takes.
    """

    faults: tuple[Fault, ...] = ()
    afterwards: bool = False
    seeded: Outcome = "Succeeded"
    status: str = "Succeeded"
    outcome: str = "Completed"
    second: str | None = None
    error: tuple[str, ...] = ()
    logs: str = ""
    posts: int = 1
    polls: int | None = 1
    views: int | None = 2
    maintained: int = 1
    at_least: timedelta = timedelta(0)
    within: timedelta | None = None
    lasts: timedelta = timedelta(seconds=20)

    def ordered(self, subscription_id: str) -> list[Fault]:
        """The faults, limited to the calls of one subscription."""
        return [replace(fault, path=f"/subscriptions/{subscription_id}{fault.path}") for fault in self.faults]


def post(**what: Any) -> Fault:
    return Fault(method="POST", path="/*/performMaintenance", **what)


def poll(**what: Any) -> Fault:
    return Fault(method="GET", path="/*/operations/*", **what)


def views(**what: Any) -> Fault:
    return Fault(method="GET", path="/*/virtualMachines", **what)


def without_operation(**more: Any) -> dict[str, Any]:
    """ARM does the work and reports no operation URL: the views are read until they show the end."""
    return {"polls": 0, "views": None, "lasts": timedelta(minutes=3), **more}


def ends(status: str, outcome: str, *error: str, **counts: Any) -> dict[str, Any]:
    """The result of a request that does not succeed."""
    return {"status": status, "outcome": outcome, "error": error, **counts}


def not_posted(*error: str) -> dict[str, Any]:
    """The result of a request that fails before anything is posted."""
    return ends("Failed", "NotAttempted", *error, posts=0, polls=0, views=1, maintained=0)


NO_HEADERS = {"Location": None, "Azure-AsyncOperation": None}
ONLY_LOCATION = {"Azure-AsyncOperation": None}

POSTS: Mapping[str, ErrorCase] = {
    "post-429-seconds": ErrorCase(faults=(post(status=429, headers=SECONDS),), posts=2, views=3, at_least=PAUSE),
    "post-429-date": ErrorCase(faults=(post(status=429, headers=DATE),), posts=2, views=3, at_least=PAUSE),
    "post-429-bare": ErrorCase(faults=(post(status=429, times=3),), posts=4, views=5),
    "post-500": ErrorCase(faults=(post(status=500),), posts=2, views=3),
    "post-502-html": ErrorCase(faults=(post(status=502, body=HTML),), posts=2, views=3),
    "post-503-often": ErrorCase(faults=(post(status=503, times=4),), posts=5, views=6),
    "post-503-retry-after": ErrorCase(faults=(post(status=503, headers=SECONDS),), posts=2, views=3, at_least=PAUSE),
    "post-504-done": ErrorCase(faults=(post(status=504, work=True),), **without_operation()),
    "post-timeout": ErrorCase(faults=(post(delay=NEVER),), posts=2, views=3),
    "post-timeout-done": ErrorCase(faults=(post(delay_response=NEVER),), **without_operation()),
    "post-reset": ErrorCase(faults=(post(cut="before"),), posts=2, views=3),
    "post-reset-done": ErrorCase(faults=(post(cut="after"),), **without_operation()),
    "post-401-once": ErrorCase(faults=(post(status=401),), posts=2, views=3),
    "post-401-always": ErrorCase(
        faults=(post(status=401, times=ALWAYS),),
        **ends("Failed", "NotAttempted", "does not accept the token", posts=3, polls=0, views=3, maintained=0),
    ),
    "post-403": ErrorCase(
        faults=(post(status=403, json=DENIED),),
        **ends("Failed", "NotAttempted", f"{ACTION}/performMaintenance/action", polls=0, views=1, maintained=0),
    ),
    "post-404": ErrorCase(faults=(post(status=404),), posts=2, views=3),
    "post-409": ErrorCase(faults=(post(status=409, json=NOT_ELIGIBLE),), posts=2, views=3),
    # Twice with both instances, then one at a time: the first failure ends the run.
    "post-404-always": ErrorCase(
        faults=(post(status=404, times=ALWAYS),),
        second="NotAttempted",
        **ends("Failed", "Failed", "Sandbox404", posts=3, polls=0, views=3, maintained=0),
    ),
    "post-409-always": ErrorCase(
        faults=(post(status=409, json=NOT_ELIGIBLE, times=ALWAYS),),
        second="NotAttempted",
        **ends("Failed", "Failed", "OperationNotAllowed", "not eligible", posts=3, polls=0, views=3, maintained=0),
    ),
    "post-409-retry-after": ErrorCase(
        faults=(post(status=409, json=NOT_ELIGIBLE, headers=SECONDS),), posts=2, views=3, at_least=PAUSE
    ),
    "post-409-advice": ErrorCase(faults=(post(status=409, json=ADVICE),), posts=2, views=3),
    "post-200": ErrorCase(faults=(post(status=200, work=True, headers=NO_HEADERS),), **without_operation()),
    "post-200-failed": ErrorCase(
        faults=(post(status=200, json=FAILED),),
        **ends("Failed", "Failed", "VMRedeploymentFailed", polls=0, views=2, maintained=0),
    ),
    "post-200-html": ErrorCase(faults=(post(status=200, body=HTML),), posts=2, views=3),
    "post-202-no-headers": ErrorCase(faults=(post(headers=NO_HEADERS),), **without_operation()),
    # ARM accepted it and may not have started yet, so it is never posted again.
    "post-202-no-headers-not-done": ErrorCase(
        faults=(post(status=202),),
        within=timedelta(minutes=20),
        **ends("TimedOut", "Unknown", "DeadlineExceeded", "InstancesPending", polls=0, views=None, maintained=0),
    ),
    "post-10-mb": ErrorCase(faults=(post(body_size=10_000_000),), **without_operation()),
}

POLLS: Mapping[str, ErrorCase] = {
    "poll-429-seconds": ErrorCase(faults=(poll(status=429, headers=SECONDS),), polls=2, at_least=PAUSE),
    "poll-429-date": ErrorCase(faults=(poll(status=429, headers=DATE),), polls=2),
    "poll-429-bare": ErrorCase(faults=(poll(status=429, times=3),), polls=4),
    "poll-500": ErrorCase(faults=(poll(status=500, times=2),), polls=3),
    "poll-502-html": ErrorCase(faults=(poll(status=502, body=HTML, times=2),), polls=3),
    "poll-503-retry-after": ErrorCase(faults=(poll(status=503, headers=SECONDS),), polls=2, at_least=PAUSE),
    "poll-504": ErrorCase(faults=(poll(status=504),), polls=2),
    "poll-timeout": ErrorCase(faults=(poll(delay=NEVER),), polls=2),
    # The HTTP library retries a GET on a reused connection once, so there are two or three polls.
    "poll-reset": ErrorCase(faults=(poll(cut="before"),), polls=None),
    "poll-500-always": ErrorCase(faults=(poll(status=500, json=BROKEN, times=ALWAYS),), polls=None, views=None),
    "poll-500-always-at-work": ErrorCase(
        faults=(poll(status=500, json=BROKEN, times=ALWAYS),),
        within=timedelta(minutes=40),
        lasts=timedelta(hours=1),
        **ends("TimedOut", "Unknown", "DeadlineExceeded", "InternalError", "It broke.", polls=None, views=None),
    ),
    "poll-401-once": ErrorCase(faults=(poll(status=401),), polls=2),
    "poll-401-always": ErrorCase(
        faults=(poll(status=401, times=ALWAYS),),
        within=timedelta(minutes=40),
        lasts=timedelta(hours=1),
        **ends("TimedOut", "Unknown", "does not accept the token", polls=None, views=None),
    ),
    "poll-403": ErrorCase(
        faults=(poll(status=403, json=DENIED, times=ALWAYS),), logs="Microsoft.Compute/locations/operations/read"
    ),
    "poll-404": ErrorCase(faults=(poll(status=404, times=ALWAYS),)),
    "poll-410": ErrorCase(faults=(poll(status=410, times=ALWAYS),)),
    "poll-404-failed": ErrorCase(
        faults=(poll(status=404, times=ALWAYS),), seeded="Failed", **ends("Failed", "Failed", "MaintenanceFailed")
    ),
    "failed": ErrorCase(seeded="Failed", **ends("Failed", "Failed", "VMRedeploymentFailed")),
    "canceled": ErrorCase(seeded="Aborted", **ends("Canceled", "Failed", "OperationPreempted")),
    "unknown-status": ErrorCase(faults=(poll(operation_status="Stabilising", times=3),), polls=4),
    "odd-letters": ErrorCase(faults=(poll(operation_status="sUCCEEDED"),)),
    "odd-letters-failed": ErrorCase(
        faults=(poll(operation_status="FAILED"),), seeded="Failed", **ends("Failed", "Failed", "VMRedeploymentFailed")
    ),
    "location-200-failed": ErrorCase(
        faults=(post(headers=ONLY_LOCATION), poll(query="*monitor=true*", status=200, json=FAILED)),
        seeded="Failed",
        **ends("Failed", "Failed", "VMRedeploymentFailed"),
    ),
    "location-409": ErrorCase(
        faults=(post(headers=ONLY_LOCATION),), seeded="Failed", **ends("Failed", "Failed", "VMRedeploymentFailed")
    ),
    "poll-html": ErrorCase(faults=(poll(status=200, body=HTML),), polls=2),
    "poll-10-mb": ErrorCase(faults=(poll(body_size=10_000_000),), polls=2),
    "still-running": ErrorCase(
        faults=(poll(operation_status="Stabilising", times=ALWAYS),),
        within=timedelta(minutes=30),
        **ends("TimedOut", "Unknown", "DeadlineExceeded", "stabilising", polls=None, views=None),
    ),
}

VIEWS: Mapping[str, ErrorCase] = {
    "views-429-seconds": ErrorCase(faults=(views(status=429, headers=SECONDS),), views=3, at_least=PAUSE),
    "views-429-date": ErrorCase(faults=(views(status=429, headers=DATE),), views=3, at_least=PAUSE),
    "views-429-bare": ErrorCase(faults=(views(status=429, times=3),), views=5),
    "views-500": ErrorCase(faults=(views(status=500, times=3),), views=5),
    "views-502-html": ErrorCase(faults=(views(status=502, body=HTML),), views=3),
    "views-503-retry-after": ErrorCase(faults=(views(status=503, headers=SECONDS),), views=3, at_least=PAUSE),
    "views-504": ErrorCase(faults=(views(status=504),), views=3),
    "views-timeout": ErrorCase(faults=(views(delay=NEVER),), views=3),
    "views-reset": ErrorCase(faults=(views(cut="before"),), views=None),
    "views-401-once": ErrorCase(faults=(views(status=401),), views=3),
    "views-401-always": ErrorCase(
        faults=(views(status=401, times=ALWAYS),), **{**not_posted("does not accept the token"), "views": 3}
    ),
    "views-403": ErrorCase(
        faults=(views(status=403, json=DENIED),), **not_posted("AuthorizationFailed", f"{ACTION}/virtualMachines/read")
    ),
    "views-404": ErrorCase(faults=(views(status=404),), **not_posted("Sandbox404")),
    "views-html": ErrorCase(faults=(views(status=200, body=HTML),), views=3),
    "views-10-mb": ErrorCase(faults=(views(body_size=10_000_000),), views=3),
    "views-no-list": ErrorCase(faults=(views(status=200, json={"status": "ok"}),), views=3),
    "views-503-afterwards": ErrorCase(faults=(views(status=503, times=2),), afterwards=True, views=4),
    # They are read again until the lease is released: the maintenance may not have ended.
    "views-403-afterwards": ErrorCase(
        faults=(views(status=403, json=DENIED, times=ALWAYS),),
        afterwards=True,
        **ends("Failed", "Unknown", "AuthorizationFailed", f"{ACTION}/virtualMachines/read", views=None),
    ),
    "views-500-always": ErrorCase(
        faults=(views(status=500, json=BROKEN, times=ALWAYS),),
        within=timedelta(minutes=40),
        **ends("TimedOut", "NotAttempted", "InternalError", posts=0, polls=0, views=None, maintained=0),
    ),
}

ERROR_CASES: Mapping[str, ErrorCase] = {"none": ErrorCase(), **POSTS, **POLLS, **VIEWS}
