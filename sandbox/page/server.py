"""The page as an HTTP server on loopback: static files, one stream of changes, what is opened, and what is done."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

from sandbox.clock import Clock, system_clock
from sandbox.loopback_http import LoopbackServer, LoopbackService
from sandbox.page import summaries
from sandbox.page.access import HEADERS, denied, has_token
from sandbox.page.control.commands import ControlError
from sandbox.page.control.controls import Controls, Tools, WorkerProcess
from sandbox.page.journal import Journal
from sandbox.page.reader import Reader
from sandbox.page.redaction import shown
from sandbox.page.stream import Stream
from sandbox.page.traces import trace
from sandbox.resource_manager import ResourceManager
from sandbox.servicebus import ServiceBus

if TYPE_CHECKING:
    from sandbox.page.traces import Traces

_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# More windows than anybody has open; each is a connection and a copy of what is sent.
_MOST_WATCHERS = 32
_MOST_MESSAGES = 200
# So often a stream on which nothing happens says that it is there, and finds out who has gone.
_HEARTBEAT_SECONDS = 15.0

PostAlert = Callable[[bytes], Awaitable[tuple[int, str]]]


class Page(LoopbackService):
    """The page of one Service Bus and one Resource Manager, which must outlive it. A context manager."""

    def __init__(
        self,
        bus: ServiceBus,
        arm: ResourceManager,
        *,
        port: int = 0,
        clock: Clock = system_clock,
        requests_queue: str = "maintenance-requests",
        operations_queue: str = "maintenance-operations",
        post_alert: PostAlert | None = None,
        worker: WorkerProcess | None = None,
        documents: dict[str, bytes] | None = None,
        command: str | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Nothing listens before `start()`, and nothing is remembered.

        Args:
            bus: started.
            arm: the Resource Manager.
            port: 0 = any free one.
            clock: the services' clock; one that is moved by hand can be moved on the page.
            requests_queue: where requests are sent.
            operations_queue: whose messages are the records of runs.
            post_alert: posts an alert to the worker; returns its status and text.
            worker: the worker that was started with the sandbox.
            command: what sends and posts the same from a shell, with `{}` for `send` or `alert`; None = nothing does.
            traces: the spans of a trace by its id, such as an OTLP receiver's; None = nobody takes them.
            documents: JSON documents served under `/documents/{name}`: schemas, an example of an alert.
        """
        super().__init__(port)
        self._token = secrets.token_urlsafe(24)
        self._bus = bus
        self._journal = Journal(bus.observers, arm.observers, operations_queue=operations_queue)
        self._controls = Controls(bus, arm, Tools(clock, requests_queue, post_alert, worker, command))
        self._reader = Reader(
            bus,
            arm,
            self._journal,
            clock=clock,
            about=self._controls.about,
            faults_of_sets=self._controls.faults.of_sets,
        )
        self._stream: Stream | None = None
        self._documents = documents or {}
        self._traces = traces
        self._files = {
            f"/{path.name}": (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(_STATIC.iterdir())
            if path.suffix in _TYPES
        }
        self._files["/"] = self._files["/index.html"]
        self._open_paths = frozenset(self._files)
        self._observing = False

    def start(self) -> Self:
        """Listen. Raises OSError if the port is taken."""
        super().start()
        if not self._observing:
            self._observing = True
            self._journal.open()
        return self

    def close(self) -> None:
        """Stop listening, and remember nothing more."""
        super().close()
        if self._observing:
            self._observing = False
            self._journal.close()

    @property
    def address(self) -> str:
        """Where to open it, with the token. A browser does not send what stands behind `#`."""
        return f"http://127.0.0.1:{self._port}/#{self._token}"

    @property
    def watchers(self) -> int:
        """How many windows look."""
        return 0 if self._stream is None else self._stream.watchers

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(self._handle, port=port, name="sandbox-page", background=self._run)

    async def _run(self) -> None:
        self._stream = Stream(self._reader)
        await self._stream.run()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        problem = denied(
            request.method,
            path,
            request.headers,
            hosts=len(request.headers.getall("Host", ())),
            token=self._token,
            open_paths=self._open_paths,
        )
        if problem is not None:
            return _json({"problems": [problem.problem]}, problem.status)
        if request.method == "POST":
            return await self._do(request) if path == "/do" else _json({"problems": [f"There is no {path}."]}, 404)
        if path == "/allowed":
            # Asked by a window that may have outlived its sandbox. No error: a browser would log one.
            return _json({"allowed": has_token(request.headers, self._token)})
        if path == "/stream" and request.method == "GET":
            return await self._stream_to(request)
        if path in self._files:
            content, kind = self._files[path]
            return web.Response(body=content, content_type=kind, charset="utf-8", headers=HEADERS)
        return self._open(path, request)

    # What is opened

    def _open(self, path: str, request: web.BaseRequest) -> web.Response:
        query = request.query
        found: Any = None
        try:
            match path.split("/")[1:]:
                case ["documents", name] if name in self._documents:
                    return _response(self._documents[name])
                case ["traces", trace_id]:
                    # No error where there is none: a browser would log one.
                    spans = self._traces(trace_id) if self._traces is not None else None
                    return _json({"taken": spans is not None, **trace(spans or ())})
                case ["calls", number]:
                    call = self._journal.calls.get(int(number))
                    found = None if call is None else summaries.whole_call(int(number), call)
                case ["events", number]:
                    event = self._journal.events.get(int(number))
                    found = None if event is None else summaries.whole_event(int(number), event)
                case ["messages"]:
                    skip, most = int(query.get("skip", 0)), min(int(query.get("most", 100)), _MOST_MESSAGES)
                    found = self._messages(query.get("entity", ""), max(skip, 0), max(most, 0))
                case ["messages", number]:
                    found = self._message(query.get("entity", ""), int(number))
        except ValueError as error:
            return _json({"problems": [str(error)]}, 400)
        except LookupError as error:
            return _json({"problems": [str(error)]}, 404)
        if found is None:
            return _json({"problems": [f"There is no {path} (any more)."]}, 404)
        return _json(found)

    def _messages(self, entity: str, skip: int, most: int) -> dict[str, Any]:
        counts = self._bus.report(entity).counts
        total = counts.active + counts.scheduled + counts.deferred + counts.locked
        peeked = self._bus.peek(entity, most, skip=skip)
        return {"total": total, "skip": skip, "messages": [summaries.message(each) for each in peeked]}

    def _message(self, entity: str, number: int) -> dict[str, Any] | None:
        found = [each for each in self._bus.peek(entity, 1, first=number) if each.sequence_number == number]
        return summaries.whole_message(found[0]) if found else None

    # What is done

    async def _do(self, request: web.BaseRequest) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _json({"problems": ["A command has at most a megabyte."]}, 413)
        try:
            return _json({"done": shown(await self._controls.carry_out(body))})
        except ControlError as error:
            return _json({"problems": [shown(problem) for problem in error.problems]}, 400)

    # What moves

    async def _stream_to(self, request: web.BaseRequest) -> web.StreamResponse:
        stream = self._stream
        if stream is None or stream.watchers >= _MOST_WATCHERS:
            return _json({"problems": [f"{_MOST_WATCHERS} windows look already: close some."]}, 503)
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"})
        last_seen = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        number, frames = stream.enter(last_seen)
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n" + frames)
            while True:
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        number, frames = await stream.after(number)
                except TimeoutError:
                    frames = b":\n\n"
                await response.write(frames)
        except ConnectionError:
            return response  # the window was closed
        finally:
            stream.leave()


def _response(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


def _json(content: object, status: int = 200) -> web.Response:
    return _response(json.dumps(content).encode(), status)
