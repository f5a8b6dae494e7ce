"""Which loggers the worker turns down in its process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from maintenance.worker import quieten_sdks

NAMES = ("azure", "azure.core", "azure.identity", "azure.servicebus", "uamqp")


@pytest.fixture(autouse=True)
def restored_levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in NAMES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_loggers_of_the_sdks_are_turned_down_and_those_of_functions_are_not() -> None:
    for name in NAMES:
        logging.getLogger(name).setLevel(logging.NOTSET)
    quieten_sdks()
    assert logging.getLogger("azure").level == logging.NOTSET
    assert logging.getLogger("azure.servicebus._pyamqp").getEffectiveLevel() == logging.WARNING
    assert {logging.getLogger(name).level for name in NAMES[1:]} == {logging.WARNING}
