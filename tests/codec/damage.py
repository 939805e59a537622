"""Bytes of quantised tensors, damaged at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from boostnerv.errors import BitstreamError


def count_refused(
    good: bytes, decode: Callable[[bytes], list[NDArray[np.float32]]], shapes: list[tuple[int, ...]]
) -> int:
    """How many of 2000 damaged copies are refused; the others must become finite tensors of these shapes."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        # The first bytes, where the numbers and the table lie, are as often hit as all the others.
        start = int(rng.integers(0, len(data) if rng.integers(2) else 400))
        stop = start + int(rng.integers(0, 5))
        data[start:stop] = rng.bytes(int(rng.integers(0, 5)))
        try:
            found = decode(bytes(data))
        except BitstreamError:
            refused += 1
            continue
        assert [values.shape for values in found] == shapes
        assert all(np.isfinite(values).all() for values in found)
    return refused
