"""What the pages of docs/ tell to do works when it is done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
IGNORED = shutil.ignore_patterns("__pycache__")


def blocks(page: str, language: str) -> dict[str, str]:
    """Code blocks of a page that begin with the path of the file they are."""
    found = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL)
    return dict(found)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the tree with the page's files in it."""
    for name in ("boostnerv", "workflow", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=IGNORED)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for path, text in {**blocks("add-a-model.md", "python"), **blocks("add-a-model.md", "yaml")}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_model_added_as_described_goes_through_the_whole_chain(checkout: Path) -> None:
    run(checkout, "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_toy_net.py")
    # The page's experiment takes real frames; here they are noise, so that nothing is fetched.
    (checkout / "clip").mkdir()
    for index, frame in enumerate(np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), dtype=np.uint8)):
        Image.fromarray(frame).save(checkout / "clip" / f"{index}.png")
    path = checkout / "config/toy.yaml"
    settings = yaml.safe_load(path.read_text())
    del settings["dataset"]
    path.write_text(yaml.safe_dump({**settings, "own_videos": [{"path": "clip", "name": "bunny"}]}))
    run(checkout, "boostnerv", "check", "config/toy.yaml")
    run(checkout, "snakemake", "--profile", "profiles/local", "--configfile", "config/toy.yaml")
    shown = run(checkout, "boostnerv", "info", "results/toy/bunny/toy-net-0.05M/video.bnv")
    assert "4 frames of 60×80" in shown
    assert "4 frames, toy-net" in shown
