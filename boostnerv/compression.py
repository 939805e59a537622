"""From any video to a ``.bnv`` file of a wanted size, in one call that goes on where it was interrupted.

A video is cut into segments at scene cuts and where it gets too long; each gets a model of its own and a share of the
bits by its frames. The file is decoded again by a fresh process before it gets its name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import os
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
import torch

from boostnerv import files
from boostnerv.catalogue import LOSS_ALIASES, MODELS_OF_MANY
from boostnerv.codec.container.bitstream import Bitstream, Segment, Video, head_bytes, write
from boostnerv.codec.container.display import display_notes, display_of
from boostnerv.codec.container.limits import demand
from boostnerv.codec.encoder import encode_segment, snap
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP
from boostnerv.config import (
    ExtractJob,
    FinetuneJob,
    Finetuning,
    ModelSettings,
    OptionValue,
    OwnVideo,
    Preparation,
    RawVideo,
    Training,
    TrainJob,
    config_hash,
    own_video,
)
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.measure import Quality, bits_per_pixel, measure
from boostnerv.host import signals
from boostnerv.host.devices import choose_device
from boostnerv.models.architecture import Spec, architecture
from boostnerv.models.budget import narrowest, natural_strides, resolve, total_parameters
from boostnerv.progress import Progress
from boostnerv.training.checkpoint import restore_quantized
from boostnerv.training.lease import hold
from boostnerv.training.log import last_record
from boostnerv.training.losses import MS_SSIM_SMALLEST_SIDE
from boostnerv.training.run import finetune_video, train_video
from boostnerv.versions import STEP_VERSIONS
from boostnerv.video.frames import Frames, Manifest, extract_frames, manifest_path, open_frames
from boostnerv.video.info import PreparationError, check_allowed, geometry
from boostnerv.video.options import check_layout
from boostnerv.video.scenes import scene_cuts, segments
from boostnerv.video.source import check_source, has_sound, probe, source_state

Shown = Callable[[str, int | None, str], AbstractContextManager[Progress]]

_BITS_PER_PARAMETER = (4.0, 3.0, 2.2)
_SHORTEST_SEGMENT = 48  # frames; a model of its own costs more than a scene cut inside a segment
_EMBEDDING_WIDTHS = (16, 8, 4, 2)
_LARGEST_EMBEDDING_SHARE = 0.45
_SIDE_BITS = 8 * 160  # of a segment beside its codes: its heads, quantiser steps and entropy models
_SOURCE_BITS = 24  # of a pixel as 8-bit RGB
_SSIM_SMALLEST_SIDE = 11
_ROUND_OFF = 1e-9
_EVALUATIONS = 8  # of a training; it goes back to the last one where it collapses
# Decoded frames against those that fine-tuning measured with the numbers of the file; another device rounds otherwise.
_LARGEST_LOSS_DB = 0.1
_LEAST_FILLING = 0.95  # of the bytes that are asked for; rate control ends at 0.97 or more
_SAVE_EVERY_S = 30.0


@dataclass(frozen=True)
class Preset:
    """How much time a file may take: passes of training and of fine-tuning."""

    epochs: int
    finetuning_epochs: int


PRESETS = {"fast": Preset(40, 10), "balanced": Preset(150, 30), "best": Preset(600, 60)}


@dataclass(frozen=True)
class Request:
    """What is asked for: `bpp` or `size_bytes`, the other None. `gop` is the most frames a model may have.

    `fps` are the frames per second of a folder of images, which carries none; of a video None. `raw` is the layout of
    a headerless video.
    """

    bpp: float | None
    size_bytes: int | None
    preset: str = "balanced"
    model: str = "hnerv-boost"
    gop: int = 600
    cut_scenes: bool = True
    preparation: Preparation = field(default_factory=Preparation)
    fps: float | None = None
    raw: RawVideo | None = None
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
        versions = [STEP_VERSIONS["train"], STEP_VERSIONS["finetune"]]
        settings = files.sha256_of_value([config_hash(self.train), config_hash(self.finetune), versions])
        return f"frames-{self.frames.start}-{self.frames.stop}-{settings[:12]}"


def compress(
    source: Path, output: Path, request: Request, work: Path, shown: Shown, *, keep: bool = True
) -> dict[str, Any]:
    """Code `source` into `output`; `work` has what is done so far, and stays to the end or, with `keep`, longer.

    Returns what the decoded file was measured to be. Waits where another process works in `work`. Raises `UserError`
    for what cannot be done, and `InterruptedBySignal` when a signal stopped it.
    """
    started = time.monotonic()
    files.check_distinct([output, work], [source])
    check_request(request, output)
    _check_source(source, request)
    if source.resolve().is_relative_to(work.resolve()):
        raise UserError(f"{source} lies in {work}, which is removed at the end; move it elsewhere")
    files.check_writable(output)
    files.check_writable(work / "frames.npy")
    # Trainings save their state before they stop.
    stopping = signals.raising(signals.obeyed(), "before the file was done", state_is_saved=True)
    with stopping, hold(work) as lease:
        video = _extracted(source, request, work, shown)
        sound_notes = _sound_notes(source, request)
        plans = plan(video, request, shown)
        for number, each in enumerate(plans):
            _train(video, each, request, f"{number + 1}/{len(plans)} ", shown)
        coded = work / "coded.bnv"
        files.write_bytes(coded, _file(video, plans))
        _check_size(coded, video, request)
        quality, decode_fps = verify(coded, video, plans, shown)
        lease.check()
        files.write_bytes(output, coded.read_bytes())
        manifest, size = video.manifest, output.stat().st_size
        found = {
            "file": str(output),
            "file_bytes": size,
            "bpp": bits_per_pixel(size, manifest.frames, manifest.height, manifest.width),
            **quality.summary(),
            "frames": manifest.frames,
            "height": manifest.height,
            "width": manifest.width,
            "fps": manifest.fps,
            "segments": len(plans),
            "model": request.model,
            "train_s": round(_train_s(video, plans), 1),
            "time_s": round(time.monotonic() - started, 1),
            "decode_fps": decode_fps,
            "notes": [*manifest.notes, *_display_notes(manifest), *sound_notes],
        }
        if not keep:
            # Its lock goes with it, at once for a process that waits for it.
            files.remove_folder(work)
    return found


def check_request(request: Request, output: Path) -> None:
    """Raise `UserError` for settings that cannot be."""
    if output.suffix != ".bnv":
        raise UserError(f"the output must end in .bnv, not '{output.suffix}'; correct it")
    if (request.bpp is None) == (request.size_bytes is None):
        raise UserError("give either --bpp, e.g. 0.05, or --size, e.g. 1.5M")
    if not 0 < (request.bpp or request.size_bytes or 0) < math.inf or request.gop < 1:
        raise UserError("--bpp, --size and --gop must be above zero; correct them")
    if request.preset not in PRESETS:
        raise UserError(f"unknown preset '{request.preset}': {nearest(request.preset, PRESETS)}")
    if request.model in MODELS_OF_MANY:
        raise UserError(
            f"{request.model} is a model of many videos, and compress makes one of each; choose another --model, or "
            "write an experiment that has them all"
        )
    architecture(request.model)


# --- planning ----------------------------------------------------------------------------------------------


def plan(video: Frames, request: Request, shown: Shown) -> tuple[SegmentPlan, ...]:
    """Segments, models and their sizes; raises `UserError` where no model has the size that is asked for."""
    manifest = video.manifest
    pixels, bits = manifest.frames * manifest.height * manifest.width, _wanted_bits(video, request)
    if bits > _SOURCE_BITS * pixels:
        raise UserError(
            f"{bits / 8:,.0f} bytes are more than the {_SOURCE_BITS * pixels / 8:,.0f} of the frames themselves; "
            "ask for less with --bpp or --size"
        )
    head_bits, bare_bits = (8 * head_bytes(head) for head in _heads(video))
    parts = _segments(video, request, shown)
    shares = [len(frames) / manifest.frames for frames in parts]
    _check_bits(bits, head_bits, bare_bits, shares, video, request)
    # A segment is trained as a file of its own, with the head of one.
    wanted = [(bits - head_bits) * share + bare_bits for share in shares]
    plans = tuple(
        _plan_segment(frames, manifest.height, manifest.width, each, request)
        for frames, each in zip(parts, wanted, strict=True)
    )
    _check_decodable(bits, plans, video, request)
    return plans


def _check_decodable(bits: float, plans: tuple[SegmentPlan, ...], video: Frames, request: Request) -> None:
    """Raise `UserError` where frames are so large that decoders would take so small a file for a hostile one."""
    entry, frames = architecture(request.model), video.manifest.frames
    least = (
        demand(entry, each.spec, group=DEFAULT_GROUP).least_coded_bytes * frames / len(each.frames) for each in plans
    )
    fewest = math.ceil(max(least) / _LEAST_FILLING)
    if bits / 8 < fewest:
        raise UserError(
            f"{bits / 8:,.0f} bytes are too few for frames of {video.manifest.height}×{video.manifest.width}, which "
            f"take work that decoders refuse to do for so small a file: ask for {fewest:,} bytes or more "
            f"(--size {fewest})"
        )


def _heads(video: Frames) -> tuple[Video, Video]:
    """What is stored of the whole video, and the same of one at a constant rate that is shown as usual."""
    manifest = video.manifest
    bare = Video(manifest.frames, manifest.height, manifest.width, manifest.fps, manifest.colour)
    return dataclasses.replace(bare, timestamps_s=manifest.timestamps_s, display=display_of(manifest)), bare


def _check_bits(
    bits: float, head_bits: int, bare_bits: int, shares: list[float], video: Frames, request: Request
) -> None:
    """Raise `UserError` where a segment's share of the bits is too small for its smallest model."""
    manifest = video.manifest
    size = (manifest.height, manifest.width)
    needed = max(
        (_fewest_bits(round(share * manifest.frames), *size, request.model) - bare_bits) / share for share in shares
    )
    if bits < needed + head_bits:
        fewest = math.ceil((needed + head_bits) / 8)
        fewest_bpp = bits_per_pixel(fewest, manifest.frames, *size)
        where, way = "", ""
        if len(shares) > 1:
            where, way = f" in {len(shares)} segments", ", or for fewer segments with a larger --gop or --no-cut-scenes"
        if fewest_bpp > _SOURCE_BITS:
            raise UserError(
                f"{_frames_text(manifest)}{where} are smaller than the smallest file of {request.model} would be "
                f"({fewest:,} bytes): choose a smaller --model, e.g. hnerv{way}"
            )
        raise UserError(
            f"{bits / 8:,.0f} bytes are too few for {request.model} on {_frames_text(manifest)}{where}: ask for "
            f"{fewest:,} bytes or more (--size {fewest}, --bpp {math.ceil(fewest_bpp * 1e4) / 1e4:g}){way}"
        )


