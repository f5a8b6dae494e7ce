"""Records that this version cannot read: passed on unread until their deadline, then ended. Pure.

A newer version of the app may read them again, so nothing is lost during a deployment or a rollback. What is needed
is in the message's properties, beside the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from maintenance.domain import message_ids
from maintenance.domain.formats import LONGEST_RUN
from maintenance.domain.messages import Delivery, Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Phase, Reply, Status
from maintenance.domain.resources import ScaleSet, parse_scale_set_id
from maintenance.operations.records import ABOUT, LATEST, REPLY, to_record, to_reply_record

LATER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class _About:
    """What a message says of its record beside the body."""

    run_id: str
    number: int
    request_id: str
    deadline: datetime | None
    scale_set: ScaleSet | None


def pass_on(delivery: Delivery, reason: str, now: datetime) -> Record | None:
    """The record that follows one that cannot be read; None where its message does not even say whose it is."""
    about = _about(delivery)
    if about is None:
        return None
    if about.deadline is not None and now < about.deadline:
        return Record(
            message_id=message_ids.record(about.run_id, about.number + 1),
            body=delivery.body,
            due=now + LATER,
            subject=delivery.subject,
            correlation_id=delivery.correlation_id,
            properties=delivery.properties,
        )
    if delivery.subject == REPLY or about.scale_set is None:
        return to_reply_record(_replied(about, reason, now), None)
    return to_record(_ended(about, about.scale_set, reason, now), None)


def _about(delivery: Delivery) -> _About | None:
    run_id, _, number = delivery.message_id.partition(":s")
    if not message_ids.RUN_ID.fullmatch(run_id) or not (number.isascii() and number.isdigit() and len(number) < 9):
        return None
    request_id, _, rest = delivery.properties.get(ABOUT, "").partition(" ")
    if not message_ids.REQUEST_ID.fullmatch(request_id):
        return None
    deadline, _, resource_id = rest.partition(" ")
    try:
        scale_set = parse_scale_set_id(resource_id)
    except ValueError:
        scale_set = None
    return _About(run_id, int(number), request_id, _moment(deadline), scale_set)


def _ended(about: _About, scale_set: ScaleSet, reason: str, now: datetime) -> Operation:
    return Operation(
        run_id=about.run_id,
        request_id=about.request_id,
        scale_set=scale_set,
        requested_at=now,
        deadline=now,
        number=about.number + 1,
        phase=Phase.END,
        status=Status.FAILED,
        ended_at=now,
        error=ErrorDetail("UnreadableRecord", f"The run's record cannot be read by this version: {reason}"[:1000]),
    )


def _replied(about: _About, reason: str, now: datetime) -> Reply:
    return Reply(
        run_id=about.run_id,
        request_id=about.request_id,
        at=now,
        source="/queues/maintenance-operations",
        problems=(("body", f"was replied to by another version, and the reply cannot be read: {reason}"[:1000], None),),
        number=about.number + 1,
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None and moment + LONGEST_RUN < LATEST else None
    except (ValueError, OverflowError):
        return None
