"""Memory of large tensors on a CPU, kept for what comes next.

The C library gives blocks of many megabytes back to the system as soon as they are free, and gets them again, page by
page, in the next step: up to two fifths of a training's time on frames of 256×320, and half of a decoder's on larger
ones. Steps of the workflow say so of their own process (`boostnerv.steps.prepare_cpu`).
"""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT_BYTES = 1 << 30
_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, for its next allocations; whether the C library can (glibc can)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {
        _MMAP_THRESHOLD: _LARGEST_KEPT_BYTES,
        _TRIM_THRESHOLD: _LARGEST_KEPT_BYTES,
        _TOP_PAD: _PAD_BYTES,
    }
    done = [mallopt(name, value) for name, value in settings.items()]
    return set(done) == {1}
