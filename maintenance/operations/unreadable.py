"""Records that this version cannot read: passed on unread until their deadline, then ended. Pure.

A newer version of the app may read them again, so nothing is lost during a deployment or a rollback. What is needed
stands in the message's properties, beside the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from maintenance.domain import message_ids
from maintenance.domain.messages import Delivery, Record
from maintenance.domain.observations import ErrorDetail
from maintenance.domain.operation import Operation, Phase, Reply, Status
from maintenance.domain.resources import parse_scale_set_id
from maintenance.operations.records import LATEST, LONGEST_RUN, REPLY, to_record, to_reply_record

LATER = timedelta(minutes=10)


def pass_on(delivery: Delivery, reason: str, now: datetime) -> Record | None:
    """The record that follows one that cannot be read; None where its message does not even say whose it is."""
    properties = delivery.properties
    run_id, number = str(properties.get("run", "")), _number(properties)
    if not message_ids.RUN_ID.fullmatch(run_id) or number is None:
        return None
    deadline = _moment(properties)
    late = deadline is None or now >= deadline
    if delivery.subject == REPLY:
        if late:
            return to_reply_record(_answered(properties, run_id, number + 1, reason, now), None)
    else:
        ended = _ended(properties, run_id, number + 1, reason, now)
        if ended is None:
            return None
        if late:
            return to_record(ended, None)
    return Record(
        message_id=message_ids.record(run_id, number + 1),
        body=delivery.body,
        due=now + LATER,
        subject=delivery.subject,
        correlation_id=delivery.correlation_id,
        properties={**properties, "number": number + 1},
    )


def _ended(properties: Mapping[str, str], run_id: str, number: int, reason: str, now: datetime) -> Operation | None:
    request_id = str(properties.get("requestId", ""))
    if not message_ids.REQUEST_ID.fullmatch(request_id):
        return None
    try:
        scale_set = parse_scale_set_id(str(properties.get("scaleSet", "")))
    except ValueError:
        return None
    return Operation(
        run_id=run_id,
        request_id=request_id,
        scale_set=scale_set,
        requested_at=now,
        deadline=now,
        number=number,
        phase=Phase.END,
        status=Status.FAILED,
        ended_at=now,
        error=ErrorDetail("UnreadableRecord", f"The run's record cannot be read by this version: {reason}"[:1000]),
    )


def _answered(properties: Mapping[str, str], run_id: str, number: int, reason: str, now: datetime) -> Reply:
    request_id = str(properties.get("requestId", ""))
    return Reply(
        run_id=run_id,
        request_id=request_id if message_ids.REQUEST_ID.fullmatch(request_id) else f"run-{run_id}",
        at=now,
        source="/queues/maintenance-operations",
        problems=(("body", f"was answered by another version, and its answer cannot be read: {reason}"[:1000], None),),
        number=number,
    )


def _number(properties: Mapping[str, str]) -> int | None:
    text = str(properties.get("number", ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _moment(properties: Mapping[str, str]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(properties.get("deadline", "")))
        moment + LONGEST_RUN
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None and moment < min(LATEST, moment + LONGEST_RUN) else None
