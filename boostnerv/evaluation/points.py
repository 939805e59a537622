"""`points.csv`: one row for each model run and each anchor point; its columns are fixed here.

`COLUMNS` is the one table behind writing, reading, checking and the documentation. Later work adds columns
at the end and never renames or moves one, so that files of an earlier version stay readable.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boostnerv import files
from boostnerv.catalogue import ENTROPY_MODELS, Role, entropy_model, entropy_model_names
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.measure import bits_per_pixel

Value = str | int | float | bool | None
Point = dict[str, Value]
"""A row: every column's name with its value, None where there is none."""


@dataclass(frozen=True)
class Column:
    """One column: `kind` is the type of its cells, `unit` is empty where there is none.

    Numbers of rate, quality and cost are averaged over seeds and videos, unless they belong to a `single` run.
    """

    group: Literal["identity", "rate", "quality", "cost", "provenance"]
    name: str
    kind: Literal["text", "int", "float", "bool"]
    unit: str
    meaning: str
    required: bool = False
    single: bool = False

    @property
    def averaged(self) -> bool:
        """Whether tables show its mean over seeds and over videos."""
        return not self.single and self.kind in ("int", "float") and self.group in ("rate", "quality", "cost")


_ROLES: tuple[Role, ...] = ("weights", "embeddings")
_FIRST_MODELS = (
    "gaussian",
    "gaussian-channel",
    "laplace",
    "temporal",
)  # whose columns have their place; others come last


def _can_code(name: str, role: Role) -> bool:
    return name in entropy_model_names(role)


def _entropy_column(role: Role, name: str) -> Column:
    model = "the model gaussian" if (role, name) == ("weights", "gaussian") else name
    column = entropy_model(name).column(role)
    return Column("rate", column, "int", "bytes", f"all {role} under {model}")


