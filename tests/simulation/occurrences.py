"""The table of what occurred, so that a kind that never occurred shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.simulation.faults import ANYWHERE, OWN, POINTS

# Whatever these say must have occurred over some hundred seeds, or the simulation does not look where it should.
MAIN = (
    "killed",
    "redelivered record",
    "redelivered request",
    "dropped duplicate: record",
    "dropped duplicate: entry",
    "dropped duplicate: alert",
    "complete not confirmed",
    "lease id used up",
    "dead letters read",
    "dead letter",
    "lagging views",
    "update by others",
    "maintenance withdrawn",
    "window moved",
    "view not reported for a while",
    "entries put or canceled together",
    "scale-in",
    "scale-out",
    "ill after maintenance",
    "outage of Service Bus",
    "outage of ARM",
    "POST taken",
    "POST not taken: 400",
    "POST not taken: 404",
    "POST not taken: 409",
    "POST not taken: Throttled",
    "POST not taken: Ambiguous",
    *(f"ended as {ending}" for ending in ("completed", "absent", "retry", "aborted", "failed", "second", "gone")),
    *(f"message {kind}" for kind in ("request", "same", "other", "twice", "cancel", "bad", "dry", "alert")),
    *(f"record {kind}" for kind in ("plan", "post", "judge", "track", "end", "rest", "reply")),
    *(
        f"event completed {status}"
        for status in ("Succeeded", "PartiallySucceeded", "Failed", "Canceled", "TimedOut", "NothingToDo")
    ),
    "event rejected Rejected",
    "event duplicate Duplicate",
    *(f"message {kind}" for kind in ("pause", "resume", "proceed")),
    "event awaiting Awaiting",
    "stopped at a gate",
    *(f"deferred for {reason}" for reason in ("Window", "Blackout", "Pause", "Limit")),
    "canceled while waiting",
    "canceled between waves",
    "canceled at work",
)


def faults_that_can_occur() -> list[str]:
    names = []
    for point in POINTS:
        effects = OWN[point] if point == "receive post" else {**ANYWHERE, **OWN.get(point, {})}
        names += [f"fault {point}: {effect}" for effect in effects]
    return names


def missing(occurred: Mapping[str, int]) -> list[str]:
    """Those of the main kinds that never occurred."""
    return [name for name in MAIN if not occurred.get(name)]


def table(occurred: Counter[str]) -> str:
    """All kinds by name, in columns; those that never occurred last."""
    plain = {name: count for name, count in occurred.items() if not name.startswith("fault ")}
    lines = ["What occurred:"]
    lines += [f"{plain[name]:10,}  {name}" for name in sorted(plain)]
    lines.append("Faults, by the call at which they struck:")
    for point in POINTS:
        prefix = f"fault {point}: "
        met = sorted((n.removeprefix(prefix), c) for n, c in occurred.items() if n.startswith(prefix))
        lines.append(f"  {point}: " + ", ".join(f"{effect} {count:,}" for effect, count in met))
    never = [name for name in (*MAIN, *faults_that_can_occur()) if not occurred.get(name)]
    lines.append(f"Never occurred: {', '.join(never) or 'nothing'}")
    return "\n".join(lines)
