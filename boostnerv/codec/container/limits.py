"""Limits on the time and memory of decoding, in proportion to a segment's coded bytes.

They reject damaged and hostile headers, which demand more. Seconds are nominal (`boostnerv.models.work`: one slow
thread), so that every machine refuses the same files. Real models stay far below the limits, as their work grows with
the number of parameters, and that with the file size.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import Architecture, Spec, tensor_shapes
from boostnerv.models.work import decoding_work

# Allowance for the first frame of any segment, and the addition for each coded byte.
ANY_SEGMENT_S, S_PER_BYTE = 2.0, 5e-4
ANY_SEGMENT_BYTES, MEMORY_PER_BYTE = 300_000_000, 32_000

S_PER_CODE = 4e-7  # for codes that cost no bits; others take longer
S_PER_DISTRIBUTION = 2e-5
S_PER_KEYFRAME_PIXEL = 2e-7
_WORKSPACE = 2  # operations need as much memory again as the tensors that they read and write
_BYTES_PER_WEIGHT = 16
_BYTES_PER_EMBEDDING_CODE = 100  # including the parameters of its distribution
_BYTES_PER_KEYFRAME_PIXEL = 24
_PARAMETERS_PER_POSITION = 4  # of the entropy model with the most parameters
_BYTES_PER_PIXEL = 3


@dataclass(frozen=True)
class Demand:
    """Cost of decoding the first frame of a segment: nominal seconds and memory in bytes.

    `batch_bytes` is the part of that memory that every batch of frames computed in parallel needs.
    """

    nominal_s: float
    memory_bytes: int
    batch_bytes: int

    @property
    def least_coded_bytes(self) -> int:
        """Smallest number of coded bytes that permits this demand."""
        by_time = (self.nominal_s - ANY_SEGMENT_S) / S_PER_BYTE
        by_memory = (self.memory_bytes - ANY_SEGMENT_BYTES) / MEMORY_PER_BYTE
        return max(0, math.ceil(by_time), math.ceil(by_memory))


def demand(entry: Architecture, spec: Spec, batch: int = 1, group: int = 1) -> Demand:
    """Cost of the first frame of a segment, if `batch` frames are computed together and embeddings are decoded in
    groups of `group` frames."""
    work, pixels = decoding_work(entry, spec), spec.height * spec.width
    shapes = tensor_shapes(entry, spec).values()
    weights, channels = sum(shape.numel() for shape in shapes), sum(shape[0] for shape in shapes)
    embedded = min(-(-batch // group) * group, spec.frames)
    positions = math.prod(spec.embedding_shape) if spec.embedding_shape else 0
    embedding_codes = (embedded + _PARAMETERS_PER_POSITION) * positions
    keyframe_pixels = 2 * pixels if spec.uses_keyframes else 0
    # One forward pass computes the frames of a batch, or one patch of the frames of a clip.
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


def check_proportion(cost: Demand, coded_bytes: int) -> None:
    """Raise `BitstreamError` if a segment demands more than its number of coded bytes permits."""
    for unit, needed, allowed in (
        ("seconds", cost.nominal_s, ANY_SEGMENT_S + S_PER_BYTE * coded_bytes),
        ("megabytes", cost.memory_bytes / 1e6, (ANY_SEGMENT_BYTES + MEMORY_PER_BYTE * coded_bytes) / 1e6),
    ):
        if needed > allowed:
            raise BitstreamError(
                f"its first frame needs {needed:,.1f} {unit}, but {coded_bytes:,} coded bytes may use {allowed:,.1f}; "
                "the file is damaged, get it again"
            )


def most_side_by_side(cost: Demand, coded_bytes: int) -> int:
    """Number of batches that may be computed in parallel, at least 1; together they use at most half the memory.

    Raises `BitstreamError` for a segment that demands too much for its size, `UserError` if this machine has too little
    memory for one batch.
    """
    check_proportion(cost, coded_bytes)
    available_bytes = machine_memory_bytes()
    if cost.memory_bytes > available_bytes:
        raise UserError(
            f"decoding one of its frames takes {cost.memory_bytes / 1e9:.1f} GB of memory, and this machine has "
            f"{available_bytes / 1e9:.1f} GB; decode it on a larger one"
        )
    usable_bytes = min(ANY_SEGMENT_BYTES + MEMORY_PER_BYTE * coded_bytes, available_bytes // 2)
    return max(1, usable_bytes // max(cost.batch_bytes, 1))


def machine_memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less if its control group (container, job) is limited."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_group_limits_bytes()])


def _group_limits_bytes(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Memory limits of this process's control groups (version 2), from the innermost to the outermost."""
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
        except (OSError, ValueError):  # the outermost has no limit file, and "max" means no limit
            continue
    return limits
