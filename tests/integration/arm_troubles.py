"""The troubles that Azure Resource Manager can make, one by one, and what is to come of each.

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
LONG = timedelta(minutes=1)
ADVICE = {"error": {"code": "OperationNotAllowed", "message": "A system upgrade is in progress. Please retry later."}}
# What an error of ARM's must never take into a log or an event (tests/support/secret_scanner.py looks).
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
class Trouble:
    """One trouble for one request for the instances 0 and 1 of a scale set.

    `posts`, `polls`, `views`: how many calls ARM sees; of `views` that many at least, and one more for each POST at the
    most, which looks itself where what was planned was not read in the same tick. `afterwards`: the faults begin once
    the POST was called. `second`: the outcome of instance 1, where it is another. `at_least`: the pause before the second call of the kind that
    the first fault strikes. `maintained`: how often each instance was maintained. `tells`: what stands in the event's
    error; `logs`: in the log. `within`: the request's deadline. `lasts`: how long its maintenance takes.
    """

    faults: tuple[Fault, ...] = ()
    afterwards: bool = False
    seeded: Outcome = "Succeeded"
    status: str = "Succeeded"
    outcome: str = "Completed"
    second: str | None = None
    tells: tuple[str, ...] = ()
    logs: str = ""
    posts: int = 1
    polls: int | None = 1
    views: int | None = 2
    maintained: int = 1
    at_least: timedelta = timedelta(0)
    within: timedelta | None = None
    lasts: timedelta = timedelta(seconds=20)

    def ordered(self, subscription_id: str) -> list[Fault]:
        """The faults, for the calls of one subscription alone."""
        return [replace(fault, path=f"/subscriptions/{subscription_id}{fault.path}") for fault in self.faults]


def post(**what: Any) -> Fault:
    return Fault(method="POST", path="/*/performMaintenance", **what)


def poll(**what: Any) -> Fault:
    return Fault(method="GET", path="/*/operations/*", **what)


def views(**what: Any) -> Fault:
    return Fault(method="GET", path="/*/virtualMachines", **what)


def done_unheard(**more: Any) -> dict[str, Any]:
    """ARM does the work, and nobody hears of an operation: the views are looked at until they show its end."""
    return {"polls": 0, "views": None, "lasts": timedelta(minutes=3), **more}


def ends(status: str, outcome: str, *tells: str, **counts: Any) -> dict[str, Any]:
    """How a request ends that can't succeed."""
    return {"status": status, "outcome": outcome, "tells": tells, **counts}


def untouched(*tells: str) -> dict[str, Any]:
    """A failure before anything was posted."""
    return ends("Failed", "NotAttempted", *tells, posts=0, polls=0, views=1, maintained=0)


NO_HEADERS = {"Location": None, "Azure-AsyncOperation": None}
ONLY_LOCATION = {"Azure-AsyncOperation": None}

