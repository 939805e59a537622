"""What is told of jobs is what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.timing import OwnProcess
from bench.workflow_speed import _WATCH, Jobs, JobTime, job_table


def test_snakemakes_time_is_what_the_jobs_leave() -> None:
    jobs = Jobs([JobTime("train", 2.0, 0.5, True), JobTime("train", 3.0, 0.7, True)], 7.0)
    assert jobs.overhead_s == 1.0
    assert job_table(jobs)[-2].split() == ["train", "2", "0.70", "yes", "2.00"]


def test_a_command_tells_what_it_imported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WATCH)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    program = tmp_path / "boostnerv"
    program.write_text("import sys, boostnerv.cli\nsys.exit(boostnerv.cli.main())\n")
    subprocess.run([sys.executable, str(program), "status", "--help"], check=True, capture_output=True, env=environment)
    (told,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.job"))
    assert told["verb"] == "status"
    assert told["torch"] is False
    assert 0 < told["imports_s"] <= told["seconds"]


def counter(start: int):  # type: ignore[no-untyped-def]
    return lambda step: start + step


def test_processes_of_their_own_work_at_once() -> None:
    with OwnProcess(counter, 10) as one, OwnProcess(counter, 20) as other:
        one.begin(1)
        other.begin(2)
        assert (one.end(), other.end()) == (11, 22)
        assert one(5) == 15


def test_a_process_that_fails_is_noticed() -> None:
    with OwnProcess(counter, 10) as function, pytest.raises(EOFError):
        function("no number")
