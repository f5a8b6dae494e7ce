"""A token issuer on loopback, in place of Entra: it signs real tokens and serves the keys to check them with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from maintenance.alerts.token_rules import ACTION_GROUPS, WEBHOOK_ROLE

TENANT = "22222222-2222-4222-8222-222222222222"
AUDIENCE = "33333333-3333-4333-8333-333333333333"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
# A key that no issuer lists.
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TokenIssuer:
    """Issues tokens of action groups, and counts how often its keys are read. `now` gives aware times."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.reads = 0
        self.status = 200
        self.kids = ["key-1"]
        self.url = ""
        self._now = now

    async def serve(self, _: web.Request) -> web.Response:
        self.reads += 1
        keys = [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": kid} for kid in self.kids]
        return web.json_response({"keys": [{"kty": "EC"}, *keys]}, status=self.status)

    def token(self, key: Any = KEY, *, kid: str = "key-1", algorithm: str = "RS256", **changes: Any) -> str:
        """A token that is let in, but for the claims given: None leaves one out."""
        claims = {
            "iss": f"{self.url}/{TENANT}/v2.0",
            "aud": AUDIENCE,
            "tid": TENANT,
            "azp": ACTION_GROUPS,
            "roles": [WEBHOOK_ROLE],
            "nbf": int((self._now() - timedelta(minutes=1)).timestamp()),
            "exp": int((self._now() + timedelta(hours=1)).timestamp()),
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})


@asynccontextmanager
async def token_issuer(now: Callable[[], datetime]) -> AsyncIterator[TokenIssuer]:
    """An issuer that serves its keys until the end of the block."""
    issuer = TokenIssuer(now)
    app = web.Application()
    app.router.add_get(f"/{TENANT}/discovery/v2.0/keys", issuer.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()