POSTS: Mapping[str, Trouble] = {
    "post-429-seconds": Trouble(faults=(post(status=429, headers=SECONDS),), posts=2, views=3, at_least=PAUSE),
    "post-429-date": Trouble(faults=(post(status=429, headers=DATE),), posts=2, views=3, at_least=PAUSE),
    "post-429-bare": Trouble(faults=(post(status=429, times=3),), posts=4, views=5),
    "post-500": Trouble(faults=(post(status=500),), posts=2, views=3),
    "post-502-html": Trouble(faults=(post(status=502, body=HTML),), posts=2, views=3),
    "post-503-often": Trouble(faults=(post(status=503, times=4),), posts=5, views=6),
    "post-503-retry-after": Trouble(faults=(post(status=503, headers=SECONDS),), posts=2, views=3, at_least=PAUSE),
    "post-504-done": Trouble(faults=(post(status=504, work=True),), **done_unheard()),
    "post-timeout": Trouble(faults=(post(delay=LONG),), posts=2, views=3),
    "post-timeout-done": Trouble(faults=(post(delay_response=LONG),), **done_unheard()),
    "post-reset": Trouble(faults=(post(cut="before"),), posts=2, views=3),
    "post-reset-done": Trouble(faults=(post(cut="after"),), **done_unheard()),
    "post-401-once": Trouble(faults=(post(status=401),), posts=2, views=3),
    "post-401-always": Trouble(
        faults=(post(status=401, times=ALWAYS),),
        **ends("Failed", "NotAttempted", "does not accept the token", posts=3, polls=0, views=3, maintained=0),
    ),
    "post-403": Trouble(
        faults=(post(status=403, json=DENIED),),
        **ends("Failed", "NotAttempted", f"{ACTION}/performMaintenance/action", polls=0, views=1, maintained=0),
    ),
    "post-404": Trouble(faults=(post(status=404),), posts=2, views=3),
    "post-409": Trouble(faults=(post(status=409, json=NOT_ELIGIBLE),), posts=2, views=3),
    # Twice with both instances, then one at a time: the first failure ends the run.
    "post-404-always": Trouble(
        faults=(post(status=404, times=ALWAYS),),
        second="NotAttempted",
        **ends("Failed", "Failed", "Sandbox404", posts=3, polls=0, views=3, maintained=0),
    ),
    "post-409-always": Trouble(
        faults=(post(status=409, json=NOT_ELIGIBLE, times=ALWAYS),),
        second="NotAttempted",
        **ends("Failed", "Failed", "OperationNotAllowed", "not eligible", posts=3, polls=0, views=3, maintained=0),
    ),
    "post-409-retry-after": Trouble(
        faults=(post(status=409, json=NOT_ELIGIBLE, headers=SECONDS),), posts=2, views=3, at_least=PAUSE
    ),
    "post-409-advice": Trouble(faults=(post(status=409, json=ADVICE),), posts=2, views=3),
    "post-200": Trouble(faults=(post(status=200, work=True, headers=NO_HEADERS),), **done_unheard()),
    "post-200-failed": Trouble(
        faults=(post(status=200, json=FAILED),),
        **ends("Failed", "Failed", "VMRedeploymentFailed", polls=0, views=2, maintained=0),
    ),
    "post-200-html": Trouble(faults=(post(status=200, body=HTML),), posts=2, views=3),
    "post-202-no-headers": Trouble(faults=(post(headers=NO_HEADERS),), **done_unheard()),
    # ARM took it, and may not have come to it yet: it is never posted again.
    "post-202-no-headers-not-done": Trouble(
        faults=(post(status=202),),
        within=timedelta(minutes=20),
        **ends("TimedOut", "Unknown", "DeadlineExceeded", "InstancesPending", polls=0, views=None, maintained=0),
    ),
    "post-10-mb": Trouble(faults=(post(body_size=10_000_000),), **done_unheard()),
}

POLLS: Mapping[str, Trouble] = {
    "poll-429-seconds": Trouble(faults=(poll(status=429, headers=SECONDS),), polls=2, at_least=PAUSE),
    "poll-429-date": Trouble(faults=(poll(status=429, headers=DATE),), polls=2),
    "poll-429-bare": Trouble(faults=(poll(status=429, times=3),), polls=4),
    "poll-500": Trouble(faults=(poll(status=500, times=2),), polls=3),
    "poll-502-html": Trouble(faults=(poll(status=502, body=HTML, times=2),), polls=3),
    "poll-503-retry-after": Trouble(faults=(poll(status=503, headers=SECONDS),), polls=2, at_least=PAUSE),
    "poll-504": Trouble(faults=(poll(status=504),), polls=2),
    "poll-timeout": Trouble(faults=(poll(delay=LONG),), polls=2),
    # On a connection that had served before the HTTP library tries a GET once more, so two or three.
    "poll-reset": Trouble(faults=(poll(cut="before"),), polls=None),
    "poll-500-always": Trouble(
        faults=(poll(status=500, json=BROKEN, times=ALWAYS),),
        within=timedelta(minutes=40),
        **ends("TimedOut", "Unknown", "DeadlineExceeded", "InternalError", "It broke.", polls=None, views=None),
    ),
    "poll-401-once": Trouble(faults=(poll(status=401),), polls=2),
    "poll-401-always": Trouble(
        faults=(poll(status=401, times=ALWAYS),),
        within=timedelta(minutes=40),
        **ends("TimedOut", "Unknown", "does not accept the token", polls=None, views=None),
    ),
    "poll-403": Trouble(
        faults=(poll(status=403, json=DENIED, times=ALWAYS),), logs="Microsoft.Compute/locations/operations/read"
    ),
    "poll-404": Trouble(faults=(poll(status=404, times=ALWAYS),)),
    "poll-410": Trouble(faults=(poll(status=410, times=ALWAYS),)),
    "poll-404-failed": Trouble(faults=(poll(status=404, times=ALWAYS),), seeded="Failed", **ends("Failed", "Failed")),
    "failed": Trouble(seeded="Failed", **ends("Failed", "Failed", "VMRedeploymentFailed")),
    "canceled": Trouble(seeded="Aborted", **ends("Canceled", "Failed", "OperationPreempted")),
    "unknown-status": Trouble(faults=(poll(operation_status="Stabilising", times=3),), polls=4),
    "odd-letters": Trouble(faults=(poll(operation_status="sUCCEEDED"),)),
    "odd-letters-failed": Trouble(
        faults=(poll(operation_status="FAILED"),), seeded="Failed", **ends("Failed", "Failed", "VMRedeploymentFailed")
    ),
    "location-200-failed": Trouble(
        faults=(post(headers=ONLY_LOCATION), poll(query="*monitor=true*", status=200, json=FAILED)),
        seeded="Failed",
        **ends("Failed", "Failed", "VMRedeploymentFailed"),
    ),
    "location-409": Trouble(
        faults=(post(headers=ONLY_LOCATION),), seeded="Failed", **ends("Failed", "Failed", "VMRedeploymentFailed")
    ),
    "poll-html": Trouble(faults=(poll(status=200, body=HTML),), polls=2),
    "poll-10-mb": Trouble(faults=(poll(body_size=10_000_000),), polls=2),
    "still-running": Trouble(
        faults=(poll(operation_status="Stabilising", times=ALWAYS),),
        within=timedelta(minutes=30),
        **ends("TimedOut", "Unknown", "DeadlineExceeded", "stabilising", polls=None, views=None),
    ),
}

