"""The URLs under which an operation is read: long, signed, and good only verbatim.

Recorded ones look so, and are about 3.5 KB, most of it a certificate:
`/subscriptions/…/providers/Microsoft.Compute/locations/westeurope/operations/{guid}
?p={guid}&api-version=2024-11-01&t=…&c=…&s=…&h=…`; the one for `Location` has `monitor=true` as well. Their
api-version is not the request's.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import UTC, datetime

from sandbox.resource_manager.compute.operations import Operation

_API_VERSION = "2024-11-01"
_START_OF_TICKS = datetime(1, 1, 1, tzinfo=UTC)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class OperationUrls:
    """Makes the two URLs of an operation, the same each time, so that none needs to be kept."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._actor = "e8c2a5d4-9d0e-4f1c-8a55-5a0f3c1f7b21"
        self._certificate = "MII" + _base64(secrets.token_bytes(2040))

    def status_target(self, operation: Operation) -> str:
        """Path and query for `Azure-AsyncOperation`."""
        return self._target(operation, "")

    def location_target(self, operation: Operation) -> str:
        """Path and query for `Location`."""
        return self._target(operation, "monitor=true&")

    def _target(self, operation: Operation, monitor: str) -> str:
        ticks = (operation.started - _START_OF_TICKS).total_seconds() * 10_000_000
        signed = f"{operation.operation_id}{monitor}".encode() + self._key
        signature = _base64(hashlib.shake_128(signed).digest(256))
        return (
            f"/subscriptions/{operation.subscription_id}/providers/Microsoft.Compute/locations/{operation.location}"
            f"/operations/{operation.operation_id}?p={self._actor}&{monitor}api-version={_API_VERSION}&t={ticks:.0f}"
            f"&c={self._certificate}&s={signature}&h={signature[7:50]}"
        )
