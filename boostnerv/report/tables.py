"""The table of an experiment, for readers (Markdown) and for programs (CSV), both from points.csv alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from boostnerv import files
from boostnerv.evaluation.points import Point
from boostnerv.report.summaries import MEASURED, Summary, by_video, over_seeds, over_videos

_HEADINGS = (
    "codec",
    "size",
    "file (bytes)",
    "bpp",
    "PSNR (dB)",
    "MS-SSIM",
    "PSNR float → quantised → decoded (dB)",
    "training",
    "encoding",
    "decoding (fps)",
)
_NONE = "–"


def write_tables(points: Sequence[Point], markdown_path: str | Path, csv_path: str | Path) -> None:
    """Write both tables: sorted by video, codec (models first) and bytes, and averaged over seeds and videos.

    Raises `UserError` where there are no points.
    """
    summaries = over_seeds(points)
    shown = [*summaries, *over_videos(summaries)]
    files.write_text(markdown_path, markdown(shown))
    files.write_text(csv_path, summary_csv(shown))


def markdown(summaries: Sequence[Summary]) -> str:
    """One section a video: a sentence on what was measured, then the table."""
    return "\n".join(_section(group) for group in by_video(summaries).values())


def summary_csv(summaries: Sequence[Summary]) -> str:
    """One line a summary: every averaged column, and its standard deviation over seeds as NAME_std."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [name for measured in MEASURED for name in (measured, f"{measured}_std")]
    table.writerow(("video", "kind", "codec", "curve", "size_label", "seeds", *names))
    for summary in summaries:
        values = [value for name in MEASURED for value in (summary.mean[name], summary.std[name])]
        cells = ["" if value is None else repr(value) for value in values]
        identity = (
            summary.video,
            summary.kind,
            summary.codec,
            summary.curve,
            summary.size_label,
            summary.seeds,
        )
        table.writerow((*identity, *cells))
    return text.getvalue()


def _section(group: Sequence[Summary]) -> str:
    lines = [f"## {group[0].video}", "", _sentence(group), ""]
    lines += ["| " + " | ".join(_HEADINGS) + " |", "|---|---" + "|--:" * (len(_HEADINGS) - 2) + "|"]
    lines += ["| " + " | ".join(_cells(summary)) + " |" for summary in group]
    return "\n".join(lines) + "\n"


def _sentence(group: Sequence[Summary]) -> str:
    sentences = [
        f"{group[0].context}.",
        "Rate is the size of the file that was decoded; PSNR and MS-SSIM are of its frames at full size, "
        "means over frames.",
        "Training includes fine-tuning.",
    ]
    most = max(summary.seeds for summary in group)
    if any(value is not None for summary in group for value in summary.std.values()):
        sentences.append(f"Values are means of up to {most} seeds, ± their standard deviation.")
    return " ".join(sentences)


def _cells(summary: Summary) -> tuple[str, ...]:
    return (
        summary.curve,
        summary.size_label or _NONE,
        _number(summary, "file_bytes", ",.0f"),
        _number(summary, "bpp", ".4f"),
        _number(summary, "psnr_db", ".2f"),
        _number(summary, "ms_ssim", ".4f"),
        _chain(summary),
        time_text(_training_s(summary)),
        time_text(summary.mean["encode_s"]),
        _number(summary, "decode_fps", ".1f", spread=False),
    )


def _number(summary: Summary, name: str, form: str, *, spread: bool = True) -> str:
    mean, std = summary.mean[name], summary.std[name]
    if mean is None:
        return _NONE
    return f"{mean:{form}} ± {std:{form}}" if spread and std is not None else f"{mean:{form}}"


def _chain(summary: Summary) -> str:
    """PSNR before quantisation, after it, and of the decoded file; a model's only."""
    if summary.kind != "model":
        return _NONE
    names = ("psnr_float_db", "psnr_quantized_db", "psnr_db")
    return " → ".join(_number(summary, name, ".2f", spread=False) for name in names)


def _training_s(summary: Summary) -> float | None:
    train_s = summary.mean["train_s"]
    return None if train_s is None else train_s + (summary.mean["finetune_s"] or 0.0)


def time_text(seconds: float | None) -> str:
    """A duration to read: ``0.42 s``, ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds is None:
        return _NONE
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
