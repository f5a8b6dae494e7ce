"""Keeps what fails in telemetry from the worker: it is logged, once for each place, and passed over."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

from maintenance.domain.redaction import place_of

logger = logging.getLogger(__name__)

P = ParamSpec("P")
_failed: set[str] = set()


def harmless(method: Callable[P, None]) -> Callable[P, None]:
    """The same, and it raises nothing."""

    @functools.wraps(method)
    def guarded(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            method(*arguments, **options)
        except Exception as error:
            note_failure(method.__qualname__, error)

    return guarded


def note_failure(doing: str, error: Exception) -> None:
    """Log what failed unexpectedly, the first time that it does."""
    if doing not in _failed:
        _failed.add(doing)
        logger.error("Telemetry failed unexpectedly and is incomplete: %s", place_of(error))
