"""What is asked of the worker while it is killed."""

from __future__ import annotations

from datetime import timedelta

from sandbox.resource_manager import Fault, InstanceSeed
from tests.reliability.environment import Story
from tests.support.environment import request

# Longer than it takes to open links, so that an operation is polled while it runs.
LASTING = timedelta(seconds=1)


def _instances(number: int, *more: InstanceSeed) -> tuple[InstanceSeed, ...]:
    return (*(InstanceSeed(str(n), update_domain=n, duration=LASTING) for n in range(number)), *more)


TWO_INSTANCES = Story(
    instances=_instances(4),
    requests={"two": request(instanceIds=["0", "1"])},
    ends={"two": "Succeeded"},
    tells=("accepted", "completed"),
    maintained=frozenset("01"),
)

THREE_WAVES = Story(
    instances=tuple(InstanceSeed(str(n), duration=timedelta(seconds=0.3)) for n in range(6)),
    requests={"waves": request(rollout={"maxInstancesPerWave": 2})},
    ends={"waves": "Succeeded"},
    tells=("accepted", "progressed", "progressed", "completed"),
    maintained=frozenset("012345"),
)

REFUSED = Story(
    instances=_instances(2),
    requests={"refused": request(instanceIds=["0", "1"])},
    ends={"refused": "Failed"},
    tells=("completed",),
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
    tells=("completed",),
)

BAD_INPUT = Story(
    instances=_instances(2),
    requests={
        "misspelt": request(instanceId=["0"]),
        "torn": b'{"subscriptionId": "',
        "elsewhere": {**request(), "subscriptionId": "22222222-2222-4222-8222-222222222222"},
    },
    ends={"misspelt": "Rejected", "torn": "Rejected", "elsewhere": "Rejected"},
    tells=("rejected", "rejected", "rejected"),
)

RETRY_LATER = Story(
    instances=tuple(
        InstanceSeed(str(n), duration=timedelta(seconds=0.3), outcome=("RetryLater", "Succeeded")) for n in range(2)
    ),
    requests={"retry": request(instanceIds=["0", "1"])},
    ends={"retry": "Failed"},
    tells=("accepted", "completed"),
    maintained=frozenset("01"),
)

FAILED_WAVE = Story(
    instances=tuple(
        InstanceSeed(str(n), duration=timedelta(seconds=0.3), outcome="Failed" if n == 2 else "Succeeded")
        for n in range(6)
    ),
    requests={"stops": request(rollout={"maxInstancesPerWave": 2})},
    ends={"stops": "PartiallySucceeded"},
    tells=("accepted", "progressed", "completed"),
    maintained=frozenset("0123"),
)

FAILED_FIRST_WAVE = Story(
    instances=tuple(
        InstanceSeed(str(n), duration=timedelta(seconds=0.3), outcome="Failed" if n < 2 else "Succeeded")
        for n in range(4)
    ),
    requests={"stops": request(rollout={"maxInstancesPerWave": 2})},
    ends={"stops": "Failed"},
    tells=("accepted", "completed"),
    maintained=frozenset("01"),
)

NOT_BEFORE = Story(
    instances=_instances(2),
    requests={"tonight": request(instanceIds=["0", "1"])},
    ends={"tonight": "Succeeded"},
    tells=("accepted", "completed"),
    maintained=frozenset("01"),
    not_before=timedelta(seconds=5),
)

PAST_ITS_DEADLINE = Story(
    instances=(InstanceSeed("0", duration=timedelta(minutes=5)),),
    requests={"slow": request(instanceIds=["0"])},
    ends={"slow": "TimedOut"},
    tells=("accepted", "completed"),
    maintained=frozenset("0"),
    # Long enough for a second worker to post it, on a busy machine too; polled a few times, not a hundred.
    deadline=timedelta(seconds=15),
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
    tells=("accepted", "completed"),
    # A VM of two was started before the death: the other is another wave, if the first is still at it.
    may_tell=frozenset({"progressed"}),
    maintained=frozenset({"web_0", "web_1"}),
    orchestration="Flexible",
)

REJECTED_BY_STATE = Story(
    instances=_instances(1, InstanceSeed("1", state="not-planned")),
    requests={"strict": request(instanceIds=["0", "1"], ineligible="reject")},
    ends={"strict": "Rejected"},
    tells=("rejected",),
)
