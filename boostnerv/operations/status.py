"""Progress of an experiment, from its files alone: while the workflow runs, on a login node, or wherever they are seen.

A run is done when the files of all its steps exist, whatever settings they were made with; only the workflow decides
what is remade. The progress of a training is read from its state folder: the log has one line per epoch, the lock names
its holder. Shorter steps report nothing while they run, so they count as running while their logs are recent.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv.config import RAW, Closed, Experiment, Run, name_of_all, state_name
from boostnerv.errors import UserError, enumeration
from boostnerv.training.lease import Holder, seen

if TYPE_CHECKING:
    from rich.console import Group

STATES = ("done", "running", "stopped", "failed", "waiting")
"""States of a run; a stopped one resumes with the next start of the workflow."""

_RECENT_LOG_S = 600.0
_TAIL_BYTES = 16384
_MOST_ROWS = 40
_UNFINISHED = {"state.pt", "good.pt", "log.jsonl"}
_TORCHRUN = re.compile(r"=+$|torch\.")
# The last line of a failed step: our own message, or a Python exception.
_ERROR = re.compile(r"boostnerv: (?!stopped by )|[A-Za-z_.]*(Error|Exception|Interrupt)\b")


@dataclass(frozen=True)
class Standing:
    """A run: its state, its first unfinished step, its epochs, its latest PSNR and its remaining training time."""

    video: str
    run: str
    state: str
    step: str = ""
    epoch: int | None = None
    epochs: int | None = None
    percent: int = 0
    psnr_db: float | None = None
    left_s: float | None = None
    holder: Holder | None = None
    problem: str = ""


@dataclass(frozen=True)
class Overview:
    """All runs of an experiment, and its number of anchor points. `left_s` is None if it cannot be estimated."""

    experiment: str
    runs: tuple[Standing, ...]
    anchors_done: int
    anchors: int
    left_s: float | None

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs in each state."""
        counter = Counter(standing.state for standing in self.runs)
        return {state: counter[state] for state in STATES}

    @property
    def complete(self) -> bool:
        """Whether all runs and anchors are done."""
        return self.counts["done"] == len(self.runs) and self.anchors_done == self.anchors

    def record(self) -> dict[str, Any]:
        """The overview as a mapping, for JSON."""
        return {**dataclasses.asdict(self), "counts": self.counts, "complete": self.complete}


def look(experiment: Experiment, folder: Path = Path()) -> Overview:
    """Progress of `experiment` in `folder`, where its workflow runs; raises `UserError` if the folder is missing."""
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist; give the one in which the workflow runs")
    dataset = experiment.dataset_spec(folder / "config/datasets")
    videos = experiment.videos_of(dataset, folder / RAW)
    runs = experiment.runs_by_video(videos)
    multi_video = [run for run in experiment.runs() if run.of_many]
    results = folder / "results" / experiment.name
    plans = _Plans()
    standings = [
        _standing(results / video, run, plans)
        for video, video_runs in runs.items()
        for run in video_runs
        if not run.of_many
    ]
    standings += [_standing(results / name_of_all(dataset.name, runs), run, plans) for run in multi_video]
    done, anchors = _anchors(experiment, results / "anchors", list(runs))
    return Overview(experiment.name, tuple(standings), done, anchors, _left_s(standings, plans))


def looks(experiment: Experiment, folder: Path, every_s: float | None) -> Iterator[Overview]:
    """Yield one overview, or one every `every_s` seconds until the experiment is complete."""
    while True:
        overview = look(experiment, folder)
        yield overview
        if every_s is None or overview.complete:
            return
        time.sleep(every_s)


# --- a run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """A step of a run: its rule, title and output file and, if it trains, its epochs and state folder."""

    rule: str
    title: str
    output: str
    epochs: int = 0
    state: str = ""


