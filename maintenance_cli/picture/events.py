"""The events of the audit subscription: how runs ended, when their waves did, who asked and who canceled. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from maintenance.domain.resources import ScaleSet, parse_scale_set_id
from maintenance_cli.picture.messages import Peeked
from maintenance_cli.picture.runs import InstanceShown, Run, State, Wave

ENDS = ("completed", "rejected", "duplicate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `cancels`: the request that a cancellation names, whose reply this is. `number`:
    Service Bus's."""

    kind: str
    status: str
    time: datetime
    request_id: str
    run_id: str
    number: int
    scale_set: ScaleSet | None = None
    correlation_id: str | None = None
    cancels: str | None = None
    data: Mapping[str, Any]

    @property
    def ends(self) -> bool:
        return self.kind in ENDS

    @property
    def asked(self) -> str | None:
        """What a cancellation, a pause or a resume asked for, whose reply this is; None for the event of a run."""
        for name in ("cancels", "pauses", "resumes"):
            if self.data.get(name):
                return f"{name} {self.data[name]}"
        return None

    @property
    def reason(self) -> str | None:
        found = self.data.get("reason")
        return str(found) if found else None


def read_events(messages: Iterable[Peeked]) -> list[Event]:
    """The events among messages. What is no event of this app's is passed over."""
    return [event for message in messages if (event := _read(message)) is not None]


def _read(message: Peeked) -> Event | None:
    try:
        document = json.loads(message.body)
        data = document["data"]
        resource_id = data.get("resourceId")
        return Event(
            kind=document["type"].split(".")[-2],
            status=str(data["status"]),
            time=datetime.fromisoformat(document["time"]),
            request_id=str(data["requestId"]),
            run_id=str(data["runId"]),
            number=message.number,
            scale_set=parse_scale_set_id(resource_id) if resource_id else None,
            correlation_id=message.correlation_id,
            cancels=data.get("cancels"),
            data=data,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None


def concerns(event: Event, wanted: str) -> bool:
    """Whether an event is of this request or run, or of its cancellation."""
    return wanted in (event.request_id, event.run_id, event.cancels)


def ended_run(end: Event, events: Sequence[Event]) -> Run:
    """The run of an end event. `events`: those of the audit subscription, in which its other events are looked for."""
    own = [event for event in events if event.run_id == end.run_id]
    accepted = next((event for event in own if event.kind == "accepted" and event.asked is None), None)
    instances = _instances(end.data)
    waves = _waves(end, accepted, instances)
    in_waves = {each.instance_id for wave in waves for each in wave.instances}
    return Run(
        request_id=end.request_id,
        run_id=end.run_id,
        scale_set=end.scale_set,
        state=State.ENDED,
        status=end.status,
        dry_run=end.data.get("dryRun") is True,
        reason=end.reason,
        correlation_id=end.correlation_id,
        started_at=_moment(end.data.get("start")),
        ended_at=end.time,
        deadline=_moment(accepted.data.get("deadline")) if accepted else None,
        canceled=end.status == "Canceled",
        waves=with_times(waves, own),
        others=tuple(shown for _, shown in instances if shown.instance_id not in in_waves),
        error=_account(end),
        duplicate_of=end.data.get("duplicateOf"),
    )


def with_times(waves: Sequence[Wave], events: Iterable[Event]) -> tuple[Wave, ...]:
    """The waves with the times at which their ends were published; those of the last one's is the end's."""
    times: dict[int, datetime] = {}
    last: datetime | None = None
    for event in events:
        if event.kind == "progressed" and isinstance(event.data.get("wave"), int):
            times[event.data["wave"]] = event.time
        elif event.kind == "completed":
            last = event.time
    if last is not None:
        finished = [wave.number for wave in waves if wave.state in ("done", "failed", "partly done")]
        if finished:
            times.setdefault(max(finished), last)
    return tuple(replace(wave, ended_at=times.get(wave.number, wave.ended_at)) for wave in waves)


def _waves(end: Event, accepted: Event | None, instances: Sequence[tuple[int | None, InstanceShown]]) -> list[Wave]:
    planned = (accepted.data if accepted else end.data).get("waves")
    by_id = {shown.instance_id: shown for _, shown in instances}
    if isinstance(planned, list) and all(isinstance(wave, list) for wave in planned):
        groups = [
            tuple(by_id.get(str(each)) or InstanceShown(str(each), "unknown") for each in wave) for wave in planned
        ]
    else:
        numbers = sorted({number for number, _ in instances if number is not None})
        groups = [
            tuple(shown for at, shown in instances if at == number) for number in range(1, max(numbers, default=0) + 1)
        ]
    return [Wave(at, _wave_state(group), group) for at, group in enumerate(groups, 1)]


def _wave_state(instances: Sequence[InstanceShown]) -> str:
    states = {each.state for each in instances}
    if states <= {"WouldMaintain"} and states:
        return "planned"
    if states & {"Failed", "Unknown"}:
        return "failed"
    if states <= {"NotAttempted"}:
        return "not started"
    return "partly done" if "NotAttempted" in states else "done"


def _instances(data: Mapping[str, Any]) -> list[tuple[int | None, InstanceShown]]:
    found = data.get("instances")
    return [
        (
            each.get("wave"),
            InstanceShown(str(each.get("instanceId")), str(each.get("outcome")), each.get("message")),
        )
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, dict)
    ]


def account_of(event: Event) -> str | None:
    """Why an end is not as wished; None where its status says all."""
    return _account(event) if event.ends and event.status not in ("Canceled", "Duplicate") else None


def _account(end: Event) -> str | None:
    if end.kind == "rejected":
        problems = end.data.get("problems") or ()
        return "; ".join(f"{each.get('field')}: {each.get('message')}" for each in problems if isinstance(each, dict))
    if end.kind == "duplicate":
        return f"the same request was under way already, as run {end.data.get('duplicateOf')}"
    error = end.data.get("error")
    if not isinstance(error, dict):
        return None
    details = [each for each in error.get("details") or () if isinstance(each, dict)]
    inner = "".join(f" ({each.get('code')}: {each.get('message')})" for each in details[:1])
    return f"{error.get('code')}: {error.get('message')}{inner}"


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
