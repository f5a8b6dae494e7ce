"""One concept, one word: the words that the glossary replaces stay away.

Each is looked for where it can only mean the old concept. `REPLACED` holds of all that is deployed or documented;
`REPLACED_IN_SANDBOX` of the sandbox alone.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVERYWHERE = (
    *("maintenance", "maintenance_cli", "maintenance_client", "sandbox", "contracts"),
    *("docs", "README.md", "function_app.py"),
)
REPLACED = {
    r"\basking\b": "request or call",
    r"\bsurveys?\b": "read the instance views",
    r"\bclon(e|ed|es|ing)\b": "retry",
    r"\bunsure\b|\bsuspect(ed|s)?\b": "may_have_started",
    r"\bwhat was seen\b": "observation",
    r"\blast word\b": "final status",
    r"\bsecrecy\b": "secret scanner",
    r"\bfates?\b": "crash point",
    r"\bhungry\b": "ready",
    r"\bcomes? again\b": "redelivered",
    r"\bunforeseen\b|\bstuck\b": "failed unexpectedly",
    r"\bput(s|ting)? up\b": "take (a lease), put (an entry)",
    r"\btrouble\b": "error",
    r"\bhappenings?\b": "event",
}
REPLACED_IN_SANDBOX = {
    r"\banswers?\b": "response",
    r"\brefusals?\b": "error",
    r"\bsilent\b": "unresponsive",
    r"\buntold\b|\bnot told\b|\bnot tell\b": "unknown, or not reported",
    r"\btak(e|es|en) down\b": "take, release",
}

REPLACED_IN_SANDBOX_AND_TESTS = {
    r"\bestates?\b|\bworlds?\b": "test environment",
    r"\bhappenings?\b": "event",
    r"\bfates?\b": "crash point",
    r"\bclon(e|ed|es|ing)\b": "retry",
}


def texts(*places: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *places], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if name.endswith((".py", ".md"))]


def found(word: str, *places: str) -> list[str]:
    pattern = re.compile(word, re.IGNORECASE)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts(*places)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("word", REPLACED)
def test_replaced_word_is_absent(word: str) -> None:
    assert not found(word, *EVERYWHERE), f"say {REPLACED[word]}"


@pytest.mark.parametrize("word", REPLACED_IN_SANDBOX)
def test_replaced_word_is_absent_from_sandbox(word: str) -> None:
    assert not found(word, "sandbox"), f"say {REPLACED_IN_SANDBOX[word]}"


@pytest.mark.parametrize("word", REPLACED_IN_SANDBOX_AND_TESTS)
def test_replaced_word_is_absent_from_sandbox_and_tests(word: str) -> None:
    lines = found(word, "sandbox", "tests")
    assert not [line for line in lines if not line.startswith("tests/project/test_glossary.py:")]