class _Plans:
    """Cache of the steps of runs, which videos share, and estimated total training times by name of the run."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Run, tuple[_Step, ...]]] = {}
        self.total_s: defaultdict[str, list[float]] = defaultdict(list)

    def steps(self, run: Run) -> tuple[_Step, ...]:
        # The run is kept alive with its steps, so that its id is not reused.
        if id(run) not in self._known:
            self._known[id(run)] = (run, tuple(_steps(run)))
        return self._known[id(run)][1]


def _steps(run: Run) -> Iterator[_Step]:
    if not run.trained_as:
        yield _training("train", "training", "model.safetensors", run.train, run.train.training.epochs)
    if run.finetune is not None:
        finetuning = run.finetune.finetuning
        yield _training("finetune", "fine-tuning", "finetuned.safetensors", run.finetune, finetuning.epochs)
    if not run.coded:
        yield _Step("evaluate_model", "measuring", "model-quality.json")
        return
    yield _Step("encode", "coding", "encode.json")
    yield _Step("decode", "decoding", "decode.json")
    yield _Step("evaluate", "measuring", "quality.json")


def _training(rule: str, title: str, output: str, job: Closed, epochs: int) -> _Step:
    return _Step(rule, title, output, epochs, state_name(rule, job))


def _standing(video: Path, run: Run, plans: _Plans) -> Standing:
    folder, steps = video / run.name, plans.steps(run)
    names = _names(folder)
    step = next((step for step in steps if step.output not in names), None)
    if step is None:
        return Standing(video.name, run.name, "done", percent=100, psnr_db=_measured_db(folder / steps[-1].output))
    before = sum(earlier.epochs for earlier in steps[: steps.index(step)])
    total = sum(any_step.epochs for any_step in steps)
    standing = Standing(
        video.name,
        run.name,
        "waiting",
        step.title,
        epochs=step.epochs or None,
        percent=_percent(before, total),
        psnr_db=_logged_db(folder / "train.jsonl") if "train.jsonl" in names else None,
    )
    if not names:
        return standing
    if not step.epochs:
        return _updated_by_log(standing, folder / "logs" / f"{step.rule}.log")
    state = folder / "state" / step.state
    state_files = _names(state)
    holder = seen(state) if "lock" in state_files else None
    if holder is None and not _UNFINISHED & state_files:
        return _updated_by_log(standing, folder / "logs" / f"{step.rule}.log", trains=True)
    records = _records(state / "log.jsonl")
    epoch = records[-1]["epoch"] if records else 0
    epoch_s = _epoch_s(records)
    if epoch_s is not None:
        plans.total_s[run.name].append(epoch_s * total)
    trained = dataclasses.replace(
        standing,
        state="running" if holder else "stopped",
        epoch=epoch,
        percent=_percent(before + epoch, total),
        psnr_db=_newest_db(records) or standing.psnr_db,
        left_s=None if epoch_s is None else epoch_s * (total - before - epoch),
        holder=holder,
    )
    return trained if holder else _updated_by_log(trained, folder / "logs" / f"{step.rule}.log", trains=True)


def _updated_by_log(standing: Standing, log: Path, *, trains: bool = False) -> Standing:
    """`standing`, updated to failed if the step's log ends in an error, or to running if only a recent log says so."""
    line = _last_line(log)
    if line is None:
        return standing
    if _ERROR.match(line):
        return dataclasses.replace(standing, state="failed", problem=line.removeprefix("boostnerv: "))
    if not trains and time.time() - log.stat().st_mtime < _RECENT_LOG_S:
        return dataclasses.replace(standing, state="running")
    return standing


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _percent(epochs: int, total: int) -> int:
    """Percentage of epochs, at most 99, as a run whose epochs are done has yet to be coded and measured."""
    return min(99, 100 * epochs // total) if total else 0


# --- logs -------------------------------------------------------------------------------------------------------


def _tail(path: Path) -> list[str]:
    """The last lines of a file; empty if it does not exist."""
    try:
        with open(path, "rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(begin)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if begin else lines


def _last_line(path: Path) -> str | None:
    """The last non-empty line, or our own last message if torchrun's report follows it; empty if there is none, None if
    there is no file."""
    lines = [line.strip() for line in _tail(path)]
    last = next((line for line in reversed(lines) if line), "" if path.exists() else None)
    message = next((line for line in reversed(lines) if line.startswith("boostnerv: ")), None)
    return message if last and message and _TORCHRUN.match(last) else last


def _records(path: Path) -> list[dict[str, Any]]:
    """The latest records of epochs, without a line that is still being written."""
    records = []
    for line in _tail(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "epoch" in record:
            records.append(record)
    return records


def _epoch_s(records: Sequence[Mapping[str, Any]]) -> float | None:
    """Recent seconds per epoch, None if unknown."""
    if not records:
        return None
    first, last = records[0], records[-1]
    epochs = last["epoch"] - first["epoch"]
    # A training that was rolled back has repeated epochs.
    if epochs > 0:
        return float((last["wall_s"] - first["wall_s"]) / epochs)
    return float(last["wall_s"] / last["epoch"])


def _newest_db(records: Sequence[Mapping[str, Any]]) -> float | None:
    """Latest PSNR over all frames if it was measured already, else over the last epoch's steps."""
    measured = [record["psnr_db"] for record in records if "psnr_db" in record]
    return (measured or [record["train_psnr_db"] for record in records] or [None])[-1]


def _logged_db(path: Path) -> float | None:
    lines = _tail(path)
    return _value(lines[-1], "psnr_db") if lines else None


def _measured_db(path: Path) -> float | None:
    try:
        return _value(path.read_text(encoding="utf-8"), "psnr_db")
    except OSError:
        return None


def _value(text: str, key: str) -> Any:
    try:
        return json.loads(text).get(key)
    except json.JSONDecodeError:
        return None


# --- all runs ---------------------------------------------------------------------------------------------------


def _anchors(experiment: Experiment, folder: Path, videos: Sequence[str]) -> tuple[int, int]:
    """Numbers of existing and of all points of classical codecs."""
    if not experiment.anchors:
        return 0, 0
    from boostnerv.evaluation.anchors import anchor_name

    names = {f"{anchor_name(anchor, quality)}.json" for anchor in experiment.anchors for quality in anchor.qualities}
    return sum(len(names & _names(folder / video)) for video in videos), len(names) * len(videos)


def _left_s(standings: Iterable[Standing], plans: _Plans) -> float | None:
    """Estimated seconds until all trainings have ended, if as many run concurrently as do now.

    Waiting runs are assumed to take as long as others of their name, or else as any others. None if nothing runs or no
    time is known.
    """
    open_runs = [standing for standing in standings if standing.state != "done"]
    running = sum(standing.state == "running" for standing in open_runs)
    every = [value for values in plans.total_s.values() for value in values]
    if not running or not every:
        return None

    def left_s(standing: Standing) -> float:
        if standing.left_s is not None:
            return standing.left_s
        known = plans.total_s[standing.run] or every
        return sum(known) / len(known) * (100 - standing.percent) / 100

    return sum(map(left_s, open_runs)) / running


# --- as text ----------------------------------------------------------------------------------------------------


def summary_text(overview: Overview) -> str:
    """The overview in one line."""
    parts = [f"{count} {state}" for state, count in overview.counts.items() if count and state != "done"]
    line = f"{overview.experiment}: {overview.counts['done']} of {len(overview.runs)} runs done"
    line += "".join(f", {part}" for part in parts)
    if overview.anchors:
        line += f"; {overview.anchors_done} of {overview.anchors} anchors"
    return line + (f"; about {duration_text(overview.left_s)} of training left" if overview.left_s is not None else "")


def duration_text(seconds: float) -> str:
    """A duration in at most two units, e.g. ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} days {hours % 24} h"


def lines_text(overview: Overview) -> str:
    """One line per run, and the summary."""
    from boostnerv.evaluation.text import aligned

    rows = [_cells(standing) for standing in overview.runs]
    return "\n".join([*(aligned(rows, {0, 1, 2, 3, 7}) if rows else []), summary_text(overview)])


def table(overview: Overview) -> Group:
    """The overview for a terminal; of many runs only those of interest (see `table_runs`)."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    colours = {"done": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "waiting": "bright_black"}
    runs = table_runs(overview.runs)
    grid = Table(box=None, pad_edge=False)
    for head in ("video", "run", "state", "step"):
        grid.add_column(head, overflow="fold")
    for head in ("done", "PSNR", "left"):
        grid.add_column(head, justify="right", no_wrap=True)
    grid.add_column("", overflow="fold")
    for standing in runs:
        cells = [Text(cell) for cell in _cells(standing)]
        cells[2].stylize(colours[standing.state])
        grid.add_row(*cells)
    left_out = len(overview.runs) - len(runs)
    note = [Text(f"and {left_out} more runs")] if left_out else []
    return Group(*([grid] if runs else []), *note, Text(summary_text(overview), style="bold"))


def table_runs(runs: Sequence[Standing]) -> list[Standing]:
    """All runs if they are few, else those that are failed, stopped or running, as many as fit on a screen."""
    if len(runs) <= _MOST_ROWS:
        return list(runs)
    order = ("failed", "stopped", "running")
    active = sorted((run for run in runs if run.state in order), key=lambda run: order.index(run.state))
    return active[:_MOST_ROWS]


def _cells(standing: Standing) -> tuple[str, ...]:
    epochs = f" {standing.epoch}/{standing.epochs}" if standing.epoch is not None else ""
    holder = standing.holder
    by = [holder.host, f"job {holder.job}" if holder.job else f"process {holder.pid}"] if holder else []
    return (
        standing.video,
        standing.run,
        standing.state,
        standing.step + epochs,
        f"{standing.percent} %",
        "–" if standing.psnr_db is None else f"{standing.psnr_db:.2f} dB",
        "–" if standing.left_s is None else duration_text(standing.left_s),
        standing.problem or enumeration(by),
    )
