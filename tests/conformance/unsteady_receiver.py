"""A receiver that behaves badly: run as a process by the hold-up test, with a connection string and a seed.

It abandons some messages, lets some locks run out, closes and reopens its link, and completes the rest. It goes on
until its standard input ends, or it is killed.
"""

import asyncio
import random
import sys

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError


async def _handle(receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, chance: random.Random) -> None:
    draw = chance.random()
    try:
        if draw < 0.05:
            await receiver.abandon_message(message)
        elif draw > 0.02 + 0.05:
            await receiver.complete_message(message)
        # Else the message is left to its lock.
    except MessageLockLostError:
        pass  # another receiver has it by now, or will


async def _receive(connection_string: str, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  noise
    async with ServiceBusClient.from_connection_string(connection_string) as client:
        while True:
            async with client.get_queue_receiver("hold-up", socket_timeout=0.02) as receiver:
                for _ in range(chance.randrange(20, 60)):
                    for message in await receiver.receive_messages(max_message_count=20, max_wait_time=1):
                        await _handle(receiver, message, chance)


async def _until_stdin_closes() -> None:
    receiving = asyncio.create_task(_receive(sys.argv[1], int(sys.argv[2])))
    reading = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait((receiving, reading), return_when=asyncio.FIRST_COMPLETED)
    if receiving.done():
        receiving.result()  # it never ends by itself but with an error, to be seen on standard error
    receiving.cancel()


if __name__ == "__main__":
    asyncio.run(_until_stdin_closes())
