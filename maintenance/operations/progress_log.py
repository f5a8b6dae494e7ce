"""Log lines on the way of a request: each wave that is submitted, and each retry with its reason."""

from __future__ import annotations

import logging

from maintenance.domain.operation import Operation
from maintenance.domain.redaction import redact
from maintenance.lifecycle.actions import Continue, Done, LeaveToJudge

logger = logging.getLogger(__name__)


def log_submission(posted: Operation, concluded: Continue | Done | LeaveToJudge) -> None:
    """That a wave was submitted, and when its run goes on."""
    due = f"due at {concluded.due.isoformat()}" if isinstance(concluded, Continue) else "judged after the settle time"
    logger.info(
        "Wave %d of %d submitted for request %s (run %s) on %s, %s",
        posted.wave + 1,
        len(posted.waves),
        posted.request_id,
        posted.run_id,
        posted.scale_set,
        due,
    )


def log_retry(before: Operation, concluded: Continue | Done | LeaveToJudge) -> None:
    """Why a request is put off, where it is. Secrets are taken out of the text, which may be Resource Manager's."""
    if not isinstance(concluded, Continue) or concluded.operation.failures <= before.failures:
        return
    error = concluded.operation.transient_error
    logger.warning(
        "Retry scheduled for request %s (run %s) at %s: %s",
        before.request_id,
        before.run_id,
        concluded.due.isoformat(),
        redact(f"{error.code}: {error.message}")[:500] if error else "reason unknown",
    )
