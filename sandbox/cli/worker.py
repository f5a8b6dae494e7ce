"""`python -m sandbox worker`: the functions of an app, run against whatever the environment names."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from sandbox.cli.environment import FUNCTION_KEY
from sandbox.cli.environment_file import adopt_environment
from sandbox.cli.shutdown import close_app
from sandbox.functions_host import FunctionsHost, HostJsonError, IndexingError, load_app, read_host_json


def main(arguments: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code: 2 where the app can't be run as it is."""
    try:
        if adopt_environment(arguments.env_file):
            print(f"Settings of {arguments.env_file}", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.until_input_ends:
        threading.Thread(target=_stop_when_input_ends, name="input", daemon=True).start()
    return serve(arguments.app, arguments.http_port)


def _stop_when_input_ends() -> None:
    # Not by sys.stdin: its lock, held by this thread, would abort the interpreter at its end.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def serve(folder: Path, http_port: int) -> int:
    """Run the app in `folder` with the settings of this process. Returns the exit code, as `main` does."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    # Their lines are one per connection and request; the host's own are one per invocation.
    for noisy in ("azure.core", "azure.identity", "azure.servicebus", "uamqp", "httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        asyncio.run(_run(folder, http_port))
    except (IndexingError, HostJsonError) as error:
        print(f"The app in {folder} can't be run:\n{error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return 2
    # Other apps can't close their clients: Azure gives them no chance to either. No warnings of that at the very end.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return 0


async def _run(folder: Path, http_port: int) -> None:
    host = FunctionsHost(
        load_app(folder),
        environment=os.environ,
        host_json=read_host_json(folder),
        http_port=http_port,
        function_key=os.environ.get(FUNCTION_KEY),
    )
    with host.stopped_by_signals():
        await _serve(host)


async def _serve(host: FunctionsHost) -> None:
    async with host:
        if host.http_endpoint is not None:
            print(f"HTTP functions at {host.http_endpoint}, key {host.function_key}", file=sys.stderr)
        await host.run_until_stopped()
    await close_app()
