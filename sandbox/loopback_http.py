"""An HTTP server on 127.0.0.1, in a thread of its own with its own event loop.

It is aiohttp's low-level server: no router, no middlewares, no access log. A benchmark drives thousands of
requests a second through it, so what can be left out is left out.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Self

from aiohttp import web

from sandbox.latency import NONE, Latency, late

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# A signed operation URL is about 3.5 KB, a token 2 KB; aiohttp's own limit of 8 KB would do, but not by much.
_LARGEST_LINE = 64 * 1024

_BACKLOG = 1024

# How long a request in progress (one that is delayed by a fault, say) may delay the closing.
_CLOSING_SECONDS = 0.2


class LoopbackServer:
    """Listens as soon as it is made; `close()` ends it. `port` is the port it got."""

    def __init__(
        self,
        handler: Handler,
        *,
        port: int,
        name: str,
        background: Callable[[], Coroutine[None, None, None]] | None = None,
        latency: Latency = NONE,
    ) -> None:
        """Bind 127.0.0.1 and serve.

        Args:
            handler: returns the response to each request; runs on the server's loop and must not block it.
            port: 0 = any free one.
            name: the thread's name.
            background: a coroutine function that runs on the server's loop until the server closes.
            latency: of all that it receives and sends.

        Raises:
            OSError: the port is taken.
        """
        self._handler = handler
        self._background = background
        self._latency = latency
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            # Here and not in the thread: two may bind one port by SO_REUSEADDR, and only listening fails.
            self._socket.listen(_BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._listening = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name, daemon=True)
        self._thread.start()
        self._listening.wait()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        server = web.Server(
            self._handler,
            access_log=None,
            max_line_size=_LARGEST_LINE,
            max_field_size=_LARGEST_LINE,
            lingering_time=0,
        )
        listener = await self._loop.create_server(
            late(server, self._latency, self._loop), sock=self._socket, backlog=_BACKLOG
        )
        background = asyncio.create_task(self._background()) if self._background else None
        self._listening.set()
        await self._closing.wait()
        if background:
            background.cancel()
        listener.close()
        # Idle connections end at once this way; `shutdown` alone waits for them as for busy ones.
        server.pre_shutdown()
        await asyncio.sleep(0)
        await server.shutdown(timeout=_CLOSING_SECONDS)
        await listener.wait_closed()

    def close(self) -> None:
        """Stop listening, drop the connections, end the thread. Closing twice does no harm."""
        if self._thread.is_alive() and self._loop and self._closing:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()


class LoopbackService(ABC):
    """A service that can be started, closed and restarted on the same port; a context manager."""

    def __init__(self, port: int) -> None:
        """`port`: 0 = any free one."""
        self._port = port
        self._server: LoopbackServer | None = None

    @abstractmethod
    def _serve(self, port: int) -> LoopbackServer:
        """Listen on the port. Raises OSError if it is taken."""

    def start(self) -> Self:
        """Listen. Raises OSError if the port is taken."""
        if self._server is None:
            self._server = self._serve(self._port)
            self._port = self._server.port
        return self

    def close(self) -> None:
        """Stop listening, drop connections. Its state stays; `start()` listens again on the same port."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first `start()` when any free one was asked for."""
        return self._port


def reset_connection(request: web.BaseRequest) -> None:
    """Cut the request's connection with a TCP reset: the peer sees `ECONNRESET`, not an orderly end."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # A linger time of zero makes the kernel send RST in place of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    transport.abort()