COLUMNS: tuple[Column, ...] = (
    Column("identity", "experiment", "text", "", "name of the experiment", required=True),
    Column("identity", "dataset", "text", "", "name of the data set", required=True),
    Column("identity", "video", "text", "", "name of the video", required=True),
    Column("identity", "kind", "text", "", "model, anchor, or part: a video of a model of many", required=True),
    Column("identity", "codec", "text", "", "model or classical codec, e.g. hnerv-boost, x265", required=True),
    Column("identity", "run", "text", "", "name of the run or anchor point", required=True),
    Column("identity", "size_label", "text", "", "size as the experiment calls it; of an anchor, its quality"),
    Column("identity", "seed", "int", "", "random seed of the run"),
    Column("identity", "frames", "int", "frames", "frames of the video, T", required=True),
    Column("identity", "height", "int", "pixels", "height of a frame, H", required=True),
    Column("identity", "width", "int", "pixels", "width of a frame, W", required=True),
    Column("identity", "fps", "float", "1/s", "frames per second"),
    Column("rate", "file_bytes", "int", "bytes", "size of the file that was decoded; none where nothing was coded"),
    Column("rate", "bpp", "float", "bit/pixel", "8 · file_bytes / (T · H · W)"),
    Column(
        "rate", "header_bytes", "int", "bytes", "part of the file: header, section table and checksums", single=True
    ),
    Column(
        "rate", "side_bytes", "int", "bytes", "part of the file: means, scales and ranges of coded tensors", single=True
    ),
    Column("rate", "weights_bytes", "int", "bytes", "part of the file: coded weights", single=True),
    Column("rate", "embedding_bytes", "int", "bytes", "part of the file: coded embeddings", single=True),
    Column("rate", "keyframes_bytes", "int", "bytes", "part of the file: keyframes"),
    Column(
        "rate", "estimated_bytes", "float", "bytes", "what the entropy model estimates; never the rate", single=True
    ),
    Column("quality", "psnr_db", "float", "dB", "PSNR of the frames as 8-bit RGB, mean over frames", required=True),
    Column("quality", "psnr_of_mean_mse_db", "float", "dB", "PSNR of the mean squared error of all frames"),
    Column("quality", "ms_ssim", "float", "", "MS-SSIM of the decoded frames, mean over frames"),
    Column("quality", "psnr_float_db", "float", "dB", "PSNR before quantisation, mean over frames"),
    Column("quality", "psnr_quantized_db", "float", "dB", "PSNR after quantisation, before coding"),
    Column("cost", "params_total", "int", "", "parameters of decoder and embeddings"),
    Column("cost", "params_decoder", "int", "", "parameters of the decoder", single=True),
    Column("cost", "params_embedding", "int", "", "numbers in the embeddings of all frames", single=True),
    Column("cost", "kmac_per_pixel", "float", "kMAC/pixel", "multiply-accumulates of decoding, in thousands"),
    Column("cost", "train_s", "float", "s", "wall time of training"),
    Column("cost", "finetune_s", "float", "s", "wall time of fine-tuning"),
    Column("cost", "encode_s", "float", "s", "wall time of coding to the file; of an anchor, all of its encoding"),
    Column("cost", "decode_s", "float", "s", "wall time of decoding the file to RGB frames"),
    Column("cost", "decode_fps", "float", "1/s", "frames decoded in a second"),
    Column("cost", "peak_memory_mib", "float", "MiB", "most memory of training's device; of an anchor, of its encoder"),
    Column("cost", "device", "text", "", "where it was trained, or encoded"),
    Column("provenance", "config_sha256", "text", "", "identity of the settings of the run"),
    Column(
        "provenance",
        "frames_sha256",
        "text",
        "",
        "identity of the frames it was compared with",
        required=True,
    ),
    Column("provenance", "version", "text", "", "version of boostnerv that measured it"),
    Column("provenance", "commit", "text", "", "commit of the working tree that measured it"),
    Column(
        "provenance",
        "deterministic",
        "bool",
        "",
        "whether the same seed on the same device repeats it exactly",
    ),
    Column("provenance", "frames_match_encoder", "bool", "", "whether decoding gave the frames the encoder had"),
    Column("provenance", "command", "text", "", "command that made the file"),
    Column("provenance", "encoder_version", "text", "", "version of ffmpeg and of the anchor's library"),
    Column("provenance", "threads", "int", "", "threads of training, or of the anchor's encoder"),
    Column("identity", "task", "text", "", "what the model was trained for, e.g. regression, inpainting-center"),
    Column("quality", "psnr_seen_db", "float", "dB", "PSNR of the frames that training saw"),
    Column("quality", "psnr_unseen_db", "float", "dB", "PSNR of the frames that training did not see"),
    Column("quality", "ms_ssim_seen", "float", "", "MS-SSIM of the frames that training saw"),
    Column("quality", "ms_ssim_unseen", "float", "", "MS-SSIM of the frames that training did not see"),
    Column("quality", "psnr_hidden_db", "float", "dB", "PSNR of the pixels that were hidden from the model"),
    Column("quality", "psnr_visible_db", "float", "dB", "PSNR of the pixels that were not hidden"),
    Column("provenance", "returns", "int", "", "how often training and fine-tuning went back to a good state"),
    Column("rate", "entropy_models", "text", "", "entropy models of the file"),
    Column("rate", "published_bytes", "float", "bytes", "what the older pipeline counts for itself; never the rate"),
    *(_entropy_column(role, name) for role in _ROLES for name in _FIRST_MODELS if _can_code(name, role)),
    Column("quality", "psnr_patches_db", "float", "dB", "PSNR of the patches that the model makes, mean over them"),
    Column("quality", "ms_ssim_patches", "float", "", "MS-SSIM of these patches, mean over them"),
    Column("rate", "entropy_efficiency", "float", "", "mean Huffman word of the slices pipeline over its bits"),
    Column("quality", "psnr_keyframes_db", "float", "dB", "PSNR of the keyframes as they are stored"),
    Column("quality", "psnr_y_db", "float", "dB", "PSNR of Y against the source at its depth, mean over frames"),
    Column("quality", "psnr_u_db", "float", "dB", "PSNR of U, the same"),
    Column("quality", "psnr_v_db", "float", "dB", "PSNR of V, the same"),
    Column("quality", "psnr_yuv_db", "float", "dB", "(6 · PSNR of Y + PSNR of U + PSNR of V) / 8"),
    Column("quality", "yuv_bits", "int", "bits", "depth of these planes; the peak is 2^bits − 1", single=True),
    Column("quality", "vmaf", "float", "", "VMAF of the decoded frames, mean over frames"),
    Column("rate", "overhead_bytes", "int", "bytes", "part of an anchor's file: framing of its stream"),
    Column("cost", "decode_warm_fps", "float", "1/s", "frames a second once all is loaded, as uint8 in memory"),
    Column("cost", "decode_compute_fps", "float", "1/s", "the same without conversion and transfer of the frames"),
    Column("provenance", "colour", "text", "", "colour profile by which the source became RGB"),
    Column("provenance", "preset", "text", "", "preset of the anchor's encoder"),
    Column("provenance", "pixel_format", "text", "", "pixel format that the anchor's encoder was given"),
    Column("provenance", "source", "text", "", "what the anchor's encoder was given: rgb or yuv420"),
    Column("cost", "decode_device", "text", "", "where it was decoded"),
    Column("cost", "decode_threads", "int", "", "threads that decoding was given", single=True),
    Column("cost", "computing", "text", "", "how training and fine-tuning computed, e.g. float32 fused"),
    Column("cost", "training_memory", "text", "", "what they did to save memory; empty for nothing"),
    *(
        _entropy_column(role, entry.name)
        for entry in ENTROPY_MODELS
        for role in entry.roles
        if entry.name not in _FIRST_MODELS
    ),
)
AVERAGED = tuple(column.name for column in COLUMNS if column.averaged)
"""Columns that are averaged over seeds and over videos."""

