"""What decoding a frame may take, by the size of the file: damaged and hostile headers ask for more than that.

Real models stay far below: their work grows with their parameters, and those with the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import Architecture, Spec
from boostnerv.models.work import decoding_work

# What any file may take, and how much more for every byte of it: memory of the largest operation, of all frames that
# are computed together; bytes that a frame's operations move; and its multiply–accumulates (a byte and pixel).
_ANY_STEP_BYTES, _STEP_BYTES_PER_BYTE = 384 << 20, 64_000
_ANY_MOVED_BYTES, _MOVED_BYTES_PER_BYTE = 1 << 30, 1 << 19
_ANY_MACS, _MACS_PER_BYTE_AND_PIXEL = 3_000_000_000, 2


@dataclass(frozen=True)
class _Limit:
    """An amount that is needed, and what is allowed: so much for any file, and more for every byte."""

    what: str
    unit: int
    needed: int
    any_file: int
    per_byte: int

    def allowed(self, file_bytes: int) -> int:
        return self.any_file + self.per_byte * file_bytes

    @property
    def least_bytes(self) -> int:
        return max(0, -(-(self.needed - self.any_file) // self.per_byte))


def _limits(entry: Architecture, spec: Spec, batch: int) -> tuple[_Limit, ...]:
    work, per_pixel = decoding_work(entry, spec), _MACS_PER_BYTE_AND_PIXEL * spec.height * spec.width
    step_bytes = batch * work.largest_step_bytes
    return (
        _Limit("MiB at once", 1 << 20, step_bytes, _ANY_STEP_BYTES, _STEP_BYTES_PER_BYTE),
        _Limit("MiB a frame", 1 << 20, work.moved_bytes, _ANY_MOVED_BYTES, _MOVED_BYTES_PER_BYTE),
        _Limit("million multiplications a frame", 1_000_000, work.macs, _ANY_MACS, per_pixel),
    )


def most_side_by_side(entry: Architecture, spec: Spec, batch: int, file_bytes: int) -> int:
    """Batches of frames that a file may have computed at once, at least 1; raises `BitstreamError` for none."""
    limits = _limits(entry, spec, batch)
    for limit in limits:
        if limit.needed > limit.allowed(file_bytes):
            raise BitstreamError(
                f"it needs {limit.needed // limit.unit} {limit.what}, and a file of {file_bytes} bytes may use "
                f"{limit.allowed(file_bytes) // limit.unit}; the file is damaged, get it again"
            )
    return max(limits[0].allowed(file_bytes) // max(limits[0].needed, 1), 1)


def least_file_bytes(entry: Architecture, spec: Spec, batch: int = 1) -> int:
    """Size of a file from which on a model may be decoded."""
    return max(limit.least_bytes for limit in _limits(entry, spec, batch))


def machine_memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
