"""How far an experiment is, from its files alone: beside the workflow, on a login node, or wherever its folder is seen.

A run is done when the files of all its steps are there, whatever settings they were made with; the workflow itself
decides what is made again. Trainings are followed by the state that they keep: its log has a line an epoch, its lock
says who holds it. Shorter steps say nothing of themselves while they run, so that they pass for running while their
logs are young.
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
"""What a run can be; one that is stopped goes on with the next start of the workflow."""

_YOUNG_LOG_S = 600.0
_TAIL_BYTES = 16384
_MOST_ROWS = 40
_UNFINISHED = {"state.pt", "good.pt", "log.jsonl"}
_TORCHRUN = re.compile(r"=+$|torch\.")
# The last line of a step that failed: our sentence, or what Python says of a defect.
_ERROR = re.compile(r"boostnerv: (?!stopped by )|[A-Za-z_.]*(Error|Exception|Interrupt)\b")


@dataclass(frozen=True)
class Standing:
    """A run: its state, its first step that is not done, its epochs, its newest PSNR and how long it will train."""

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
    """All runs of an experiment, and how many of its anchors there are. `left_s` is None where nothing tells."""

    experiment: str
    runs: tuple[Standing, ...]
    anchors_done: int
    anchors: int
    left_s: float | None

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        found = Counter(standing.state for standing in self.runs)
        return {state: found[state] for state in STATES}

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.counts["done"] == len(self.runs) and self.anchors_done == self.anchors

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**dataclasses.asdict(self), "counts": self.counts, "complete": self.complete}


def look(experiment: Experiment, folder: Path = Path()) -> Overview:
    """How far `experiment` is in `folder`, where its workflow runs; raises `UserError` where there is no such one."""
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist; give the one in which the workflow runs")
    dataset = experiment.dataset_spec(folder / "config/datasets")
    videos = experiment.videos_of(dataset, folder / RAW)
    runs = experiment.runs_by_video(videos)
    of_all = [run for run in experiment.runs() if run.of_many]
    results = folder / "results" / experiment.name
    plans = _Plans()
    standings = [
        _standing(results / video, run, plans)
        for video, of_video in runs.items()
        for run in of_video
        if not run.of_many
    ]
    standings += [_standing(results / name_of_all(dataset.name, runs), run, plans) for run in of_all]
    done, anchors = _anchors(experiment, results / "anchors", list(runs))
    return Overview(experiment.name, tuple(standings), done, anchors, _left_s(standings, plans))


def looks(experiment: Experiment, folder: Path, every_s: float | None) -> Iterator[Overview]:
    """One look, or one every so many seconds until nothing is left to do."""
    while True:
        found = look(experiment, folder)
        yield found
        if every_s is None or found.complete:
            return
        time.sleep(every_s)


# --- a run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """A step of a run: its rule, what it is called here, the file that it makes, its job where it trains."""

    rule: str
    title: str
    output: str
    epochs: int = 0
    state: str = ""


class _Plans:
    """The steps of runs, worked out once for all videos that share them, and seconds that runs were seen to take."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Run, tuple[_Step, ...]]] = {}
        self.whole_s: defaultdict[str, list[float]] = defaultdict(list)

    def steps(self, run: Run) -> tuple[_Step, ...]:
        # The run is kept with its steps, so that no other has its number.
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
    before = sum(each.epochs for each in steps[: steps.index(step)])
    total = sum(each.epochs for each in steps)
    begun = Standing(
        video.name,
        run.name,
        "waiting",
        step.title,
        epochs=step.epochs or None,
        percent=_percent(before, total),
        psnr_db=_logged_db(folder / "train.jsonl") if "train.jsonl" in names else None,
    )
    if not names:
        return begun
    if not step.epochs:
        return _of_log(begun, folder / "logs" / f"{step.rule}.log")
    state = folder / "state" / step.state
    found = _names(state)
    holder = seen(state) if "lock" in found else None
    if holder is None and not _UNFINISHED & found:
        return _of_log(begun, folder / "logs" / f"{step.rule}.log", trains=True)
    records = _records(state / "log.jsonl")
    epoch = records[-1]["epoch"] if records else 0
    epoch_s = _epoch_s(records)
    if epoch_s is not None:
        plans.whole_s[run.name].append(epoch_s * total)
    trained = dataclasses.replace(
        begun,
        state="running" if holder else "stopped",
        epoch=epoch,
        percent=_percent(before + epoch, total),
        psnr_db=_newest_db(records) or begun.psnr_db,
        left_s=None if epoch_s is None else epoch_s * (total - before - epoch),
        holder=holder,
    )
    return trained if holder else _of_log(trained, folder / "logs" / f"{step.rule}.log", trains=True)