_BY_NAME = {column.name: column for column in COLUMNS}
_KINDS = ("model", "anchor", "part")
_KIND_NAMES = {"text": "text", "int": "a whole number", "float": "a finite number", "bool": "true or false"}


def collect(json_paths: Iterable[str | Path]) -> list[Point]:
    """Read flat JSON, a point or a list of them (quality.json of a run, or an anchor's), into checked, sorted rows.

    Keys that are no column are left out. Raises `UserError` where a file is missing or broken, a required
    key is absent, a value has another type, the rate is not that of the file, a point stands twice, or
    `check_sources` refuses them.
    """
    origins: dict[tuple[Value, ...], str] = {}
    points = []
    for path in json_paths:
        results = files.read_json(path, "result")
        for value in results if isinstance(results, list) else [results]:
            point = _checked(value, f"result {path}")
            identity = tuple(point[name] for name in ("experiment", "dataset", "video", "codec", "run", "seed"))
            if identity in origins:
                raise UserError(f"results {origins[identity]} and {path} are the same point; give each run once")
            origins[identity] = str(path)
            points.append(point)
    check_sources(points)
    return sorted(points, key=_order)


def write_points(points: Sequence[Point], path: str | Path) -> None:
    """Write points.csv: equal rows give equal bytes, floats are written so that they read back the same."""
    lines = [_line(_BY_NAME), *(_line(cell_text(point[name]) for name in _BY_NAME) for point in points)]
    files.write_text(path, "".join(lines))


