"""What a page says of each run beside its row: settings, the parts of its file, its logs, all its values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boostnerv.config import Experiment, Run
from boostnerv.evaluation.points import COLUMNS, Point, Value
from boostnerv.report.summaries import size_text

FIRST_LINES, LAST_LINES = 10, 40
"""Of a longer log its beginning and its end are shown, and how much is left out between."""
_MOST_LETTERS = 500  # of a line, as a log may have anything in it
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
    """A part of a file: `percent` of it in [0, 100]."""

    name: str
    size: str
    percent: float


@dataclass(frozen=True)
class Details:
    """A run or an anchor point: texts by their headings, ready to be shown."""

    anchor: str
    name: str
    video: str
    kind: str
    line: str
    parts: tuple[Part, ...]
    texts: Mapping[str, str]
    values: tuple[tuple[str, str, str], ...]


def details_of(points: Sequence[Point], folder: Path, experiment: Experiment | None) -> list[Details]:
    """Details of all points; what lies below `folder` no more, or is of no run of `experiment`, is left out."""
    runs = {} if experiment is None else {run.name: run for run in experiment.runs()}
    return [_details(point, folder, experiment, runs.get(str(point["run"]))) for point in points]


def fragment(point: Point) -> str:
    """The id of a point's details; names of videos and runs are of letters, digits, dots, hyphens and underscores."""
    return f"run-{point['video']}-{point['run']}"


def train_log(point: Point, folder: Path, run: Run | None) -> Path:
    """The log of the training of a run; one that codes another's model has the other's."""
    trained_as = run.trained_as if run is not None else None
    return folder / str(point["video"]) / (trained_as or str(point["run"])) / "train.jsonl"


def _details(point: Point, folder: Path, experiment: Experiment | None, run: Run | None) -> Details:
    texts = _settings(point, experiment, run)
    texts |= {name: shown for name, log in _logs(point, folder, run).items() if (shown := _shown_lines(log))}
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
    """Those of the point's own steps, by their headings; of a run that codes the model of another, the log of that
    training too."""
    video, name = str(point["video"]), str(point["run"])
    if point["kind"] == "anchor":
        log = folder / "logs" / "encode_anchor" / f"{video}-{name}.log"
        return {log.name: log}
    own, training = folder / video / name, train_log(point, folder, run)
    foreign = {} if training.parent == own else {f"{training.name} of {training.parent.name}": training}
    of_steps = [*sorted(own.glob("*.jsonl")), *sorted((own / "logs").glob("*.log"))]
    return foreign | {log.name: log for log in of_steps}


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
    whole = point["file_bytes"]
    if not isinstance(whole, int) or not whole:
        return ()
    sizes = {name: point[column] for column, name in _PARTS.items()}
    return tuple(
        Part(name, size_text(size), 100 * size / whole)
        for name, size in sizes.items()
        if isinstance(size, int) and size
    )


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
