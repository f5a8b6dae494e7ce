"""The calls on one link to Service Bus: their time limits, what their errors mean, and which are made as one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from azure.servicebus.exceptions import MessageSizeExceededError, MessagingEntityNotFoundError

from maintenance.domain.errors import BusUnavailable, EntityMissing, MessageTooLarge
from maintenance.servicebus.connection import CALL_TIMEOUT, SDK_ERRORS

logger = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")
# azure-servicebus 7.15 gives the link for management responses credit for 10,000, and never more: the call after those
# waits for a response that cannot come. So links are opened anew before.
CALLS_OF_A_LINK = 9_000
# Seconds. A link that was idle for so long may be dead without anybody having said so: a gateway forgot it, and still
# acknowledges what is sent. The first call on it is given no longer than this, and is then made on a new link.
IDLE_AFTER, IDLE_CALL_TIMEOUT = 60.0, 5.0
# What goes into one call. The Standard tier takes 256 KB, and a record that follows a request is some KB.
MOST_TOGETHER, BYTES_TOGETHER = 100, 150_000


class Link:
    """Calls on the links that `drop` closes; the next call opens them anew. For one call at a time: the SDK's senders
    and receivers are not coroutine-safe. In seconds: `call_timeout`, and `idle_call_timeout` for the first call on a
    link that was idle."""

    def __init__(
        self,
        entity: str,
        drop: Callable[[], Awaitable[None]],
        *,
        call_timeout: float = CALL_TIMEOUT,
        idle_call_timeout: float = IDLE_CALL_TIMEOUT,
        calls_of_a_link: int = CALLS_OF_A_LINK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entity = entity
        self._drop = drop
        self._call_timeout = call_timeout
        self._idle_call_timeout = idle_call_timeout
        self._calls_of_a_link = calls_of_a_link
        self._monotonic = monotonic
        self._calls = 0
        self._responded_at: float | None = None

    async def call(self, doing: str, call: Callable[[], Awaitable[T]]) -> T:
        """One call, made again on a new link where the link had been idle and does not respond. Raises BusUnavailable,
        MessageTooLarge, EntityMissing."""
        if self._responded_at is not None:
            idle = self._monotonic() - self._responded_at
            if idle > IDLE_AFTER:
                try:
                    return await self._once(doing, call, min(self._idle_call_timeout, self._call_timeout))
                except MessageTooLarge:
                    raise
                except BusUnavailable as error:
                    logger.warning("Link opened anew after %.0f s in which it was idle: %s", idle, error)
        return await self._once(doing, call, self._call_timeout)

    async def open(self, call: Callable[[], Awaitable[object]]) -> None:
        """Open the links before the first call. What is wrong with them shows then."""
        with suppress(BusUnavailable):
            await self._once("opening", call, self._call_timeout)

    async def count(self) -> None:
        """One call of many on the management link; it is opened anew before its credit is used up."""
        if self._calls >= self._calls_of_a_link:
            await self.drop()
        self._calls += 1

    async def drop(self) -> None:
        """Close the links: the next call opens new ones."""
        self._calls = 0
        self._responded_at = None
        await self._drop()

    async def _once(self, doing: str, call: Callable[[], Awaitable[T]], limit: float) -> T:
        try:
            async with asyncio.timeout(limit):
                result = await call()
        except MessageSizeExceededError:
            await self.drop()
            raise MessageTooLarge(f"{doing} failed: a message is larger than Service Bus takes") from None
        except MessagingEntityNotFoundError:
            await self.drop()
            raise EntityMissing(f"{doing} failed: there is no queue or topic {self._entity}") from None
        except SDK_ERRORS as error:
            await self.drop()
            why = f"no response within {limit:.0f} s" if isinstance(error, TimeoutError) else type(error).__name__
            raise BusUnavailable(f"{doing} failed for {self._entity}: {why}") from None
        except asyncio.CancelledError:
            # Cut off in the middle: what is on its way would be taken for the response to the next call.
            await self.drop()
            raise
        self._responded_at = self._monotonic()
        return result


class Together(Generic[Item, Result]):
    """Calls for one item each, on a link that makes one call at a time. What comes while it is busy goes together: one
    after the other, each takes a round trip.

    `call` gets the items in their order, and gives a result for each; it may raise BusUnavailable. `lock` is that of
    the link. Only items of the same `kind` go together; `size` (bytes) and `most` bound how many.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        lock: asyncio.Lock,
        *,
        kind: Callable[[Item], Hashable] = lambda _: None,
        size: Callable[[Item], int] = lambda _: 0,
        most: int = MOST_TOGETHER,
    ) -> None:
        self._call = call
        self._lock = lock
        self._kind = kind
        self._size = size
        self._most = most
        self._waiting: dict[asyncio.Future[Result], Item] = {}

    async def add(self, item: Item) -> Result:
        """The result for an item. Raises what `call` raises."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[result] = item
        try:
            async with self._lock:
                if not result.done():
                    # Those that come in the same moment go with it.
                    await asyncio.sleep(0)
                    await self._make(self._take_with(result))
            return await result
        finally:
            # It is still there where it was canceled before its turn.
            self._waiting.pop(result, None)

    def _take_with(self, first: asyncio.Future[Result]) -> dict[asyncio.Future[Result], Item]:
        item = self._waiting.pop(first)
        kind, size, taken = self._kind(item), self._size(item), {first: item}
        for result, other in self._waiting.items():
            if self._kind(other) != kind:
                continue
            size += self._size(other)
            if size > BYTES_TOGETHER or len(taken) == self._most:
                break
            taken[result] = other
        for result in taken:
            self._waiting.pop(result, None)
        return taken

    async def _make(self, taken: Mapping[asyncio.Future[Result], Item]) -> None:
        failure: BusUnavailable = BusUnavailable("a call was cut off")
        try:
            results = await self._call(list(taken.values()))
            for waiting, result in zip(taken, results, strict=True):
                if not waiting.done():
                    waiting.set_result(result)
        except MessageTooLarge as error:
            failure = error
            if len(taken) > 1:
                # The error does not say which it is, and the others must go. What was sent is a duplicate.
                for waiting, item in taken.items():
                    await self._make({waiting: item})
        except BusUnavailable as error:
            failure = error
        finally:
            for waiting in taken:
                if not waiting.done():
                    waiting.set_exception(failure)
                    # Whoever was canceled meanwhile will not read it any more.
                    waiting.exception()