def _of_log(standing: Standing, log: Path, *, trains: bool = False) -> Standing:
    """`standing`, unless the log of its step ends in an error, or is young and all that the step has to tell."""
    line = _last_line(log)
    if line is None:
        return standing
    if _ERROR.match(line):
        return dataclasses.replace(standing, state="failed", problem=line.removeprefix("boostnerv: "))
    if not trains and time.time() - log.stat().st_mtime < _YOUNG_LOG_S:
        return dataclasses.replace(standing, state="running")
    return standing


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _percent(epochs: int, total: int) -> int:
    """Of its epochs; a run whose epochs are done has yet to be coded and measured."""
    return min(99, 100 * epochs // total) if total else 0


# --- logs -------------------------------------------------------------------------------------------------------


def _tail(path: Path) -> list[str]:
    """The last lines of a file, none where there is no such file."""
    try:
        with open(path, "rb") as file:
            begin = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(begin)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if begin else lines


def _last_line(path: Path) -> str | None:
    """The last line that says something, our own where torchrun reports behind it; empty where none does, None where
    there is no file."""
    lines = [line.strip() for line in _tail(path)]
    last = next((line for line in reversed(lines) if line), "" if path.exists() else None)
    told = next((line for line in reversed(lines) if line.startswith("boostnerv: ")), None)
    return told if last and told and _TORCHRUN.match(last) else last


def _records(path: Path) -> list[dict[str, Any]]:
    """The newest records of epochs; a line that is being written is left out."""
    found = []
    for line in _tail(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "epoch" in record:
            found.append(record)
    return found


def _epoch_s(records: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds that an epoch takes of late."""
    if not records:
        return None
    first, last = records[0], records[-1]
    epochs = last["epoch"] - first["epoch"]
    # A training that went back has done epochs twice.
    if epochs > 0:
        return float((last["wall_s"] - first["wall_s"]) / epochs)
    return float(last["wall_s"] / last["epoch"])


def _newest_db(records: Sequence[Mapping[str, Any]]) -> float | None:
    """PSNR of all frames where it was taken already, else of the last epoch's steps."""
    taken = [record["psnr_db"] for record in records if "psnr_db" in record]
    return (taken or [record["train_psnr_db"] for record in records] or [None])[-1]


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
    """How many points of classical codecs there are, and how many there will be."""
    if not experiment.anchors:
        return 0, 0
    from boostnerv.evaluation.anchors import anchor_name

    wanted = {f"{anchor_name(anchor, quality)}.json" for anchor in experiment.anchors for quality in anchor.qualities}
    return sum(len(wanted & _names(folder / video)) for video in videos), len(wanted) * len(videos)


def _left_s(standings: Iterable[Standing], plans: _Plans) -> float | None:
    """Seconds until all trainings have ended, if as many go on at a time as do now; runs that wait take as long as
    others of their name, else as others, take. None where nothing runs or tells how long it takes."""
    open_runs = [standing for standing in standings if standing.state != "done"]
    running = sum(standing.state == "running" for standing in open_runs)
    every = [value for values in plans.whole_s.values() for value in values]
    if not running or not every:
        return None

    def left_s(standing: Standing) -> float:
        if standing.left_s is not None:
            return standing.left_s
        known = plans.whole_s[standing.run] or every
        return sum(known) / len(known) * (100 - standing.percent) / 100

    return sum(map(left_s, open_runs)) / running


# --- as text ----------------------------------------------------------------------------------------------------


def summary_text(found: Overview) -> str:
    """One line for all of it."""
    parts = [f"{count} {state}" for state, count in found.counts.items() if count and state != "done"]
    line = f"{found.experiment}: {found.counts['done']} of {len(found.runs)} runs done"
    line += "".join(f", {part}" for part in parts)
    if found.anchors:
        line += f"; {found.anchors_done} of {found.anchors} anchors"
    return line + (f"; about {duration_text(found.left_s)} of training left" if found.left_s is not None else "")


def duration_text(seconds: float) -> str:
    """In two units at most, e.g. ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} days {hours % 24} h"


def lines_text(found: Overview) -> str:
    """A line a run, and the summary."""
    from boostnerv.evaluation.text import aligned

    rows = [_cells(standing) for standing in found.runs]
    return "\n".join([*(aligned(rows, {0, 1, 2, 3, 7}) if rows else []), summary_text(found)])


def table(found: Overview) -> Group:
    """The same for a terminal: of many runs only those that something can be said of."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    colours = {"done": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "waiting": "bright_black"}
    shown = table_runs(found.runs)
    drawn = Table(box=None, pad_edge=False)
    for head in ("video", "run", "state", "step"):
        drawn.add_column(head, overflow="fold")
    for head in ("done", "PSNR", "left"):
        drawn.add_column(head, justify="right", no_wrap=True)
    drawn.add_column("", overflow="fold")
    for standing in shown:
        cells = [Text(cell) for cell in _cells(standing)]
        cells[2].stylize(colours[standing.state])
        drawn.add_row(*cells)
    left_out = len(found.runs) - len(shown)
    note = [Text(f"and {left_out} more runs")] if left_out else []
    return Group(*([drawn] if shown else []), *note, Text(summary_text(found), style="bold"))


def table_runs(runs: Sequence[Standing]) -> list[Standing]:
    """All of a few runs; of many those that are running, stopped or failed, as many as a screen has room for."""
    if len(runs) <= _MOST_ROWS:
        return list(runs)
    order = ("failed", "stopped", "running")
    worth = sorted((each for each in runs if each.state in order), key=lambda each: order.index(each.state))
    return worth[:_MOST_ROWS]


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
