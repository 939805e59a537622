"""What the README shows exists and runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from boostnerv.config import Experiment, parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
    if line.strip()
]
MADE = ("results/", "data/", "config/mine.yaml", ".venv")


def test_it_opens_with_what_it_does_and_two_commands() -> None:
    first = README.split("```sh\n")[1].split("```")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]
    assert README.index("```sh") < 1200


def test_every_command_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = subprocess.run(
        [sys.executable, "-m", "boostnerv", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for words in COMMANDS:
        if words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "boostnerv":
            assert re.search(rf"^\s+{words[1]}\s", verbs, re.MULTILINE), words
        elif words[0] == "dvc":
            pipeline, _, stage = (words[2] if len(words) > 2 else "dvc.yaml:experiment@demo").partition(":")
            stages = yaml.safe_load((ROOT / pipeline).read_text())["stages"]["experiment"]["foreach"]
            assert words[1] == "repro", words
            assert stage.removeprefix("experiment@") in stages, words
        else:
            assert words[0] in {".", "snakemake"}, words
    assert {words[0] for words in COMMANDS} == {"make", "boostnerv", ".", "snakemake", "dvc"}


def test_every_option_is_one() -> None:
    for words in COMMANDS:
        options = [word for word in words if word.startswith("--")]
        if words[0] == "boostnerv":
            shown = [sys.executable, "-m", "boostnerv", words[1], "--help"]
        elif words[0] == "snakemake":
            shown = [sys.executable, "-m", "snakemake", "--help"]
        else:
            continue
        text = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
        for option in options:
            assert re.search(rf"{option}\b", text), words


def test_every_path_is_there() -> None:
    named = re.findall(r"`([\w./-]+(?:/|\.\w+))`", README) + re.findall(r"\]\((?!https)([^)]+)\)", README)
    tree = [block for kind, block in BLOCKS if kind == "" and "Snakefile" in block]
    assert len(tree) == 1
    inside = ""
    for line in tree[0].splitlines():
        if not line.startswith("  "):
            inside = "boostnerv/" if line.startswith("boostnerv/") else ""
        names = re.split(r"\s{3,}", line.strip())[0]
        named += [inside + name if line.startswith("  ") else name for name in re.split(r"\s{2}", names)]
    missing = [name for name in named if not (ROOT / name).exists() and not name.startswith(MADE)]
    paths = [name for name in missing if "/" in name or name.endswith((".py", ".md", ".yaml", ".cff"))]
    assert not paths
    assert len(named) > 20


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "yaml"])
def test_the_experiment_shown_is_valid(block: str) -> None:
    assert parse(Experiment, yaml.safe_load(block), "README").runs()
