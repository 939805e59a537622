"""VMAF through ffmpeg's libvmaf filter, with its default model (vmaf_v0.6.1).

Both videos are converted from RGB to YUV 4:2:0 (BT.709, limited range), for which the model was trained. VMAF includes
motion, so the value of a frame depends on its neighbours, and every video needs a new run. Identical frames score below
100: some 97 if there is little motion.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ffmpeg
import numpy as np

from boostnerv.errors import UserError
from boostnerv.evaluation.metrics import Frames
from boostnerv.video.ffmpeg import (
    SCALER_FLAGS,
    FfmpegError,
    Graph,
    Process,
    ffmpeg_version,
    input_from_pipe,
    list_filters,
    running,
)

SMALLEST_SIDE = 17
"""Smallest side in pixels; libvmaf crashes on smaller frames."""


def check_vmaf() -> None:
    """Raise `UserError` if this ffmpeg cannot compute VMAF."""
    if "libvmaf" not in list_filters():
        raise UserError(
            f"this ffmpeg ({ffmpeg_version()}) has no filter libvmaf, which VMAF needs; set FFMPEG_BINARY to one that "
            "has it, or leave VMAF out (--vmaf, evaluation.vmaf)"
        )


class VmafMeter:
    """VMAF of frames that are fed batch by batch; a context manager, as ffmpeg runs concurrently.

    `starts` are the indices of frames at which another video begins. Raises `UserError` if ffmpeg has no libvmaf or
    the frames are too small for it.
    """

    def __init__(self, threads: int = 1, starts: Collection[int] = ()) -> None:
        check_vmaf()
        self._threads, self._starts = threads, frozenset(starts)
        self._values: list[float] = []
        self._fed = 0
        self._open: tuple[ExitStack, Process, Path] | None = None

    def __enter__(self) -> VmafMeter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open[0].close()

    def feed(self, reference: Frames, test: Frames) -> None:
        """Feed the next frames of both videos, uint8 RGB ``[B, H, W, 3]`` of one size."""
        for pair in zip(reference, test, strict=True):
            if self._open is not None and self._fed in self._starts:
                self._finish()
            if self._open is None:
                self._open = self._begin(*reference.shape[1:3])
            # Stacked vertically into one pipe: with two pipes either could wait for the other.
            with _as_user_error():
                self._open[1].feed(np.concatenate(pair).data)
            self._fed += 1

    def values(self) -> tuple[float, ...]:
        """VMAF of every frame that was fed, in [0, 100]; nothing can be fed afterwards."""
        if self._open is not None:
            self._finish()
        return tuple(self._values)

    def _begin(self, height: int, width: int) -> tuple[ExitStack, Process, Path]:
        if min(height, width) < SMALLEST_SIDE:
            raise UserError(
                f"VMAF needs {SMALLEST_SIDE} pixels or more on both sides, and these frames have {height}x{width}; "
                "leave it out (--vmaf, evaluation.vmaf)"
            )
        with ExitStack() as stack:
            log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmaf-"))) / "vmaf.json"
            process = stack.enter_context(running(_graph(height, width, self._threads, log), fed=True))
            return stack.pop_all(), process, log

    def _finish(self) -> None:
        assert self._open is not None
        (stack, process, log), self._open = self._open, None
        with stack, _as_user_error():
            process.finish()
            frames = json.loads(log.read_text(encoding="utf-8"))["frames"]
        self._values += [frame["metrics"]["vmaf"] for frame in frames]


def _graph(height: int, width: int, threads: int, log: Path) -> Graph:
    """Graph from pairs of frames, the reference stacked above the test, to a JSON log."""
    source = input_from_pipe(f="rawvideo", pix_fmt="rgb24", s=f"{width}x{2 * height}", r=25)
    pairs = source.filter_multi_output("split")

    def as_yuv(copy: int, top: int) -> Graph:
        frame = pairs[copy].filter("crop", width, height, 0, top)
        limited = {"in_range": "pc", "out_range": "tv", "out_color_matrix": "bt709", "out_chroma_loc": "left"}
        return frame.filter("scale", **limited, flags=SCALER_FLAGS).filter("format", "yuv420p")

    # The filter's first input is the test.
    streams = [as_yuv(0, height), as_yuv(1, 0)]
    measured = ffmpeg.filter(streams, "libvmaf", log_fmt="json", log_path=os.fspath(log), n_threads=threads)
    return measured.output("pipe:1", f="null")


@contextmanager
def _as_user_error() -> Iterator[None]:
    try:
        yield
    except FfmpegError as error:
        raise UserError(
            f"ffmpeg cannot compute VMAF: {error}; set FFMPEG_BINARY to another one, or leave VMAF out"
        ) from error
