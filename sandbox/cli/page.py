"""The page beside the services: its port, what it can post alerts to, and the documents its forms are made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import httpx

from sandbox.cli.alert import PLANNED_MAINTENANCE, post
from sandbox.cli.environment_file import PROJECT
from sandbox.page import Page, WorkerProcess
from sandbox.resource_manager import ResourceManager
from sandbox.servicebus import ServiceBus

if TYPE_CHECKING:
    from sandbox.page.traces import Traces

PORT = 8071
"""Where the page is as long as nobody says otherwise and nobody else is there."""

_SCHEMAS = ("maintenance-request", "maintenance-cancellation")


def open_page(
    bus: ServiceBus,
    arm: ResourceManager,
    *,
    port: int | None,
    worker_endpoint: Callable[[], str],
    function_key: Callable[[], str],
    worker: WorkerProcess | None = None,
    command: str | None = None,
    traces: Traces | None = None,
) -> Page:
    """Serve the page. Raises OSError where `port` is taken; None = 8071, or any free one where that is taken.

    `worker_endpoint`: where the worker's HTTP functions are, such as `http://127.0.0.1:7071`; asked for at each alert.
    `command`, `traces`: see `Page`.
    """

    def serve(port: int) -> Page:
        return Page(
            bus,
            arm,
            port=port,
            post_alert=_poster(worker_endpoint, function_key),
            worker=worker,
            documents=_documents(),
            command=command,
            traces=traces,
        ).start()

    if port is not None:
        return serve(port)
    try:
        return serve(PORT)
    except OSError:
        return serve(0)


def _documents() -> dict[str, bytes]:
    schemas = PROJECT / "contracts" / "schemas"
    found = {name: (schemas / name / "1" / "schema.json").read_bytes() for name in _SCHEMAS}
    return {**found, "alert": PLANNED_MAINTENANCE.read_bytes()}


def _poster(
    endpoint: Callable[[], str], function_key: Callable[[], str]
) -> Callable[[bytes], Awaitable[tuple[int, str]]]:
    async def post_alert(body: bytes) -> tuple[int, str]:
        try:
            response = await asyncio.to_thread(post, endpoint(), function_key(), body)
        except httpx.HTTPError as error:
            raise OSError(f"No worker responds at {endpoint()} ({error}): start one with `up --worker`") from error
        try:
            text = json.dumps(response.json())
        except ValueError:
            text = response.text
        return response.status_code, text

    return post_alert
