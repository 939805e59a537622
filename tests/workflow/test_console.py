"""The screen of a local run: one line per finished job, and the time left."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from typing import Any

import pytest
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from boostnerv.workflow.console import Forecast, LogHandler, finished_line


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        return self.time_s


def record(event: LogEvent | None, message: str | None = None, level: int = logging.INFO, **values: Any) -> Any:
    values |= {"event": event, "msg": message, "levelno": level}
    return logging.makeLogRecord(values)


def job(number: int, rule: str, **wildcards: str) -> Any:
    return record(LogEvent.JOB_INFO, jobid=number, rule_name=rule, wildcards=wildcards)


def finished(number: int) -> Any:
    return record(LogEvent.JOB_FINISHED, job_id=number)


def test_jobs_take_the_mean_time_of_their_rule() -> None:
    clock = Clock()
    forecast = Forecast({"train": 3, "encode": 2, "collect": 1}, clock)
    assert forecast.left_s() is None
    forecast.begin(1, "train")
    clock.time_s = 100.0
    assert forecast.end(1) == 100.0
    # Two trainings and two encodings, each as long as the one job that ended.
    assert forecast.left_s() == 400.0
    forecast.begin(2, "encode")
    clock.time_s = 110.0
    forecast.end(2)
    assert forecast.left_s() == 210.0
    forecast.begin(3, "train")
    clock.time_s = 140.0
    # 30 of the 100 seconds of the running training are over; the clock counts as if jobs had followed each other.
    assert forecast.left_s() == 180.0


def test_jobs_side_by_side_shorten_the_time_left() -> None:
    clock = Clock()
    forecast = Forecast({"train": 4}, clock)
    for number in (1, 2):
        forecast.begin(number, "train")
    clock.time_s = 60.0
    for number in (1, 2):
        forecast.end(number)
    assert forecast.left_s() == 60.0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((7, 21, "train bunny", 42.4, 380.0), "[ 7/21] train bunny: 42 s; about 6 min left"),
        ((21, 21, "all", 0.0, 12.0), "[21/21] all: 0 s"),
        ((1, 9, "extract_frames bunny", 100.0, None), "[1/9] extract_frames bunny: 2 min"),
        ((1, 9, "train bunny", 7200.0, 36000.0), "[1/9] train bunny: 2.0 h; about 10.0 h left"),
    ],
)
def test_the_line_of_a_job(arguments: tuple[int, int, str, float, float | None], line: str) -> None:
    assert finished_line(*arguments) == line


def test_a_run_prints_one_line_per_job_and_its_errors() -> None:
    handler = LogHandler(OutputSettings(), None)
    assert handler.lines(record(LogEvent.WORKFLOW_STARTED, "banner")) == []
    stats = {"train": 1, "encode": 1, "total": 2}
    assert handler.lines(record(LogEvent.RUN_INFO, "a table", stats=stats)) == ["2 jobs"]
    assert handler.lines(job(1, "train", video="bunny", run="hnerv-0.1M")) == []
    assert handler.lines(job(2, "encode", video="bunny")) == []
    assert handler.lines(finished(1)) == []
    (line,) = handler.lines(record(LogEvent.PROGRESS, done=1, total=2))
    assert line.startswith("[1/2] train bunny hnerv-0.1M: 0 s")
    assert handler.lines(record(None, "said in passing")) == []
    assert handler.lines(record(None, "a file is missing", logging.ERROR)) == ["a file is missing"]
    handler.lines(finished(2))
    assert handler.lines(record(LogEvent.PROGRESS, done=2, total=2)) == ["[2/2] encode bunny: 0 s"]


def test_snakemake_finds_the_plugin() -> None:
    environment = {**os.environ, "PYTHONPATH": "workflow/plugins"}
    usage = subprocess.run(["snakemake", "--help"], env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"--logger \{[^}]*boostnerv", usage.stdout)
