"""A call from an HTTP client: faults strike, the token is checked, the REST API responds, the call is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from sandbox.loopback_http import reset_connection
from sandbox.resource_manager import errors
from sandbox.resource_manager.calls import Call, Calls, Headers
from sandbox.resource_manager.events import CallReceived
from sandbox.resource_manager.faults import Fault, Faults
from sandbox.resource_manager.http_conversion import bearer_token, to_web_response
from sandbox.resource_manager.live_api import LiveApi
from sandbox.resource_manager.rest.messages import Request, Response

TokenCheck = Callable[[str], bool]
"""Returns whether a bearer token is valid for ARM: `ManagedIdentity.accepts` is one."""


class Endpoint:
    """Responds to calls from HTTP clients."""

    def __init__(self, api: LiveApi, *, faults: Faults, calls: Calls, tokens: TokenCheck | None) -> None:
        """`tokens`: which are accepted; None = any, but there must be one."""
        self._api = api
        self._faults = faults
        self._calls = calls
        self._tokens = tokens
        self._headers = Headers()

    async def respond(self, http_request: web.BaseRequest, request: Request) -> web.StreamResponse:
        """Handle a call, given as it came and parsed."""
        token = bearer_token(http_request)
        now = self._api.clock()

        def call(authorized: bool, status: int | None) -> Call:
            return Call(
                time=now,
                method=request.method,
                path=request.path,
                query=request.query_names(),
                headers=self._headers.of(http_request.headers.items()),
                token_seen=token is not None,
                authorized=authorized,
                body=request.body,
                status=status,
            )

        response: Response | None
        fault = self._faults.strike(request)
        if fault is None:
            authorized, response = self._respond(request, token)
            received = call(authorized, response.status)
            self._calls.append(received)
        else:
            # Written down before anything else: whoever hangs up on a delayed call finds it in the list.
            number = self._calls.append(call(False, None))
            authorized, response = await self._respond_with(fault, request, token)
            received = call(authorized, response.status if response else None)
            self._calls.replace(number, received)
        if self._api.observers:
            self._api.publish(CallReceived(now, received))
        if response is None:
            reset_connection(http_request)
            return web.Response(status=500)  # goes nowhere: the connection is gone
        return to_web_response(response)

    async def _respond_with(self, fault: Fault, request: Request, token: str | None) -> tuple[bool, Response | None]:
        if fault.delay:
            await asyncio.sleep(fault.delay.total_seconds())
        if fault.scale_in or fault.update:
            self._interfere(fault, request)
        authorized, response = self._respond(request, token) if fault.does_work else (False, Response(200))
        if fault.delay_response:
            await asyncio.sleep(fault.delay_response.total_seconds())
        return authorized, None if fault.cut else fault.change(response)

    def _interfere(self, fault: Fault, request: Request) -> None:
        """Others were faster than this call: what it is about is gone, or being updated."""
        with self._api.current() as api:
            now, found = self._api.clock(), api.scale_set_of(request)
            if found is None:
                return
            for instance_id in fault.scale_in:
                if instance_id in found.instances:
                    found.remove(instance_id, now)
            for instance_id in fault.update:
                instance = found.instances.get(instance_id)
                if instance is not None and instance.state != "in-progress":
                    api.compute.update(found, instance, fault.update_duration, now)

    def _respond(self, request: Request, token: str | None) -> tuple[bool, Response]:
        if token is None:
            return False, Response.of_error(errors.no_token())
        if self._tokens is not None and not self._tokens(token):
            return False, Response.of_error(errors.token_not_accepted())
        with self._api.current() as api:
            return True, api.respond(request, self._api.clock())
