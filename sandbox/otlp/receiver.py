"""The receiver: takes traces, metrics and logs at `/v1/…` and keeps them in memory.

`GET /v1/traces` lists the traces, `GET /v1/traces/ID` has the spans of one, both as JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from aiohttp import web

from sandbox.loopback_http import LoopbackServer, LoopbackService
from sandbox.otlp.signals import REQUESTS, Span, Telemetry, read_request

LARGEST = 64 * 1024 * 1024
"""Bytes of one request, unpacked: what is larger is refused."""


class OtlpReceiver(LoopbackService):
    """OTLP over HTTP on 127.0.0.1. `observers` are called with the spans of each request, on the server's thread."""

    def __init__(self, *, port: int = 0) -> None:
        """`port`: 0 = any free one. Nothing listens before `start()`."""
        super().__init__(port)
        self.telemetry = Telemetry()
        self.observers: list[Callable[[Sequence[Span]], None]] = []

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(self._respond, port=port, name="sandbox-otlp")

    @property
    def endpoint(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        if request.method == "GET":
            return self._show(request.path)
        if request.method != "POST" or request.path not in REQUESTS:
            return web.json_response({"message": f"Send with POST to one of {', '.join(REQUESTS)}."}, status=404)
        is_json = request.content_type == "application/json"
        if not is_json and request.content_type != "application/x-protobuf":
            return web.json_response({"message": "Send application/x-protobuf or application/json."}, status=415)
        try:
            spans = self.telemetry.add(read_request(request.path, await _read(request), is_json=is_json))
        except ValueError as error:
            return web.json_response({"message": f"The body {error}"}, status=400)
        for observer in self.observers:
            observer(spans)
        return web.json_response({}) if is_json else web.Response(content_type="application/x-protobuf")

    def _show(self, path: str) -> web.Response:
        if path.rstrip("/") == "/v1/traces":
            with self.telemetry.lock:
                ids = dict.fromkeys(span.trace_id for span in self.telemetry.spans)
            return web.json_response({"traces": list(ids)})
        spans = self.telemetry.trace(path.removeprefix("/v1/traces/"))
        if not spans:
            return web.json_response({"message": "There is no such trace."}, status=404)
        return web.json_response({"spans": [dataclasses.asdict(span) for span in spans]})


async def _read(request: web.BaseRequest) -> bytes:
    """The body, which aiohttp has unpacked. Raises ValueError if it is too large, or packed in a way not known."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise ValueError(f"is encoded as {encoding[:40]!r}; only gzip is known")
    body = bytearray()
    try:
        # Not `request.read()`, which takes a megabyte at most.
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > LARGEST:
                raise ValueError(f"has more than {LARGEST:,} bytes")
    except (web.PayloadAccessError, web.RequestPayloadError):
        raise ValueError("is no gzip") from None
    return bytes(body)
