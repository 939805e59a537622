"""Quality over file size of ways to train a model, on real files, beside x264, x265 and SVT-AV1 on the same frames.

``python -m bench.rate_distortion --out FOLDER [--set quick|long|full] [--clip NAME[=PATH] ...] [--method NAME ...]
[--jobs N] [--json]``

Every point is a file: trained, fine-tuned, coded, decoded again, and measured against the source frames. Methods
(`bench.rd_methods`) take turns within a rate, one thread each, so that all meet the same machine; the seconds that
count are those of the processor. Points that lie in FOLDER are not made again, so that a run of hours can be stopped.
Clips are ``bunny`` and ``bikes``, and any video by name and path, such as ``vtest=vtest.avi`` of Debian's opencv-doc.

BD-rates are relative to the first method, of PSNR, with the guards of `boostnerv.evaluation.bd_rate`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.rd_methods import METHODS, Plan, Video
from bench.timing import machine, tell
from boostnerv import files, steps
from boostnerv.codec.assembly import new_file
from boostnerv.codec.container.bitstream import write
from boostnerv.codec.decoder import VideoFile
from boostnerv.config import Anchor, ExtractJob, OwnVideo, Preparation, load_dataset, own_video
from boostnerv.errors import UserError
from boostnerv.evaluation.anchors import AnchorJob, encode_anchor
from boostnerv.evaluation.bd_rate import Curve, difference
from boostnerv.evaluation.measure import bits_per_pixel, measure
from boostnerv.evaluation.text import aligned, number
from boostnerv.models.architecture import architecture
from boostnerv.models.work import kmac_per_pixel
from boostnerv.training.checkpoint import restore_quantized
from boostnerv.training.run import finetune_video, train_video
from boostnerv.training.segment_coding import coded_segment
from boostnerv.training.setting import TrainingData, TrainingMachine, TrainingOutputs
from boostnerv.video.frames import Frames, extract_frames, open_frames

REGISTERED = {"bunny": "bunny", "bikes": "bikes-a"}  # clips of the registry of this package


@dataclass(frozen=True)
class ClipSet:
    """Number and size of the frames of all clips, the rates of models, and the qualities of classical codecs."""

    video: Video
    rates_bpp: tuple[float, ...]
    qualities: tuple[int, ...] = (22, 27, 32, 37)

    @property
    def preparation(self) -> Preparation:
        """How clips become frames."""
        video = self.video
        return Preparation(fit="crop-resize", height=video.height, width=video.width, frame_count=video.frames)


SETS = {
    "quick": ClipSet(Video(32, 180, 320), (0.08, 0.14, 0.24, 0.42)),
    "long": ClipSet(Video(128, 96, 160), (0.12, 0.2, 0.32, 0.5)),
    "full": ClipSet(Video(128, 180, 320), (0.03, 0.05, 0.09, 0.16)),
}
ANCHORS = (
    ("x264", Anchor(codec="x264", qualities=(22,))),
    ("x265 yuv444p", Anchor(codec="x265", qualities=(22,), preset="veryslow", pixel_format="yuv444p")),
    ("x265 yuv420p", Anchor(codec="x265", qualities=(22,), preset="veryslow", pixel_format="yuv420p")),
    ("SVT-AV1", Anchor(codec="svt-av1", qualities=(22,))),
)


@dataclass(frozen=True)
class Point:
    """A file and what was measured of it; `parameters` and the rest are None for classical codecs."""

    clip: str
    method: str
    rate: float  # wanted, bit/pixel; the quality of a classical codec
    file_bytes: int
    bpp: float
    psnr_db: float
    ms_ssim: float | None
    cpu_s: float
    parameters: int | None = None
    kmac_per_pixel: float | None = None
    sections: Mapping[str, int] | None = None  # bytes
    curve: tuple[tuple[float, float], ...] = ()  # wall seconds and PSNR in dB, over the training


def make_point(clip: str, frames_json: Path, method: str, rate_bpp: float, folder: Path) -> Point:
    """Train, code, decode and measure a file of `rate_bpp`; resumes from `folder`."""
    torch.set_num_threads(1)
    frames = open_frames(frames_json)
    count, height, width = frames.pixels.shape[:3]
    plan = METHODS[method](Video(count, height, width), rate_bpp * count * height * width)
    with _counted(folder / "cpu_s.json") as spent:
        file = _coded(frames, plan, folder)
    video = VideoFile(file)
    decoded = np.stack(list(video.frames()))
    quality = measure(frames.pixels, decoded).summary()
    return Point(
        clip,
        method,
        rate_bpp,
        video.file_bytes,
        bits_per_pixel(video.file_bytes, count, height, width),
        quality["psnr_db"],
        quality["ms_ssim"],
        round(json.loads(spent.read_text()), 1),
        plan.parameters,
        round(kmac_per_pixel(architecture(plan.train.model.name), plan.spec), 2),
        dict(video.section_bytes),
        tuple(_curve(folder)),
    )


@contextmanager
def _counted(path: Path) -> Iterator[Path]:
    """Add the processor time of this context to the number in `path`, also where it is interrupted."""
    earlier_s = json.loads(path.read_text()) if path.exists() else 0.0
    started_s = time.process_time()
    try:
        yield path
    finally:
        files.write_json(path, earlier_s + time.process_time() - started_s)


def _coded(frames: Frames, plan: Plan, folder: Path) -> Path:
    """Train and fine-tune unless that was done, and code the file."""
    machine_of_one = TrainingMachine(torch.device("cpu"))
    data, file = TrainingData(frames), folder / "video.bnv"
    trained, finetuned = folder / "model.safetensors", folder / "finetuned.safetensors"
    train_video(
        data, plan.train, TrainingOutputs(trained, folder / "train.jsonl", folder / "state-train"), machine_of_one
    )
    outputs = TrainingOutputs(finetuned, folder / "finetune.jsonl", folder / "state-finetune")
    finetune_video(data, plan.finetune, trained, outputs, machine_of_one)
    segment, _ = coded_segment(*restore_quantized(finetuned))
    files.write_bytes(file, write(new_file(frames, [segment], fps=frames.manifest.fps, colour=frames.manifest.colour)))
    return file


def _curve(folder: Path) -> Iterator[tuple[float, float]]:
    """PSNR in dB over the seconds of both trainings, where it was taken."""
    before_s = 0.0
    for name in ("train.jsonl", "finetune.jsonl"):
        records = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        epochs = [record for record in records if "epoch" in record]
        for record in epochs:
            if "psnr_db" in record:
                yield before_s + record["wall_s"], record["psnr_db"]
        before_s += epochs[-1]["wall_s"] if epochs else 0.0


def make_anchor(clip: str, frames_json: Path, name: str, anchor: Anchor, quality: int, folder: Path) -> Point:
    """Code, decode and measure a file of a classical codec."""
    frames = open_frames(frames_json)
    chosen = anchor.model_copy(update={"qualities": (quality,)})
    point = encode_anchor(
        frames.pixels, AnchorJob(chosen, quality, frames.manifest.fps, threads=1), folder / f"{clip}-{quality}.bin"
    )
    values = point.measured.summary()
    return Point(clip, name, quality, point.file_bytes, point.bpp, values["psnr_db"], values["ms_ssim"], point.encode_s)


def frames_of(clip: str, path: Path | None, chosen: ClipSet, folder: Path) -> Path:
    """Extract the frames of a clip once; returns their manifest."""
    output = folder / "frames" / f"{clip}.npy"
    if output.with_suffix(".json").exists():
        return output.with_suffix(".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    if path is not None:
        job = ExtractJob(dataset="own", video=own_video(OwnVideo(path=str(path))), preparation=chosen.preparation)
        extract_frames(path, job, output)
        return output.with_suffix(".json")
    if clip not in REGISTERED:
        raise UserError(f"clip '{clip}' is not one of {', '.join(REGISTERED)}; give its file as {clip}=PATH")
    described = load_dataset("clips")
    video, source = described.video(REGISTERED[clip]), folder / "frames" / f"{clip}.mp4"
    steps.fetch_source(described, video, source)
    extract_frames(source, ExtractJob(dataset="clips", video=video, preparation=chosen.preparation), output)
    return output.with_suffix(".json")


def run(manifests: Mapping[str, Path], methods: Sequence[str], chosen: ClipSet, folder: Path, jobs: int) -> list[Point]:
    """All points, those that `folder` has already among them, `jobs` at a time."""
    points, calls = [], []
    for clip, rate, method in itertools.product(manifests, chosen.rates_bpp, methods):
        place = folder / clip / f"{method}-{rate:g}"
        calls.append((place, make_point, (clip, manifests[clip], method, rate, place)))
    for clip, (name, anchor), quality in itertools.product(manifests, ANCHORS, chosen.qualities):
        place = folder / clip / f"{name.replace(' ', '-')}-{quality}"
        calls.append((place, make_anchor, (clip, manifests[clip], name, anchor, quality, place)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        running = {}
        for place, function, arguments in calls:
            record = place / "point.json"
            if record.exists():
                points.append(Point(**json.loads(record.read_text())))
                continue
            place.mkdir(parents=True, exist_ok=True)
            running[pool.submit(function, *arguments)] = record
        for done in as_completed(running):
            point = _result_of(done, running[done].parent)
            if point is None:
                continue
            files.write_json(running[done], asdict(point))
            print(
                f"{point.clip} {point.method} {point.rate:g}: {point.bpp:.4f} bpp, {point.psnr_db:.2f} dB", flush=True
            )
            points.append(point)
    return points


def _result_of(done: Any, place: Path) -> Point | None:
    """The point that a process made; None, and a line, where a method has no model of that size."""
    try:
        point: Point = done.result()
    except UserError as error:
        print(f"{place.parent.name} {place.name}: none ({error})", flush=True)
        return None
    return point


def compared(points: Iterable[Point], reference: str) -> list[dict[str, Any]]:
    """BD-rate of every method on every clip relative to `reference`, with processor time and decoder work."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.clip, point.method), []).append(point)
    rows = []
    for (clip, method), group in groups.items():
        base = groups.get((clip, reference), [])
        if method == reference or not base:
            continue
        of_method, of_reference = (
            Curve(name, tuple((point.bpp, point.psnr_db) for point in row))
            for name, row in ((method, group), (reference, base))
        )
        delta = difference(of_method, of_reference).rate_percent
        row: dict[str, Any] = {
            "clip": clip,
            "method": method,
            "bd_rate_percent": delta.values.get("pchip"),
            "reason": delta.reason,
            "overlap_percent": delta.overlap_percent,
        }
        row["cpu_ratio"] = sum(p.cpu_s for p in group) / sum(p.cpu_s for p in base)
        works = [[p.kmac_per_pixel for p in ps if p.kmac_per_pixel] for ps in (group, base)]
        row["work_ratio"] = statistics.mean(works[0]) / statistics.mean(works[1]) if all(works) else None
        rows.append(row)
    return rows


