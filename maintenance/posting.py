"""What ARM answered to performMaintenance, and what follows from it. Pure.

A Uniform scale set takes one call for a wave, a Flexible one takes one for each VM; all calls of a wave are followed in
one operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from maintenance.following import close_wave, confirm
from maintenance.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Refused,
    Submission,
    Succeeded,
    Throttled,
)
from maintenance.operation import Call, Operation, Phase
from maintenance.steps import Look, Rules, Step, end, failed, started, still_unauthorized, try_later, wait

# The ids that were posted together, None for the whole scale set, with ARM's answer.
Posted = tuple[tuple[str, ...] | None, Submission]


def after_posts(rules: Rules, operation: Operation, posted: Sequence[Posted], now: datetime) -> Step:
    """performMaintenance answered, or did not, for each call of the wave."""
    under_way = [call for ids, submission in posted if (call := _under_way(ids or (), submission)) is not None]
    if under_way:
        return _follow(rules, operation, posted, under_way, now)
    unsure = [submission for _, submission in posted if isinstance(submission, Ambiguous)]
    if unsure:
        pauses = [submission.retry_after for submission in unsure if submission.retry_after is not None]
        asked = replace(operation, trouble=unsure[0].error, posted_at=now, failures=operation.failures + 1)
        later = rules.timing.back_off(now, asked.failures, operation.message_id, max(pauses, default=None))
        return wait(asked, now, max(later, now + rules.timing.settle))
    return _not_started(rules, operation, posted, now)


def after_untrusted(operation: Operation, error: ErrorDetail, now: datetime) -> Step:
    """ARM's answer points somewhere that must not be followed: nothing it says can be relied on."""
    return end(replace(started(operation, now), error=error), now)


def _under_way(ids: tuple[str, ...], submission: Submission) -> Call | None:
    """The call to follow, where ARM took it; None where it did not, or may not have."""
    match submission:
        case Accepted(url=url, kind=kind):
            return Call(ids, url, kind, ended=None if url else "untold")
        case Succeeded():
            return Call(ids, ended="succeeded")
        case Failed(error=error, canceled=canceled):
            return Call(ids, ended="canceled" if canceled else "failed", error=error)
    return None


def _follow(
    rules: Rules, operation: Operation, posted: Sequence[Posted], under_way: Sequence[Call], now: datetime
) -> Step:
    calls = [*operation.calls, *under_way]
    dues = []
    error = operation.error
    for ids, submission in posted:
        match submission:
            case Accepted(retry_after=retry_after):
                dues.append(rules.timing.next_poll(now, retry_after))
            case Failed(error=why):
                error = why
            case Refused(error=why):
                calls.append(Call(ids or (), ended="refused", error=why))
            case Ambiguous(error=why):
                calls.append(Call(ids or (), ended="unknown", error=why))
            case Throttled():
                calls.append(Call(ids or (), ended="unsent"))
    following = replace(
        operation,
        phase=Phase.FOLLOWING,
        calls=tuple(calls),
        posted_at=None,
        confirming_since=now,
        failures=0,
        trouble=None,
        error=error,
    )
    begun = started(following, now)
    if not dues or (not rules.views and all(call.ended for call in calls)):
        return confirm(rules, begun, now)
    return wait(begun, now, min(dues))


def _not_started(rules: Rules, operation: Operation, posted: Sequence[Posted], now: datetime) -> Step:
    refused = [(ids or (), answer) for ids, answer in posted if isinstance(answer, Refused)]
    throttled = [answer for _, answer in posted if isinstance(answer, Throttled)]
    unauthorized = [answer for _, answer in refused if answer.status == 401]
    # A 401 can be a token that was revoked a moment ago, a 403 is a missing role: only the first may pass.
    if unauthorized and not still_unauthorized(operation, unauthorized[0].error):
        return try_later(rules, operation, unauthorized[0].error, now)
    if throttled:
        for ids, answer in refused:
            outcomes = dict.fromkeys(ids, failed(answer.error, operation.wave))
            operation = operation.settle_instances(outcomes)
        pauses = [answer.retry_after for answer in throttled if answer.retry_after is not None]
        return try_later(rules, operation, throttled[0].error, now, retry_after=max(pauses, default=None))
    calls = tuple(Call(ids, ended="refused", error=answer.error) for ids, answer in refused)
    closing = replace(
        operation,
        phase=Phase.FOLLOWING,
        calls=(*operation.calls, *calls),
        posted_at=None,
        confirming_since=now,
        failures=0,
        trouble=None,
    )
    if rules.views and any(answer.status == 409 for _, answer in refused):
        # A conflict can mean that the maintenance runs already: the views tell.
        return Look(closing)
    for ids, answer in refused:
        closing = closing.settle_instances(dict.fromkeys(ids, failed(answer.error, operation.wave)))
    return close_wave(rules, closing, now)
