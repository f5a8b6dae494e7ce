"""A run as a tree: request, waves with their state and times, instances, what comes next and why it waits. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from maintenance_cli.drawing.lines import Line, Span
from maintenance_cli.picture.runs import InstanceShown, Run, State, Wave

# Of one wave. More are counted by their states, and named in JSON.
MOST_INSTANCES = 20
STYLES = {
    "Succeeded": "green",
    "NothingToDo": "cyan",
    "PartiallySucceeded": "yellow",
    "Failed": "red",
    "TimedOut": "red",
    "Canceled": "yellow",
    "Rejected": "red",
    "Duplicate": "dim",
    "Completed": "green",
    "AlreadyCompleted": "green",
    "Unknown": "red",
    "NotFound": "yellow",
    "Skipped": "dim",
    "NotAttempted": "dim",
    "WouldMaintain": "cyan",
    "InMaintenance": "blue",
    "Starting": "blue",
    "Unclear": "yellow",
    "Planned": "dim",
    "done": "green",
    "failed": "red",
    "under way": "blue",
    "starting": "blue",
    "unclear": "yellow",
    "waiting": "yellow",
    "unreadable": "red",
    "dead letter": "red",
}
_SIGNS = {
    "Completed": "✓",
    "AlreadyCompleted": "✓",
    "Failed": "✗",
    "Unknown": "✗",
    "InMaintenance": "▶",
    "Starting": "▶",
}


def styled(text: str) -> Span:
    """A state or status in its colour."""
    return Span(text, STYLES.get(text, ""))


def state_of(run: Run) -> str:
    """One word for where a run is, or how it ended."""
    return run.status if run.is_over and run.status else run.state.value


def tree(run: Run, now: datetime) -> list[Line]:
    """The run in lines."""
    where = str(run.scale_set) if run.scale_set else "unknown scale set"
    head: list[str | Span] = [Span(run.request_id, "bold"), "  ", where, "  ", styled(state_of(run))]
    if run.dry_run:
        head.append(Span("  dry run", "cyan"))
    branches: list[tuple[Line, list[Line]]] = [(line, []) for line in _facts(run, now)]
    branches += [(_wave_line(wave, len(run.waves), now), _instance_lines(wave.instances)) for wave in run.waves]
    if run.others:
        branches.append((Line.of("in no wave"), _instance_lines(run.others)))
    if not run.waves and not run.others and not run.is_over:
        branches.append((Line.of(Span("waves: " + _unplanned(run), "dim")), []))
    return [Line.of(*head), *_branches(branches)]


def _unplanned(run: Run) -> str:
    return "unknown" if run.state is State.UNREADABLE else "not planned yet"


def _facts(run: Run, now: datetime) -> Iterator[Line]:
    times = [
        f"{name} {_ago(moment, now)}"
        for name, moment in (("requested", run.requested_at), ("started", run.started_at), ("ended", run.ended_at))
        if moment is not None
    ]
    if run.deadline is not None and not run.is_over:
        times.append(f"deadline {_ago(run.deadline, now)}")
    if times:
        yield Line.of(Span(", ".join(times), "dim"))
    if run.reason:
        yield Line.of(Span("reason: ", "dim"), run.reason)
    if run.next_at is not None and not run.is_over:
        # A message that is due lies there until somebody takes it.
        text = f"next poll {_ago(run.next_at, now)}" if run.next_at > now else f"due since {_ago(run.next_at, now)}"
        yield Line.of(Span(text, "red" if run.overdue else "dim"))
    for sentence in run.why:
        late = run.overdue and sentence.startswith("Overdue")
        yield Line.of(Span("why: ", "dim"), Span(sentence, "red" if late else ""))
    if run.error:
        yield Line.of(Span("error: ", "red"), run.error)
    if run.run_id:
        yield Line.of(Span(f"run {run.run_id}" + (f", record {run.record}" if run.record is not None else ""), "dim"))


def _wave_line(wave: Wave, total: int, now: datetime) -> Line:
    parts: list[str | Span] = [f"wave {wave.number} of {total}  ", styled(wave.state)]
    times = [
        f"{name} {clock(moment)}"
        for name, moment in (("posted", wave.posted_at), ("ended", wave.ended_at))
        if moment is not None
    ]
    if times:
        parts.append(Span("  " + ", ".join(times), "dim"))
    done = sum(each.state in ("Completed", "AlreadyCompleted") for each in wave.instances)
    parts.append(Span(f"  {done}/{len(wave.instances)}", "dim"))
    return Line.of(*parts)


def _instance_lines(instances: Sequence[InstanceShown]) -> list[Line]:
    if len(instances) > MOST_INSTANCES:
        counts = Counter(each.state for each in instances)
        return [Line.of(f"{number} × ", styled(state)) for state, number in counts.most_common()]
    width = max((len(each.instance_id) for each in instances), default=0)
    return [
        Line.of(
            Span(f"{_SIGNS.get(each.state, '□')} ", STYLES.get(each.state, "")),
            f"{each.instance_id:<{width}}  ",
            styled(each.state),
            Span(f"  {each.message}" if each.message else "", "dim"),
        )
        for each in instances
    ]


def _branches(branches: Sequence[tuple[Line, list[Line]]]) -> Iterable[Line]:
    for at, (line, below) in enumerate(branches):
        last = at == len(branches) - 1
        yield Line.of(Span("└─ " if last else "├─ ", "dim"), *line.spans)
        for number, inner in enumerate(below):
            end = number == len(below) - 1
            yield Line.of(Span(("   " if last else "│  ") + ("└─ " if end else "├─ "), "dim"), *inner.spans)


def clock(moment: datetime) -> str:
    """A time of day in UTC."""
    return f"{moment:%H:%M:%S}"


def _ago(moment: datetime, now: datetime) -> str:
    return f"{stamp(moment, now)} ({span(moment - now)})"


def stamp(moment: datetime, now: datetime) -> str:
    """A time, in UTC; with its date where that is not today's."""
    return f"{moment:%H:%M:%S}Z" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}Z"


def span(distance: timedelta) -> str:
    """How far a time is from now: `in 5 min`, `3 h ago`."""
    seconds = round(distance.total_seconds())
    if not seconds:
        return "now"
    size = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if size >= 2 * length:
            text = f"{round(size / length)} {unit}"
            break
    else:
        text = f"{size} s"
    return f"in {text}" if seconds > 0 else f"{text} ago"
