"""What the benchmark plans is all there, and what status looks at is what it takes for results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.plan_speed import SIZES_M, Planned, measured, snakemake, table, write_experiment, write_results
from boostnerv.config import load_experiment
from boostnerv.operations.status import look


def test_every_step_of_every_video_is_planned(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, 2)
    found = measured("two", snakemake(experiment, tmp_path, "--quiet", "rules"), tmp_path)
    steps = ("train", "finetune", "encode", "decode", "evaluate")
    of_a_video = 2 + len(SIZES_M) * len(steps) + len(("preview_source", "plot_runs"))
    assert found.jobs == 2 * of_a_video + len(("collect", "tabulate", "plot", "page", "all"))
    assert found.memory_mb > 20
    assert 0 < found.processor_s < 10 * found.seconds


def test_the_results_are_of_the_experiment(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, 5)
    write_results(tmp_path, experiment)
    assert look(load_experiment(experiment), tmp_path).counts == {
        "done": 18, "running": 0, "stopped": 2, "failed": 0, "waiting": 0,
    }  # fmt: skip


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3:\nwhy"):
        measured("bad", [sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path)


def test_the_table() -> None:
    rows = [Planned("all", 39, 1.25, 1.0, 99.6), Planned("help", None, 0.5, 0.25, 10)]
    assert table(rows)[1:] == [
        "all     39      1.2               1.0  100",
        "help     –      0.5               0.2   10",
    ]
