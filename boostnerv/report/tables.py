"""The table of an experiment from points.csv, as Markdown and CSV.

A video's table has the columns for which at least one row has a value: those of files only if something was coded,
those of unseen frames or hidden pixels only if the task withheld some.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boostnerv import files
from boostnerv.catalogue import ENTROPY_MODELS, Role
from boostnerv.evaluation.points import AVERAGED, Point, cell_text
from boostnerv.evaluation.published import OTHERS, TOLERANCE_DB, Comparison, beside, compare
from boostnerv.report.summaries import Summary, by_video, over_seeds, over_videos

_NONE = "–"
_OUTSIDE = "⚠"
_COMPARED = {"psnr_float_db": "the unquantised model", "psnr_db": "the decoded file"}


def write_tables(points: Sequence[Point], markdown_path: str | Path, csv_path: str | Path) -> None:
    """Write both tables: sorted by video, codec (models first) and bytes, and averaged over seeds and videos.

    Raises `UserError` if there are no points.
    """
    summaries = over_seeds(points)
    rows, parts = [*summaries, *over_videos(summaries)], over_seeds(points, parts=True)
    files.write_text(markdown_path, "\n".join([markdown(rows), *_parts(parts)]))
    files.write_text(csv_path, summary_csv([*rows, *parts]))


def markdown(summaries: Sequence[Summary]) -> str:
    """The summaries as Markdown: per video a paragraph on what was measured, and the table."""
    return "\n".join(_section(group) for group in by_video(summaries).values())


def summary_csv(summaries: Sequence[Summary]) -> str:
    """The summaries as CSV: every averaged column, and its standard deviation over seeds as NAME_std."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [name for measured in AVERAGED for name in (measured, f"{measured}_std")]
    table.writerow(("video", "kind", "codec", "curve", "size_label", "seeds", *names, "task", "published_psnr_db"))
    for summary in summaries:
        values = [value for name in AVERAGED for value in (summary.mean[name], summary.std[name])]
        identity = (
            summary.video,
            summary.kind,
            summary.codec,
            summary.curve,
            summary.size_label,
            summary.seeds,
        )
        published = None if summary.published is None else summary.published.psnr_db
        table.writerow((*identity, *map(cell_text, values), summary.task, cell_text(published)))
    return text.getvalue()


