"""The stories and tests named in docs/reliability.md exist, and every story is named."""

import re

from tests.reliability import stories
from tests.reliability.documentation import ROOT, chapter, quoted, rows
from tests.reliability.story import Story

STORIES = {name for name, value in vars(stories).items() if isinstance(value, Story)}


def test_every_row_names_an_existing_story() -> None:
    assert len(rows()) > 15
    for cells in rows():
        named = set(quoted(cells[-1]))
        assert named <= STORIES, cells
        assert named or cells[-1] in ("every story", "every message delivered twice"), cells


def test_every_story_is_named_in_a_row() -> None:
    assert {name for cells in rows() for name in quoted(cells[-1])} == STORIES


def test_named_tests_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", chapter())
    assert len(named) > 2
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"


def test_named_test_files_exist() -> None:
    named = set(re.findall(r"tests/[\w/]+\.py", (ROOT / "docs" / "reliability.md").read_text()))
    assert len(named) > 10
    assert {path for path in named if not (ROOT / path).is_file()} == set()