def read_points(path: str | Path) -> list[Point]:
    """Read points.csv back with types; columns that an earlier version lacked are None.

    Raises `UserError` for a missing file, an unknown column, a cell that is not of its column's type, and where
    `check_sources` refuses them.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; run the step 'collect' that writes it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table of points ({error}); run the step 'collect' again") from error
    for name in header:
        if name not in _BY_NAME:
            raise UserError(f"{path} has an unknown column '{name}': {nearest(name, _BY_NAME)}")
    points = [
        _parsed(dict(zip(header, line, strict=False)), f"{path}, line {number}")
        for number, line in enumerate(lines, start=2)
    ]
    check_sources(points)
    return points


def check_sources(points: Iterable[Point], same: Sequence[str] = ("dataset", "video")) -> None:
    """Raise `UserError` where points that agree in the columns `same` were compared with other frames, or with frames
    of another colour profile: they belong on no common curve. A colour that is not known is not compared."""
    first: dict[tuple[Value, ...], Point] = {}
    for point in points:
        video = tuple(point[name] for name in same)
        for name, what in (("frames_sha256", "frames"), ("colour", "colour profiles")):
            if point[name] is None:
                continue
            other = first.setdefault((*video, name), point)
            if other[name] != point[name]:
                raise UserError(
                    f"points of video '{point['video']}' were compared with different {what}: "
                    f"{other['run']} with {_short(other[name])}, {point['run']} with {_short(point[name])}; "
                    "run the older one again"
                )


def without_seed(point: Point) -> str:
    """The run's name without the seed that tells its repetitions apart."""
    return str(point["run"]).removesuffix(f"-s{point['seed']}")


def cell_text(value: Value) -> str:
    """A value as a table for programs has it: empty for None, floats so that they read back the same."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _short(value: Value) -> str:
    """A hash by its first digits; anything else whole."""
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _checked(value: Any, where: str) -> Point:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must hold keys and values; delete it and run its step again")
    point = {column.name: _typed(column, value.get(column.name), where) for column in COLUMNS}
    if point["kind"] not in _KINDS:
        raise UserError(f"{where}: kind is '{point['kind']}', it must be one of {', '.join(_KINDS)}")
    _check_rate(point, where)
    return point


def _typed(column: Column, value: Any, where: str) -> Value:
    if value is None or value == "":
        if column.required:
            raise UserError(f"{where} has no '{column.name}' ({column.meaning}); run its step again")
        return None
    if column.kind == "bool" and isinstance(value, bool):
        return value
    if column.kind == "text" and isinstance(value, str):
        return value
    if not isinstance(value, bool):
        if column.kind == "int" and isinstance(value, int):
            return value
        if column.kind == "float" and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    raise UserError(f"{where}: '{column.name}' is {value!r}, which is not {_KIND_NAMES[column.kind]}")


def _check_rate(point: Point, where: str) -> None:
    if point["kind"] != "anchor" and point["file_bytes"] is None and point["bpp"] is None:
        return  # measured as trained, or of a file of many: it has no rate, and no estimate stands in for one
    file_bytes, frames, height, width = (int(point[name] or 0) for name in ("file_bytes", "frames", "height", "width"))
    if min(frames, height, width) < 1 or file_bytes < 0:
        raise UserError(f"{where}: {file_bytes} bytes for {frames} frames of {height}x{width} cannot be")
    expected = bits_per_pixel(file_bytes, frames, height, width)
    given = point["bpp"]
    if not isinstance(given, float) or not math.isclose(given, expected, rel_tol=1e-9):
        raise UserError(
            f"{where}: bpp is {given}, but {file_bytes} bytes for {frames} frames of {height}x{width} are "
            f"{expected!r}; the rate is the size of the file"
        )


def _order(point: Point) -> tuple[Any, ...]:
    names = ("experiment", "dataset", "video")
    model_first = _KINDS.index(str(point["kind"]))
    seed = point["seed"] if point["seed"] is not None else -1
    return (
        *(point[name] for name in names),
        model_first,
        point["codec"],
        point["file_bytes"] or 0,
        point["params_total"] or 0,
        point["run"],
        seed,
    )


def _line(cells: Iterable[str]) -> str:
    """One line of CSV that ends with a newline."""
    text = io.StringIO()
    # The default end of line makes the writer quote cells that have either of its characters in them.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _parsed(cells: Mapping[str, str], where: str) -> Point:
    return {column.name: _typed(column, _parse(column.kind, cells.get(column.name, "")), where) for column in COLUMNS}


def _parse(kind: str, cell: str) -> Value:
    """The value of a cell; a cell that is not of its kind stays text, which `_typed` refuses."""
    try:
        if kind == "int":
            return int(cell)
        if kind == "float":
            return float(cell)
    except ValueError:
        return cell
    return {"true": True, "false": False}.get(cell, cell) if kind == "bool" else cell
