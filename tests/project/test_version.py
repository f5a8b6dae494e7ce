"""The version has one place, and whatever else names it follows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from maintenance.arm.client import HEADERS
from maintenance.version import VERSION

ROOT = Path(__file__).parents[2]


def test_user_agent_names_the_version() -> None:
    assert HEADERS["User-Agent"] == f"vmss-maintenance/{VERSION}"


def test_project_takes_its_version_from_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "maintenance.version.VERSION"


def test_template_of_azd_names_the_version() -> None:
    assert f"vmss-maintenance@{VERSION}\n" in (ROOT / "azure.yaml").read_text()


def test_changelog_begins_with_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == VERSION
