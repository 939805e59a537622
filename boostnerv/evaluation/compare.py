"""Comparing coded files of any kind with their reference video, from the files alone.

Reference and test are decoded side by side, a few frames at a time, so memory does not grow with their length. All are
converted to 8-bit RGB as on extraction, without cropping, scaling or refusing anything unless a preparation says so.
The colour profile is the one that a ``.bnv`` file or a manifest among them names, else the one that is requested.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from boostnerv import files
from boostnerv.codec.decoder import VideoFile
from boostnerv.config import Preparation, RawVideo, parse
from boostnerv.errors import UserError
from boostnerv.evaluation.measure import Quality, bits_per_pixel, measure_pairs
from boostnerv.evaluation.metrics import Frames
from boostnerv.evaluation.text import aligned, number
from boostnerv.evaluation.vmaf import VmafMeter
from boostnerv.progress import Progress, silent
from boostnerv.video.frames import open_frames
from boostnerv.video.info import PreparationError
from boostnerv.video.options import is_headerless
from boostnerv.video.source import open_source

OUTPUT_SUFFIXES = (".csv", ".json")
"""Formats of `write_rows`."""

DEFAULT_COLOUR = Preparation().colour
"""The colour profile of videos unless a file or the user names another."""

AS_THEY_ARE = Preparation(interlaced="keep", sample_aspect="keep", hdr="keep")
"""The preparation of videos unless the user gives another: pixels as they are decoded."""

_BATCH_FRAMES = 4
_HEADINGS = ("file", "kind", "codec", "frames", "bytes", "bit/pixel", "PSNR (dB)", "of mean MSE (dB)", "MS-SSIM")


@dataclass(frozen=True)
class Video:
    """An opened video: each call of `frames` decodes it from the start, uint8 RGB ``[height, width, 3]`` one by one.

    `expected` is the number of frames, None if it is only known after reading. `file_bytes` is None if the frames are
    not one coded file, as in a folder of images. `colour` is the profile of the conversion to RGB.
    """

    path: Path
    kind: Literal["bnv", "video", "folder", "frames"]
    codec: str
    height: int
    width: int
    expected: int | None
    file_bytes: int | None
    frames: Callable[[], Generator[Frames]]
    colour: str = DEFAULT_COLOUR


@dataclass(frozen=True)
class Row:
    """Measurements of one file; `file_bytes` and `bpp` are None if it has no rate."""

    name: str
    kind: str
    codec: str
    frames: int
    height: int
    width: int
    file_bytes: int | None
    bpp: float | None
    colour: str
    measured: Quality

    def record(self) -> dict[str, Any]:
        """The row as a flat mapping, with the column names of points.csv."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "measured"}
        return values | self.measured.summary()


def colour_of(paths: Sequence[Path], requested: str | None = None) -> str:
    """The colour profile by which all of `paths` are compared.

    It is the one that ``.bnv`` files and manifests of frames declare, else `requested`, else the default. Raises
    `UserError` if two files declare different profiles, or one declares another than the requested one.
    """
    declared = {path: colour for path in paths if (colour := _declared_colour(path)) is not None}
    (first, colour), *others = declared.items() or [(None, requested or DEFAULT_COLOUR)]
    for path, other in others:
        if other != colour:
            raise UserError(
                f"{first} has frames by colour profile {colour}, {path} by {other}; compare files of one profile"
            )
    if requested not in (None, colour):
        raise UserError(f"{first} has frames by colour profile {colour}, not {requested}; ask for no other colour")
    return colour


def asked_colour(colour: str | None, preparation: Preparation) -> str | None:
    """The profile that ``--colour`` or a preparation asks for; raises `UserError` if they contradict each other."""
    if colour is not None:
        parse(Preparation, {"colour": colour}, "--colour")
    if "colour" not in preparation.model_fields_set:
        return colour
    if colour not in (None, preparation.colour):
        raise UserError(f"--colour {colour} contradicts --prepare colour={preparation.colour}; give one of them")
    return preparation.colour


