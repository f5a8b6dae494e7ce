"""Invocation of a function: on the loop or in a thread, with a time limit and one log line."""

import asyncio
import contextvars
import logging
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import azure.functions as func
from azure.functions._abc import (
    RetryContext,
    TraceContext,
)  # the annotations of func.Context; exported nowhere

from sandbox.functions_host.indexing import IndexedFunction

_log = logging.getLogger("sandbox.functions_host")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `error` is None when the function returned, and `result` is what it returned."""

    result: object = None
    error: Exception | None = None


class Invoker:
    """Runs functions as the Python worker does: coroutines on the one event loop, plain functions in threads.

    Args:
        timeout: how long a run may take; None for no bound. A coroutine is cancelled then. A thread can't be:
            the run counts as failed, and the thread is left to itself. (The real host restarts the process.)
    """

    def __init__(self, timeout: timedelta | None) -> None:
        self._timeout = None if timeout is None else timeout.total_seconds()
        self._threads = ThreadPoolExecutor(thread_name_prefix="function")

    def close(self) -> None:
        """Take no more plain functions. Those running in threads run on."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def invoke(
        self, function: IndexedFunction, argument: object, *, about: str, traceparent: str = "", routine: bool = False
    ) -> Outcome:
        """Run `function` on `argument` and say how it ended. Only cancellation is raised.

        Args:
            about: what fired it, for the log: `message r-1`, `timer`, `POST /api/alerts`. Never its content.
            traceparent: W3C trace parent of what fired it; empty where there is none.
            routine: it runs every few seconds, mostly for nothing: only a run that fails is worth a line.
        """
        started = time.perf_counter()
        outcome, verdict = await self._outcome(function, argument, traceparent)
        took = (time.perf_counter() - started) * 1000
        trace = outcome.error if verdict == "failed" else None
        success = logging.DEBUG if routine else logging.INFO
        level = success if outcome.error is None else logging.ERROR
        _log.log(level, "%s %s %s %.0f ms", function.name, about, verdict, took, exc_info=trace)
        return outcome

    async def _outcome(self, function: IndexedFunction, argument: object, traceparent: str) -> tuple[Outcome, str]:
        try:
            async with asyncio.timeout(self._timeout) as bound:
                result = await self._call(function, argument, traceparent)
        # What a function raises is its author's choice: whatever it is, it fails this run and nothing else.
        except Exception as error:
            return Outcome(error=error), "timed out" if bound.expired() else "failed"
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the host stops
            # Else something inside the function was cancelled, and the function let it through.
            return Outcome(error=RuntimeError(f"cancelled from inside: {error}")), "failed"
        if result is not None and not function.returns:
            # The real worker takes it for a mistake too.
            flaw = TypeError(f"{function.name} has no $return binding but returned {type(result).__name__}")
            return Outcome(error=flaw), "failed"
        return Outcome(result=result), "succeeded"

    async def _call(self, function: IndexedFunction, argument: object, traceparent: str) -> object:
        arguments = {function.parameter: argument}
        if function.wants_context:
            arguments["context"] = InvocationContext(function, traceparent)
        if function.is_async:
            result: object = await function.call(**arguments)  # type: ignore[misc] # is_async says it is awaitable
            return result
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: run(function.call, **arguments))


class InvocationContext(func.Context):
    """What a parameter `context: func.Context` gets."""

    def __init__(self, function: IndexedFunction, traceparent: str) -> None:
        self._function = function
        self._invocation_id = str(uuid.uuid4())
        self._trace_context = _TraceContext(traceparent)

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def thread_local_storage(self) -> type[threading.local]:
        return threading.local

    @property
    def function_name(self) -> str:
        return self._function.name

    @property
    def function_directory(self) -> str:
        return str(self._function.folder)

    @property
    def trace_context(self) -> TraceContext:
        return self._trace_context

    @property
    def retry_context(self) -> RetryContext:
        raise NotImplementedError("this host knows no @retry; Service Bus triggers can't have it in Azure either")


class _TraceContext(TraceContext):
    """W3C trace context: https://www.w3.org/TR/trace-context/."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent

    @property
    def trace_parent(self) -> str:
        return self._traceparent

    @property
    def trace_state(self) -> str:
        return ""

    @property
    def attributes(self) -> dict[str, str]:
        return {}
