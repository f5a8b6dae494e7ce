"""Log lines on the way of a request: each wave that is submitted, each retry with its reason, and the end.

Their records carry the run's attributes and belong to its trace, so that they are found without reading their text.
"""

from __future__ import annotations

import logging

from maintenance.domain.operation import Operation
from maintenance.domain.redaction import redact
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge
from maintenance.operations.ports import UNWATCHED, RunWatch

logger = logging.getLogger(__name__)


def log_submission(posted: Operation, concluded: Continue | Done | LeaveToJudge, watch: RunWatch = UNWATCHED) -> None:
    """That a wave was submitted, and when its run goes on."""
    due = f"due at {concluded.due.isoformat()}" if isinstance(concluded, Continue) else "judged after the settle time"
    with watch.within(posted):
        logger.info(
            "Wave %d of %d submitted for request %s (run %s) on %s, %s",
            posted.wave + 1,
            len(posted.waves),
            posted.request_id,
            posted.run_id,
            posted.scale_set,
            due,
            extra={**posted.attributes(), "vmss.maintenance.line": "wave", "vmss.maintenance.wave": posted.wave + 1},
        )


def log_retry(before: Operation, concluded: Continue | Done | LeaveToJudge, watch: RunWatch = UNWATCHED) -> None:
    """Why a request is put off, where it is. Secrets are taken out of the text, which may be Resource Manager's."""
    if not isinstance(concluded, Continue) or concluded.operation.failures <= before.failures:
        return
    error = concluded.operation.transient_error
    code = {"vmss.maintenance.error_code": redact(error.code)} if error else {}
    with watch.within(before):
        logger.warning(
            "Retry scheduled for request %s (run %s) at %s: %s",
            before.request_id,
            before.run_id,
            concluded.due.isoformat(),
            redact(f"{error.code}: {error.message}")[:500] if error else "reason unknown",
            extra={**before.attributes(), "vmss.maintenance.line": "retry", **code},
        )


def report_submission(posted: Operation, concluded: Continue | Done | LeaveToJudge, watch: RunWatch) -> None:
    """That a wave was submitted, and what follows, to the log and to telemetry."""
    log_submission(posted, concluded, watch)
    report_decision(posted, concluded, watch)


def report_decision(before: Operation, decision: Continue | Done | LeaveToJudge, watch: RunWatch) -> None:
    """What a delivery ended with, to the log and to telemetry."""
    log_retry(before, decision, watch)
    watch.decided(before, decision)


def log_end(ended: Operation, watch: RunWatch = UNWATCHED) -> None:
    """How a run ended."""
    code = {"vmss.maintenance.error_code": redact(ended.error.code)} if ended.error else {}
    with watch.within(ended):
        logger.info(
            "Request %s (run %s) %s",
            ended.request_id,
            ended.run_id,
            ended.describe(),
            extra={**ended.attributes(), "vmss.maintenance.line": "end", **code},
        )