VIEWS: Mapping[str, Trouble] = {
    "views-429-seconds": Trouble(faults=(views(status=429, headers=SECONDS),), views=3, at_least=PAUSE),
    "views-429-date": Trouble(faults=(views(status=429, headers=DATE),), views=3, at_least=PAUSE),
    "views-429-bare": Trouble(faults=(views(status=429, times=3),), views=5),
    "views-500": Trouble(faults=(views(status=500, times=3),), views=5),
    "views-502-html": Trouble(faults=(views(status=502, body=HTML),), views=3),
    "views-503-retry-after": Trouble(faults=(views(status=503, headers=SECONDS),), views=3, at_least=PAUSE),
    "views-504": Trouble(faults=(views(status=504),), views=3),
    "views-timeout": Trouble(faults=(views(delay=LONG),), views=3),
    "views-reset": Trouble(faults=(views(cut="before"),), views=None),
    "views-401-once": Trouble(faults=(views(status=401),), views=3),
    "views-401-always": Trouble(
        faults=(views(status=401, times=ALWAYS),), **{**untouched("does not accept the token"), "views": 3}
    ),
    "views-403": Trouble(
        faults=(views(status=403, json=DENIED),), **untouched("AuthorizationFailed", f"{ACTION}/virtualMachines/read")
    ),
    "views-404": Trouble(faults=(views(status=404),), **untouched("Sandbox404")),
    "views-html": Trouble(faults=(views(status=200, body=HTML),), views=3),
    "views-10-mb": Trouble(faults=(views(body_size=10_000_000),), views=3),
    "views-no-list": Trouble(faults=(views(status=200, json={"status": "ok"}),), views=3),
    "views-503-afterwards": Trouble(faults=(views(status=503, times=2),), afterwards=True, views=4),
    # And read again and again until the lease is released: the work may not have ended.
    "views-403-afterwards": Trouble(
        faults=(views(status=403, json=DENIED, times=ALWAYS),),
        afterwards=True,
        **ends("Failed", "Unknown", "AuthorizationFailed", f"{ACTION}/virtualMachines/read", views=None),
    ),
    "views-500-always": Trouble(
        faults=(views(status=500, json=BROKEN, times=ALWAYS),),
        within=timedelta(minutes=40),
        **ends("TimedOut", "NotAttempted", "InternalError", posts=0, polls=0, views=None, maintained=0),
    ),
}

TROUBLES: Mapping[str, Trouble] = {"none": Trouble(), **POSTS, **POLLS, **VIEWS}
