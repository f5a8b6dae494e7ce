"""Stories that a worker is killed in."""

from __future__ import annotations

from datetime import timedelta

from sandbox.resource_manager import Fault, InstanceSeed
from tests.reliability.environment import Story
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
    # If one VM was posted before the worker was killed and is still under maintenance, the other is another wave.
    may_publish=frozenset({"progressed"}),
    maintained=frozenset({"web_0", "web_1"}),
    orchestration="Flexible",
)

REJECTED_BY_STATE = Story(
    instances=_instances(1, InstanceSeed("1", state="not-planned")),
    requests={"strict": request(instanceIds=["0", "1"], ineligible="reject")},
    ends={"strict": "Rejected"},
    publishes=("rejected",),
)
