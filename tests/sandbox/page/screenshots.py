"""`make screenshots`: the page's pictures in docs/images, of requests that the worker carries out in a stopped time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.page import Page
from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID, Fault, InstanceSeed, ScaleSetSeed
from tests.sandbox.page.browser import browser, expect, window
from tests.support.environment import request
from tests.support.time_travel import Journey, due, journey, tick

FOLDER = Path(__file__).parents[3] / "docs" / "images"
PICTURES = (("page.png", 1280, 960, "light"), ("page-narrow.png", 390, 844, "dark"))
MINUTE = timedelta(minutes=1)
BY_DOMAIN = {"byUpdateDomain": True, "pauseBetweenWaves": "PT4M"}


async def main() -> None:
    """Make the pictures."""
    logging.disable(logging.CRITICAL)
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with browser() as chrome, _scene() as page:
        for name, width, height, scheme in PICTURES:
            async with window(chrome, width=width, height=height, scheme=scheme) as shown:
                await shown.goto(page.address)
                await expect(shown.locator(".run")).to_have_count(4)
                await expect(shown.locator("#events .row").first).to_be_visible()
                await shown.evaluate("document.fonts.ready")
                await shown.screenshot(path=FOLDER / name)
                print(FOLDER / name)


@asynccontextmanager
async def _scene() -> AsyncIterator[Page]:
    """Requests in the midst of their waves, one that failed, one that was rejected, and a fault."""
    async with journey([f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}"]) as azure:
        arm, bus = azure.environment.arm, azure.environment.bus
        for name, failing in (("fleet", ""), ("fragile", "5")):
            arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, "shop", name, instances=_twelve(failing)))
        slow = tuple(InstanceSeed(each, duration=3 * MINUTE, update_domain=int(each)) for each in "0123")
        arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, "shop", "api", instances=slow))
        with Page(bus, arm, clock=azure.clock) as page:
            await _send(azure, "rolling-to-a-failure", request("fragile", rollout=BY_DOMAIN))
            await _send(azure, "two-instances", request("web", instanceIds=["0", "3"]))
            await _go_on(azure, 5 * MINUTE)
            await _send(azure, "misspelt", request("web", instanceIDs=["1"]))
            await _send(azure, "rolling", request("fleet", rollout=BY_DOMAIN))
            await _go_on(azure, 6 * MINUTE)
            await _send(azure, "whole-scale-set", request("api"))
            await _until_posted(azure, "api")
            arm.faults.add(Fault(method="POST", path="*/performMaintenance", status=429, headers={"Retry-After": "60"}))
            yield page


def _twelve(failing: str) -> tuple[InstanceSeed, ...]:
    return tuple(
        InstanceSeed(
            str(number),
            update_domain=number // 4,
            duration=2 * MINUTE,
            outcome="Failed" if str(number) == failing else "Succeeded",
        )
        for number in range(12)
    )


async def _send(azure: Journey, request_id: str, document: dict[str, Any]) -> None:
    await azure.job.send(document, message_id=request_id)


async def _go_on(azure: Journey, by: timedelta) -> None:
    end = azure.clock() + by
    while True:
        await tick(azure.job)
        next_due = min([*due(azure.job)[:1], azure.clock() + MINUTE])
        if next_due > end:
            azure.clock.advance(end - azure.clock())
            return
        azure.clock.advance(max(next_due - azure.clock(), timedelta(seconds=1)))


async def _until_posted(azure: Journey, scale_set: str) -> None:
    while not any(f"/{scale_set}/" in call.path for call in azure.environment.posts()):
        await tick(azure.job)
        azure.clock.advance(timedelta(seconds=5))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except pytest.skip.Exception as reason:
        raise SystemExit(str(reason)) from None
