from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.quantizers.grids import (
    COARSE_SIGMA_GRID,
    SIGMA_GRID,
    STEP_GRID,
    SmallFloat,
    offset_value,
    snap_offset,
    snap_steps,
    step_values,
)

GRIDS = {"steps": STEP_GRID, "scales": SIGMA_GRID, "coarse": COARSE_SIGMA_GRID, "small": SmallFloat(3, 2, 3)}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_every_level_of_a_grid_decodes_and_encodes_to_itself(grid: SmallFloat) -> None:
    levels = np.arange(grid.levels)
    values = grid.decode(levels)
    assert (np.diff(values) > 0).all()
    assert (grid.encode(values) == levels).all()
    assert (grid.encode(values, at_least=True) == levels).all()
    assert (values.astype(np.float32) == values).all()  # exact in float32


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@given(value=st.floats(1e-20, 1e12))
def test_encoding_is_nearest_or_not_below(grid: SmallFloat, value: float) -> None:
    table = grid.decode(np.arange(grid.levels))
    inside = min(max(value, table[0]), table[-1])
    nearest = grid.decode(grid.encode(np.array([value])))[0]
    assert abs(nearest - inside) == np.abs(table - inside).min()
    above = grid.decode(grid.encode(np.array([value]), at_least=True))[0]
    assert above == table[table >= inside].min()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_ends_of_a_grid_are_sticky(grid: SmallFloat) -> None:
    far = np.array([0.0, 1e-300, 1e300, np.inf])
    for at_least in (False, True):
        assert grid.encode(far, at_least=at_least).tolist() == [0, 0, grid.levels - 1, grid.levels - 1]


def test_what_the_format_page_says_of_the_grids() -> None:
    assert [grid.levels for grid in (STEP_GRID, SIGMA_GRID, COARSE_SIGMA_GRID)] == [1 << 12, 1 << 8, 1 << 7]
    assert STEP_GRID.decode(np.array([0, STEP_GRID.levels - 1])).tolist() == [2.0**-48, 2.0**15 * (2 - 1 / 64)]
    assert SIGMA_GRID.decode(np.array([0, SIGMA_GRID.levels - 1])).tolist() == [2.0**-5, 2.0**26 * (2 - 1 / 8)]
    assert COARSE_SIGMA_GRID.decode(np.array([0, 127])).tolist() == [2.0**-5, 2.0**26 * (2 - 1 / 4)]


@given(st.floats(1e-12, 6e4), st.floats(-1e6, 1e6))
def test_steps_and_offsets_are_near_their_values(step: float, offset: float) -> None:
    index = snap_steps(np.array([step]))
    (snapped,) = step_values(index)
    assert snapped.dtype == np.float32
    assert abs(snapped / step - 1) <= 1 / 128
    number = snap_offset(offset, float(snapped))
    assert -(2**31) <= number < 2**31
    if abs(offset) < 2**24 * snapped:
        assert abs(offset_value(number, snapped) - offset) <= snapped / 128 + abs(offset) * 2.0**-23


def test_offsets_out_of_range_are_cut() -> None:
    assert snap_offset(1e30, 1.0) == 2**31 - 1
    assert snap_offset(-1e30, 1.0) == -(2**31)
