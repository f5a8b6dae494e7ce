"""HTTP triggers, served on loopback."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from sandbox.functions_host.indexing import IndexedFunction
from sandbox.functions_host.invocation import Invoker
from sandbox.functions_host.listeners.conversion import http_request, http_response
from sandbox.functions_host.triggers import HttpTrigger

_log = logging.getLogger("sandbox.functions_host")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The real host's default for FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, in bytes.
_LARGEST_BODY = 104_857_600


class HttpListener:
    """Serves the HTTP triggers of an app.

    A trigger that asks for a key gets its request only with `function_key` in the header `x-functions-key` or
    the query parameter `code`; otherwise the response is 401. For a method or path that
    no trigger names it is 404, as in Azure.
    """

    def __init__(
        self,
        functions: Iterable[IndexedFunction],
        *,
        route_prefix: str,
        function_key: str,
        invoker: Invoker,
    ) -> None:
        self._key = function_key.encode()
        self._invoker = invoker
        self._runner: web.AppRunner | None = None
        self._application = web.Application(client_max_size=_LARGEST_BODY)
        for path, bound in _by_path(functions, route_prefix).items():
            self._application.router.add_route("*", path, self._handler(bound))

    async def start(self, port: int) -> str:
        """Listen on 127.0.0.1 and return the URL without a path; port 0 is any free one.

        Raises:
            OSError: the port is taken; the text says how to choose another.
        """
        runner = web.AppRunner(self._application, access_log=None, shutdown_timeout=30.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            await runner.cleanup()
            raise OSError(
                error.errno, f"the HTTP port {port} is in use; choose another with --http-port, 0 for any free one"
            ) from error
        self._runner = runner
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def close(self) -> None:
        """Take no more requests, wait for those under way (30 s at most), and close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _handler(self, bound: dict[str, tuple[IndexedFunction, HttpTrigger]]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            function, trigger = bound.get(request.method) or bound.get("*") or (None, None)
            if function is None or trigger is None:
                return web.Response(status=404)
            if trigger.needs_key and not self._has_key(request):
                _log.info("%s %s %s rejected: no valid key", function.name, request.method, request.path)
                return web.Response(status=401)
            argument = http_request(request, await request.read())
            outcome = await self._invoker.invoke(
                function,
                argument,
                about=f"{request.method} {request.path}",  # never the query: it may hold the key
                traceparent=request.headers.get("traceparent", ""),
            )
            if outcome.error is not None:
                return web.Response(status=500)
            try:
                return http_response(outcome.result)
            except NotImplementedError:
                _log.error("%s returned %s, not an HTTP response", function.name, type(outcome.result).__name__)
                return web.Response(status=500)

        return handle

    def _has_key(self, request: web.Request) -> bool:
        given = request.headers.get("x-functions-key") or request.query.get("code") or ""
        return secrets.compare_digest(given.encode(), self._key)


def _by_path(
    functions: Iterable[IndexedFunction], route_prefix: str
) -> dict[str, dict[str, tuple[IndexedFunction, HttpTrigger]]]:
    """Path → method (or `*`) → what it fires. A route's `{name}` is a parameter, as in aiohttp's router."""
    paths: dict[str, dict[str, tuple[IndexedFunction, HttpTrigger]]] = {}
    for function in functions:
        if isinstance(function.trigger, HttpTrigger):
            path = "/" + "/".join(part for part in (route_prefix, function.trigger.route) if part)
            for method in function.trigger.methods or {"*"}:
                paths.setdefault(path, {})[method] = (function, function.trigger)
    return paths
