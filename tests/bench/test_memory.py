"""What an action takes is seen while it has it."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from bench.memory import peak_of, rows


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells what is anonymous")
def test_memory_that_is_given_back_counts() -> None:
    def take() -> None:
        values = np.ones(8 << 20)  # 64 MiB
        time.sleep(1)  # it is looked at a hundred times a second, on a busy machine less often
        assert values.sum() == 8 << 20

    peak, seconds = peak_of(take)
    assert 60 < peak < 200
    assert seconds > 0


def test_each_row_is_there_for_two_lengths_or_ways() -> None:
    kinds = [what.split(",")[0] for what, *_ in rows()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"training step": 4, "extraction": 2, "decoding": 2}
