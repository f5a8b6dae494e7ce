"""`python -m sandbox demo --stay`: after its last act everything stays up, until Ctrl-C ends it in order."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE

import httpx
import pytest

from sandbox.cli.environment_file import PROJECT
from tests.support.limit import LIMIT

pytestmark = pytest.mark.long


async def test_demo_that_stays_serves_its_page_until_it_is_interrupted() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "demo", "--stay", "--page-port", "0"), stdout=PIPE, stderr=PIPE, cwd=PROJECT
    )
    assert process.stdout is not None
    shown: list[str] = []
    async with asyncio.timeout(240):
        while "Ctrl-C ends it" not in (line := (await process.stdout.readline()).decode()):
            assert line, (shown, await process.communicate())
            shown.append(line)
        (address,) = re.findall(r"Everything stays up. Page: (http://127\.0\.0\.1:\d+/)", "".join(shown))
        async with httpx.AsyncClient(trust_env=False, timeout=LIMIT) as http:
            assert "<title>" in (await http.get(address)).text
            (trace_id,) = set(re.findall(r"Trace ([0-9a-f]{32})", "".join(shown)))
            trace = (await http.get(f"{address}traces/{trace_id}")).json()
        assert trace["taken"] and trace["spans"]
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
