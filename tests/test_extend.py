"""The recipes of docs/extend.md and docs/add-a-model.md, followed in a copy of the tree whose tests are run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
IGNORED = shutil.ignore_patterns("__pycache__")
PAGES = {"extend.md": (ROOT / "docs/extend.md").read_text(encoding="utf-8")}
PAGES["add-a-model.md"] = (ROOT / "docs/add-a-model.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text below a heading of the second level."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGES[page], re.DOTALL | re.MULTILINE)
    return text


def apply(difference: str, folder: Path) -> None:
    """Apply a difference whose hunks are found by their lines alone; each stands once in its file."""
    for name, hunks in re.findall(
        r"^--- a/\S+\n\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", difference, re.DOTALL | re.MULTILINE
    ):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        for hunk in hunks.split("@@\n")[1:]:
            lines = hunk.splitlines()
            old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
            new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
            assert text.count(old) == 1, f"{name} does not have these lines once:\n{old}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def follow(text: str, folder: Path) -> None:
    """Write the files and apply the differences of a recipe."""
    for difference in re.findall(r"```diff\n(.*?)```", text, re.DOTALL):
        apply(difference, folder)
    for name, content in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.DOTALL):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the tests need of the tree."""
    for name in ("boostnerv", "tests", "docs", "config", "workflow", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=IGNORED)
    for name in ("Snakefile", "pyproject.toml", "README.md", "Makefile", "CHANGELOG.md", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def run_tests(folder: Path, paths: Sequence[str]) -> None:
    output = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", "not slow", *paths)
    assert "[100%]" in output
    assert run(folder, "boostnerv.config.keys_page") == ""


@pytest.mark.slow
def test_a_model_is_one_file_and_one_test(checkout: Path) -> None:
    follow(PAGES["add-a-model.md"], checkout)
    run(checkout, "boostnerv.codec.container.format_page")
    run_tests(checkout, ["tests/models", "tests/codec", "tests/interop", "tests/training"])
    assert "toy-net" in (checkout / "config/README.md").read_text()
    assert "toy-net" in (checkout / "docs/format.md").read_text()


@pytest.mark.slow
def test_an_entropy_model(checkout: Path) -> None:
    follow(section("extend.md", "An entropy model"), checkout)
    for page in ("codec.container.format_page", "config.keys_page", "evaluation.columns_page"):
        run(checkout, f"boostnerv.{page}")
    run_tests(checkout, ["tests/codec", "tests/evaluation/test_points.py", "tests/report", "tests/test_catalogue.py"])
    assert "laplace-channel" in run(checkout, "boostnerv", "encode", "--help")
    assert "laplace-channel" in (checkout / "docs/format.md").read_text()


@pytest.mark.slow
def test_a_loss_term(checkout: Path) -> None:
    follow(section("extend.md", "A loss term"), checkout)
    run(checkout, "boostnerv.config.keys_page")
    run_tests(checkout, ["tests/training/test_losses.py", "tests/test_config.py", "tests/test_catalogue.py"])
    assert "`charbonnier`" in (checkout / "config/README.md").read_text()


@pytest.mark.slow
def test_an_anchor(checkout: Path) -> None:
    follow(section("extend.md", "An anchor"), checkout)
    run(checkout, "boostnerv.config.keys_page")
    run_tests(checkout, ["tests/evaluation", "tests/operations/test_doctor.py", "tests/test_catalogue.py"])


@pytest.mark.slow
def test_a_data_set(checkout: Path) -> None:
    follow(section("extend.md", "A data set"), checkout)
    frames = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), dtype=np.uint8)
    for name in ("morning", "evening"):  # folders of images in place of the page's videos
        (checkout / name).mkdir()
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(checkout / name / f"{index}.png")
    path = checkout / "config/datasets/pond.yaml"
    path.write_text(path.read_text().replace(".mp4", ""))
    assert [video["name"] for video in yaml.safe_load(path.read_text())["videos"]] == ["morning", "evening"]
    lines = run(checkout, "boostnerv", "check", "config/pond.yaml")
    assert "morning hnerv-boost-0.1M" in lines
    assert "evening hnerv-boost-0.1M" in lines
