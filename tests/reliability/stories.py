"""Stories that a worker is killed in."""

from __future__ import annotations

from datetime import timedelta

from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID, Fault, InstanceSeed
from tests.reliability.story import Story
from tests.support.environment import request

# Longer than it takes to open links, so that the operation is polled while it runs.
LASTING = timedelta(seconds=1)


def _instances(number: int, *more: InstanceSeed) -> tuple[InstanceSeed, ...]:
    return (*(InstanceSeed(str(n), update_domain=n, duration=LASTING) for n in range(number)), *more)


TWO_INSTANCES = Story(
    instances=_instances(4),
    requests={"two": request(instanceIds=["0", "1"])},
    ends={"two": "Succeeded"},
    publishes=("accepted", "completed"),
    maintained=frozenset("01"),
)

THREE_WAVES = Story(
    instances=tuple(InstanceSeed(str(n), duration=timedelta(seconds=0.3)) for n in range(6)),
    requests={"waves": request(rollout={"maxInstancesPerWave": 2})},
    ends={"waves": "Succeeded"},
    publishes=("accepted", "progressed", "progressed", "completed"),
    maintained=frozenset("012345"),
)

REFUSED = Story(
    instances=_instances(2),
    requests={"refused": request(instanceIds=["0", "1"])},
    ends={"refused": "Failed"},
    publishes=("completed",),
    faults=(
        Fault(
            method="POST",
            path="*/performMaintenance",
            times=None,
            status=409,
            json={"error": {"code": "OperationNotAllowed", "message": "Maintenance is not allowed on web_1."}},
        ),
    ),
)

NOTHING_TO_DO = Story(
    instances=(InstanceSeed("0", state="completed"), InstanceSeed("1", state="not-planned")),
    requests={"idle": request()},
    ends={"idle": "NothingToDo"},
    publishes=("completed",),
)

BAD_INPUT = Story(
    instances=_instances(2),
    requests={
        "misspelt": request(instanceId=["0"]),
        "cut-off": b'{"subscriptionId": "',
        "elsewhere": {**request(), "subscriptionId": "22222222-2222-4222-8222-222222222222"},
    },
    ends={"misspelt": "Rejected", "cut-off": "Rejected", "elsewhere": "Rejected"},
    publishes=("rejected", "rejected", "rejected"),
)

RETRY_LATER = Story(
    instances=tuple(
        InstanceSeed(str(n), duration=timedelta(seconds=0.3), outcome=("RetryLater", "Succeeded")) for n in range(2)
    ),
    requests={"retry": request(instanceIds=["0", "1"])},
    ends={"retry": "Failed"},
    publishes=("accepted", "completed"),
    maintained=frozenset("01"),
)

FAILED_WAVE = Story(
    instances=tuple(
        InstanceSeed(str(n), duration=timedelta(seconds=0.3), outcome="Failed" if n == 2 else "Succeeded")
        for n in range(6)
    ),
    requests={"stops": request(rollout={"maxInstancesPerWave": 2})},
    ends={"stops": "PartiallySucceeded"},
    publishes=("accepted", "progressed", "completed"),
    maintained=frozenset("0123"),
)

FAILED_FIRST_WAVE = Story(
    instances=tuple(
        InstanceSeed(str(n), duration=timedelta(seconds=0.3), outcome="Failed" if n < 2 else "Succeeded")
        for n in range(4)
    ),
    requests={"stops": request(rollout={"maxInstancesPerWave": 2})},
    ends={"stops": "Failed"},
    publishes=("accepted", "completed"),
    maintained=frozenset("01"),
)

NOT_BEFORE = Story(
    instances=_instances(2),
    requests={"tonight": request(instanceIds=["0", "1"])},
    ends={"tonight": "Succeeded"},
    publishes=("accepted", "completed"),
    maintained=frozenset("01"),
    not_before=timedelta(seconds=5),
)

PAST_ITS_DEADLINE = Story(
    instances=(InstanceSeed("0", duration=timedelta(minutes=5)),),
    requests={"slow": request(instanceIds=["0"])},
    ends={"slow": "TimedOut"},
    keeps_lease=True,
    publishes=("accepted", "completed"),
    maintained=frozenset("0"),
    # Long enough for a second worker to post it on a busy machine, with few polls.
    deadline=timedelta(seconds=30),
    settings={
        "MAINTENANCE_MIN_POLL_INTERVAL": "PT3S",
        "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT3S",
        "MAINTENANCE_MAX_POLL_INTERVAL": "PT3S",
    },
)

# One call for each VM.
FLEXIBLE = Story(
    instances=tuple(InstanceSeed(f"web_{n}", duration=LASTING) for n in range(3)),
    requests={"flexible": request(instanceIds=["web_0", "web_1"])},
    ends={"flexible": "Succeeded"},
    publishes=("accepted", "completed"),
    maintained=frozenset({"web_0", "web_1"}),
    orchestration="Flexible",
)

REJECTED_BY_STATE = Story(
    instances=_instances(1, InstanceSeed("1", state="not-planned")),
    requests={"strict": request(instanceIds=["0", "1"], ineligible="reject")},
    ends={"strict": "Rejected"},
    publishes=("rejected",),
)

QUICK_ONES = tuple(InstanceSeed(str(n), update_domain=n, duration=timedelta(seconds=0.3)) for n in range(6))

