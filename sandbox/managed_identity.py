"""The token endpoint that App Service and Functions offer to their apps, on loopback.

`azure.identity.ManagedIdentityCredential`, unmodified, gets its tokens here when the two variables of
`ManagedIdentity.environment` are set. Shapes: `GET {endpoint}?api-version=2019-08-01&resource=…[&client_id=…]`
with the header `X-IDENTITY-HEADER`; the response is `{access_token, expires_on, resource, token_type, client_id}`,
where `expires_on` is a string of epoch seconds. Source: Microsoft's "REST endpoint reference" for managed
identities in App Service.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web

from sandbox.clock import Clock, system_clock
from sandbox.loopback_http import LoopbackServer, LoopbackService

ARM_AUDIENCES = frozenset(
    {
        "https://management.azure.com",
        "https://management.core.windows.net",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net",
        "https://management.chinacloudapi.cn",
        "https://management.core.chinacloudapi.cn",
    }
)
"""What Azure Resource Manager's clouds accept as a token's audience, without the closing slash."""

_PATH = "/msi/token"
_API_VERSION = "2019-08-01"


@dataclass(frozen=True)
class TokenRequest:
    """One request for a token, as it arrived. `status` is that of the response."""

    time: datetime
    resource: str | None
    client_id: str | None
    status: int


@dataclass(frozen=True)
class _Issued:
    audience: str
    expires: datetime


class ManagedIdentity(LoopbackService):
    """The token endpoint, and the tokens it issued."""

    def __init__(
        self,
        *,
        port: int = 0,
        lifetime: timedelta = timedelta(hours=24),
        clock: Clock = system_clock,
        client_ids: frozenset[str] | None = None,
    ) -> None:
        """Nothing listens before `start()`.

        Args:
            port: 0 = any free one.
            lifetime: of each token, by `clock`.
            clock: by which tokens expire.
            client_ids: the user-assigned identities there are; None = any.
        """
        self.header = secrets.token_hex(16).upper()
        self.requests: list[TokenRequest] = []
        super().__init__(port)
        self._lifetime = lifetime
        self._clock = clock
        self._client_ids = client_ids
        self._issued: dict[str, _Issued] = {}
        self._failures: list[int] = []
        self._lock = threading.Lock()

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(self._respond, port=port, name="sandbox-managed-identity")

    @property
    def endpoint(self) -> str:
        """The value for IDENTITY_ENDPOINT."""
        return f"http://127.0.0.1:{self._port}{_PATH}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make `ManagedIdentityCredential` come here."""
        return {"IDENTITY_ENDPOINT": self.endpoint, "IDENTITY_HEADER": self.header}

    @property
    def issued(self) -> int:
        """How many tokens were issued."""
        return len(self._issued)

    def accepts(self, token: str, audiences: frozenset[str] = ARM_AUDIENCES) -> bool:
        """Whether the token was issued here, for one of the audiences, and has not expired.

        This is the token check that `ResourceManager(tokens=identity.accepts)` uses.
        """
        with self._lock:
            issued = self._issued.get(token)
        return issued is not None and issued.audience in audiences and self._clock() < issued.expires

    def fail_next(self, times: int = 1, *, status: int = 500) -> None:
        """Fail the next requests with this status and no token."""
        with self._lock:
            self._failures.extend([status] * times)

    def issue(self, resource: str = "https://management.azure.com", client_id: str | None = None) -> str:
        """Issue a token without HTTP."""
        return self._issue(resource, client_id)[0]

    def revoke(self) -> None:
        """Revoke all tokens issued so far."""
        with self._lock:
            self._issued = dict.fromkeys(self._issued, _Issued("", datetime.min.replace(tzinfo=UTC)))

    def _issue(self, resource: str, client_id: str | None) -> tuple[str, datetime]:
        expires = self._clock() + self._lifetime
        claims = {"aud": resource, "exp": int(expires.timestamp()), "appid": client_id or "system-assigned"}
        token = ".".join(
            [_base64({"typ": "JWT", "alg": "RS256"}), _base64(claims), secrets.token_urlsafe(256)],
        )
        with self._lock:
            self._issued[token] = _Issued(resource.rstrip("/"), expires)
        return token, expires

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        resource, client_id = request.query.get("resource"), request.query.get("client_id")
        status, message = self._status(request, resource, client_id)
        with self._lock:
            self.requests.append(TokenRequest(self._clock(), resource, client_id, status))
        if status != 200 or resource is None:
            return web.json_response({"statusCode": status, "message": message}, status=status)
        token, expires = self._issue(resource, client_id)
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(int(expires.timestamp())),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": client_id or "00000000-0000-0000-0000-000000000000",
            }
        )

    def _status(self, request: web.BaseRequest, resource: str | None, client_id: str | None) -> tuple[int, str]:
        with self._lock:
            failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            return failure, "An unexpected error occurred while fetching the AAD token."
        if request.path != _PATH:
            return 404, "No such path."
        if not secrets.compare_digest(request.headers.get("X-IDENTITY-HEADER", ""), self.header):
            return 401, "The X-IDENTITY-HEADER is missing or wrong."
        if request.query.get("api-version") != _API_VERSION:
            return 400, f"The api-version must be {_API_VERSION}."
        if not resource:
            return 400, "The resource is missing."
        if client_id and self._client_ids is not None and client_id not in self._client_ids:
            return 400, (
                "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
            )
        return 200, ""


def _base64(claims: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
