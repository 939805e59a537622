"""What ``boostnerv --help`` prints: every verb under its heading, with a summary that fits its line."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from boostnerv.cli import app

HEADINGS = [
    "From a video to a file",
    "Steps of the workflow (each is a rule)",
    "Inspecting and measuring",
    "Sharing results",
]


@pytest.fixture(scope="module")
def text() -> str:
    shown = CliRunner().invoke(app, ["--help"], prog_name="boostnerv", env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    return shown.stdout


def test_every_verb_is_listed_once_under_its_heading(text: str) -> None:
    _, *parts = re.split(r"^(\S.*):\n", text.split("--help")[1], flags=re.MULTILINE)
    listed = {
        heading: re.findall(r"^  (\S+)", lines, re.MULTILINE)
        for heading, lines in zip(parts[::2], parts[1::2], strict=True)
    }
    assert list(listed) == HEADINGS
    group: Any = typer.main.get_command(app)
    expected: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    for name, command in group.commands.items():
        expected[command.rich_help_panel].append(name)
    assert listed == expected


def test_summaries_are_whole_sentences_of_one_line(text: str) -> None:
    group: Any = typer.main.get_command(app)
    lines = {line.split()[0]: line.strip() for line in text.splitlines() if line.startswith("  ") and line.split()}
    for name in group.commands:
        assert lines[name].endswith("."), name
        assert not lines[name].endswith("..."), name


def test_an_unknown_verb_is_refused_with_a_suggestion() -> None:
    refused = CliRunner().invoke(app, ["compres"])
    assert refused.exit_code == 2
    assert "compress" in refused.output
