"""The API under `/sandbox/`: seed, inspect, order faults, list calls, reset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox.resource_manager.answers import Answer, Request

if TYPE_CHECKING:
    from sandbox.resource_manager.server import ResourceManager


def control(resource_manager: ResourceManager, request: Request, headers: Mapping[str, str]) -> Answer:
    return Answer(404)
