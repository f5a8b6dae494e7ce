"""docs/reliability.md names tests that exist."""

import re

from tests.reliability import stories
from tests.reliability.documentation import ROOT, chapter, quoted, rows
from tests.reliability.environment import Story

STORIES = {name for name, value in vars(stories).items() if isinstance(value, Story)}


def test_every_row_names_a_story_that_is_told() -> None:
    assert len(rows()) > 15
    for cells in rows():
        named = set(quoted(cells[-1]))
        assert named <= STORIES, cells
        assert named or cells[-1] in ("every story", "every message delivered twice"), cells


def test_every_story_is_named() -> None:
    assert {name for cells in rows() for name in quoted(cells[-1])} == STORIES


def test_the_tests_named_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", chapter())
    assert len(named) > 2
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"
