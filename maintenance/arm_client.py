"""The HTTP client for Azure Resource Manager: httpx's transports and auth, without its client.

`httpx.AsyncClient` reads each URL character by character, and keeps cookies, a history and hooks for each call; with
operation URLs of 3.5 KB that is most of what a call costs. Here URLs go to the transport as they stand: they are
signed, and must not be rewritten anyway. Headers are made once per token, and bodies are taken without httpx's
decoders: no encoding was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import httpx

from maintenance.observations import ArmAnswer
from maintenance.time_limit import TimeLimit
from maintenance.transport import AiohttpTransport

# Seconds, over all of one call: connecting, sending, and the whole answer.
CALL_TIMEOUT = 45.0
# Asked for no encoding ARM sends none, so that a page's size is what is read.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vmss-maintenance/0.1"}


class Auth(Protocol):
    """What is used of `identity.ManagedIdentityAuth`."""

    async def token(self) -> str: ...

    def refused(self, token: str) -> None: ...


class ArmClient:
    """One per process; follows no redirect, since the token would go along, and reads no environment.

    `endpoint` has no trailing slash. Any transport of httpx's does; with the app's own, httpx's objects for requests
    and answers are left out.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        auth: Auth,
        *,
        endpoint: str,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._transport = transport
        self._auth = auth
        self._endpoint = endpoint
        self._url = httpx.URL(endpoint)
        self._time_limit = TimeLimit(call_timeout)
        self._exchange = transport.exchange if isinstance(transport, AiohttpTransport) else self._exchange_by_httpx
        self._plain = {"Host": self._url.netloc.decode("ascii"), **HEADERS}
        self._last: tuple[str, dict[str, str], dict[str, str]] | None = None

    async def send(self, method: str, url: str, body: bytes | None = None) -> ArmAnswer:
        """One call, sent once. `url` is absolute and of the endpoint's origin, `body` is JSON.

        Raises `httpx.TransportError`, TimeoutError, and what the auth raises.
        """
        if not url.startswith(self._endpoint + "/"):
            # The same origin in another spelling: the check of URLs reads hosts without letter case.
            url = self._endpoint + httpx.URL(url).raw_path.decode("ascii")
        with self._time_limit:
            token = await self._auth.token()
            plain, json = self._headers(token)
            answer = await self._exchange(method, url, plain if body is None else json, body)
        if answer.status == 401:
            self._auth.refused(token)
        return answer

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _headers(self, token: str) -> tuple[dict[str, str], dict[str, str]]:
        """Those of calls without a body, and with one."""
        if self._last is None or self._last[0] != token:
            plain = {**self._plain, "Authorization": f"Bearer {token}"}
            self._last = (token, plain, {**plain, "Content-Type": "application/json"})
        return self._last[1:]

    async def _exchange_by_httpx(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> ArmAnswer:
        request = httpx.Request(
            method,
            self._url,
            headers=headers,
            content=body,
            extensions={"target": url[len(self._endpoint) :].encode("ascii")},
        )
        response = await self._transport.handle_async_request(request)
        return ArmAnswer(response.status_code, response.headers, await response.aread())
