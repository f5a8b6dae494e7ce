"""Ids of operations and requests."""

from __future__ import annotations

import random

# Its own generator: a test that seeds the common one twice would otherwise get the same ids twice.
_RANDOM = random.Random()


def new_guid() -> str:
    """A random GUID. `uuid.uuid4` asks the system for randomness each time, and takes four times as long."""
    digits = f"{_RANDOM.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
