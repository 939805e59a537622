"""Verification of a coded file: its size, and the frames that a fresh process decodes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from boostnerv import files
from boostnerv.compression.request import Request
from boostnerv.compression.segment_planning import SegmentPlan
from boostnerv.errors import UserError
from boostnerv.evaluation.measure import Quality, measure
from boostnerv.host import signals
from boostnerv.progress import Progress
from boostnerv.training.log import last_record
from boostnerv.video.frames import Frames

ShowProgress = Callable[[str, int | None, str], AbstractContextManager[Progress]]
"""Shows progress under a title, with the number of units if known, as `boostnerv.progress.track` does."""

# Largest difference between decoded frames and those measured in fine-tuning; another device rounds differently.
_LARGEST_LOSS_DB = 0.1


def segment_folder(video: Frames, segment: SegmentPlan) -> Path:
    """Folder of a segment's checkpoints and logs, inside that of the frames."""
    return video.path.parent / segment.identity


def verify(
    file: Path, video: Frames, plans: Sequence[SegmentPlan], show_progress: ShowProgress
) -> tuple[Quality, float]:
    """Decode `file` in a fresh process and measure what comes out of it against the frames.

    Returns their quality, and the frames decoded in a second. Raises `UserError` where it does not decode to what was
    coded.
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
    with show_progress("measure", video.manifest.frames, "frames") as progress:
        quality = measure(video.pixels, np.load(decoded, mmap_mode="r"), progress=progress)
    decoded.unlink()
    for segment in plans:
        _check_quality(quality.frame_psnr_db[segment.frames.start : segment.frames.stop], video, segment, file)
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


def check_size(file: Path, video: Frames, request: Request) -> None:
    """Raise `UserError` where a file is larger than asked for."""
    size_bytes, asked_bytes = file.stat().st_size, request.wanted_bits(video.manifest) / 8
    if size_bytes > asked_bytes:
        raise UserError(
            f"{file} has {size_bytes:,} bytes, more than the {asked_bytes:,.0f} that were asked for: fine-tuning did "
            "not get there; ask for more with --size or --bpp, or for a longer training with --preset"
        )


def _check_quality(frame_psnr_db: tuple[float, ...], video: Frames, segment: SegmentPlan, file: Path) -> None:
    """Raise `UserError` where a segment does not decode to what its fine-tuning measured."""
    coded_db = last_record(segment_folder(video, segment) / "finetune.jsonl")["psnr_rounded_db"]
    decoded_db = float(np.mean(frame_psnr_db))
    if decoded_db < coded_db - _LARGEST_LOSS_DB:
        raise UserError(
            f"frames {segment.frames.start} to {segment.frames.stop - 1} of {file} decode to {decoded_db:.2f} dB and "
            f"had {coded_db:.2f} dB when they were coded; keep {file.parent} and report this"
        )