def open_video(
    path: str | Path, device: str = "cpu", preparation: Preparation = AS_THEY_ARE, raw: RawVideo | None = None
) -> Video:
    """Open a ``.bnv`` file, a video file, a folder of images, or frames (a manifest ``.json``, or ``.npy``).

    `device` runs the network of a ``.bnv`` file, `preparation` applies to videos and images, `raw` is the layout of
    headerless videos. Raises `UserError` for anything else.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".bnv":
        return _open_bnv(path, device)
    if suffix in (".json", ".npy"):
        return _open_frames(path, preparation.colour)
    return _open_source(path, preparation, raw if is_headerless(path) else None)


def check_fit(reference: Video, test: Video) -> None:
    """Raise `UserError` if frame sizes or numbers of frames differ, as far as they are known before reading."""
    lengths = {video.expected for video in (reference, test)} - {None}
    if (reference.height, reference.width) != (test.height, test.width) or len(lengths) > 1:
        raise _unequal(reference, reference.expected, test, test.expected)


def compare(
    reference: Video,
    test: Video,
    name: str,
    *,
    device: str = "cpu",
    vmaf: VmafMeter | None = None,
    progress: Progress = silent,
) -> Row:
    """Decode both videos and measure `test`; MS-SSIM is computed on `device`, VMAF by `vmaf`, a meter for it alone.

    The rate counts all bytes of the file, including container and sound. Raises `UserError` if frame sizes or numbers
    of frames differ, or a file is damaged.
    """
    check_fit(reference, test)
    with closing(reference.frames()) as left, closing(test.frames()) as right:
        measured = measure_pairs(_pairs(reference, left, test, right), device=device, vmaf=vmaf, progress=progress)
    frames, file_bytes = len(measured.frame_psnr_db), test.file_bytes
    return Row(
        name=name,
        kind=test.kind,
        codec=test.codec,
        frames=frames,
        height=test.height,
        width=test.width,
        file_bytes=file_bytes,
        bpp=None if file_bytes is None else bits_per_pixel(file_bytes, frames, test.height, test.width),
        colour=test.colour,
        measured=measured,
    )


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Unique names of files, prefixed by as many folders as that takes; raises `UserError` for a file given twice."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    for one, other in itertools.combinations(range(len(paths)), 2):
        if parts[one] == parts[other]:
            raise UserError(f"{paths[other]} is given twice; give each file once")
    return tuple(_tail(own, [other for other in parts if other is not own]) for own in parts)


def write_rows(rows: Sequence[Row], path: str | Path) -> None:
    """Write the rows as JSON, or as CSV with empty cells for None, depending on the suffix of `path`."""
    records = [row.record() for row in rows]
    if Path(path).suffix == ".json":
        files.write_json(path, records)
    else:
        _write_csv(records, path)


def write_frame_values(rows: Sequence[Row], path: str | Path) -> None:
    """Write the values of every frame of every row as one CSV with the columns file, frame (from 0), psnr_db, ms_ssim
    (may be empty) and, if measured, vmaf."""
    _write_csv([record for row in rows for record in _frame_records(row)], path)


def rows_text(rows: Sequence[Row], reference: str) -> str:
    """The rows as text: the reference, one line per row, and the reason if MS-SSIM is missing."""
    first = rows[0]
    lines = [(*_HEADINGS, *([] if first.measured.vmaf is None else ["VMAF"])), *map(_cells, rows)]
    summary = f"{reference}: {first.frames} frames of {first.height}×{first.width}, colours by {first.colour}"
    text = [summary, *aligned(lines, (0, 1, 2))]
    missing = first.measured.ms_ssim_missing
    return "\n".join(text if missing is None else [*text, f"{missing}."])


# --- opening ------------------------------------------------------------------------------------------------


def _declared_colour(path: Path) -> str | None:
    """The colour profile that a file declares, None if it declares none."""
    if path.suffix.lower() == ".bnv":
        return VideoFile(path).stream.video.colour
    if path.suffix.lower() != ".json":
        return None
    preparation = open_frames(path).manifest.preparation
    return None if preparation is None else preparation.colour


def _open_bnv(path: Path, device: str) -> Video:
    file = VideoFile(path)

    def frames() -> Generator[Frames]:
        # A new object, so that the network is released once its frames have been read.
        yield from VideoFile(path, device).frames()

    return Video(
        path=path,
        kind="bnv",
        codec=file.stream.segments[0].architecture.name,
        height=file.height,
        width=file.width,
        expected=len(file),
        file_bytes=file.file_bytes,
        frames=frames,
        colour=file.stream.video.colour,
    )


def _open_source(path: Path, preparation: Preparation, raw: RawVideo | None) -> Video:
    try:
        decoder = open_source(path, preparation, raw=raw)
    except PreparationError as error:
        raise UserError(error.with_options()) from error

    def frames() -> Generator[Frames]:
        yield from open_source(path, preparation, raw=raw).frames()

    is_folder = path.is_dir()
    return Video(
        path=path,
        kind="folder" if is_folder else "video",
        codec=decoder.info.codec,
        height=decoder.geometry.height,
        width=decoder.geometry.width,
        expected=decoder.expected,
        file_bytes=None if is_folder else path.stat().st_size,
        frames=frames,
        colour=preparation.colour,
    )


def _open_frames(path: Path, colour: str) -> Video:
    pixels = open_frames(path).pixels if path.suffix.lower() == ".json" else _load(path)

    def frames() -> Generator[Frames]:
        yield from pixels

    count, height, width, _ = pixels.shape
    return Video(
        path=path,
        kind="frames",
        codec="none",
        height=height,
        width=width,
        expected=count,
        file_bytes=None,
        frames=frames,
        colour=colour,
    )


def _load(path: Path) -> Frames:
    """Frames without a manifest, as `boostnerv decode` writes them."""
    try:
        pixels: Frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"there are no frames {path}; check the path") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"frames {path} cannot be opened (truncated or not .npy); write them again") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not pixels.size:
        raise UserError(
            f"{path} holds {pixels.dtype} {list(pixels.shape)}, not frames, which are uint8 [T, H, W, 3]; give a "
            "file of frames"
        )
    return pixels


# --- details ------------------------------------------------------------------------------------------------


def _pairs(
    reference: Video, left: Iterator[Frames], test: Video, right: Iterator[Frames]
) -> Iterator[tuple[Frames, Frames]]:
    """Yield batches ``[B, H, W, 3]`` of both videos; raises `UserError` if one ends before the other."""
    count = 0
    while True:
        reference_batch, test_batch = (list(itertools.islice(frames, _BATCH_FRAMES)) for frames in (left, right))
        if len(reference_batch) != len(test_batch):
            counts = [
                count + len(batch) + _count_remaining(rest)
                for batch, rest in ((reference_batch, left), (test_batch, right))
            ]
            raise _unequal(reference, counts[0], test, counts[1])
        if not test_batch:
            return
        yield np.stack(reference_batch), np.stack(test_batch)
        count += len(test_batch)


def _count_remaining(frames: Iterator[Frames]) -> int:
    return sum(1 for _ in frames)


def _unequal(reference: Video, reference_frames: int | None, test: Video, test_frames: int | None) -> UserError:
    return UserError(
        f"{test.path} has {_size(test, test_frames)}, but the reference {reference.path} has "
        f"{_size(reference, reference_frames)}; give the frames that it was made from, or make them with --prepare"
    )


def _size(video: Video, count: int | None) -> str:
    frames = "frames" if count is None else f"{count} frame{'' if count == 1 else 's'}"
    return f"{frames} of {video.height}x{video.width}"


def _tail(own: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    depth = next(depth for depth in range(1, len(own) + 1) if own[-depth:] not in [other[-depth:] for other in others])
    return Path(*own[-depth:]).as_posix()


def _frame_records(row: Row) -> list[dict[str, Any]]:
    columns = row.measured.by_frame()
    return [
        {"file": row.name, "frame": index}
        | {name: None if math.isnan(values[index]) else values[index] for name, values in columns.items()}
        for index in range(row.frames)
    ]


def _write_csv(records: Sequence[dict[str, Any]], path: str | Path) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, records[0], lineterminator="\n")
    table.writeheader()
    table.writerows(records)
    files.write_text(path, text.getvalue())


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        row.codec,
        str(row.frames),
        number(row.file_bytes, ",d"),
        number(row.bpp, ".4f"),
        number(row.measured.psnr_db, ".2f"),
        number(row.measured.psnr_of_mean_mse_db, ".2f"),
        number(row.measured.ms_ssim, ".4f"),
        *([] if row.measured.vmaf is None else [number(row.measured.vmaf, ".2f")]),
    )
