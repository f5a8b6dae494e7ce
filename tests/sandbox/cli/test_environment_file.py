"""The file by which `up`, `worker` and `alert` know of each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.cli import alert
from sandbox.cli.commands import main
from sandbox.cli.environment_file import adopt_environment, read_environment, write_environment

VARIABLES = {"ServiceBusConnection": "Endpoint=sb://127.0.0.1;SharedAccessKey=it's", "POLL_SCHEDULE": "*/2 * * * * *"}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "sandbox.env"
    write_environment(file, VARIABLES)
    assert read_environment(file) == VARIABLES
    assert file.stat().st_mode & 0o777 == 0o600


def test_missing_file_is_empty_and_another_kind_of_file_is_named(tmp_path: Path) -> None:
    assert read_environment(tmp_path / "none") == {}
    other = tmp_path / "other"
    other.write_text("export A=b\n")
    with pytest.raises(ValueError, match=r"other is no environment file: NAME='value' is expected"):
        read_environment(other)


def test_environment_that_names_a_service_bus_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_environment(tmp_path / "file", VARIABLES)
    monkeypatch.setenv("ServiceBusConnection__fullyQualifiedNamespace", "mine.servicebus.windows.net")
    monkeypatch.delenv("POLL_SCHEDULE", raising=False)
    assert not adopt_environment(tmp_path / "file")
    assert "POLL_SCHEDULE" not in os.environ


def test_environment_without_a_service_bus_takes_the_file_but_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_environment(tmp_path / "file", VARIABLES)
    monkeypatch.setattr(os, "environ", {"POLL_SCHEDULE": "mine"})
    assert adopt_environment(tmp_path / "file")
    assert os.environ == {**VARIABLES, "POLL_SCHEDULE": "mine"}


def test_alert_without_a_key_says_where_the_key_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SANDBOX_FUNCTION_KEY", raising=False)
    assert main(["alert", str(alert.PLANNED_MAINTENANCE), "--env-file", str(tmp_path / "none")]) == 2
    assert "no key: `python -m sandbox worker` prints it when it starts" in capsys.readouterr().err


def test_alert_that_nobody_takes_names_the_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["alert", str(alert.PLANNED_MAINTENANCE), "--key", "k", "--endpoint", "http://127.0.0.1:1"]
    assert main(arguments) == 2
    assert "not posted to http://127.0.0.1:1: " in capsys.readouterr().err