# A share of what was planned, not of what is left; the one that Azure puts off is not asked for twice.
PERCENTAGE = Story(
    instances=(
        QUICK_ONES[0],
        InstanceSeed("1", duration=timedelta(seconds=0.3), outcome=("RetryLater", "Succeeded")),
        *QUICK_ONES[2:],
    ),
    requests={"share": request(rollout={"maxInstancesPerWave": "34%", "maxFailedInstances": 1})},
    ends={"share": "PartiallySucceeded"},
    publishes=("accepted", "progressed", "progressed", "completed"),
    maintained=frozenset("012345"),
)

FLEXIBLE_WAVES = Story(
    instances=tuple(InstanceSeed(f"web_{n}", duration=timedelta(seconds=0.3)) for n in range(4)),
    requests={"flexible": request(rollout={"maxInstancesPerWave": 2})},
    ends={"flexible": "Succeeded"},
    publishes=("accepted", "progressed", "completed"),
    maintained=frozenset({f"web_{n}" for n in range(4)}),
    orchestration="Flexible",
)

# Maintained in an earlier campaign: `Completed` of that one is no proof. What is planned again at once is left to the
# simulation: where the response to its POST is lost, nothing shows how it ended, and the run waits for its deadline.
TWO_CAMPAIGNS = Story(
    instances=tuple(
        InstanceSeed(
            str(n),
            duration=timedelta(seconds=0.3),
            earlier_result="MaintenanceCompleted",
        )
        for n in range(4)
    ),
    requests={"again": request(rollout={"maxInstancesPerWave": 2})},
    ends={"again": "Succeeded"},
    publishes=("accepted", "progressed", "completed"),
    maintained=frozenset("0123"),
)

LAGGING_VIEWS = Story(
    instances=QUICK_ONES[:4],
    requests={"late": request(rollout={"maxInstancesPerWave": 2})},
    ends={"late": "Succeeded"},
    publishes=("accepted", "progressed", "completed"),
    maintained=frozenset("0123"),
    view_lag=timedelta(seconds=1.5),
    settings={"MAINTENANCE_VIEW_LAG": "PT2S", "MAINTENANCE_SETTLE_TIME": "PT8S"},
)

PAUSES = Story(
    instances=QUICK_ONES[:4],
    requests={"pauses": request(rollout={"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT2S"})},
    ends={"pauses": "Succeeded"},
    publishes=("accepted", "progressed", "completed"),
    maintained=frozenset("0123"),
)

# The first wave is let go before it asks, the second once it has.
GATES = Story(
    instances=QUICK_ONES[:4],
    requests={
        "gated": request(rollout={"maxInstancesPerWave": 2, "gate": "everyWave", "gateTimeout": "PT1H"}),
        "go-1": request(proceed="gated", wave=1),
    },
    after_first_post={"go-2": request(proceed="gated", wave=2)},
    ends={"gated": "Succeeded"},
    publishes=("accepted", "accepted", "accepted", "awaiting", "awaiting", "progressed", "completed"),
    maintained=frozenset("0123"),
)

LIMITS = Story(
    instances=QUICK_ONES[:4],
    requests={"limited": request()},
    ends={"limited": "Succeeded"},
    publishes=("accepted", "progressed", "completed"),
    maintained=frozenset("0123"),
    settings={"MAINTENANCE_LIMITS": '{"scaleSets": 1, "instancesPerScaleSet": 2}'},
)

# By the same decision as windows, and to the second. It is over before the worker does anything where it comes up late.
BLACKOUT = Story(
    instances=_instances(2),
    requests={"dark": request(instanceIds=["0", "1"])},
    ends={"dark": "Succeeded"},
    publishes=("accepted", "completed"),
    may_publish=frozenset({"deferred"}),
    maintained=frozenset("01"),
    blackout=timedelta(seconds=6),
)

# The pause may come before the rollout, or between its waves; it ends by itself, where it is not resumed before.
PAUSED = Story(
    instances=QUICK_ONES[:4],
    requests={
        "roll": request(rollout={"maxInstancesPerWave": 2}),
        "hold": {"pause": {"scope": f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}", "reason": "incident"}},
    },
    after_first_post={"on": {"resume": {"scope": f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}"}}},
    ends={"roll": "Succeeded"},
    publishes=("accepted", "accepted", "accepted", "progressed", "completed"),
    may_publish=frozenset({"deferred"}),
    maintained=frozenset("0123"),
    # Longer than it takes to take the message again after a death: one whose time is over is rejected.
    pause=timedelta(seconds=15),
)

# Waits are sliced, and a cancellation is met with the next look: here at `not_before`.
CANCELED_WHILE_IT_WAITS = Story(
    instances=_instances(2),
    requests={"tonight": request(instanceIds=["0", "1"]), "stop": request(cancel="tonight")},
    ends={"tonight": "Canceled"},
    # The answer to the cancellation, and the end.
    publishes=("accepted", "completed"),
    not_before=timedelta(seconds=30),
)

CANCELED_IN_A_PAUSE = Story(
    instances=QUICK_ONES[:4],
    requests={"roll": request(rollout={"maxInstancesPerWave": 2, "pauseBetweenWaves": "PT20S"})},
    after_first_post={"stop": request(cancel="roll")},
    ends={"roll": "Canceled"},
    publishes=("accepted", "accepted", "completed"),
    # None where its death put the POST in doubt: then the cancellation is met as soon as that is judged.
    may_publish=frozenset({"progressed"}),
    maintained=frozenset("01"),
)
