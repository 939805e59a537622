"""Details of every run on the page: settings, the parts of its file, its logs, all its values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boostnerv.config import Experiment, Run
from boostnerv.evaluation.points import COLUMNS, Point, Value
from boostnerv.report.summaries import size_text

FIRST_LINES, LAST_LINES = 10, 40
"""Lines shown at the beginning and at the end of a log; the lines omitted between are counted."""
_MOST_LETTERS = 500  # per line, as a log may contain anything
_PARTS = {
    "weights_bytes": "weights",
    "embedding_bytes": "embeddings",
    "keyframes_bytes": "keyframes",
    "side_bytes": "side",
    "header_bytes": "header",
    "overhead_bytes": "framing",
}


@dataclass(frozen=True)
class Part:
    """A part of a file, with its share of the file in percent."""

    name: str
    size: str
    percent: float


@dataclass(frozen=True)
class Details:
    """A run or an anchor point, formatted; `texts` maps headings to texts."""

    anchor: str
    name: str
    video: str
    kind: str
    line: str
    parts: tuple[Part, ...]
    texts: Mapping[str, str]
    values: tuple[tuple[str, str, str], ...]


def details_of(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> list[Details]:
    """Details of all points, without logs that are no longer in `folder` and settings of runs not in `experiment`."""
    runs = {} if experiment is None else {run.name: run for run in experiment.runs()}
    return [_details(point, folder, experiment, runs.get(str(point["run"]))) for point in points]


def fragment(point: Point) -> str:
    """HTML id of a point's details; names of videos and runs only have letters, digits, dots, hyphens, underscores."""
    return f"run-{point['video']}-{point['run']}"


def train_log(point: Point, folder: Path, run: Run | None) -> Path:
    """Path of the training log of a run, or of the run whose model it codes."""
    trained_as = run.trained_as if run is not None else None
    return folder / str(point["video"]) / (trained_as or str(point["run"])) / "train.jsonl"


def _details(point: Point, folder: Path, experiment: Experiment | None, run: Run | None) -> Details:
    texts = _settings(point, experiment, run)
    texts |= {name: text for name, log in _logs(point, folder, run).items() if (text := _shown_lines(log))}
    return Details(
        anchor=fragment(point),
        name=str(point["run"]),
        video=str(point["video"]),
        kind=str(point["kind"]),
        line=_line(point),
        parts=_parts(point),
        texts=texts,
        values=tuple(
            (column.name, _text(point[column.name]), f"{column.meaning}{f' ({column.unit})' if column.unit else ''}")
            for column in COLUMNS
            if point[column.name] is not None
        ),
    )


def _line(point: Point) -> str:
    parts = [] if point["file_bytes"] is None else [size_text(float(point["file_bytes"]))]
    parts += [f"{point['psnr_db']:.2f} dB"]
    return ", ".join(parts)


def _settings(point: Point, experiment: Experiment | None, run: Run | None) -> dict[str, str]:
    if run is not None:
        jobs = {"training": run.train, "fine-tuning": run.finetune, "post-training": run.post_training}
        return {
            f"settings of {name}": json.dumps(job.model_dump(mode="json", exclude_none=True), indent=2)
            for name, job in jobs.items()
            if job is not None
        }
    return _anchor_settings(point) if point["kind"] == "anchor" else {}


_ANCHOR_SETTINGS = (
    *("codec", "size_label", "preset", "pixel_format", "source", "colour", "threads", "device"),
    "encoder_version",
)


def _anchor_settings(point: Point) -> dict[str, str]:
    settings = {name: point[name] for name in _ANCHOR_SETTINGS if point[name] is not None}
    texts = {"settings of encoding": json.dumps(settings, indent=2)}
    return texts if point["command"] is None else {**texts, "command": str(point["command"])}


def _logs(point: Point, folder: Path, run: Run | None) -> dict[str, Path]:
    """Heading -> log of the point's own steps and, if it codes the model of another run, of that run's training."""
    video, name = str(point["video"]), str(point["run"])
    if point["kind"] == "anchor":
        log = folder / "logs" / "encode_anchor" / f"{video}-{name}.log"
        return {log.name: log}
    own, training = folder / video / name, train_log(point, folder, run)
    training_log = {} if training.parent == own else {f"{training.name} of {training.parent.name}": training}
    step_logs = [*sorted(own.glob("*.jsonl")), *sorted((own / "logs").glob("*.log"))]
    return training_log | {log.name: log for log in step_logs}


def _shown_lines(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    gap = len(lines) - FIRST_LINES - LAST_LINES
    if gap > 1:
        lines = [*lines[:FIRST_LINES], f"… {gap} lines …", *lines[-LAST_LINES:]]
    return "\n".join(line if len(line) <= _MOST_LETTERS else f"{line[:_MOST_LETTERS]} …" for line in lines)


def _parts(point: Point) -> tuple[Part, ...]:
    file_bytes = point["file_bytes"]
    if not isinstance(file_bytes, int) or not file_bytes:
        return ()
    sizes = {name: point[column] for column, name in _PARTS.items()}
    return tuple(
        Part(name, size_text(size), 100 * size / file_bytes)
        for name, size in sizes.items()
        if isinstance(size, int) and size
    )


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