def published_csv(points: Sequence[Point]) -> str:
    """Model runs, averaged over seeds, and the averages over videos beside the published figures, as CSV.

    Cells without a published figure are empty. `verdict` is within or outside `TOLERANCE_DB`, or why there is nothing
    to compare.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    theirs = ("model", "params_m", "macs_g", "psnr_db", "source")
    ours = ("video", "run", "params_m", "ours_db")
    others = [f"{prefix}{name}" for name in OTHERS for prefix in ("", "published_", "difference_")]
    table.writerow((*ours, *(f"published_{name}" for name in theirs), "difference_db", "verdict", *others))
    for row in compare(points):
        cells = [getattr(row, name) for name in ours]
        cells += [None if row.published is None else getattr(row.published, name) for name in theirs]
        known = {figure.column: (figure.ours, figure.published, figure.difference) for figure in row.others}
        figures = [value for name in OTHERS for value in known.get(name, (None,) * 3)]
        verdict = row.verdict(TOLERANCE_DB)
        table.writerow((*map(cell_text, [*cells, row.difference_db]), verdict, *map(cell_text, figures)))
    return text.getvalue()


def _section(group: Sequence[Summary]) -> str:
    columns = [(column, [column.cell(summary) for summary in group]) for column in _COLUMNS]
    used = [(column, cells) for column, cells in columns if column.always or set(cells) - {_NONE, ""}]
    headings, rows = [column.heading for column, _ in used], zip(*(cells for _, cells in used), strict=True)
    lines = [f"## {group[0].video}", "", _sentence(group), ""]
    lines += ["| " + " | ".join(headings) + " |", "|---|---" + "|--:" * (len(headings) - 2) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, *_gains(group), *_entropy_models(group), *_older_pipeline(group), *_others(group)]) + "\n"


_BOOST = "-boost"
_GAINED = {
    "psnr_db": "PSNR (dB)",
    "ms_ssim": "MS-SSIM",
    "psnr_unseen_db": "PSNR unseen (dB)",
    "psnr_hidden_db": "PSNR hidden (dB)",
    "psnr_float_db": "PSNR float (dB)",
    "file_bytes": "file",
}


def _gains(group: Sequence[Summary]) -> list[str]:
    """Gains of boosted models over their plain ones at the same size and task; empty without such a pair."""
    # A curve is all of a run's name except size and seed, including the length of training.
    plain = {(summary.curve, summary.size_label): summary for summary in group}
    pairs = [
        (base, summary)
        for summary in group
        if summary.codec.endswith(_BOOST)
        and (base := plain.get((summary.curve.replace(_BOOST, "", 1), summary.size_label))) is not None
    ]
    if not pairs:
        return []
    gains = {
        heading: [_gain(name, base.mean[name], boosted.mean[name]) for base, boosted in pairs]
        for name, heading in _GAINED.items()
    }
    columns = {heading: cells for heading, cells in gains.items() if set(cells) - {_NONE}}
    lines = ["", "Gain of the conditional decoder at the same size:", ""]
    lines += [f"| boosted | over | size | {' | '.join(columns)} |", "|---|---|---" + "|--:" * len(columns) + "|"]
    for row, (base, boosted) in enumerate(pairs):
        cells = " | ".join(column[row] for column in columns.values())
        lines.append(f"| {boosted.curve} | {base.curve} | {boosted.size_label} | {cells} |")
    return lines


def _entropy_models(group: Sequence[Summary]) -> list[str]:
    """Bytes of the same codes under each entropy model, relative to the published one; empty if nothing was coded."""
    coded = [summary for summary in group if summary.mean["weights_gaussian_bytes"] is not None]
    if not coded:
        return []
    roles: tuple[Role, ...] = ("weights", "embeddings")
    columns = [entry.column(role) for role in roles for entry in ENTROPY_MODELS if role in entry.roles]
    known = [name for name in columns if any(row.mean[name] is not None for row in coded)]
    headings = [name.removesuffix("_bytes").replace("_", " ", 1).replace("_", "-") for name in known]
    lines = ["", "Bytes of the same codes under each entropy model; files use the smallest for every tensor:", ""]
    lines += [f"| codec | size | {' | '.join(headings)} |", "|---|---" + "|--:" * len(known) + "|"]
    for summary in coded:
        cells = " | ".join(_against_gaussian(summary, name) for name in known)
        lines.append(f"| {summary.curve} | {summary.size_label} | {cells} |")
    return lines


def _against_gaussian(summary: Summary, name: str) -> str:
    size, base = summary.mean[name], summary.mean[f"{name.partition('_')[0]}_gaussian_bytes"]
    if size is None or base is None:
        return _NONE
    return f"{size:,.0f}" if name.endswith("_gaussian_bytes") else f"{size:,.0f} ({size / base - 1:+.1%})"


def _older_pipeline(group: Sequence[Summary]) -> list[str]:
    """The bits counted by the published post-training quantization, beside its files; empty if it was not used."""
    rows = [summary for summary in group if summary.mean["published_bytes"] is not None]
    if not rows:
        return []
    lines = ["", "The older pipeline counts its bits without the table of its Huffman code:", ""]
    lines += ["| codec | size | counted (bytes) | file (bytes) |", "|---|---|--:|--:|"]
    for row in rows:
        cells = (_number(row, name, ",.0f", spread=False) for name in ("published_bytes", "file_bytes"))
        lines.append(f"| {row.curve} | {row.size_label} | {' | '.join(cells)} |")
    return lines


def _others(group: Sequence[Summary]) -> list[str]:
    """Figures published besides PSNR, and ours; empty if there are none."""
    figures = [(row, figure) for row in group for figure in beside(row.published, row.mean)]
    if not figures:
        return []
    lines = ["", "Other published figures:", ""]
    lines += ["| codec | size | figure | ours | published | difference |", "|---|---|---|--:|--:|--:|"]
    return lines + [f"| {row.curve} | {row.size_label} | {' | '.join(figure.texts())} |" for row, figure in figures]


_MOST_PARTS = 200


def _parts(summaries: Sequence[Summary]) -> list[str]:
    """The single videos of multi-video models; empty if there are none."""
    if not summaries:
        return []
    lines = ["## Each video of a model of many", ""]
    lines += ["One file holds them all, so that none has a rate of its own.", ""]
    lines += ["| video | codec | size | PSNR (dB) | MS-SSIM |", "|---|---|---|--:|--:|"]
    for row in summaries[:_MOST_PARTS]:
        cells = (_number(row, "psnr_db", ".2f"), _number(row, "ms_ssim", ".4f"))
        lines.append(f"| {row.video} | {row.curve} | {row.size_label} | {' | '.join(cells)} |")
    if len(summaries) > _MOST_PARTS:
        lines += ["", f"{len(summaries) - _MOST_PARTS} more stand in the table for programs."]
    return [*lines, ""]


def _gain(name: str, base: float | None, boosted: float | None) -> str:
    if base is None or boosted is None:
        return _NONE
    if name == "file_bytes":
        return f"{boosted / base - 1:+.1%}"
    return f"{boosted - base:+.4f}" if name == "ms_ssim" else f"{boosted - base:+.2f}"


def _sentence(group: Sequence[Summary]) -> str:
    sentences = [f"{group[0].context}.", *_measured(group)]
    if any(summary.mean["finetune_s"] is not None for summary in group):
        sentences.append("Training includes fine-tuning.")
    if any(summary.returns for summary in group):
        sentences.append("Returns: how often a training collapsed and went on from an earlier state, at half the rate.")
    most = max(summary.seeds for summary in group)
    if any(value is not None for summary in group for value in summary.std.values()):
        sentences.append(f"Values are means of up to {most} seeds, ± their standard deviation.")
    sources = dict.fromkeys(summary.published.source for summary in group if summary.published is not None)
    if sources:
        columns = {summary.published.column for summary in group if summary.published is not None}
        ours = " or ".join(text for column, text in _COMPARED.items() if column in columns)
        sentences.append(f"Published PSNR is of {', '.join(sources)}; ours beside it is that of {ours}.")
    if any(_difference(summary).endswith(_OUTSIDE) for summary in group):
        sentences.append(f"{_OUTSIDE} marks a difference of more than {TOLERANCE_DB:g} dB.")
    return " ".join(sentences)


def _measured(group: Sequence[Summary]) -> list[str]:
    """Sentences on what the values of these rows measure."""
    sentences = []
    coded = [summary for summary in group if summary.mean["bpp"] is not None]
    if coded:
        sentences.append(
            "Rate is the size of the file that was decoded; PSNR and MS-SSIM are of its frames at full size, "
            "means over frames."
        )
    if len(coded) < len(group):
        subject = "Rows without a rate are models" if coded else "Nothing was coded: models are"
        sentences.append(
            f"{subject} measured as trained, on frames at full size that are rounded to 8 bits, means over frames; "
            "float PSNR is before rounding."
        )
    tasks = {summary.task for summary in group if summary.kind == "model"}
    if len(tasks) == 1 and tasks != {""}:
        sentences.append(f"The task is {tasks.pop()}.")
    if any(summary.mean["psnr_unseen_db"] is not None for summary in group):
        sentences.append("Seen frames were used in training, unseen ones were not.")
    if any(summary.mean["psnr_hidden_db"] is not None for summary in group):
        sentences.append("Hidden pixels were withheld from the model, visible ones were not.")
    return sentences


def _number(summary: Summary, name: str, form: str, *, spread: bool = True) -> str:
    mean, std = summary.mean[name], summary.std[name]
    if mean is None:
        return _NONE
    return f"{mean:{form}} ± {std:{form}}" if spread and std is not None else f"{mean:{form}}"


def _float(summary: Summary) -> str:
    """PSNR before rounding, for a model that was not coded; for others it is part of `_chain`."""
    return _number(summary, "psnr_float_db", ".2f") if summary.mean["bpp"] is None else _NONE


def _chain(summary: Summary) -> str:
    """PSNR before quantisation, after it, and of the decoded file, for coded models only."""
    if summary.kind != "model" or summary.mean["bpp"] is None:
        return _NONE
    names = ("psnr_float_db", "psnr_quantized_db", "psnr_db")
    return " → ".join(_number(summary, name, ".2f", spread=False) for name in names)


def _compared(summary: Summary) -> Comparison | None:
    """This row with its published figure, None if there is none."""
    if summary.published is None:
        return None
    ours_db = summary.mean[summary.published.column]
    return Comparison(summary.video, summary.curve, ours_db=ours_db, published=summary.published)


def _published(summary: Summary) -> str:
    return "" if summary.published is None else f"{summary.published.psnr_db:.2f}"


def _ours(summary: Summary) -> str:
    """Our PSNR that is compared with the published one, before or after quantisation."""
    row = _compared(summary)
    return "" if row is None or row.ours_db is None else f"{row.ours_db:.2f}"


def _difference(summary: Summary) -> str:
    """Our PSNR minus the published one, marked if it is outside the tolerance."""
    row = _compared(summary)
    return "" if row is None or row.difference_db is None else _marked(row)


def _marked(row: Comparison) -> str:
    mark = f" {_OUTSIDE}" if row.verdict(TOLERANCE_DB) == "outside" else ""
    return f"{row.difference_db:+.2f}{mark}"


def _training_s(summary: Summary) -> float | None:
    train_s = summary.mean["train_s"]
    return None if train_s is None else train_s + (summary.mean["finetune_s"] or 0.0)


def time_text(seconds: float | None) -> str:
    """A duration as text: ``0.42 s``, ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds is None:
        return _NONE
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class _Column:
    """One column of a table; it is left out if no row has a value, unless `always` is set."""

    heading: str
    cell: Callable[[Summary], str]
    always: bool = False


