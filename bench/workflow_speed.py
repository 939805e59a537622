"""What the workflow adds to its jobs: starting processes, importing, and Snakemake's own time; and whether two
trainings side by side, one thread each, end sooner than one after the other with two.

``python -m bench.workflow_speed [--json] [--repeats N] [--skip-jobs] [--case MODEL:TOTAL_M:HEIGHT ...]``. The jobs are
those of ``config/smoke.yaml``, one at a time; each command tells how long it took and how much of that were imports.
Trainings are those of `bench.train_speed`, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.timing import OwnProcess, Spread, interleaved, machine, ratio, tell
from bench.train_speed import Case, Job, trainer
from boostnerv.evaluation.text import aligned

ROOT = Path(__file__).parents[1]
CASES = ("hnerv-boost:0.27:180", "hnerv-boost:0.55:360")
# Python runs it first in every process that finds it; processes of the workflow's commands leave a note when they end.
_WATCH = """
import atexit, builtins, json, os, sys, threading, time

begin, plain, main = time.perf_counter(), builtins.__import__, threading.main_thread()
depth, spent = 0, 0.0

def timed(*given, **named):
    global depth, spent
    if threading.current_thread() is not main:
        return plain(*given, **named)
    depth += 1
    start = time.perf_counter()
    try:
        return plain(*given, **named)
    finally:
        depth -= 1
        if not depth:
            spent += time.perf_counter() - start

def tell():
    if os.path.basename(sys.argv[0]) == "boostnerv" and len(sys.argv) > 1:
        told = {
            "verb": sys.argv[1], "seconds": time.perf_counter() - begin, "imports_s": spent,
            "torch": "torch" in sys.modules,
        }
        with open(os.path.join(os.path.dirname(__file__), f"{os.getpid()}.job"), "w") as file:
            json.dump(told, file)

builtins.__import__ = timed
atexit.register(tell)
"""


# --- jobs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobTime:
    """A command of a job: seconds of all of it, and of its imports; whether it loaded PyTorch."""

    verb: str
    seconds: float
    imports_s: float
    torch: bool


@dataclass(frozen=True)
class Jobs:
    """All jobs of an experiment one after the other, and all of the time that Snakemake took for them."""

    jobs: list[JobTime]
    snakemake_s: float

    @property
    def overhead_s(self) -> float:
        """Snakemake's own seconds a job, planning included."""
        return (self.snakemake_s - sum(job.seconds for job in self.jobs)) / len(self.jobs)


def measure_jobs() -> Jobs:
    """Run the smoke experiment in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        work, told = Path(name) / "work", Path(name) / "told"
        work.mkdir()
        told.mkdir()
        (told / "sitecustomize.py").write_text(_WATCH)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(told), str(ROOT)])}
        command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--quiet", "all"]
        command += ["--configfile", str(ROOT / "config" / "smoke.yaml"), "--directory", str(work)]
        begin = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        jobs = [JobTime(**json.loads(path.read_text())) for path in sorted(told.glob("*.job"))]
        return Jobs(jobs, seconds)


def start_s(repeats: int) -> dict[str, Spread]:
    """Seconds of processes that do nothing else."""
    commands = {
        "python": [sys.executable, "-c", ""],
        "boostnerv --help": [sys.executable, "-m", "boostnerv", "--help"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    actions = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        for name, command in commands.items()
    }
    return {name: Spread.of(seconds) for name, seconds in interleaved(actions, repeats).items()}


# --- trainings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SideBySide:
    """Seconds of two trainings of so many steps: one after the other with two threads, and side by side with one."""

    case: str
    steps: int
    in_turn_s: list[float]
    side_by_side_s: list[float]


def measure_trainings(case: Case, steps: int, repeats: int) -> SideBySide:
    """Both ways in turns: a round that does not count, then `repeats` that do."""
    total = (repeats + 1) * steps
    order = tuple(step % 16 for step in range(total))

    def job(threads: int) -> Job:
        return Job("ours", case, order, (1e-4,) * total, threads, "cpu", Path(), {})

    with ExitStack() as stack:
        wide = [stack.enter_context(OwnProcess(trainer, job(2))) for _ in range(2)]
        narrow = [stack.enter_context(OwnProcess(trainer, job(1))) for _ in range(2)]

        def in_turn() -> None:
            for train in wide:
                train(steps)

        def side_by_side() -> None:
            for train in narrow:
                train.begin(steps)
            for train in narrow:
                train.end()

        seconds = interleaved({"in_turn_s": in_turn, "side_by_side_s": side_by_side}, repeats)
    return SideBySide(case.label, steps, **seconds)


# --- what is printed ---------------------------------------------------------------------------------------


def job_table(found: Jobs) -> list[str]:
    """Lines of text, the slowest start of each command."""
    rows = [("command", "jobs", "imports, s", "PyTorch", "all of the fastest, s")]
    for verb in sorted({job.verb for job in found.jobs}):
        jobs = [job for job in found.jobs if job.verb == verb]
        imports = max(job.imports_s for job in jobs)
        torch = "yes" if any(job.torch for job in jobs) else "no"
        rows.append((verb, str(len(jobs)), f"{imports:.2f}", torch, f"{min(job.seconds for job in jobs):.2f}"))
    rows.append(("Snakemake, a job", str(len(found.jobs)), "", "", f"{found.overhead_s:.2f}"))
    return aligned(rows, {0})


def training_table(found: Sequence[SideBySide]) -> list[str]:
    """Lines of text, a case each."""
    rows = [("two trainings", "one after the other, two threads, s", "side by side, one thread, s", "sooner by")]
    for each in found:
        times = [Spread.of(seconds).text(".1f") for seconds in (each.in_turn_s, each.side_by_side_s)]
        rows.append(
            (f"{each.case}, {each.steps} steps", *times, ratio(each.in_turn_s, each.side_by_side_s).text(".2f"))
        )
    return aligned(rows, {0})


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.workflow_speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--skip-jobs", action="store_true", help="only trainings")
    parser.add_argument("--case", nargs="*", default=list(CASES), help="MODEL:TOTAL_M:HEIGHT")
    parser.add_argument("--steps", type=int, default=4, help="of a training in a round")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    given = parser.parse_args()
    said: dict[str, Any] = {}
    lines: list[str] = []
    if not given.skip_jobs:
        starts, jobs = start_s(given.repeats), measure_jobs()
        said |= {"start_s": {name: asdict(spread) for name, spread in starts.items()}, "jobs": asdict(jobs)}
        lines += [f"{name}: {spread.text('.2f')} s" for name, spread in starts.items()]
        lines += ["", *job_table(jobs), ""]
    trainings = [measure_trainings(Case.of(case), given.steps, given.repeats) for case in given.case]
    facts = machine("torch", "snakemake")
    said["trainings"] = [asdict(each) for each in trainings]
    tell(given.json, facts, said, [*lines, *training_table(trainings)])


if __name__ == "__main__":
    main()
