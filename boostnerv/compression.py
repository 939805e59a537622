"""From any video to a ``.bnv`` file of a wanted size, in one call that goes on where it was interrupted.

A video is cut into segments at scene cuts and where it gets too long; each gets a model of its own and a share of the
bits by its frames. The file is decoded again by a fresh process before anything is said about it.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from boostnerv import files
from boostnerv.codec.bitstream import Bitstream, Segment, Video, write
from boostnerv.codec.encoder import encode_segment, snap
from boostnerv.config import (
    ExtractJob,
    FinetuneJob,
    Finetuning,
    LearningRate,
    ModelSettings,
    OwnVideo,
    Preparation,
    Training,
    TrainJob,
    config_hash,
    own_video,
)
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.measure import Quality, bits_per_pixel, measure
from boostnerv.models.architecture import Spec, architecture
from boostnerv.models.budget import natural_strides, resolve, total_parameters
from boostnerv.progress import Progress
from boostnerv.recipes import LOSS_ALIASES
from boostnerv.training.checkpoint import restore_quantized
from boostnerv.training.losses import check_frame_size
from boostnerv.training.run import choose_device, finetune_video, last_record, train_video
from boostnerv.video.frames import Frames, extract_frames, manifest_path, open_frames
from boostnerv.video.scenes import scene_cuts, segments
from boostnerv.video.source import probe

Shown = Callable[[str, int | None, str], AbstractContextManager[Progress]]

_BITS_PER_PARAMETER = (4.0, 3.0, 2.2)
_SHORTEST_SEGMENT = 48  # frames; a model of its own costs more than a scene cut inside a segment
_EMBEDDING_WIDTHS = (16, 8, 4, 2)
_LARGEST_EMBEDDING_SHARE = 0.45
_TIMESTAMP_BITS = 24
_HEADER_BITS = 8 * 160  # of the container and a segment
_LARGEST_LOSS_DB = 0.1  # decoded frames against those that fine-tuning measured
_SAVE_EVERY_S = 30.0


@dataclass(frozen=True)
class Preset:
    """How much time a file may take: passes of training and of fine-tuning."""

    epochs: int
    finetuning_epochs: int


PRESETS = {"fast": Preset(40, 10), "balanced": Preset(150, 30), "best": Preset(600, 60)}


@dataclass(frozen=True)
class Request:
    """What is asked for: `bpp` or `size_bytes`, the other None. `gop` is the most frames a model may have."""

    bpp: float | None
    size_bytes: int | None
    preset: str = "balanced"
    model: str = "hnerv-boost"
    gop: int = 600
    cut_scenes: bool = True
    preparation: Preparation = field(default_factory=Preparation)
    seed: int = 1
    device: str = "auto"


@dataclass(frozen=True)
class SegmentPlan:
    """A segment: its frames and the settings of its training."""

    frames: range
    spec: Spec
    train: TrainJob
    finetune: FinetuneJob

    @property
    def identity(self) -> str:
        """Name of its folder; changes with everything that changes its model."""
        settings = files.sha256_of_value([config_hash(self.train), config_hash(self.finetune)])
        return f"frames-{self.frames.start}-{self.frames.stop}-{settings[:12]}"


def compress(source: Path, output: Path, request: Request, work: Path, shown: Shown) -> dict[str, Any]:
    """Code `source` into `output`; `work` keeps what is done so far. Returns what the decoded file was measured to be.

    Raises `UserError` for what cannot be done, and `InterruptedBySignal` when a signal stopped a training.
    """
    started = time.monotonic()
    check_request(request, output)
    video = _extracted(source, request.preparation, work, shown)
    plans = plan(video, request, shown)
    for number, each in enumerate(plans):
        _train(video, each, work, request, f"{number + 1}/{len(plans)} ", shown)
    files.write_bytes(output, _file(video, plans, work))
    return {**_verified(output, video, plans, work, shown), "time_s": round(time.monotonic() - started, 1)}


def check_request(request: Request, output: Path) -> None:
    """Raise `UserError` for settings that cannot be."""
    if output.suffix != ".bnv":
        raise UserError(f"the output must end in .bnv, not '{output.suffix}'; correct it")
    if (request.bpp is None) == (request.size_bytes is None):
        raise UserError("give either --bpp, e.g. 0.05, or --size, e.g. 1.5M")
    if min(request.bpp or 1, request.size_bytes or 1, request.gop) <= 0:
        raise UserError("--bpp, --size and --gop must be above zero; correct them")
    if request.preset not in PRESETS:
        raise UserError(f"unknown preset '{request.preset}': {nearest(request.preset, PRESETS)}")
    architecture(request.model)


# --- planning ----------------------------------------------------------------------------------------------


def plan(video: Frames, request: Request, shown: Shown) -> tuple[SegmentPlan, ...]:
    """Segments, models and their sizes; raises `UserError` where the size is too small for any model."""
    manifest = video.manifest
    pixels = manifest.frames * manifest.height * manifest.width
    bits = float(8 * request.size_bytes) if request.size_bytes else (request.bpp or 0) * pixels
    parts = _segments(video, request, shown)
    bits -= _TIMESTAMP_BITS * manifest.frames if manifest.timestamps_s else 0
    plans = []
    for frames in parts:
        share = bits * len(frames) / manifest.frames - _HEADER_BITS
        plans.append(_plan_segment(frames, manifest.height, manifest.width, share, request))
    return tuple(plans)


def _segments(video: Frames, request: Request, shown: Shown) -> tuple[range, ...]:
    count = video.manifest.frames
    shortest = max(1, min(_SHORTEST_SEGMENT, (request.gop + 1) // 2))
    cuts: tuple[int, ...] = ()
    if request.cut_scenes and count >= 2 * shortest:
        with shown("look for scenes", count, "frames") as show:
            cuts = scene_cuts(video.pixels, progress=show)
    return segments(count, cuts, request.gop, shortest)


def _plan_segment(frames: range, height: int, width: int, bits: float, request: Request) -> SegmentPlan:
    preset = PRESETS[request.preset]
    spec, model = _model(len(frames), height, width, bits, request.model)
    coded = total_parameters(architecture(request.model), spec)
    loss = _loss(height, width)
    training = Training(epochs=preset.epochs, loss=loss, lr=LearningRate(peak=3e-3), eval_every_epochs=preset.epochs)
    finetuning = Finetuning(
        epochs=preset.finetuning_epochs, loss=loss, target_bits=bits / coded, embedding_rate="temporal"
    )
    return SegmentPlan(
        frames,
        spec,
        TrainJob(model=model, training=training, seed=request.seed),
        FinetuneJob(finetuning=finetuning, seed=request.seed),
    )


def _model(frames: int, height: int, width: int, bits: float, name: str) -> tuple[Spec, ModelSettings]:
    """The model whose parameters take four bits each, or fewer where that makes no model.

    Embeddings are narrowed until they leave room for weights.
    """
    strides = natural_strides(height, width)
    embeds = architecture(name).encoder is not None
    reason: UserError | None = None
    for parameter_bits, embedding_width in itertools.product(
        _BITS_PER_PARAMETER, _EMBEDDING_WIDTHS if embeds else (0,)
    ):
        total_m = max(bits, 1.0) / parameter_bits / 1e6
        options: dict[str, int | float | str] = {"embedding_width": embedding_width} if embeds else {}
        settings = ModelSettings(name=name, strides=strides, total_m=total_m, options=options)
        try:
            spec = resolve(settings, frames, height, width)
        except UserError as error:
            reason = error
            continue
        if spec.embedding_parameters <= _LARGEST_EMBEDDING_SHARE * total_m * 1e6:
            return spec, settings
        reason = UserError("the embeddings of its frames alone would take the room")
    raise UserError(
        f"{max(bits, 0) / 8:,.0f} bytes are too few for {name} on {frames} frames of {height}×{width} ({reason}); "
        "ask for more with --bpp or --size, or give longer segments with --gop"
    )


def _loss(height: int, width: int) -> dict[str, float]:
    for name in ("boosting-nerv/fusion10_freq", "boosting-nerv/l1_ssim_freq"):
        try:
            check_frame_size(LOSS_ALIASES[name], height, width)
        except UserError:
            continue
        return dict(LOSS_ALIASES[name])
    raise AssertionError("the last loss takes frames of any size")


# --- doing -------------------------------------------------------------------------------------------------


def _extracted(source: Path, preparation: Preparation, work: Path, shown: Shown) -> Frames:
    """The frames of the source, extracted once for a source and preparation."""
    probe(source)
    stat = source.stat()
    key = files.sha256_of_value([str(source.resolve()), stat.st_size, stat.st_mtime_ns, preparation.tag])[:12]
    output = work / f"frames-{key}.npy"
    if not manifest_path(output).exists():
        job = ExtractJob(dataset="own", video=own_video(OwnVideo(path=str(source))), preparation=preparation)
        with shown("frames", None, "frames") as show:
            extract_frames(job.video, source, preparation, output, dataset=job.dataset, progress=show)
    return open_frames(manifest_path(output))


def _train(video: Frames, each: SegmentPlan, work: Path, request: Request, title: str, shown: Shown) -> None:
    """Train and fine-tune a segment, unless it is done."""
    folder = work / each.identity
    trained, finetuned = folder / "model.safetensors", folder / "finetuned.safetensors"
    part, device, count = video.part(each.frames), choose_device(request.device), len(each.frames)
    if not trained.exists():
        with shown(f"{title}train", each.train.training.epochs * count, "steps") as show:
            train_video(
                part,
                each.train,
                trained,
                folder / "train.jsonl",
                folder / "state-train",
                device=device,
                save_every_s=_SAVE_EVERY_S,
                progress=show,
            )
    if not finetuned.exists():
        with shown(f"{title}finetune", each.finetune.finetuning.epochs * count, "steps") as show:
            finetune_video(
                part,
                each.finetune,
                trained,
                finetuned,
                folder / "finetune.jsonl",
                folder / "state-finetune",
                device=device,
                save_every_s=_SAVE_EVERY_S,
                progress=show,
            )


def _file(video: Frames, plans: tuple[SegmentPlan, ...], work: Path) -> bytes:
    coded: list[Segment] = []
    for each in plans:
        about, model = restore_quantized(work / each.identity / "finetuned.safetensors")
        coded.append(encode_segment(architecture(about.architecture), about.make_spec(), snap(model)))
    manifest = video.manifest
    colour = manifest.preparation.colour if manifest.preparation else "ffmpeg-default"
    header = Video(
        manifest.frames, manifest.height, manifest.width, manifest.fps, colour, timestamps_s=manifest.timestamps_s
    )
    return write(Bitstream(header, tuple(coded)))


def _verified(output: Path, video: Frames, plans: tuple[SegmentPlan, ...], work: Path, shown: Shown) -> dict[str, Any]:
    """Decode the file in a fresh process and measure what comes out of it against the frames."""
    decoded, report = work / "decoded.npy", work / "decode.json"
    command = [sys.executable, "-m", "boostnerv", "decode", str(output), "-o", str(decoded), "--report", str(report)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise UserError(f"{output} was written and does not decode; keep {work} and report this")
    with shown("measure", video.manifest.frames, "frames") as show:
        quality = measure(video.pixels, np.load(decoded, mmap_mode="r"), progress=show)
    decoded.unlink()
    _check_quality(quality, plans, work, output)
    size = output.stat().st_size
    manifest = video.manifest
    return {
        "file": str(output),
        "file_bytes": size,
        "bpp": bits_per_pixel(size, manifest.frames, manifest.height, manifest.width),
        **quality.summary(),
        "frames": manifest.frames,
        "height": manifest.height,
        "width": manifest.width,
        "fps": manifest.fps,
        "segments": len(plans),
        "model": plans[0].train.model.name,
        "decode_fps": files.read_json(report)["decode_fps"],
        "notes": list(manifest.notes),
    }


def _check_quality(quality: Quality, plans: tuple[SegmentPlan, ...], work: Path, output: Path) -> None:
    """Raise `UserError` where a segment does not decode to what its fine-tuning measured."""
    for each in plans:
        wanted = last_record(work / each.identity / "finetune.jsonl")["psnr_db"]
        found = float(np.mean(quality.frame_psnr_db[each.frames.start : each.frames.stop]))
        if found < wanted - _LARGEST_LOSS_DB:
            raise UserError(
                f"frames {each.frames.start} to {each.frames.stop - 1} of {output} decode to {found:.2f} dB and had "
                f"{wanted:.2f} dB when they were coded; keep {work} and report this"
            )


def forget(work: Path) -> None:
    """Remove the folder of unfinished work."""
    shutil.rmtree(work, ignore_errors=True)


def parse_size(text: str) -> int:
    """Bytes of ``1.5M``, ``800k`` or ``120000``; raises `UserError`."""
    units = {"k": 1e3, "m": 1e6, "g": 1e9}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1.0)
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError) as error:
        raise UserError(f"--size {text} is no size; write it as 1.5M, 800k or a number of bytes") from error
    if size <= 0:
        raise UserError(f"--size {text} must be above zero; correct it")
    return size


def parse_preparation(pairs: list[str]) -> Preparation:
    """Settings of the preparation from ``KEY=VALUE`` pairs; raises `UserError`."""
    from boostnerv.config import parse

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--prepare {pair} has no '='; write it as KEY=VALUE, e.g. frame_count=100")
        values[key] = int(value) if value.isdigit() else value
    return parse(Preparation, values, "--prepare")


def result_text(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    similarity = "MS-SSIM needs larger frames" if found["ms_ssim"] is None else f"MS-SSIM {found['ms_ssim']:.4f}"
    lines = [
        f"{found['file']}: {found['file_bytes']:,} bytes, {found['bpp']:.4f} bit/pixel",
        f"  PSNR {found['psnr_db']:.2f} dB, {similarity}, measured on the decoded file",
        f"  {found['frames']} frames of {found['height']}×{found['width']} at {found['fps']:g} fps, "
        f"{found['segments']} segment{'s' if found['segments'] > 1 else ''} of {found['model']}",
        f"  took {found['time_s']:.0f} s; decodes at {found['decode_fps']:.1f} frames a second",
    ]
    return "\n".join([*lines, *(f"  note: {note}" for note in found["notes"])])