def _frames_text(manifest: Manifest) -> str:
    return f"{manifest.frames} frame{'s' if manifest.frames > 1 else ''} of {manifest.height}×{manifest.width}"


def _wanted_bits(video: Frames, request: Request) -> float:
    manifest = video.manifest
    pixels = manifest.frames * manifest.height * manifest.width
    return 8.0 * request.size_bytes if request.size_bytes else (request.bpp or 0) * pixels


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
    evaluated = max(1, preset.epochs // _EVALUATIONS)
    training = Training(recipe="fast", epochs=preset.epochs, loss=loss, eval_every_epochs=evaluated)
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
    for parameter_bits, options in itertools.product(_BITS_PER_PARAMETER, _embedding_options(name)):
        total = (bits - _SIDE_BITS) / parameter_bits
        settings = _settings(name, height, width, total, options)
        narrow = narrowest(settings, frames, height, width)
        if _fewest_parameters(narrow, name) <= (1 + _ROUND_OFF) * total:
            return resolve(settings, frames, height, width), settings
    raise AssertionError("enough bits for the smallest model were asked for")


def _fewest_bits(frames: int, height: int, width: int, name: str) -> float:
    """Bits of the smallest file of a model."""
    narrow = (
        narrowest(_settings(name, height, width, 1.0, options), frames, height, width)
        for options in _embedding_options(name)
    )
    return _SIDE_BITS + min(_BITS_PER_PARAMETER) * min(_fewest_parameters(spec, name) for spec in narrow)


def _fewest_parameters(narrow: Spec, name: str) -> float:
    """Of a model with embeddings as in `narrow`, the narrowest one, whose weights have room beside them."""
    smallest = total_parameters(architecture(name), narrow)
    return max(smallest, narrow.embedding_parameters / _LARGEST_EMBEDDING_SHARE)


def _settings(name: str, height: int, width: int, total: float, options: dict[str, OptionValue]) -> ModelSettings:
    strides = natural_strides(height, width)
    return ModelSettings(name=name, strides=strides, total_m=total / 1e6, options=options)


def _embedding_options(name: str) -> list[dict[str, OptionValue]]:
    if architecture(name).encoder is None:
        return [{}]
    return [{"embedding_width": width} for width in _EMBEDDING_WIDTHS]


def _loss(height: int, width: int) -> dict[str, float]:
    """The published loss that frames of this size have."""
    smallest = min(height, width)
    if smallest >= MS_SSIM_SMALLEST_SIDE:
        return dict(LOSS_ALIASES["boosting-nerv/fusion10_freq"])
    return dict(LOSS_ALIASES[f"boosting-nerv/{'l1_ssim_freq' if smallest >= _SSIM_SMALLEST_SIDE else 'l1_freq'}"])


# --- doing -------------------------------------------------------------------------------------------------


def _check_source(source: Path, request: Request) -> None:
    """Raise `UserError` for a source that cannot be coded as it is asked for, before anything is written."""
    check_source(source)
    check_layout([source], request.raw)
    fps = request.fps
    if fps is not None and (not source.is_dir() or not 0 < fps < math.inf):
        raise UserError(f"--fps {fps:g} is for folders of images, and above zero; correct it or leave it out")
    info = probe(source, request.raw)
    try:
        check_allowed(info, request.preparation, source)
    except PreparationError as error:
        raise UserError(error.with_options()) from error
    geometry(info, request.preparation, source)


def _extracted(source: Path, request: Request, work: Path, shown: Shown) -> Frames:
    """The frames of the source, extracted once for a source and preparation, in a folder of their own."""
    preparation, raw = request.preparation, request.raw
    settings = [str(source.resolve()), source_state(source), preparation.tag, request.fps]
    key = files.sha256_of_value([*settings, raw.model_dump()] if raw else settings)[:12]
    output = work / key / "frames.npy"
    if not manifest_path(output).exists():
        path = files.readable(source)
        video = own_video(OwnVideo(path=path, raw=raw)).model_copy(update={"fps": request.fps})
        job = ExtractJob(dataset="own", video=video, preparation=preparation)
        try:
            with shown("extract", preparation.frame_count, "frames") as show:
                extract_frames(job.video, source, preparation, output, dataset=job.dataset, progress=show)
        except PreparationError as error:
            raise UserError(error.with_options()) from error
    return open_frames(manifest_path(output))


def _folder(video: Frames, each: SegmentPlan) -> Path:
    return video.path.parent / each.identity


def _train(video: Frames, each: SegmentPlan, request: Request, title: str, shown: Shown) -> None:
    """Train and fine-tune a segment, unless it is done: the log is what is written last."""
    folder, epochs = _folder(video, each), each.train.training.epochs
    trained, train_log = folder / "model.safetensors", folder / "train.jsonl"
    finetuned, finetune_log = folder / "finetuned.safetensors", folder / "finetune.jsonl"
    if finetune_log.exists():
        return
    part, device, count = video.part(each.frames), choose_device(request.device), len(each.frames)
    if not train_log.exists():
        with shown(f"{title}train", epochs * count, "steps") as show:
            train_video(
                part,
                each.train,
                trained,
                train_log,
                folder / "state-train",
                device=device,
                save_every_s=_SAVE_EVERY_S,
                progress=show,
            )
    # Its results are in the folder of work already.
    shutil.rmtree(folder / "state-train", ignore_errors=True)
    with shown(f"{title}finetune", each.finetune.finetuning.epochs * count, "steps") as show:
        finetune_video(
            part,
            each.finetune,
            trained,
            finetuned,
            finetune_log,
            folder / "state-finetune",
            device=device,
            save_every_s=_SAVE_EVERY_S,
            progress=show,
        )
    shutil.rmtree(folder / "state-finetune", ignore_errors=True)


def _file(video: Frames, plans: tuple[SegmentPlan, ...]) -> bytes:
    coded: list[Segment] = []
    for each in plans:
        about, model = restore_quantized(_folder(video, each) / "finetuned.safetensors")
        coded.append(encode_segment(architecture(about.architecture), about.make_spec(), snap(model)))
    return write(Bitstream(_heads(video)[0], tuple(coded)))


def _train_s(video: Frames, plans: tuple[SegmentPlan, ...]) -> float:
    """Seconds of all trainings, earlier calls included."""
    logs = [_folder(video, each) / name for each in plans for name in ("train.jsonl", "finetune.jsonl")]
    return sum(float(last_record(log)["wall_s"]) for log in logs)


def _display_notes(manifest: Manifest) -> list[str]:
    return display_notes(display_of(manifest), manifest.height, manifest.width)


def _sound_notes(source: Path, request: Request) -> list[str]:
    if request.raw is not None or not has_sound(source):
        return []
    # Sound is added to whole videos only.
    way = "" if request.preparation.first_frame else f"; `boostnerv decode --audio-from {source}` adds it"
    return [f"sound is not stored{way}"]


def verify(file: Path, video: Frames, plans: tuple[SegmentPlan, ...], shown: Shown) -> tuple[Quality, float]:
    """Decode `file` in a fresh process and measure what comes out of it against the frames.

    Returns that and the frames decoded in a second. Raises `UserError` where it does not decode to what was coded.
    """
    decoded, report = file.with_suffix(".npy"), file.with_suffix(".json")
    # -P: nothing that lies in the current folder is taken for a module.
    command = [sys.executable, "-P", "-m", "boostnerv", "decode", "--output", str(decoded), "--report", str(report)]
    command += ["--threads", str(torch.get_num_threads()), "--", str(file)]
    code = _run(command)
    if code:
        raise UserError(
            f"{file} could not be decoded by a fresh process, which ended with {code}: see what it said "
            "above, and run the same command again, which begins there"
        )
    with shown("measure", video.manifest.frames, "frames") as show:
        quality = measure(video.pixels, np.load(decoded, mmap_mode="r"), progress=show)
    decoded.unlink()
    for each in plans:
        _check_quality(quality.frame_psnr_db[each.frames.start : each.frames.stop], video, each, file)
    return quality, float(files.read_json(report)["decode_fps"])


def _run(command: list[str]) -> int:
    """Run a command to its end, or ask it to stop where this process is to; returns its exit code."""
    process = None
    try:
        with signals.delayed():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        return process.wait()
    except BaseException:
        if process is not None:
            process.terminate()  # not killed, so that nothing temporary of it stays
            process.wait()
        raise


def _check_size(file: Path, video: Frames, request: Request) -> None:
    """Raise `UserError` where a file is larger than asked for."""
    size, asked = file.stat().st_size, _wanted_bits(video, request) / 8
    if size > asked:
        raise UserError(
            f"{file} has {size:,} bytes, more than the {asked:,.0f} that were asked for: fine-tuning did not get "
            "there; ask for more with --size or --bpp, or for a longer training with --preset"
        )


def _check_quality(frame_psnr_db: tuple[float, ...], video: Frames, each: SegmentPlan, file: Path) -> None:
    """Raise `UserError` where a segment does not decode to what its fine-tuning measured."""
    wanted = last_record(_folder(video, each) / "finetune.jsonl")["psnr_rounded_db"]
    found = float(np.mean(frame_psnr_db))
    if found < wanted - _LARGEST_LOSS_DB:
        raise UserError(
            f"frames {each.frames.start} to {each.frames.stop - 1} of {file} decode to {found:.2f} dB and had "
            f"{wanted:.2f} dB when they were coded; keep {file.parent} and report this"
        )


def work_folder(output: Path, parent: Path | None = None) -> Path:
    """Where the unfinished work of `output` is, beside it or in `parent`: its name and ``.work``, or a shorter name of
    its own where that would be longer than names may be."""
    name = f"{output.name}.work"
    if len(os.fsencode(name)) > files.LONGEST_NAME_BYTES:
        name = f"{output.name[:16]}-{hashlib.sha256(os.fsencode(output.name)).hexdigest()[:16]}.work"
    return (parent or output.parent) / name


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


def result_text(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    similarity = "MS-SSIM needs larger frames" if found["ms_ssim"] is None else f"MS-SSIM {found['ms_ssim']:.4f}"
    frames, parts = found["frames"], found["segments"]
    lines = [
        f"{found['file']}: {found['file_bytes']:,} bytes, {found['bpp']:.4f} bit/pixel",
        f"  PSNR {found['psnr_db']:.2f} dB, {similarity}, measured on the decoded file",
        f"  {frames} frame{'s' if frames > 1 else ''} of {found['height']}×{found['width']} at {found['fps']:g} fps, "
        f"{parts} segment{'s' if parts > 1 else ''} of {found['model']}",
        f"  trained for {found['train_s']:.0f} s; decodes at {found['decode_fps']:.1f} frames a second",
    ]
    return "\n".join([*lines, *(f"  note: {note}" for note in found["notes"])])