def lines_of(points: Sequence[Point], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Two tables: the points, and the methods compared."""
    ordered = sorted(points, key=lambda point: (point.clip, point.method, point.bpp))
    yield from aligned([_POINT_HEAD, *map(_point_cells, ordered)], to_the_left={0, 1})
    yield ""
    ranked = sorted(rows, key=lambda row: (row["clip"], row["method"]))
    yield from aligned([_METHOD_HEAD, *map(_method_cells, ranked)], to_the_left={0, 1})


_POINT_HEAD = ["clip", "method", "rate", "bytes", "bpp", "PSNR dB", "MS-SSIM", "bits/param", "kMAC/pixel", "CPU s"]
_METHOD_HEAD = ["clip", "method", "BD-rate %", "overlap %", "CPU time", "decoder work"]


def _point_cells(point: Point) -> list[str]:
    parameter_bits = None if point.parameters is None else 8 * point.file_bytes / point.parameters
    return [
        point.clip,
        point.method,
        f"{point.rate:g}",
        f"{point.file_bytes}",
        f"{point.bpp:.4f}",
        f"{point.psnr_db:.2f}",
        number(point.ms_ssim, ".4f"),
        number(parameter_bits, ".2f"),
        number(point.kmac_per_pixel, ".1f"),
        f"{point.cpu_s:.0f}",
    ]


def _method_cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["clip"],
        row["method"],
        row["reason"] or number(row["bd_rate_percent"], "+.1f"),
        number(row["overlap_percent"], ".0f"),
        f"{row['cpu_ratio']:.2f}x",
        "–" if row["work_ratio"] is None else f"{row['work_ratio']:.2f}x",
    ]


def figure(points: Sequence[Point], path: Path) -> None:
    """PSNR over rate, and over the time of the training, a column for each clip."""
    from matplotlib.figure import Figure

    clips = sorted({point.clip for point in points})
    drawing = Figure(figsize=(4.5 * len(clips), 7), layout="constrained")
    axes = drawing.subplots(2, len(clips), squeeze=False)
    names = sorted({point.method for point in points})
    for column, clip in enumerate(clips):
        rates, times = axes[0][column], axes[1][column]
        for index, name in enumerate(names):
            group = sorted((p for p in points if p.clip == clip and p.method == name), key=lambda p: p.bpp)
            trained = any(p.curve for p in group)
            style = {"color": f"C{index}", "linestyle": "-" if trained else ":"}
            rates.plot([p.bpp for p in group], [p.psnr_db for p in group], marker=".", label=name, **style)
            for point in group:
                times.plot(*zip(*point.curve, strict=True), **style) if point.curve else None
        rates.set(title=clip, xscale="log", xlabel="rate (bit/pixel)", ylabel="PSNR (dB)")
        times.set(xlabel="training (s)", ylabel="PSNR (dB)")
        rates.legend(fontsize="small")
    drawing.savefig(path, dpi=120)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of points, which resumes")
    parser.add_argument("--set", choices=SETS, default="long")
    parser.add_argument("--clip", action="append", help="NAME of a registered clip, or NAME=PATH")
    parser.add_argument("--method", action="append", choices=METHODS, help="the first is the reference")
    parser.add_argument("--jobs", type=int, default=1, help="points made at the same time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen, folder = SETS[options.set], options.out / options.set
    named = [text.partition("=") for text in options.clip or REGISTERED]
    try:
        manifests = {clip: frames_of(clip, Path(path) if path else None, chosen, folder) for clip, _, path in named}
        methods = options.method or list(METHODS)
        points = run(manifests, methods, chosen, folder, options.jobs)
    except UserError as error:
        parser.exit(2, f"rate_distortion: {error}\n")
    rows = compared(points, methods[0])
    figure(points, folder / "rate-distortion.png")
    contents = {"points": [asdict(point) for point in points], "methods": rows}
    tell(options.json, machine("torch", "numpy"), contents, lines_of(points, rows))


if __name__ == "__main__":
    main()
