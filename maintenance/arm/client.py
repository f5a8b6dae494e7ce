"""HTTP client of Azure Resource Manager: one authorised call, sent once, within one time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

import httpx

from maintenance.arm.responses import ArmResponse
from maintenance.arm.transport import AiohttpTransport
from maintenance.arm.urls import origin_bound
from maintenance.version import VERSION

# Seconds, over all of one call: connecting, sending, and the whole response.
CALL_TIMEOUT = 45.0
# Without compression, so that the size limit of a body is the size of what is read.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"vmss-maintenance/{VERSION}"}


class Auth(Protocol):
    """The part of `identity.ManagedIdentityAuth` that the client uses."""

    async def token(self) -> str: ...

    def invalidate(self, token: str) -> None: ...


# The method, and the response's status and headers; None and none where no response came.
CallWatch = Callable[[str, int | None, Mapping[str, str]], None]


class ArmClient:
    """Client that sends authorised calls to ARM; one per process.

    It follows no redirect, since the token would be sent along, and reads no proxy settings from the environment.
    `endpoint` has no trailing slash. It accepts any httpx transport; with `AiohttpTransport` it calls `exchange`, which
    creates no httpx objects. `call_timeout` is in seconds. `watch` is told of every call, in the task that made it.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        auth: Auth,
        *,
        endpoint: str,
        call_timeout: float = CALL_TIMEOUT,
        watch: CallWatch | None = None,
    ) -> None:
        self._watch = watch
        self._transport = transport
        self._auth = auth
        self._endpoint = endpoint
        self._url = httpx.URL(endpoint)
        self._time_limit = TimeLimit(call_timeout)
        self._exchange = transport.exchange if isinstance(transport, AiohttpTransport) else self._exchange_by_httpx
        self._plain = {"Host": self._url.netloc.decode("ascii"), **HEADERS}
        self._last: tuple[str, dict[str, str], dict[str, str]] | None = None

    async def send(self, method: str, url: str, body: bytes | None = None) -> ArmResponse:
        """Send one call, once. `url` is absolute and has the endpoint's origin; `body` is JSON.

        Raises `httpx.TransportError`, TimeoutError, and what the auth raises.
        """
        # ARM may spell its own origin in another letter case, or with the default port.
        url = origin_bound(url, self._endpoint)
        with self._time_limit:
            token = await self._auth.token()
            plain, json = self._headers(token)
            try:
                response = await self._exchange(method, url, plain if body is None else json, body)
            except BaseException:
                if self._watch is not None:
                    self._watch(method, None, {})
                raise
        if self._watch is not None:
            self._watch(method, response.status, response.headers)
        if response.status == 401:
            self._auth.invalidate(token)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _headers(self, token: str) -> tuple[dict[str, str], dict[str, str]]:
        """The headers of a call without a body, and of one with a body."""
        if self._last is None or self._last[0] != token:
            plain = {**self._plain, "Authorization": f"Bearer {token}"}
            self._last = (token, plain, {**plain, "Content-Type": "application/json"})
        return self._last[1:]

    async def _exchange_by_httpx(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> ArmResponse:
        request = httpx.Request(
            method,
            self._url,
            headers=headers,
            content=body,
            extensions={"target": url[len(self._endpoint) :].encode("ascii")},
        )
        response = await self._transport.handle_async_request(request)
        return ArmResponse(response.status_code, response.headers, await response.aread())


class TimeLimit:
    """Context manager that limits the duration of its block, with one timer for all concurrent blocks.

    A block that takes longer than `seconds` is canceled and raises TimeoutError, as with `asyncio.timeout`. For one
    event loop; a task can have one block open at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # By task, oldest first: when the limit ends (loop time), and how often the task had been canceled before.
        self._open: dict[asyncio.Task[Any], tuple[float, int]] = {}
        self._overdue: dict[asyncio.Task[Any], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = _current_task()
        if task in self._open:
            raise RuntimeError("a task cannot nest blocks of one time limit")
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        self._open[task] = (end, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_at(end, self._expire, loop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task = _current_task()
        if self._open.pop(task, None) is not None:
            return
        canceled_before = self._overdue.pop(task)
        # If somebody else canceled the task as well, the cancellation must pass on and not become a time-out.
        if task.uncancel() <= canceled_before and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, (end, canceled_before) in list(self._open.items()):
            if end > now:
                self._timer = loop.call_at(end, self._expire, loop)
                return
            del self._open[task]
            self._overdue[task] = canceled_before
            task.cancel()
        self._timer = None


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a time limit needs a running task")
    return task
