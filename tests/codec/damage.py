"""Random damage to the bytes of quantised tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from boostnerv.errors import BitstreamError


def count_refused(
    good: bytes, decode: Callable[[bytes], list[NDArray[np.float32]]], shapes: list[tuple[int, ...]]
) -> int:
    """Number of refused copies among 2000 damaged ones; the others must decode to finite tensors of these shapes."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        # Half of the damage hits the first bytes, which hold the numbers and the table.
        start = int(rng.integers(0, len(data) if rng.integers(2) else 400))
        stop = start + int(rng.integers(0, 5))
        data[start:stop] = rng.bytes(int(rng.integers(0, 5)))
        try:
            tensors = decode(bytes(data))
        except BitstreamError:
            refused += 1
            continue
        assert [values.shape for values in tensors] == shapes
        assert all(np.isfinite(values).all() for values in tensors)
    return refused
