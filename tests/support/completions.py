"""Completions of messages, watched where the SDK makes them: of one message, and of several at once.

`ServiceBusReceiver.complete_message` shows only the first kind. Classes of the SDK alone are changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._pyamqp.aio._receiver_async import ReceiverLink
from azure.servicebus._pyamqp.outcomes import Accepted, Modified

T = TypeVar("T")
# A class, the name in it, and what takes its place.
Change = tuple[type, str, Callable[..., Any]]


class Completions(Generic[T]):
    """Tells of each completion on a receiver's link. `began` is called as it is sent, `ended` with what `began`
    returned, once Service Bus confirmed it, or did not. What `abandons` is true for is abandoned in place of that."""

    def __init__(
        self,
        began: Callable[[ServiceBusReceivedMessage], T],
        ended: Callable[[T, bool], None],
        *,
        abandons: Callable[[ServiceBusReceivedMessage], bool] = lambda message: False,
    ) -> None:
        self._began = began
        self._ended = ended
        self._abandons = abandons
        self._received: dict[tuple[int, int], ServiceBusReceivedMessage] = {}
        self._under_way: dict[tuple[int, int], T] = {}
        self._abandoned: set[tuple[int, int]] = set()

    def changes(self) -> list[Change]:
        """What to set in the SDK."""
        return [
            (ServiceBusReceivedMessage, "__init__", self._noting(ServiceBusReceivedMessage.__init__)),
            (ReceiverLink, "_outgoing_disposition", self._sending(ReceiverLink._outgoing_disposition)),
            (ReceiverLink, "_wait_for_disposition_outcome", self._waiting(ReceiverLink._wait_for_disposition_outcome)),
        ]

    def _noting(self, make: Callable[..., None]) -> Callable[..., None]:
        def noted(made: ServiceBusReceivedMessage, /, *arguments: Any, **options: Any) -> None:
            make(made, *arguments, **options)
            link = getattr(getattr(getattr(made, "_receiver", None), "_handler", None), "_link", None)
            if link is not None and made._delivery_id is not None:
                self._received[id(link), made._delivery_id] = made

        return noted

    def _sending(self, send: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def sent(link: ReceiverLink, first: int, *arguments: Any, **options: Any) -> None:
            place = id(link), first
            names = ("last", "delivery_tag", "settled", "state", "batchable")
            options.update(zip(names, arguments, strict=False))
            message = self._received.get(place)
            if message is None or options["settled"] or not isinstance(options["state"], Accepted):
                await send(link, first, **options)
                return
            if self._abandons(message):
                self._abandoned.add(place)
                options["state"] = Modified(True, False, {})
            else:
                self._under_way[place] = self._began(message)
            try:
                await send(link, first, **options)
            except BaseException:
                self._end(place, confirmed=False)
                raise

        return sent

    def _waiting(self, wait: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def waited(link: ReceiverLink, delivery_ids: list[int], seconds: float, *expected: str) -> None:
            place = id(link), delivery_ids[0]
            if place in self._abandoned:
                self._abandoned.discard(place)
                expected = ("modified",)
            try:
                await wait(link, delivery_ids, seconds, *expected)
            except BaseException:
                self._end(place, confirmed=False)
                raise
            self._end(place, confirmed=True)

        return waited

    def _end(self, place: tuple[int, int], *, confirmed: bool) -> None:
        self._received.pop(place, None)
        if place in self._under_way:
            self._ended(self._under_way.pop(place), confirmed)
