"""The screen of a local run: one line per finished job, with the time left for the whole run.

Snakemake prints ten lines about a job when it starts and three when it ends. `LogHandler` replaces them:
``snakemake --logger boostnerv``, as `make demo` calls it. Errors and warnings keep Snakemake's own format, and its log
file below ``.snakemake/log`` stays complete.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from logging import WARNING, LogRecord
from typing import Any

from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Rules that aggregate results, and the final target, take next to no time.
_BRIEF = frozenset({"all", "collect", "tabulate"})


@dataclass
class Forecast:
    """The time left for a run, from the jobs that ended so far.

    `planned` is the number of jobs per rule. `now_s` is a monotonic clock in seconds.
    """

    planned: Mapping[str, int]
    now_s: Callable[[], float] = time.monotonic
    _running: dict[int, tuple[str, float]] = field(default_factory=dict)
    _durations_s: dict[str, list[float]] = field(default_factory=dict)
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_s = self.now_s()

    def begin(self, job: int, rule: str) -> None:
        """Note that a job started."""
        self._running[job] = rule, self.now_s()

    def end(self, job: int) -> float:
        """Note that a job ended; returns its duration in seconds, 0 for a job that did not start here."""
        rule, began_s = self._running.pop(job, ("all", self.now_s()))
        self._durations_s.setdefault(rule, []).append(self.now_s() - began_s)
        return self._durations_s[rule][-1]

    def left_s(self) -> float | None:
        """Seconds left: each job takes the mean of its rule, or of all jobs so far if its rule is still unknown.

        None before the first job of more than a moment has ended.
        """
        known = [duration for rule, row in self._durations_s.items() if rule not in _BRIEF for duration in row]
        elapsed_s = self.now_s() - self._began_s
        if not known or not elapsed_s:
            return None
        overall_s, work_s = sum(known) / len(known), 0.0
        remaining = Counter(self.planned) - Counter({rule: len(row) for rule, row in self._durations_s.items()})
        for rule, count in remaining.items():
            own = self._durations_s.get(rule)
            typical_s = sum(own) / len(own) if own else 0.0 if rule in _BRIEF else overall_s
            spent_s = sum(self.now_s() - began_s for name, began_s in self._running.values() if name == rule)
            work_s += max(count * typical_s - spent_s, 0.0)
        # Jobs run side by side.
        return work_s / max(sum(known) / elapsed_s, 1.0)


def finished_line(done: int, total: int, job: str, duration_s: float, left_s: float | None) -> str:
    """For example ``[ 7/21] train bunny hnerv-boost-0.08M: 42 s; about 6 min left``."""
    left = "" if left_s is None or done == total else f"; about {_span(left_s)} left"
    return f"[{done:>{len(str(total))}}/{total}] {job}: {_span(duration_s)}{left}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class LogHandler(LogHandlerBase):
    """Snakemake's logger plugin ``boostnerv``."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self._plain = DefaultFormatter(self.common_settings.quiet, self.common_settings.show_failed_logs)
        self._forecast = Forecast({})
        self._names: dict[int, str] = {}
        self._ended: list[tuple[int, float]] = []

    def emit(self, record: LogRecord) -> None:
        """Print the line of a finished job, or an error or warning in Snakemake's format."""
        for line in self.lines(record):
            print(line, file=sys.stderr, flush=True)

    def lines(self, record: LogRecord) -> list[str]:
        """The lines to print for a record, often none."""
        event: LogEvent | None = getattr(record, "event", None)
        values: dict[str, Any] = record.__dict__
        if event == LogEvent.RUN_INFO and isinstance(values.get("stats"), dict):
            planned = {rule: count for rule, count in values["stats"].items() if rule != "total"}
            self._forecast = Forecast(planned)
            return [f"{sum(planned.values())} jobs"]
        if event == LogEvent.JOB_INFO:
            self._forecast.begin(values["jobid"], values["rule_name"])
            self._names[values["jobid"]] = " ".join([values["rule_name"], *map(str, values["wildcards"].values())])
        elif event == LogEvent.JOB_FINISHED:
            self._ended.append((values["job_id"], self._forecast.end(values["job_id"])))
        elif event == LogEvent.PROGRESS:
            return self._finished(values["done"], values["total"])
        elif record.levelno >= WARNING:
            return [self._plain.format(record)]
        return []

    def _finished(self, done: int, total: int) -> list[str]:
        """A line for each job that ended since the last count of `done` jobs; the time left stands in the last."""
        ended, self._ended = self._ended, []
        lines = []
        for number, (job, duration_s) in enumerate(ended, start=done - len(ended) + 1):
            left_s = self._forecast.left_s() if number == done else None
            lines.append(finished_line(number, total, self._names.get(job, f"job {job}"), duration_s, left_s))
        return lines
