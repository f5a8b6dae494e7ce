"""`python -m sandbox alert FILE`: post an alert to a worker, as an action group of Azure Monitor would."""

from __future__ import annotations

import argparse
import json
import os
import sys
from http import HTTPStatus
from pathlib import Path

import httpx

from sandbox.cli.environment import FUNCTION_KEY
from sandbox.cli.environment_file import read_environment

PLANNED_MAINTENANCE = Path(__file__).resolve().parents[1] / "planned_maintenance.json"
"""A Service Health alert: maintenance of scale sets in North Europe, in the example subscription."""

_PATIENCE = 30.0
_WHERE_THE_KEY_IS = (
    f"`python -m sandbox worker` prints it when it starts. Give it with --key, or as {FUNCTION_KEY} in the environment"
)


def main(arguments: argparse.Namespace) -> int:
    """Post and print the response. Returns the exit code: 0 for 200 and 202, 1 for others, 2 where there was none."""
    try:
        key = arguments.key or os.environ.get(FUNCTION_KEY) or read_environment(arguments.env_file).get(FUNCTION_KEY)
        if not key:
            print(f"no key: {_WHERE_THE_KEY_IS}", file=sys.stderr)
            return 2
        body = sys.stdin.buffer.read() if arguments.file == Path("-") else arguments.file.read_bytes()
        response = post(arguments.endpoint, key, body)
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        print(f"not posted to {arguments.endpoint}: {error}", file=sys.stderr)
        return 2
    print(f"HTTP {response.status_code}")
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        print(f"the key is not this worker's: {_WHERE_THE_KEY_IS}", file=sys.stderr)
    print(_readable(response))
    return 0 if response.is_success else 1


def post(endpoint: str, key: str, body: bytes) -> httpx.Response:
    """POST to `{endpoint}/api/alerts`, with the function's key. Raises httpx.HTTPError without a response."""
    headers = {"x-functions-key": key, "Content-Type": "application/json; charset=utf-8"}
    return httpx.post(
        f"{endpoint.rstrip('/')}/api/alerts", content=body, headers=headers, timeout=_PATIENCE, trust_env=False
    )


def _readable(response: httpx.Response) -> str:
    try:
        return json.dumps(response.json(), indent=2, ensure_ascii=False)
    except ValueError:
        return response.text
