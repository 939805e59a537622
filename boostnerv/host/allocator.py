"""Reuse of freed memory for large tensors on a CPU.

The C library returns blocks of many megabytes to the system as soon as they are freed, and fetches them again, page by
page, in the next step: this takes up to two fifths of the training time on frames of 256×320, and half of the decoding
time on larger ones. The steps of the workflow prevent it in their processes (`boostnerv.steps.prepare_cpu`).
"""

from __future__ import annotations

import ctypes
import sys

# Constants from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT_BYTES = 1 << 30
_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for later allocations; returns whether the C library can, as glibc does."""
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
    results = [mallopt(name, value) for name, value in settings.items()]
    return set(results) == {1}
