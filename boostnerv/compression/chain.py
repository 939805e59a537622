"""From any video to a ``.bnv`` file of a target size, in one call that resumes where it was interrupted.

Frames are extracted and segments planned; each segment is trained and fine-tuned by the functions that the workflow's
steps call, and all are coded into one file. A fresh process decodes the file before it gets its final name.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boostnerv import files
from boostnerv.codec.assembly import new_file
from boostnerv.codec.container.bitstream import write
from boostnerv.codec.container.display import display_notes, display_of
from boostnerv.compression.request import Request, check_request
from boostnerv.compression.segment_planning import SegmentPlan, can_have_cuts, check_below_source, plan_segments
from boostnerv.compression.verification import ShowProgress, check_size, segment_folder, verify
from boostnerv.config import ExtractJob, OwnVideo, own_video
from boostnerv.errors import UserError
from boostnerv.evaluation.measure import Quality, bits_per_pixel
from boostnerv.host import signals
from boostnerv.host.devices import choose_device
from boostnerv.training.checkpoint import restore_quantized
from boostnerv.training.lease import hold
from boostnerv.training.log import last_record
from boostnerv.training.run import finetune_video, train_video
from boostnerv.training.segment_coding import coded_segment
from boostnerv.training.setting import TrainingData, TrainingMachine, TrainingOutputs
from boostnerv.video.frames import Frames, Manifest, extract_frames, manifest_path, open_frames
from boostnerv.video.info import PreparationError, check_allowed, geometry
from boostnerv.video.options import check_layout
from boostnerv.video.scenes import scene_cuts
from boostnerv.video.source import check_source, has_sound, probe, source_state

_SAVE_EVERY_S = 30.0


def compress(
    source: Path, output: Path, request: Request, work: Path, show_progress: ShowProgress, *, keep: bool = True
) -> dict[str, Any]:
    """Code `source` into `output`; `work` holds unfinished work until the end, with `keep` beyond it.

    Returns rate and quality of the decoded file, under the names that ``--json`` prints. Waits while another process
    uses `work`. Raises `UserError` for impossible requests, and `InterruptedBySignal` after a signal.
    """
    started = time.monotonic()
    files.check_distinct([output, work], [source])
    check_request(request, output)
    _check_source(source, request)
    if source.resolve().is_relative_to(work.resolve()):
        raise UserError(f"{source} lies in {work}, which is removed at the end; move it elsewhere")
    files.check_writable(output)
    files.check_writable(work / "frames.npy")
    # Training saves its state before it stops.
    stopping = signals.raising(signals.obeyed(), "before the file was done", state_is_saved=True)
    with stopping, hold(work) as lease:
        video = _extracted(source, request, work, show_progress)
        sound_notes = _sound_notes(source, request)
        plans = plan(video, request, show_progress)
        for number, segment in enumerate(plans):
            _train(video, segment, request, f"{number + 1}/{len(plans)} ", show_progress)
        coded = work / "coded.bnv"
        files.write_bytes(coded, _coded_file(video, plans))
        check_size(coded, video, request)
        quality, decode_fps = verify(coded, video, plans, show_progress)
        lease.check()
        files.write_bytes(output, coded.read_bytes())
        result = {
            **_measured(output, video.manifest, quality),
            "segments": len(plans),
            "model": request.model,
            "train_s": round(_train_s(video, plans), 1),
            "time_s": round(time.monotonic() - started, 1),
            "decode_fps": decode_fps,
            "notes": [*video.manifest.notes, *_display_notes(video.manifest), *sound_notes],
        }
        if not keep:
            # Its lock goes with it, so a waiting process continues at once.
            files.remove_folder(work)
    return result


def plan(video: Frames, request: Request, show_progress: ShowProgress) -> tuple[SegmentPlan, ...]:
    """Segments, models and their sizes; raises `UserError` if no model has the target size."""
    check_below_source(video.manifest, request)
    return plan_segments(video.manifest, _cuts(video, request, show_progress), request)


def _cuts(video: Frames, request: Request, show_progress: ShowProgress) -> tuple[int, ...]:
    """Frame numbers at which scenes begin, if these may begin segments."""
    if not can_have_cuts(video.manifest, request):
        return ()
    with show_progress("look for scenes", video.manifest.frames, "frames") as progress:
        return scene_cuts(video.pixels, progress=progress)


def _measured(file: Path, manifest: Manifest, quality: Quality) -> dict[str, Any]:
    """Rate and quality of a file, with the number and size of its frames."""
    size_bytes = file.stat().st_size
    return {
        "file": str(file),
        "file_bytes": size_bytes,
        "bpp": bits_per_pixel(size_bytes, manifest.frames, manifest.height, manifest.width),
        **quality.summary(),
        "frames": manifest.frames,
        "height": manifest.height,
        "width": manifest.width,
        "fps": manifest.fps,
    }


def _check_source(source: Path, request: Request) -> None:
    """Raise `UserError` for a source that cannot be coded as requested, before anything is written."""
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


def _extracted(source: Path, request: Request, work: Path, show_progress: ShowProgress) -> Frames:
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
            with show_progress("extract", preparation.frame_count, "frames") as progress:
                extract_frames(source, job, output, progress=progress)
        except PreparationError as error:
            raise UserError(error.with_options()) from error
    return open_frames(manifest_path(output))


def _train(video: Frames, segment: SegmentPlan, request: Request, title: str, show_progress: ShowProgress) -> None:
    """Train and fine-tune a segment unless that is done; the log is written last."""
    folder = segment_folder(video, segment)
    trained, train_log = folder / "model.safetensors", folder / "train.jsonl"
    finetuned, finetune_log = folder / "finetuned.safetensors", folder / "finetune.jsonl"
    if finetune_log.exists():
        return
    data, device, count = TrainingData(video.part(segment.frames)), choose_device(request.device), len(segment.frames)
    if not train_log.exists():
        with show_progress(f"{title}train", segment.train.training.epochs * count, "steps") as progress:
            outputs = TrainingOutputs(trained, train_log, folder / "state-train")
            train_video(data, segment.train, outputs, TrainingMachine(device, _SAVE_EVERY_S, progress))
    # Its results are already in the work folder.
    shutil.rmtree(folder / "state-train", ignore_errors=True)
    with show_progress(f"{title}finetune", segment.finetune.finetuning.epochs * count, "steps") as progress:
        outputs = TrainingOutputs(finetuned, finetune_log, folder / "state-finetune")
        machine = TrainingMachine(device, _SAVE_EVERY_S, progress)
        finetune_video(data, segment.finetune, trained, outputs, machine)
    shutil.rmtree(folder / "state-finetune", ignore_errors=True)


def _coded_file(video: Frames, plans: Sequence[SegmentPlan]) -> bytes:
    """The bytes of the file of all fine-tuned segments."""
    checkpoints = (segment_folder(video, segment) / "finetuned.safetensors" for segment in plans)
    segments = [coded_segment(*restore_quantized(checkpoint))[0] for checkpoint in checkpoints]
    return write(new_file(video, segments, fps=video.manifest.fps, colour=video.manifest.colour))


def _train_s(video: Frames, plans: Sequence[SegmentPlan]) -> float:
    """Seconds of all trainings, earlier calls included."""
    logs = [segment_folder(video, segment) / name for segment in plans for name in ("train.jsonl", "finetune.jsonl")]
    return sum(float(last_record(log)["wall_s"]) for log in logs)


def _display_notes(manifest: Manifest) -> list[str]:
    return display_notes(display_of(manifest), manifest.height, manifest.width)


def _sound_notes(source: Path, request: Request) -> list[str]:
    if request.raw is not None or not has_sound(source):
        return []
    # Sound is added to whole videos only.
    remedy = "" if request.preparation.first_frame else f"; `boostnerv decode --audio-from {source}` adds it"
    return [f"sound is not stored{remedy}"]


def work_folder(output: Path, parent: Path | None = None) -> Path:
    """Where the unfinished work of `output` is, beside it or in `parent`: its name and ``.work``, or a shorter name of
    its own where that would be longer than names may be."""
    name = f"{output.name}.work"
    if len(os.fsencode(name)) > files.LONGEST_NAME_BYTES:
        name = f"{output.name[:16]}-{hashlib.sha256(os.fsencode(output.name)).hexdigest()[:16]}.work"
    return (parent or output.parent) / name


def result_text(result: dict[str, Any]) -> str:
    """What was measured, for people."""
    similarity = "MS-SSIM needs larger frames" if result["ms_ssim"] is None else f"MS-SSIM {result['ms_ssim']:.4f}"
    frames, parts = result["frames"], result["segments"]
    lines = [
        f"{result['file']}: {result['file_bytes']:,} bytes, {result['bpp']:.4f} bit/pixel",
        f"  PSNR {result['psnr_db']:.2f} dB, {similarity}, measured on the decoded file",
        f"  {frames} frame{'s' if frames > 1 else ''} of {result['height']}×{result['width']} "
        f"at {result['fps']:g} fps, "
        f"{parts} segment{'s' if parts > 1 else ''} of {result['model']}",
        f"  trained for {result['train_s']:.0f} s; decodes at {result['decode_fps']:.1f} frames a second",
    ]
    return "\n".join([*lines, *(f"  note: {note}" for note in result["notes"])])
