"""What an action takes is seen while it has it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from bench.memory import peak_of, rows
from bench.timing import OwnProcess


def take() -> None:
    values = np.ones(8 << 20)  # 64 MiB
    time.sleep(1)  # it is looked at a hundred times a second, on a busy machine less often
    assert values.sum() == 8 << 20


def taking() -> Callable[[], tuple[float, float]]:
    return lambda: peak_of(take)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells what is anonymous")
def test_memory_that_is_given_back_counts() -> None:
    # As in a measurement, a process of its own: this one may have kept memory that others freed, to use it again.
    with OwnProcess(taking) as act:
        peak, seconds = act()
    assert 60 < peak < 200
    assert seconds > 0


def test_each_row_is_there_for_two_lengths_or_ways() -> None:
    kinds = [what.split(",")[0] for what, *_ in rows()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"training step": 4, "extraction": 2, "decoding": 2}
