"""How long the workflow takes to plan: up to 2,500 videos at four sizes, one file of them, and the demo; and how long
`boostnerv status` takes to look at them all.

``python -m bench.plan_speed [--json] [--videos N ...]``. The videos are not there, so that every step of all of them is
planned: download, frames, training, fine-tuning, coding, decoding, measuring. ``--dry-run --quiet`` plans and ends;
``--dry-run --quiet rules`` also prints how many jobs there are of each rule, for which Snakemake makes up all commands.
Each plan is a process of its own; its memory is what the system says when it ends. A job on a cluster plans one file
again before it begins. What status looks at is nine finished runs of ten, and one in training.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.timing import machine, tell
from boostnerv.config import config_hash, load_experiment
from boostnerv.evaluation.text import aligned

ROOT = Path(__file__).parents[1]
SIZES_M = (0.75, 1.5, 2.25, 3.0)
_FINISHED = (
    "model.safetensors", "train.jsonl", "finetuned.safetensors", "finetune.jsonl", "video.bnv", "encode.json",
    "decode.json", "frames.csv",
)  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """A command: what it planned, how long it took on the clock and on the processor, and its largest memory."""

    what: str
    jobs: int | None
    seconds: float
    processor_s: float
    memory_mb: float


def measured(what: str, command: Sequence[str], folder: Path) -> Planned:
    """Run `command` in `folder`; raises `RuntimeError` with what it said where it fails."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile("w+") as said:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{text[-2000:]}")
    total = re.search(r"^total\s+(\d+)$", text, re.MULTILINE)
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Planned(
        what, int(total[1]) if total else None, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit
    )


def write_experiment(folder: Path, videos: int) -> Path:
    """A data set of so many videos that nobody has and an experiment of one model at four sizes on them."""
    source = {"kind": "local", "candidates": ["{name}.y4m"], "download": "https://example.org"}
    size = {"frames": 120, "height": 720, "width": 1280, "fps": 25}
    dataset = {
        "name": "many",
        "videos": [{"name": f"video-{number:04}", "source": source, **size} for number in range(videos)],
    }
    experiment = {
        "name": "many",
        "dataset": "many",
        "models": [{"name": "hnerv-boost", "total_m": SIZES_M}],
        "training": {"epochs": 300},
        "finetuning": {"epochs": 100},
    }
    (folder / "config/datasets").mkdir(parents=True)
    # JSON is YAML.
    (folder / "config/datasets/many.yaml").write_text(json.dumps(dataset))
    path = folder / "many.yaml"
    path.write_text(json.dumps(experiment))
    return path


def write_results(folder: Path, experiment: Path) -> None:
    """The files of all runs of `experiment` as its workflow would leave them, without their content: every tenth run is
    still in training."""
    runs = load_experiment(experiment).runs()
    videos = json.loads((folder / "config/datasets/many.yaml").read_text())["videos"]
    log = "".join(json.dumps({"epoch": k, "train_psnr_db": 30.0, "wall_s": 60.0 * k}) + "\n" for k in range(1, 101))
    for number, (video, run) in enumerate(itertools.product(videos, runs)):
        place = folder / "results/many" / video["name"] / run.name
        if number % 10 == 9:
            place = place / "state" / f"train-{config_hash(run.train)[:12]}"
            contents = {"good.pt": "", "log.jsonl": log}
        else:
            contents = {**dict.fromkeys(_FINISHED, ""), "quality.json": json.dumps({"psnr_db": 30.0})}
        place.mkdir(parents=True)
        for name, content in contents.items():
            (place / name).write_text(content)


def snakemake(experiment: Path, folder: Path, *arguments: str) -> list[str]:
    """The command that plans `experiment` in `folder`."""
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(experiment), "--cores", "2", "--scheduler", "greedy", "--dry-run", *arguments,
    ]  # fmt: skip


def measure(videos: int) -> list[Planned]:
    """Plans of so many videos: all of it, all of it and how many jobs that is, a tenth of it, and one file; status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = write_experiment(folder, videos)
        tenth = ("results/many/points.csv", "--batch", "collect=1/10")
        one = f"results/many/video-{videos - 1:04}/hnerv-boost-{SIZES_M[-1]:g}M/video.bnv"
        rows = [
            measured(f"{videos} videos", snakemake(experiment, folder, "--quiet"), folder),
            measured(f"{videos} videos, jobs counted", snakemake(experiment, folder, "--quiet", "rules"), folder),
            measured(f"{videos} videos, a tenth", snakemake(experiment, folder, *tenth, "--quiet", "rules"), folder),
            measured(f"{videos} videos, one file", snakemake(experiment, folder, one, "--quiet", "rules"), folder),
        ]
        write_results(folder, experiment)
        status = [sys.executable, "-m", "boostnerv", "status", str(experiment)]
        return [*rows, measured(f"status of {videos} videos", status, folder)]


def measure_demo() -> list[Planned]:
    """The demo's plan as one gives it, and the start of the command that each of its jobs begins with."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = snakemake(ROOT / "config/demo.yaml", folder, "--quiet", "rules")
        started = [sys.executable, "-m", "boostnerv", "--help"]
        return [measured("demo", demo, folder), measured("boostnerv --help", started, folder)]


def table(rows: Sequence[Planned]) -> list[str]:
    """Lines of text."""
    heads = ("", "jobs", "seconds", "of the processor", "MB")
    cells = [
        (
            row.what,
            "–" if row.jobs is None else str(row.jobs),
            f"{row.seconds:.1f}",
            f"{row.processor_s:.1f}",
            f"{row.memory_mb:.0f}",
        )
        for row in rows
    ]
    return aligned([heads, *cells], {0})


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan_speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 500, 2500], help="how many, one or more")
    given = parser.parse_args()
    rows = [*measure_demo(), *(row for videos in given.videos for row in measure(videos))]
    facts = machine("snakemake", "pydantic")
    tell(given.json, facts, {"plans": [dataclasses.asdict(row) for row in rows]}, table(rows))


if __name__ == "__main__":
    main()
