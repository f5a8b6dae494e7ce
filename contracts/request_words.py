"""What people read about the fields of requests and cancellations: title, description, examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Words:
    title: str
    description: str
    examples: tuple[Any, ...] = ()


SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
RESOURCE_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web"
)

TARGET = {
    "schemaVersion": Words("Version of this form", "Always 1. Left out: 1.", (1,)),
    "subscriptionId": Words(
        "Subscription", "Id of the scale set's subscription. Needs the two other names.", (SUBSCRIPTION,)
    ),
    "resourceGroupName": Words("Resource group", "Name of the scale set's resource group.", ("shop",)),
    "vmScaleSetName": Words("Scale set", "Name of the scale set.", ("web",)),
    "resourceId": Words(
        "Resource id", "The scale set's resource id, in any letter case, in place of the three names.", (RESOURCE_ID,)
    ),
    "reason": Words(
        "Reason",
        "Free text of one line, which the events repeat. Anybody who reads events reads it.",
        ("kernel update",),
    ),
}
REQUEST = {
    **TARGET,
    "requestId": Words(
        "Request id",
        "Names the request in every event: printable ASCII characters without spaces. Left out: the message id, else "
        "one made of the sequence number.",
        ("4f7c0f6e-rolling",),
    ),
    "instanceIds": Words(
        "Instances",
        "Which instances: numbers in a Uniform scale set, VM names in a Flexible one. Left out: the whole scale set. "
        "Null and an empty list are refused, so that a mistake never becomes the whole scale set. Ids that differ in "
        "the case of ASCII letters only are the same id; all ids together have at most 40,000 characters.",
        (["0", "3"],),
    ),
    "notBefore": Words("Not before", "The request waits until then. At most 35 days ahead.", ("2026-01-31T22:00:00Z",)),
    "deadline": Words(
        "Deadline",
        "What has not ended by then ends as TimedOut. After notBefore, and at most 35 days ahead. Left out: six hours "
        "after the request's begin (a setting of the app).",
        ("2026-02-01T06:00:00+01:00",),
    ),
    "rollout": Words("Rollout", "How many instances are maintained at a time, and when to stop."),
    "windows": Words(
        "Windows",
        "A wave starts only while one of these windows is open, and one of the app's, if it has any; what runs, runs "
        "on. At most 10.",
        ([{"schedule": "0 22 * * SAT", "duration": "PT6H", "timeZone": "Europe/Berlin"}],),
    ),
    "ineligible": Words(
        "Ineligible instances",
        "What to do when some of the instances cannot be maintained: skip them and name them, or reject the request.",
        ("reject",),
    ),
    "dryRun": Words(
        "Dry run",
        "True: nothing is started. The end tells the waves, and for each instance why it is in or out.",
        (True,),
    ),
}
ROLLOUT = {
    "maxInstancesPerWave": Words(
        "Instances in a wave",
        "How many instances are maintained at a time: a number, or a percentage of them, rounded down but at least "
        "one. Left out: all.",
        (2, "20%"),
    ),
    "byUpdateDomain": Words("By update domain", "True: one platform update domain at a time.", (True,)),
    "pauseBetweenWaves": Words(
        "Pause between waves",
        "ISO 8601 duration of at most 7 days, each unit below the next larger one. Shorter than the time to the "
        "deadline.",
        ("PT5M", "P1DT12H"),
    ),
    "maxFailedInstances": Words("Failures allowed", "How many instances may fail before the rollout stops.", (0, 3)),
    "healthTimeout": Words(
        "Health time-out",
        "How long a wave's instances may take to be healthy again before the rollout stops. ISO 8601 duration of at "
        "most 7 days.",
        ("PT10M",),
    ),
    "gate": Words(
        "Gate",
        "Which waves wait for a proceed before they start: the first that starts anything, or each. Left out: none.",
        ("everyWave",),
    ),
    "gateTimeout": Words(
        "Gate time-out",
        "How long a wave waits at its gate at the most, and never beyond the deadline. ISO 8601 duration of at most 7 "
        "days. Left out: an hour.",
        ("PT30M",),
    ),
    "atGateTimeout": Words(
        "At the gate time-out",
        "What happens where no proceed came in time: stop (the request ends, and starts nothing more) or proceed. Left "
        "out: stop.",
        ("proceed",),
    ),
}
WINDOW = {
    "schedule": Words(
        "Schedule",
        "When the window opens: a cron expression of minute, hour, day of the month, month and day of the week, with "
        "one space between them. Where both days are named, either will do. What is in the hour that clocks leave out "
        "is the moment of the change; what is in the hour that comes twice is the first, where the hour is `*` both.",
        ("0 22 * * SAT", "30 1 * * 1-5", "0 3 1 * *"),
    ),
    "duration": Words(
        "Duration",
        "How long it stays open: ISO 8601 duration of at most 7 days, each unit below the next larger one.",
        ("PT6H",),
    ),
    "timeZone": Words("Time zone", "Name in the IANA database. Left out: UTC.", ("Europe/Berlin",)),
}
CANCELLATION = {
    **TARGET,
    "cancel": Words(
        "Request to cancel", "The requestId of the request that is to start nothing more.", ("4f7c0f6e-rolling",)
    ),
}
PROCEED = {
    **TARGET,
    "proceed": Words("Request to proceed", "The requestId of the request whose wave may start.", ("4f7c0f6e-rolling",)),
    "wave": Words("Wave", "The wave that may start, from 1, as the awaiting event names it. Holds for no other.", (1,)),
}
PAUSE = {
    "schemaVersion": TARGET["schemaVersion"],
    "pause": Words("Pause", "Where nothing new starts, not even the next wave of what rolls out, and until when."),
}
RESUME = {
    "schemaVersion": TARGET["schemaVersion"],
    "resume": Words("Resume", "Where the pauses that were asked for before are over."),
}
_SCOPE = Words(
    "Scope",
    "A subscription's id, or the resource id of a subscription, a resource group or a scale set, in any letter case.",
    (SUBSCRIPTION, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop", RESOURCE_ID),
)
PAUSE_OF = {
    "scope": _SCOPE,
    "until": Words(
        "Until",
        "When the pause is over by itself, at most 35 days ahead. Left out: when it is resumed.",
        ("2026-02-02T08:00:00Z",),
    ),
    "reason": TARGET["reason"],
}
RESUME_OF = {"scope": _SCOPE, "reason": TARGET["reason"]}
REQUEST_EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": "shop",
        "vmScaleSetName": "web",
        "instanceIds": ["0", "3"],
        "requestId": "4f7c0f6e-rolling",
        "rollout": {"maxInstancesPerWave": "20%", "byUpdateDomain": True, "pauseBetweenWaves": "PT5M"},
        "reason": "kernel update",
    },
    {"resourceId": RESOURCE_ID, "dryRun": True},
)
CANCELLATION_EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": "shop",
        "vmScaleSetName": "web",
        "cancel": "4f7c0f6e-rolling",
        "reason": "wrong day",
    },
)
PROCEED_EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": "shop",
        "vmScaleSetName": "web",
        "proceed": "4f7c0f6e-rolling",
        "wave": 1,
        "reason": "drained",
    },
)
PAUSE_EXAMPLES: tuple[dict[str, Any], ...] = (
    {"pause": {"scope": SUBSCRIPTION, "until": "2026-02-02T08:00:00Z", "reason": "incident 4711"}},
)
RESUME_EXAMPLES: tuple[dict[str, Any], ...] = ({"resume": {"scope": SUBSCRIPTION}},)
