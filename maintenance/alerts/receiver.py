"""An alert arrives, over HTTP or over the requests queue: what it leads to goes into the operations queue.

Nothing else is done, and Resource Manager is not called, so that the response is fast: action groups wait for it, and
send again where it is slow.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from maintenance.alerts.messages import messages
from maintenance.alerts.rules import AlertRules, Decision, decide
from maintenance.alerts.schemas import alert_in, read_alert
from maintenance.domain.errors import BusUnavailable, Problem, ProblemsError
from maintenance.domain.formats import read_json
from maintenance.domain.messages import MAX_ALERT, Envelope, Record, trace_of
from maintenance.domain.redaction import redact

logger = logging.getLogger(__name__)
# Action groups try again on 503, up to five times, and heed no more than that.
RETRY_AFTER_SECONDS = 30
MAX_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class AlertResponse:
    """An HTTP response, apart from the library that sends it."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        return "application/problem+json" if self.status >= 400 else "application/json"

    @property
    def body(self) -> bytes:
        return json.dumps(self.document).encode()


class RecordSender(Protocol):
    """What is used of `servicebus.bus.Bus`. Raises BusUnavailable."""

    async def send(self, records: Sequence[Record]) -> None: ...


class AlertReceiver:
    """The use case behind an alert."""

    def __init__(self, bus: RecordSender, rules: AlertRules) -> None:
        self._bus = bus
        self._rules = rules

    async def respond(self, body: bytes, headers: Mapping[str, str]) -> AlertResponse:
        """The response to the sender of an alert: 202 with the ids of what was put on the queue, 200 with the reason
        why nothing was, 400 with every problem, 413, or 503 where Service Bus does not take it. Never raises on
        account of what was sent."""
        if len(body) > MAX_ALERT:
            limit = f"An alert has at most {MAX_ALERT:,} bytes; this has {len(body):,}."
            return problem_response(413, "Content Too Large", limit)
        try:
            document = read_json(body, MAX_ALERT)
            decision, ids = await self._act(
                alert_in(document) or document, trace_of({name.lower(): value for name, value in headers.items()}), None
            )
        except ProblemsError as error:
            logger.warning("An alert was refused: %s", redact(str(error))[:1000])
            return problem_response(400, "Bad Request", "This is no alert that can be read.", error.problems)
        except BusUnavailable as error:
            logger.error("An alert could not be put on the queue: %s", error)
            advice = "Service Bus does not take messages now; send the alert again."
            return problem_response(503, "Service Unavailable", advice, retry=True)
        status = "test" if decision.test else "accepted" if ids else "ignored"
        response: dict[str, Any] = {"status": status, "reason": decision.reason, "requestIds": ids}
        if decision.dropped:
            response["outsideAllowedScopes"] = decision.dropped
        return AlertResponse(202 if ids else 200, response)

    def recognizes(self, document: Mapping[str, Any]) -> bool:
        return alert_in(document) is not None

    async def handle(self, envelope: Envelope, document: dict[str, Any]) -> None:
        """An alert that came over the requests queue. Raises InvalidAlert, BusUnavailable."""
        await self._act(alert_in(document) or document, trace_of(envelope.properties), envelope.correlation_id)

    async def _act(
        self, document: dict[str, Any], trace: Mapping[str, str], correlation_id: str | None
    ) -> tuple[Decision, list[str]]:
        alert = read_alert(document)
        decision = decide(alert, self._rules)
        found = [
            replace(each, properties=trace, correlation_id=correlation_id or each.correlation_id)
            for each in messages(decision, alert.alert_id, self._rules)
        ]
        await self._bus.send(found)
        ids = [message.message_id for message in found]
        logger.info("Alert taken: %s Leads to: %s", redact(decision.reason), ", ".join(ids[:20]) or "nothing")
        if decision.dropped:
            logger.warning("Alert names %d resources outside MAINTENANCE_ALLOWED_SCOPES, dropped", decision.dropped)
        return decision, ids


def problem_response(
    status: int, title: str, detail: str, problems: tuple[Problem, ...] = (), *, retry: bool = False
) -> AlertResponse:
    """RFC 9457. The problems are named under `problems`."""
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if problems:
        document["problems"] = [
            {"field": each.field, "message": each.message, **({"value": each.value} if each.value is not None else {})}
            for each in problems[:MAX_PROBLEMS]
        ]
    return AlertResponse(status, document, {"Retry-After": str(RETRY_AFTER_SECONDS)} if retry else {})
