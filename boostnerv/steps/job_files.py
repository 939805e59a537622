"""The files of a step's job: what it reads and what it writes, named once by the verb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainFiles:
    """Files of ``train`` and ``finetune``: they read the manifest of the `frames`, or the description of many videos,
    that of their `keyframes`, and, to fine-tune, the checkpoint `trained`. They write the checkpoint `model` and the
    `log`; the folder `state` holds an unfinished training."""

    frames: Path
    model: Path
    log: Path
    state: Path
    keyframes: Path | None = None
    trained: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CodingFiles:
    """Files of ``encode`` and ``encode-after-training``: they read the checkpoint `model` and the `frames` and
    `keyframes` of its training; they write the file `output` and the JSON `report` of what the encoder measured."""

    frames: Path
    model: Path
    output: Path
    report: Path
    keyframes: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DecodingFiles:
    """Files of ``decode``: it reads the ``.bnv`` file, and `audio_from` for sound; it writes `output`, and a JSON
    `report` where one is named."""

    file: Path
    output: Path
    report: Path | None = None
    audio_from: Path | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationFiles:
    """Files of ``evaluate``: it reads the ``.bnv`` `file`, its `decoded` frames, the reports of both steps, the logs of
    its trainings where there are any, and the source's `planes` where Y, U and V are measured. It writes the JSON
    `output`, a CSV of all frames, and a small video of what was measured."""

    frames: Path
    file: Path
    decoded: Path
    encode_report: Path
    decode_report: Path
    output: Path
    frames_csv: Path
    train_log: Path | None = None
    finetune_log: Path | None = None
    planes: Path | None = None
    preview: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ModelEvaluationFiles:
    """Files of ``evaluate-model``: as `EvaluationFiles`, of a checkpoint `model` and its `keyframes`."""

    frames: Path
    model: Path
    output: Path
    frames_csv: Path
    train_log: Path | None = None
    keyframes: Path | None = None
    preview: Path | None = None


@dataclass(frozen=True, kw_only=True)
class AnchorFiles:
    """Files of ``encode-anchor``.

    It reads the manifests of the `frames`, and of the source's `planes` where Y, U and V are measured. It writes the
    elementary `stream`, the JSON `output`, a CSV of all frames, and a small video of what was measured.
    """

    frames: Path
    stream: Path
    output: Path
    planes: Path | None = None
    frames_csv: Path | None = None
    preview: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonFiles:
    """Files that ``compare`` writes: rows as CSV or JSON, a figure, a CSV of all frames."""

    output: Path | None = None
    figure: Path | None = None
    frames_csv: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TableFiles:
    """Files that ``tabulate`` writes: means as `markdown` and `csv`; a JSON of `metrics`, BD-rates and a table beside
    published figures where they are named."""

    markdown: Path
    csv: Path
    metrics: Path | None = None
    bd_markdown: Path | None = None
    bd_csv: Path | None = None
    published: Path | None = None
