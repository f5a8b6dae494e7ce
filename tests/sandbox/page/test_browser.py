"""The page in a real browser. Run by `make test-page`; skipped where Playwright or Chromium is missing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage

from sandbox.cli.environment_file import PROJECT
from sandbox.otlp import Span
from sandbox.page import Page
from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID, InstanceSeed, ScaleSetSeed
from tests.sandbox.page.browser import browser, expect, window
from tests.sandbox.page.samples import HOSTILE, Services, services
from tests.support.entities import OPERATIONS, REQUESTS, TOPIC
from tests.support.time_travel import due, journey, tick

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TRACE = "a" * 32
SCHEMAS = PROJECT / "contracts" / "schemas"
DOCUMENTS = {
    name: (SCHEMAS / name / "1" / "schema.json").read_bytes()
    for name in ("maintenance-request", "maintenance-cancellation")
}
# What a sender can write into texts: markup, another direction of writing, half a surrogate pair, an escape sequence.
TEXTS = (HOSTILE, '"><script>alert(1)</script>', "\u202egnp.exe", "a\u2028b", "\x1b[2K\x1b]0;title\x07")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome() -> AsyncIterator[Any]:
    async with browser() as started:
        yield started


@pytest.fixture(scope="module")
def shared() -> Iterator[Services]:
    with services(documents=DOCUMENTS) as running:
        yield running


@pytest.fixture
def sandbox(shared: Services) -> Services:
    return shared.cleared()


async def test_rolling_request_of_the_form_is_followed_wave_by_wave(chrome: Any) -> None:
    async with journey([f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}"]) as azure:
        arm, bus = azure.environment.arm, azure.environment.bus
        with Page(bus, arm, clock=azure.clock, documents=DOCUMENTS) as served:
            async with window(chrome) as page:
                await page.goto(served.address)
                await page.get_by_role("button", name="Send a request").click()
                await page.get_by_label("requestId").fill("rolling")
                await page.locator("select[name=byUpdateDomain]").select_option("true")
                await page.get_by_label("pauseBetweenWaves").fill("PT5M")
                await page.get_by_role("button", name="Send", exact=True).click()
                await expect(page.locator(".result")).to_have_text(f"Sent to {REQUESTS}.")
                await page.keyboard.press("Escape")
                run = page.locator(".run[data-request=rolling]")
                seen: list[int] = []
                for _ in range(60):
                    await tick(azure.job)
                    if azure.environment.events and azure.environment.events[-1].ends:
                        break
                    posts = [call for call in azure.environment.posts() if call.status == 202]
                    if len(posts) > len(seen):
                        seen.append(len(posts))
                        await expect(run.locator("li[data-at=now]")).to_have_text(f"▸ {len(posts)}: 2 inst.")
                        maintained = page.locator('[data-set="shop/web"] [data-state=in-progress]')
                        await expect(maintained).to_have_count(2)
                    times = due(azure.job)
                    azure.clock.advance(max(times[0] - azure.clock(), timedelta(0)) if times else timedelta(minutes=1))
                assert seen == [1, 2, 3]
                await expect(run.locator(".badge")).to_have_text("Succeeded")
                await expect(run.locator("li[data-at=done]")).to_have_count(3)
                await expect(run.locator("[data-kind=pause]")).to_have_count(2)
                await expect(page.locator('[data-set="shop/web"] [data-state=completed]')).to_have_count(6)
                await expect(page.locator("#events .row").first).to_contain_text("completed")
                await run.locator(".request").click()
                await expect(page.locator(".story")).to_contain_text("POST shop/web/performMaintenance → 202")


async def test_trace_of_a_request_is_drawn_beside_its_story(chrome: Any) -> None:
    second = 1_000_000_000

    def span(span_id: str, parent_id: str, name: str, **more: Any) -> Span:
        return Span(TRACE, span_id, parent_id, name, "internal", 0, 4 * second, {"vmss.name": HOSTILE}, **more)

    spans = [span("a", "sender", "maintenance web"), span("b", "a", HOSTILE, failed=True, status=HOSTILE)]
    record = {
        "schemaVersion": 2,
        "run_id": "0" * 32,
        "request_id": "traced",
        "scale_set": {"subscription_id": EXAMPLE_SUBSCRIPTION_ID, "resource_group_name": "shop", "name": "web"},
        "phase": "track",
        "number": 3,
        "trace": {"traceparent": f"00-{TRACE}-{'b' * 16}-01"},
    }
    with services(traces=lambda trace_id: spans if trace_id == TRACE else []) as sandbox:
        message = ServiceBusMessage(json.dumps(record).encode(), message_id=f"{'0' * 32}:s3", subject="track")
        async with window(chrome) as page:
            await page.goto(sandbox.page.address)
            sandbox.sender(OPERATIONS).send_messages(message)
            await page.locator(".run[data-request=traced] .request").click()
            await expect(page.locator(".spans li")).to_have_count(2)
            await expect(page.locator("#panel-body")).to_contain_text("2 spans in 4.0 s")
            await expect(page.locator(".spans .name").nth(1)).to_have_text(HOSTILE)
            await page.locator(".spans summary").nth(1).click()
            await expect(page.locator(".spans li").nth(1)).to_contain_text(f"failed: {HOSTILE}")
            # One that comes later shows though nothing else changes.
            spans.append(span("c", "a", "POST performMaintenance"))
            await expect(page.locator(".spans li")).to_have_count(3)


async def test_fault_added_on_the_page_shows_in_the_next_call(chrome: Any, sandbox: Services) -> None:
    async with window(chrome) as page:
        await page.goto(sandbox.page.address)
        await page.get_by_role("button", name="Add a fault").click()
        await page.get_by_role("button", name="Add this fault").click()
        await expect(page.locator(".result")).to_contain_text("strikes the next call")
        await page.keyboard.press("Escape")
        await expect(page.locator("#faults li")).to_contain_text("429, Retry-After: 5, once more")
        assert sandbox.call_arm() == 429
        await expect(page.locator("#calls .row").first).to_contain_text("429 throttled")
        await expect(page.locator("#faults")).to_be_hidden()
        # A fault that others add is cleared here.
        sandbox.bus.faults.outage(REQUESTS, timedelta(hours=1))
        await page.get_by_role("button", name=f"Clear: {REQUESTS}: outage").click()
        await expect(page.locator("#faults")).to_be_hidden()
        assert sandbox.bus.faults.in_force() == []


async def test_page_is_right_after_a_reload_and_after_a_restart(chrome: Any) -> None:
    problems: list[str] = []
    with services() as sandbox:
        async with window(chrome, problems=problems) as page:
            await page.goto(sandbox.page.address)
            sandbox.call_arm()
            await expect(page.locator("#calls .count")).to_have_text("1")
            await page.reload()
            await expect(page.locator("#calls .count")).to_have_text("1")
            sandbox.page.close()
            await expect(page.locator("#live")).to_contain_text("lost")
            sandbox.bus.faults.outage(REQUESTS, timedelta(hours=1))
            sandbox.arm.remove(EXAMPLE_SUBSCRIPTION_ID, "shop", "web", "7")
            sandbox.page.start()
            await expect(page.locator("#live")).to_have_text("live")
            await expect(page.locator("#faults li")).to_have_count(1)
            await expect(page.locator('[data-set="shop/web"] .cell')).to_have_count(5)
            await expect(page.locator("#calls .count")).to_have_text("1")
    # A browser itself reports the connections that were cut and refused; nothing else went wrong.
    assert [each for each in problems if "net::ERR" not in each] == []


async def test_hostile_texts_show_as_text(chrome: Any, sandbox: Services) -> None:
    vms = tuple(InstanceSeed(text) for text in TEXTS)
    sandbox.arm.seed(
        ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, HOSTILE, HOSTILE, orchestration_mode="Flexible", instances=vms)
    )
    for number, text in enumerate((*TEXTS, "half \ud800 pair")):
        data = {"requestId": text, "status": text, "instances": [{"outcome": text, "message": text}]}
        body = json.dumps({"type": f"vmss.{text}.v1", "data": data}).encode()
        sandbox.sender(TOPIC).send_messages(ServiceBusMessage(body, message_id=f"hostile-{number}"))
    request = json.dumps({text: text for text in TEXTS}).encode()
    message = ServiceBusMessage(request, message_id=HOSTILE, subject=HOSTILE, application_properties={"note": HOSTILE})
    sandbox.sender(REQUESTS).send_messages(message)
    async with window(chrome) as page:
        await page.goto(sandbox.page.address)
        card = page.locator(".card").filter(has_text=HOSTILE)
        await expect(card.locator(".cell")).to_have_count(len(TEXTS))
        await card.locator('[title*="u001b"]').click()
        await expect(page.locator("#panel")).to_contain_text("\\u001b[2K\\u001b]0;title\\u0007")
        await page.keyboard.press("Escape")
        await expect(page.locator("#events .row")).to_have_count(len(TEXTS) + 1)
        await page.locator("#events .row").first.click()
        await expect(page.locator("#panel pre")).to_contain_text("half \\ud800 pair")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name=REQUESTS).click()
        await page.locator("#panel .row").first.click()
        await expect(page.locator("#panel pre")).to_contain_text(HOSTILE)
        await expect(page.locator("#panel .facts")).to_contain_text(f"note{HOSTILE}")
        # Markup would have become elements by now, and a mark of direction would be in the text as itself.
        assert await page.locator("img, script:not([src])").count() == 0
        assert "\u202e" not in await page.evaluate(ALL_TEXT)


async def test_page_without_its_token_only_looks(chrome: Any, sandbox: Services) -> None:
    async with window(chrome) as page:
        await page.goto(sandbox.url)
        await expect(page.locator("#notice")).to_contain_text("You can look")
        await expect(page.locator(".card")).not_to_have_count(0)
        assert await page.locator("#actions button:enabled").count() == 0
        # As after a restart of the sandbox, whose token is another.
        await page.goto(f"{sandbox.url}/#an-old-token")
        await expect(page.locator("#notice")).to_contain_text("started anew")
        await expect(page.get_by_role("button", name="Add a fault")).to_be_disabled()
        # The address that the sandbox prints, entered into the same window; a link to a section does not lose it.
        await page.goto(sandbox.page.address)
        await expect(page.get_by_role("button", name="Add a fault")).to_be_enabled()
        await page.set_viewport_size({"width": 390, "height": 500})
        await page.get_by_role("link", name="Events").click()
        await expect(page.locator("#events")).to_be_in_viewport()
        await page.reload()
        await expect(page.get_by_role("button", name="Add a fault")).to_be_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_page_fits_and_can_be_read(chrome: Any, sandbox: Services, width: int, scheme: str) -> None:
    sandbox.call_arm()
    sandbox.bus.faults.outage(REQUESTS, timedelta(hours=1))
    async with window(chrome, width=width, height=844, scheme=scheme) as page:
        await page.goto(sandbox.page.address)
        await expect(page.locator("#faults li")).to_have_count(1)
        await expect(page.locator("#calls .row").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate(CONTRAST) == []


async def test_keyboard_reaches_an_instance_and_comes_back(chrome: Any, sandbox: Services) -> None:
    async with window(chrome) as page:
        await page.goto(sandbox.page.address)
        await page.locator('[data-set="shop/web"] .cell').first.focus()
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Enter")
        await expect(page.locator("#panel-title")).to_have_text("shop/web/3")
        await page.keyboard.press("Escape")
        await expect(page.locator("#panel")).to_be_hidden()
        assert await page.evaluate("document.activeElement.dataset.key.split('\\n')[1]") == "3"


async def test_long_lists_are_windowed_and_many_changes_are_one_drawing(chrome: Any, sandbox: Services) -> None:
    many = tuple(InstanceSeed(str(number), update_domain=number % 20) for number in range(1_000))
    sandbox.arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, "shop", "large", instances=many))
    for start in range(0, 10_000, 1_000):
        batch = [ServiceBusMessage(b"{}", message_id=f"m{number:05}") for number in range(start, start + 1_000)]
        sandbox.sender(REQUESTS).send_messages(batch)
    async with window(chrome) as page:
        await page.goto(sandbox.page.address)
        large = page.locator('[data-set="shop/large"] .cell')
        await expect(large).to_have_count(1_000)
        await page.get_by_role("button", name=REQUESTS).click()
        rows = page.locator("#panel .row")
        await expect(rows.first).to_contain_text("m00000")
        await page.locator("#panel .list").press("End")
        await expect(rows.filter(has_text="m09999")).to_have_count(1)
        assert await rows.count() < 60
        await page.keyboard.press("Escape")
        # All thousand change at once, and none of the squares is made anew.
        await page.evaluate(REMEMBER_CELLS)
        sandbox.call_arm("/performMaintenance", "POST")
        for number in range(1_000):
            sandbox.arm.update(EXAMPLE_SUBSCRIPTION_ID, "shop", "large", str(number), timedelta(hours=1))
        await expect(page.locator('[data-set="shop/large"] .updated')).to_have_count(1_000)
        assert await page.evaluate("window.old.filter((cell) => cell.isConnected).length") == 1_000
        sandbox.arm.seed(ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, "shop", "large", instances=many[:1]))


# All that a reader or a screen reader is told: not the keys by which the scripts find their parts.
ALL_TEXT = """() => document.body.outerHTML.replace(/ (data-[a-z]+|value)="[^"]*"/g, "")"""

REMEMBER_CELLS = """() => { window.old = [...document.querySelectorAll('[data-set="shop/large"] .cell')]; }"""

# Texts with less contrast to what is behind them than WCAG's AA asks for: 4.5 to 1.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => {
    const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.disabled) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${node.tagName}.${node.className} ${node.textContent.slice(0, 30)}: ${ratio}`);
  }
  return found;
}"""