_COLUMNS = (
    _Column("codec", lambda summary: summary.curve, always=True),
    _Column("size", lambda summary: summary.size_label or _NONE, always=True),
    _Column("parameters", partial(_number, name="params_total", form=",.0f", spread=False)),
    _Column("file (bytes)", partial(_number, name="file_bytes", form=",.0f")),
    _Column("bpp", partial(_number, name="bpp", form=".4f")),
    _Column("PSNR (dB)", partial(_number, name="psnr_db", form=".2f")),
    _Column("MS-SSIM", partial(_number, name="ms_ssim", form=".4f")),
    _Column("PSNR Y (dB)", partial(_number, name="psnr_y_db", form=".2f")),
    _Column("PSNR U (dB)", partial(_number, name="psnr_u_db", form=".2f")),
    _Column("PSNR V (dB)", partial(_number, name="psnr_v_db", form=".2f")),
    _Column("PSNR YUV (dB)", partial(_number, name="psnr_yuv_db", form=".2f")),
    _Column("VMAF", partial(_number, name="vmaf", form=".2f")),
    _Column("PSNR seen (dB)", partial(_number, name="psnr_seen_db", form=".2f")),
    _Column("PSNR unseen (dB)", partial(_number, name="psnr_unseen_db", form=".2f")),
    _Column("MS-SSIM seen", partial(_number, name="ms_ssim_seen", form=".4f")),
    _Column("MS-SSIM unseen", partial(_number, name="ms_ssim_unseen", form=".4f")),
    _Column("PSNR hidden (dB)", partial(_number, name="psnr_hidden_db", form=".2f")),
    _Column("PSNR visible (dB)", partial(_number, name="psnr_visible_db", form=".2f")),
    _Column("PSNR float (dB)", _float),
    _Column("PSNR float → quantised → decoded (dB)", _chain),
    _Column("PSNR published (dB)", _published),
    _Column("ours (dB)", _ours),
    _Column("difference (dB)", _difference),
    _Column("returns", lambda summary: str(summary.returns) if summary.returns else _NONE),
    _Column("training", lambda summary: time_text(_training_s(summary))),
    _Column("encoding", lambda summary: time_text(summary.mean["encode_s"])),
    _Column("decoding (fps)", partial(_number, name="decode_fps", form=".1f", spread=False)),
    _Column("decoding, warm (fps)", partial(_number, name="decode_warm_fps", form=".1f", spread=False)),
    _Column("decoding, without transfer (fps)", partial(_number, name="decode_compute_fps", form=".1f", spread=False)),
    _Column("kMAC/pixel", partial(_number, name="kmac_per_pixel", form=".1f", spread=False)),
    _Column("peak memory (MiB)", partial(_number, name="peak_memory_mib", form=",.0f", spread=False)),
    _Column("device", lambda summary: summary.device),
)
