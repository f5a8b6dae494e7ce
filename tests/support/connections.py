"""The connections of this process to a Service Bus that nobody closed."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

from sandbox.servicebus import ServiceBus


def connections_to(bus: ServiceBus) -> list[asyncio.Transport]:
    """The connections of this process to it that nobody closed."""
    found = []
    for each in gc.get_objects():
        # One that is being made in the Service Bus's thread lacks its attributes still.
        if isinstance(each, asyncio.Transport):
            with suppress(AttributeError):
                if not each.is_closing() and (each.get_extra_info("peername") or (None, None))[1] == bus.port:
                    found.append(each)
    return found


async def close_forgotten(bus: ServiceBus) -> None:
    """Close what the SDK forgets: the connection of a link it has lost. Python would warn of the open socket."""
    for connection in connections_to(bus):
        connection.abort()
    await asyncio.sleep(0)  # the loop closes the sockets on its next turn
