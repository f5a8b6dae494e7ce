"""Token buckets, as Azure Resource Manager and Microsoft.Compute throttle with.

Documented: learn.microsoft.com, "Understand how Azure Resource Manager throttles requests" and "Troubleshooting
API throttling errors - Virtual Machines". The names that stand in `x-ms-ratelimit-remaining-resource` for
Compute's present limits are not documented for all of them: those here follow the pattern of the ones seen.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sandbox.resource_manager.errors import ArmError


@dataclass(frozen=True)
class Rate:
    """A bucket's size in calls, and how many calls a second flow back into it."""

    bucket: int
    per_second: float


@dataclass(frozen=True)
class Limits:
    """All limits; the defaults are Azure's. ARM's own are per subscription."""

    reads: Rate = Rate(250, 25)
    writes: Rate = Rate(200, 10)
    global_reads: Rate = Rate(15 * 250, 15 * 25)
    global_writes: Rate = Rate(15 * 200, 15 * 10)
    maintenance_per_subscription: Rate = Rate(1500, 500 / 60)
    list_instances_per_scale_set: Rate = Rate(36, 12 / 60)
    list_instances_per_subscription: Rate = Rate(6000, 2000 / 60)
    get_operation_per_operation: Rate = Rate(45, 15 / 60)
    get_operation_per_subscription: Rate = Rate(15000, 5000 / 60)


@dataclass(frozen=True)
class LimitLeft:
    """How much is left of a limit, for what it is counted for: a subscription, a scale set or an operation."""

    name: str
    owner: str
    left: int
    bucket: int


Policy = Literal["maintenance", "list-instances", "get-operation"]
"""Which of Compute's limits a call falls under."""


class Bucket:
    """A token bucket that is full at first."""

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: Rate, now: datetime) -> None:
        self._rate = rate
        self._level = float(rate.bucket)
        self._at = now

    def level(self, now: datetime) -> float:
        """How many calls may be made now."""
        elapsed = (now - self._at).total_seconds()
        if elapsed > 0:
            self._level = min(self._rate.bucket, self._level + elapsed * self._rate.per_second)
            self._at = now
        return self._level

    def left(self, now: datetime) -> tuple[int, int]:
        """How many whole calls may be made now, and the bucket's size. Changes nothing."""
        elapsed = max(0.0, (now - self._at).total_seconds())
        return int(min(self._rate.bucket, self._level + elapsed * self._rate.per_second)), self._rate.bucket

    def take(self, now: datetime) -> int:
        """Take one; returns how many whole ones are left. Only when `level` is at least 1."""
        self._level = self.level(now) - 1
        return int(self._level)

    def seconds_until_one(self, now: datetime) -> int:
        """Whole seconds until a call may be made, at least 1."""
        lacking = 1 - self.level(now)
        if self._rate.per_second <= 0:
            return 3600
        return max(1, math.ceil(lacking / self._rate.per_second))


class Throttle:
    """All buckets. One subscription's have nothing to do with another's."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._compute: dict[Policy, tuple[tuple[str, str, Rate], ...]] = {
            "maintenance": (
                ("subscription", "VMScaleSetActionsSubscriptionMaximum", limits.maintenance_per_subscription),
            ),
            "list-instances": (
                ("resource", "GetVMScaleSetVMsResource", limits.list_instances_per_scale_set),
                (
                    "subscription",
                    "GetVMScaleSetVMsSubscriptionMaximum",
                    limits.list_instances_per_subscription,
                ),
            ),
            "get-operation": (
                ("resource", "GetOperationResource", limits.get_operation_per_operation),
                ("subscription", "GetOperationSubscriptionMaximum", limits.get_operation_per_subscription),
            ),
        }

    def take(
        self, *, subscription: str, write: bool, policy: Policy | None, resource: str, now: datetime
    ) -> dict[str, str]:
        """Count one call; returns the rate-limit headers.

        Args:
            subscription: its id, in small letters.
            write: whether the call falls under ARM's writes (all but GET).
            policy: the limit of Compute it falls under, if any.
            resource: what that limit is counted for: a scale set, an operation.
            now: the time.

        Raises:
            ArmError: 429 with Retry-After in seconds. A call that Compute throttles has passed ARM, and counts there.
        """
        kind: Literal["reads", "writes"] = "writes" if write else "reads"
        headers = self._take_from_arm(subscription, kind, now)
        if policy is None:
            return headers
        taken: list[tuple[str, Bucket]] = []
        for scope, name, rate in self._compute[policy]:
            bucket = self._bucket(name, resource if scope == "resource" else subscription, rate, now)
            if bucket.level(now) < 1:
                seconds = bucket.seconds_until_one(now)
                raise _throttled_by_compute(name, rate, seconds, headers)
            taken.append((name, bucket))
        headers["x-ms-ratelimit-remaining-resource"] = ",".join(
            f"Microsoft.Compute/{name};{bucket.take(now)}" for name, bucket in taken
        )
        return headers

    def left(self, now: datetime) -> list[LimitLeft]:
        """What is left of each limit that was used. Changes nothing."""
        return [LimitLeft(name, owner, *bucket.left(now)) for (name, owner), bucket in self._buckets.items()]

    def _take_from_arm(self, subscription: str, kind: Literal["reads", "writes"], now: datetime) -> dict[str, str]:
        limits = self._limits
        own_rate, all_rate = (
            (limits.reads, limits.global_reads) if kind == "reads" else (limits.writes, limits.global_writes)
        )
        own = self._bucket(kind, subscription, own_rate, now)
        everyones = self._bucket(f"global-{kind}", subscription, all_rate, now)
        for bucket in (own, everyones):
            if bucket.level(now) < 1:
                raise _throttled_by_arm(subscription, kind, bucket.seconds_until_one(now))
        return {
            f"x-ms-ratelimit-remaining-subscription-{kind}": str(own.take(now)),
            f"x-ms-ratelimit-remaining-subscription-global-{kind}": str(everyones.take(now)),
        }

    def _bucket(self, name: str, owner: str, rate: Rate, now: datetime) -> Bucket:
        bucket = self._buckets.get((name, owner))
        if bucket is None:
            bucket = self._buckets[name, owner] = Bucket(rate, now)
        return bucket


def _throttled_by_arm(subscription: str, kind: str, seconds: int) -> ArmError:
    return ArmError(
        429,
        "SubscriptionRequestsThrottled",
        f"Number of '{kind}' requests for subscription '{subscription}' exceeded. Please try again after "
        f"'{seconds}' seconds after additional tokens are available. "
        "Refer to https://aka.ms/arm-throttling for additional information.",
        headers={"Retry-After": str(seconds), f"x-ms-ratelimit-remaining-subscription-{kind}": "0"},
    )


def _throttled_by_compute(name: str, rate: Rate, seconds: int, headers: dict[str, str]) -> ArmError:
    # As recorded: without the `error` envelope, and with a code that other errors have, too.
    return ArmError(
        429,
        "OperationNotAllowed",
        "The server rejected the request because too many requests have been received for this subscription.",
        details=(
            {
                "code": "TooManyRequests",
                "target": name,
                "message": json.dumps(
                    {"operationGroup": name, "allowedRequestCount": rate.bucket}, separators=(",", ":")
                ),
            },
        ),
        headers={
            **headers,
            "Retry-After": str(seconds),
            "x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/{name};0",
        },
        enveloped=False,
    )
