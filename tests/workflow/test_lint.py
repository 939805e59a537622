"""Snakemake's own lint and its formatter have nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.forked import run_snakemake
from tests.workflow.test_dag import ROOT

# dvc.yaml has stages of DVC.
EXPERIMENTS = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "dvc.yaml")
QUICK = ("demo", "dnerv-quick")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow])
        for path in EXPERIMENTS
    ],
)  # fmt: skip
def test_lint_is_clean(path: Path, tmp_path: Path) -> None:
    # The videos of UCF101 are known from a list that is downloaded.
    videos = tmp_path / "data/raw/ucf101-train/ucfTrainTestlist/trainlist01.txt"
    videos.parent.mkdir(parents=True)
    videos.write_text("Archery/v_Archery_g08_c01.avi 3\n")
    done = lint(ROOT / "Snakefile", tmp_path, "--configfile", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_is_not_always(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule a:\n    output:\n        'a',\n    shell:\n        'touch {output}'\n")
    done = lint(tmp_path / "Snakefile", tmp_path)
    assert done.returncode == 1
    assert "No log directive defined" in done.stdout + done.stderr


def test_the_format_is_snakefmts() -> None:
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lint(snakefile: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_snakemake(["--snakefile", str(snakefile), "--directory", str(folder), "--lint", *arguments])
