"""Responds to alerts over HTTP in time, whatever Service Bus does, and only to those that may call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from maintenance.alerts.receiver import AlertReceiver, AlertResponse, problem_response

logger = logging.getLogger(__name__)

# The response to an `Authorization` header that may not call; None for one that may.
Gate = Callable[[str], Awaitable[AlertResponse | None]]


class AlertResponder:
    """One per process. `limit` (seconds) bounds a response; `gate`: None where the host checks a key."""

    def __init__(self, receiver: AlertReceiver, *, limit: float, gate: Gate | None) -> None:
        self._receiver = receiver
        self._limit = limit
        self._gate = gate
        self._responding: set[asyncio.Task[AlertResponse]] = set()

    async def respond(self, body: bytes, headers: Mapping[str, str]) -> AlertResponse:
        """The receiver's response, or 503 where it takes too long. What is taken later has the ids that it has when the
        alert is sent again."""
        responding = asyncio.create_task(self._respond(body, headers))
        await asyncio.wait([responding], timeout=self._limit)
        if responding.done():
            return responding.result()
        # Not cut off: what is on its way to Service Bus may be others', too.
        self._responding.add(responding)
        responding.add_done_callback(self._responding.discard)
        logger.error("An alert got 503: it was not on the queue after %.0f s", self._limit)
        advice = "Service Bus does not respond; send the alert again."
        return problem_response(503, "Service Unavailable", advice, retry=True)

    async def _respond(self, body: bytes, headers: Mapping[str, str]) -> AlertResponse:
        if self._gate is not None and (rejection := await self._gate(headers.get("Authorization", ""))) is not None:
            return rejection
        return await self._receiver.respond(body, headers)

    async def close(self) -> None:
        if responding := list(self._responding):
            for each in responding:
                each.cancel()
            await asyncio.wait(responding)
