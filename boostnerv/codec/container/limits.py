"""What decoding may take, by the bytes of a segment's codes: damaged and hostile headers ask for more than that.

Seconds are nominal ones of a slow thread (`boostnerv.models.work`), so that every machine refuses the same files. Real
models stay far below: their work grows with their parameters, and those with the file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import Architecture, Spec, tensor_shapes
from boostnerv.models.work import decoding_work

# What the first frame of any segment may take, and how much more for every byte of its codes.
ANY_SEGMENT_S, S_PER_BYTE = 2.0, 5e-4
ANY_SEGMENT_BYTES, MEMORY_PER_BYTE = 300_000_000, 32_000

S_PER_CODE = 4e-7  # that costs no bits; others take longer
S_PER_DISTRIBUTION = 2e-5
S_PER_KEYFRAME_PIXEL = 2e-7
_WORKSPACE = 2  # what operations take beside the tensors that they read and make: as much again
_BYTES_PER_WEIGHT = 16
_BYTES_PER_EMBEDDING_CODE = 100  # with the numbers that its distribution is made of
_BYTES_PER_KEYFRAME_PIXEL = 24
_PARAMETERS_PER_POSITION = 4  # of the entropy model that has most
_BYTES_PER_PIXEL = 3


@dataclass(frozen=True)
class Demand:
    """What the first frame of a segment takes: nominal seconds, memory in bytes, and how much of that memory each
    batch of frames takes that is computed beside it."""

    nominal_s: float
    memory_bytes: int
    batch_bytes: int

    @property
    def least_coded_bytes(self) -> int:
        """Bytes of codes from which on a segment may take as much."""
        by_time = (self.nominal_s - ANY_SEGMENT_S) / S_PER_BYTE
        by_memory = (self.memory_bytes - ANY_SEGMENT_BYTES) / MEMORY_PER_BYTE
        return max(0, math.ceil(by_time), math.ceil(by_memory))


def demand(entry: Architecture, spec: Spec, batch: int = 1, group: int = 1) -> Demand:
    """What the first frame of a segment takes whose frames are computed `batch` at a time, and whose embeddings are
    decoded in groups of `group` frames."""
    work, pixels = decoding_work(entry, spec), spec.height * spec.width
    shapes = tensor_shapes(entry, spec).values()
    weights, channels = sum(shape.numel() for shape in shapes), sum(shape[0] for shape in shapes)
    embedded = min(-(-batch // group) * group, spec.frames)
    positions = math.prod(spec.embedding_shape) if spec.embedding_shape else 0
    embedding_codes = (embedded + _PARAMETERS_PER_POSITION) * positions
    keyframe_pixels = 2 * pixels if spec.uses_keyframes else 0
    # A call of the decoder makes the frames of a batch, or a patch of the frames of a clip.
    together = spec.frames_at_once(batch)
    batch_bytes = _WORKSPACE * spec.inputs_at_once(batch) * work.peak_bytes + 2 * together * _BYTES_PER_PIXEL * pixels
    seconds = (
        work.start_s
        + together * work.nominal_s
        + (weights + embedding_codes) * S_PER_CODE
        + channels * S_PER_DISTRIBUTION
        + keyframe_pixels * S_PER_KEYFRAME_PIXEL
    )
    codes_bytes = weights * _BYTES_PER_WEIGHT + embedding_codes * _BYTES_PER_EMBEDDING_CODE
    memory_bytes = batch_bytes + codes_bytes + keyframe_pixels * _BYTES_PER_KEYFRAME_PIXEL
    return Demand(seconds, memory_bytes, batch_bytes)


def check_proportion(wanted: Demand, coded_bytes: int) -> None:
    """Raise `BitstreamError` where a segment of so many coded bytes takes more than such a segment may."""
    for what, needed, allowed in (
        ("seconds", wanted.nominal_s, ANY_SEGMENT_S + S_PER_BYTE * coded_bytes),
        ("megabytes", wanted.memory_bytes / 1e6, (ANY_SEGMENT_BYTES + MEMORY_PER_BYTE * coded_bytes) / 1e6),
    ):
        if needed > allowed:
            raise BitstreamError(
                f"its first frame needs {needed:,.1f} {what}, and {coded_bytes:,} coded bytes may use {allowed:,.1f}; "
                "the file is damaged, get it again"
            )


def most_side_by_side(wanted: Demand, coded_bytes: int) -> int:
    """Batches of frames that may be computed at once, at least 1.

    Raises `BitstreamError` for a segment out of proportion, `UserError` where this machine has too little memory for
    one batch. All together take half of it at most.
    """
    check_proportion(wanted, coded_bytes)
    has_bytes = machine_memory_bytes()
    if wanted.memory_bytes > has_bytes:
        raise UserError(
            f"a frame of it takes {wanted.memory_bytes / 1e9:.1f} GB of memory to decode, and this machine has "
            f"{has_bytes / 1e9:.1f} GB; decode it on a larger one"
        )
    usable_bytes = min(ANY_SEGMENT_BYTES + MEMORY_PER_BYTE * coded_bytes, has_bytes // 2)
    return max(1, usable_bytes // max(wanted.batch_bytes, 1))


def machine_memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less where its control group (a container, a job) says so."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_group_limits_bytes()])


def _group_limits_bytes(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Memory limits of the control groups (version 2) that this process is in, from its own to the outermost."""
    try:
        path = next(line.partition("::")[2] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    inner = root / path.strip("/")
    limits = []
    for folder in (inner, *inner.parents):
        if not folder.is_relative_to(root):
            break
        try:
            limits.append(int((folder / "memory.max").read_text()))
        except (OSError, ValueError):  # the outermost has none, and "max" is none
            continue
    return limits
