"""`python -m sandbox send FILE`: send a message to the requests queue, as a sender of requests would."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError

from sandbox.cli.environment_file import read_environment

CONNECTION = "ServiceBusConnection"
_PATIENCE = 30.0


def main(arguments: argparse.Namespace) -> int:
    """Send. Returns the exit code: 2 where the message was not sent."""
    try:
        body = sys.stdin.buffer.read() if arguments.file == Path("-") else arguments.file.read_bytes()
        connection = os.environ.get(CONNECTION) or read_environment(arguments.env_file).get(CONNECTION)
        if not connection:
            where = f"neither the environment nor {arguments.env_file} names a {CONNECTION}"
            print(f"not sent: {where}; start `python -m sandbox up`", file=sys.stderr)
            return 2
        asyncio.run(_send(connection, arguments.queue, body, arguments.message_id))
    except (OSError, ValueError, TimeoutError, ServiceBusError) as error:
        print(f"not sent to {arguments.queue}: {str(error) or f'no response in {_PATIENCE:g} s'}", file=sys.stderr)
        return 2
    print(f"Sent to {arguments.queue}: {len(body):,} bytes")
    return 0


async def _send(connection: str, queue: str, body: bytes, message_id: str | None) -> None:
    async with (
        asyncio.timeout(_PATIENCE),
        ServiceBusClient.from_connection_string(connection) as client,
        client.get_queue_sender(queue) as sender,
    ):
        await sender.send_messages(ServiceBusMessage(body, message_id=message_id))
