"""The worker's metrics: what they are, and the numbers that are kept until the next export.

What every poll counts is kept as plain numbers and read at the export, since a counter of OpenTelemetry's takes 9 µs
for each: a fiftieth of a poll. No attribute names a request, an instance or a scale set: each value would be a series.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.metrics import Counter as OtelCounter

# Seconds: a tick takes one, a wave minutes, a run up to days.
SHORT = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
LONG = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800)
# Of ARM's names of its limits, which come from outside.
MOST_LIMITS = 30
_LIMIT = re.compile(r"[A-Za-z.]{1,60}/[A-Za-z0-9]{1,60}", re.ASCII)
_SUBSCRIPTION_LIMITS = {
    f"x-ms-ratelimit-remaining-{name}": name
    for name in ("subscription-reads", "subscription-writes", "subscription-global-reads", "subscription-global-writes")
}
_COMPUTE_LIMITS = "x-ms-ratelimit-remaining-resource"
# Why Service Bus dead-letters a message by itself; all else is somebody's text.
DEAD_LETTER_REASONS = ("MaxDeliveryCountExceeded", "TTLExpiredException", "HeaderSizeExceeded")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `observed`: it is read at the export. `unit` is UCUM's."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    observed: bool = False


def _metric(name: str, kind: Literal["counter", "histogram", "gauge"], unit: str, text: str, *names: str) -> Metric:
    observed = kind == "gauge" or name in ("arm.calls", "arm.throttled", "tick.taken")
    attributes = tuple(f"vmss.maintenance.{each}" for each in names)
    return Metric(f"vmss.maintenance.{name}", kind, unit, text, attributes, observed)


METRICS = (
    _metric("requests", "counter", "{request}", "Messages of the requests queue", "result"),
    _metric("operations.ended", "counter", "{operation}", "Runs that ended", "status"),
    _metric("operation.duration", "histogram", "s", "From the request to the end of its run", "status"),
    _metric("wave.duration", "histogram", "s", "From the first POST of a wave until all of it is judged and recovered"),
    _metric("instances", "counter", "{instance}", "Instances of runs that ended", "outcome"),
    _metric("operations.active", "gauge", "{operation}", "Runs that the last tick dealt with", "phase"),
    _metric("operation.overdue", "gauge", "s", "How late the last tick took the oldest record"),
    _metric("tick.duration", "histogram", "s", "Run of the timer"),
    _metric("tick.taken", "counter", "{record}", "Records that ticks took"),
    _metric("arm.calls", "counter", "{call}", "Calls to Resource Manager", "method", "status_class"),
    _metric("arm.remaining", "gauge", "{call}", "Calls that Resource Manager says are left", "limit"),
    _metric("arm.throttled", "counter", "{call}", "Calls to Resource Manager that got 429"),
    _metric("dead_lettered", "counter", "{message}", "Dead letters that were dealt with", "queue", "reason"),
    _metric("holds", "counter", "{request}", "Runs put off, since another holds their scale set"),
)
BY_NAME = {metric.name: metric for metric in METRICS}


class Meters:
    """The instruments of one process, made by `meter`."""

    def __init__(self, meter: Meter) -> None:
        self._calls: Counter[tuple[str, int | None]] = Counter()
        self._responses: dict[str, Mapping[str, str]] = {}
        self._taken = 0
        self._overdue = 0.0
        self._active: dict[str, int] = {}
        self._counters: dict[str, OtelCounter] = {}
        self._histograms: dict[str, Histogram] = {}
        observed: dict[str, Callable[[], Iterable[Observation]]] = {
            "arm.calls": self._observe_calls,
            "arm.throttled": lambda: (
                Observation(sum(count for (_, status), count in list(self._calls.items()) if status == 429)),
            ),
            "arm.remaining": self._observe_remaining,
            "tick.taken": lambda: (Observation(self._taken),),
            "operation.overdue": lambda: (Observation(self._overdue),),
            "operations.active": lambda: [
                Observation(count, {"vmss.maintenance.phase": phase}) for phase, count in self._active.items()
            ],
        }
        for metric in METRICS:
            short = metric.name.removeprefix("vmss.maintenance.")
            if metric.observed:
                make = meter.create_observable_gauge if metric.kind == "gauge" else meter.create_observable_counter
                make(metric.name, [_callback(observed[short])], metric.unit, metric.description)
            elif metric.kind == "counter":
                self._counters[short] = meter.create_counter(metric.name, metric.unit, metric.description)
            else:
                bounds = SHORT if short == "tick.duration" else LONG
                self._histograms[short] = meter.create_histogram(
                    metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=bounds
                )

    def count(self, name: str, number: int = 1, **attributes: str) -> None:
        """Add to a counter; its name and those of its attributes without their prefix."""
        self._counters[name].add(number, {f"vmss.maintenance.{key}": value for key, value in attributes.items()})

    def record(self, name: str, seconds: float, **attributes: str) -> None:
        """Record a duration in a histogram; names as for `count`."""
        prefixed = {f"vmss.maintenance.{key}": value for key, value in attributes.items()}
        self._histograms[name].record(max(seconds, 0.0), prefixed)

    def called(self, method: str, status: int | None, headers: Mapping[str, str]) -> None:
        """A call to Resource Manager; `status` is None where no response came."""
        self._calls[method, status] += 1
        # Read at the export: which limits are left takes as long to read as all else. Each kind of call has its own,
        # and Compute names those first that are its alone.
        kind = (headers.get(_COMPUTE_LIMITS) or method).partition(";")[0]
        if self._responses.pop(kind, None) is not None or len(self._responses) < MOST_LIMITS:
            # The last of all comes last.
            self._responses[kind] = headers

    def _observe_remaining(self) -> list[Observation]:
        left: dict[str, int] = {}
        for headers in list(self._responses.values()):
            given = [(name, headers[header]) for header, name in _SUBSCRIPTION_LIMITS.items() if header in headers]
            for each in headers.get(_COMPUTE_LIMITS, "").split(","):
                name, _, text = each.strip().partition(";")
                if _LIMIT.fullmatch(name):
                    given.append((name, text))
            for name, text in given:
                if text.isascii() and text.isdigit() and (name in left or len(left) < MOST_LIMITS):
                    left[name] = int(text[:9])
        return [Observation(number, {"vmss.maintenance.limit": name}) for name, number in left.items()]

    def ticked(self, taken: int, overdue: float, active: Mapping[str, int]) -> None:
        """A tick has ended. A phase that it did not meet has none."""
        self._taken += taken
        self._overdue = overdue
        self._active = {**dict.fromkeys(self._active, 0), **active}

    def _observe_calls(self) -> list[Observation]:
        counts: Counter[tuple[str, str]] = Counter()
        for (method, status), count in list(self._calls.items()):
            counts[method, f"{status // 100}xx" if status is not None else "none"] += count
        return [
            Observation(count, {"vmss.maintenance.method": method, "vmss.maintenance.status_class": status_class})
            for (method, status_class), count in counts.items()
        ]


def dead_letter_reason(text: str | None) -> str:
    """Service Bus's own reason, or `other`: a series for each text would be without end."""
    reason = (text or "").partition(":")[0].strip()
    return reason if reason in DEAD_LETTER_REASONS else "other"


def _callback(read: Callable[[], Iterable[Observation]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: read()
