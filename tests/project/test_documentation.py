"""The documentation names only what exists, and what it has people run, runs."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.support.contract import check_event
from tests.support.limit import LIMIT

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Folders of the project, by which a text in backticks is known to be a file of it.
FOLDERS = (
    *("docs", "infra", "tests", "sandbox", "examples", "contracts", "tools"),
    *("maintenance", "maintenance_cli", "maintenance_client"),
)
PYTHON = shlex.quote(sys.executable)
MADE = ("build/sandbox.env", "build/sbom.json")


def pages() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    found = []
    for link in LINK.findall(BLOCK.sub("", text)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_broken_link_is_found() -> None:
    text = "[a](docs/none.md) [b](docs/alerts.md#none) [c](docs/alerts.md#responses) [d](https://example.com)"
    assert broken_links(ROOT / "README.md", text) == ["docs/none.md", "docs/alerts.md#none"]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # In code only: prose may make sense, too.
    code = [block for _, block in BLOCK.findall(page.read_text())]
    code += re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text()))
    named = {
        word
        for text in code
        for command in re.findall(r"^(?:nice -n -?\d+ )?make ([^#\n]*)", text, re.MULTILINE)
        for word in command.split()
        if re.fullmatch(r"[a-z-]+", word)
    }
    assert named <= targets


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", page.read_text())
    named += re.findall(r"`([\w-]+\.(?:py|md|toml|json|txt|in|yaml))`", page.read_text())
    known = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    known |= {path.name for path in ROOT.iterdir()} | {"local.settings.json"}
    missing = [name for name in named if not (ROOT / name).exists() and name not in MADE and name not in known]
    assert missing == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_code_blocks_can_be_read_by_what_they_are_for(page: Path) -> None:
    for language, text in BLOCK.findall(page.read_text()):
        if language == "json" and "…" not in text:
            document = json.loads(text)
            if "specversion" in document:
                check_event(document)
        elif language == "python":
            compile(text, name_of(page), "exec")
        elif language == "sh":
            filled_in = re.sub(r"<[\w-]+>", "x", text)
            subprocess.run(["sh", "-n"], input=filled_in, text=True, check=True)


def test_readme_fits_a_screen_and_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    first_screen = readme.partition("## Documentation")[0]
    assert len(first_screen.splitlines()) <= 30
    assert [text.strip() for _, text in BLOCK.findall(first_screen)][-1] == "make demo"
    linked = {link.partition("#")[0] for link in LINK.findall(readme)}
    docs = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert docs <= linked
    assert {"LICENSE", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= linked


async def test_getting_started_does_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "getting-started.md").read_text()
    numbered = re.findall(r"(?ms)^## (\d)\.(.*?)(?=^## |\Z)", text)
    sections = {number: BLOCK.findall(section) for number, section in numbered}
    (_, start), (_, send), (_, printed), (_, alert) = sections["2"][0], *sections["3"], sections["4"][0]
    file = tmp_path / "sandbox.env"
    # Where the page has the defaults, a test has files and ports of its own.
    options = f"--servicebus-port 0 --arm-port 0 --http-port 0 --duration 1 --env-file {shlex.quote(str(file))}"
    command = shlex.split(f"{start.strip().replace('.venv/bin/python', PYTHON)} {options}")
    async with asyncio.timeout(LIMIT):
        up = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, cwd=ROOT)
        assert up.stderr is not None
        lines: list[str] = []
        while "HTTP functions at " not in (line := (await up.stderr.readline()).decode()):
            assert line, "".join(lines)
            lines.append(line)
        drained = asyncio.create_task(up.stderr.read())
        endpoint = line.split(" at ")[1].split(",")[0]
        assert await run(send, file) == printed
        assert "HTTP 202" in await run(alert, file, f"--endpoint {endpoint} --env-file {shlex.quote(str(file))}")
        up.send_signal(signal.SIGINT)
        assert await up.wait() == 0
        await drained


async def run(block: str, file: Path, options: str = "") -> str:
    """What a block of the page prints."""
    script = block.replace(".venv/bin/python", PYTHON).replace("build/sandbox.env", shlex.quote(str(file))).strip()
    shell = await asyncio.create_subprocess_exec("sh", "-ec", f"{script} {options}", stdout=PIPE, stderr=PIPE, cwd=ROOT)
    out, err = await shell.communicate()
    assert shell.returncode == 0, err.decode()
    return out.decode()
