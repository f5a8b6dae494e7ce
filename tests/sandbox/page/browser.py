"""A headless Chromium of this machine, for the tests of the page. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# As root, without a graphics card, and without a word to anybody else.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 30_000
"""Milliseconds until what is waited for must show."""


def chromium() -> str:
    """Its path: $CHROMIUM, or one that is installed. Skips the test where there is none, with the reason."""
    found = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: install one (Debian: apt install chromium-headless-shell), or name it in $CHROMIUM")
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """The browser. Skips where Playwright or Chromium is missing."""
    playwright = pytest.importorskip("playwright.async_api", reason="no Playwright: `make test-page` installs it")
    path = chromium()
    async with playwright.async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def window(
    browser: Any, *, width: int = 1280, height: int = 800, scheme: str = "light", problems: list[str] | None = None
) -> AsyncIterator[Any]:
    """A window. An error of a script, or one in its console, fails the test; `problems` collects them instead."""
    found = [] if problems is None else problems
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("dialog", lambda dialog: found.append(f"dialog: {dialog.message}"))
    try:
        yield page
        if problems is None:
            assert found == []
    finally:
        await context.close()


def expect(locator: Any) -> Any:
    """Playwright's assertions, which wait until they hold."""
    assertions = pytest.importorskip("playwright.async_api").expect
    assertions.set_options(timeout=PATIENCE)
    return assertions(locator)
