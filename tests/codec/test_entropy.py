from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from boostnerv.codec.entropy import (
    SIGMA_GRID,
    STEP_GRID,
    GaussianGrid,
    SmallFloat,
    coded_bits,
    decode_segments,
    encode_segments,
    frame_moments,
    gaussian_bits,
    segment_moments,
)
from boostnerv.errors import BitstreamError
from tests.conftest import Golden

Codes = list[NDArray[np.int32]]
LARGEST = 1 << 19  # largest code that an encoder lets through
GRIDS = {"steps": STEP_GRID, "sigmas": SIGMA_GRID, "small": SmallFloat(3, 2, 3)}


# --- the rate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["narrow", "wide", "const"])
def test_estimate_and_coded_size_are_those_of_the_original(golden: Golden, name: str) -> None:
    recorded, codes = golden.manifest["entropy"][name], golden.tensors(f"entropy_{name}")["code"]
    mean, sigma = codes.mean(), codes.std()  # of the unrounded codes; the bits are those of the rounded ones
    assert mean.item() == pytest.approx(recorded["mean"], rel=1e-6)
    assert sigma.item() == pytest.approx(recorded["std"], rel=1e-6)
    bits = gaussian_bits(codes.round(), mean, sigma).sum().item()
    assert bits == pytest.approx(recorded["estimated_bits"], rel=1e-6)
    integers = codes.round().numpy().astype(np.int32)
    assert coded_bits(integers, recorded["mean"], recorded["std"]) == recorded["real_bits"]


def test_bits_are_never_negative_and_bounded_far_from_the_mean() -> None:
    codes = torch.tensor([-1e9, -3.0, 0.0, 3.0, 1e9])
    for sigma in (0.0, 1e-3, 1.0, 1e12):
        bits = gaussian_bits(codes, torch.tensor(0.0), torch.tensor(sigma))
        assert (bits >= 0).all()
        assert (bits <= -math.log2(1e-5) + 1e-3).all()


def test_moments_of_segments_are_those_of_each_tensor() -> None:
    parts = [torch.randn(n, dtype=torch.float64) * n + n for n in (2, 7, 40)]
    counts = torch.tensor([len(part) for part in parts])
    segment = torch.repeat_interleave(torch.arange(3), counts)
    mean, sigma = segment_moments(torch.cat(parts), segment, counts)
    torch.testing.assert_close(mean, torch.stack([part.mean() for part in parts]))
    torch.testing.assert_close(sigma, torch.stack([part.std() for part in parts]))

    frames = torch.randn(3, 2, 4, 5)
    mean, sigma = frame_moments(frames)
    torch.testing.assert_close(mean, frames.flatten(1).mean(1))
    torch.testing.assert_close(sigma, frames.flatten(1).std(1))


def test_constant_and_single_codes_have_no_deviation_and_finite_gradients() -> None:
    codes = torch.tensor([4.0, 4.0, 4.0, -7.0], requires_grad=True)
    counts = torch.tensor([3, 1])
    segment = torch.repeat_interleave(torch.arange(2), counts)
    mean, sigma = segment_moments(codes, segment, counts)
    assert mean.tolist() == [4, -7]
    assert sigma.tolist() == [0, 0]
    gaussian_bits(codes + 0.1, mean[segment], sigma[segment]).sum().backward()
    assert codes.grad is not None
    assert torch.isfinite(codes.grad).all()

    mean, sigma = frame_moments(torch.full((2, 1, 1, 1), 5.0))
    assert (mean.tolist(), sigma.tolist()) == ([5, 5], [0, 0])


# --- grids --------------------------------------------------------------------------------------------------


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
    assert (STEP_GRID.levels, SIGMA_GRID.levels) == (1 << 12, 1 << 8)
    assert STEP_GRID.decode(np.array([0, STEP_GRID.levels - 1])).tolist() == [2.0**-48, 2.0**15 * (2 - 1 / 64)]
    assert SIGMA_GRID.decode(np.array([0, SIGMA_GRID.levels - 1])).tolist() == [2.0**-5, 2.0**26 * (2 - 1 / 8)]


# --- μ and σ of segments ------------------------------------------------------------------------------------


@st.composite
def segments(draw: st.DrawFn) -> tuple[Codes, NDArray[np.float64], NDArray[np.float64]]:
    """Codes of some segments, and moments of unrounded codes that could have been theirs, or not quite."""
    codes, means, sigmas = [], [], []
    for _ in range(draw(st.integers(1, 5))):
        centre = draw(st.sampled_from([0, 3, -LARGEST, LARGEST]) | st.integers(-LARGEST, LARGEST))
        spread = draw(st.sampled_from([0, 1, 5, 200, LARGEST]))
        low, high = max(centre - spread, -LARGEST), min(centre + spread, LARGEST)
        values = draw(st.lists(st.integers(low, high), min_size=1, max_size=12))
        codes.append(np.array(values, dtype=np.int32))
        real = codes[-1] + draw(st.floats(-0.5, 0.5))
        means.append(real.mean())
        sigmas.append(real.std() * draw(st.sampled_from([1.0, 0.0, 1e-3, 30.0])))
    return codes, np.array(means), np.array(sigmas)


@given(segments(), st.sampled_from([8, 12]), st.integers(-5, 5))
@example(([np.array([7], np.int32)], np.array([7.0]), np.array([0.0])), 12, 0)
@example(([np.full(9, LARGEST, np.int32)], np.array([float(LARGEST)]), np.array([0.0])), 8, 0)
@example(([np.array([0] * 99 + [LARGEST], np.int32)], np.array([0.0]), np.array([0.0])), 8, 0)
@example(
    (
        [np.array([0] * 4000 + [100], np.int32), np.array([-LARGEST, LARGEST], np.int32)],
        np.array([0.025, 0.0]),
        np.array([1.6, 370000.0]),
    ),
    12,
    0,
)
def test_any_codes_fit_and_come_back(
    fitted: tuple[Codes, NDArray[np.float64], NDArray[np.float64]], mean_bits: int, origin: int
) -> None:
    codes, mean, sigma = fitted
    grid = GaussianGrid.fit(codes, mean, sigma, origin=origin, mean_bits=mean_bits)

    # Everything fits the fields of a file.
    assert ((grid.sigma_index >= 0) & (grid.sigma_index < SIGMA_GRID.levels)).all()
    assert (np.abs(grid.mean_index) < 1 << (mean_bits - 1)).all()
    assert 0 <= grid.reach <= 255
    # μ is the nearest that σ allows, σ never shrinks by more than half a grid step.
    assert (np.abs(grid.mean - mean) <= grid.sigma / 32 * (1 + 1e-9)).all()
    assert (grid.sigma >= np.minimum(sigma, SIGMA_GRID.decode(np.array(255))) * (1 - 1 / 16)).all()
    for index, values in enumerate(codes):
        low, high = grid.support(index)
        assert low <= values.min()
        assert values.max() <= high
        assert high > low

    decoded = decode_segments(encode_segments(codes, grid), [len(values) for values in codes], grid)
    assert [values.tolist() for values in decoded] == [values.tolist() for values in codes]


def test_ordinary_tensors_keep_their_moments() -> None:
    rng = np.random.default_rng(0)
    real = [rng.normal(0.3, 70, 5000), rng.normal(-2, 9, 300)]
    codes = [np.rint(values).astype(np.int32) for values in real]
    mean, sigma = np.array([v.mean() for v in real]), np.array([v.std(ddof=1) for v in real])
    grid = GaussianGrid.fit(codes, mean, sigma, origin=0, mean_bits=12)
    assert (np.abs(grid.sigma / sigma - 1) <= 1 / 16).all()
    bits = 8 * len(encode_segments(codes, grid))
    best = sum(coded_bits(c, m, s) for c, m, s in zip(codes, mean, sigma, strict=True))
    assert bits <= 1.005 * best + 64  # what snapping costs


# --- the coder ------------------------------------------------------------------------------------------------


def fitted_codes() -> tuple[Codes, GaussianGrid]:
    codes = [np.arange(-20, 21, dtype=np.int32), np.zeros(3, np.int32), np.array([1000], np.int32)]
    mean, sigma = np.array([0.0, 0.0, 1000.0]), np.array([12.0, 0.0, 0.0])
    return codes, GaussianGrid.fit(codes, mean, sigma, origin=0, mean_bits=12)


def test_no_segments_are_no_bytes() -> None:
    assert encode_segments([], GaussianGrid.empty()) == b""
    assert decode_segments(b"", [], GaussianGrid.empty()) == []


def test_one_value_only_costs_no_bits_alone() -> None:
    assert coded_bits(np.full(100, 7, np.int32), 7.0, 0.0) == 0


@pytest.mark.parametrize("change", ["cut byte", "more", "empty word", "cut word"])
def test_a_stream_must_end_with_its_last_code(change: str) -> None:
    codes, grid = fitted_codes()
    data, counts = encode_segments(codes, grid), [len(values) for values in codes]
    assert [v.tolist() for v in decode_segments(data, counts, grid)] == [v.tolist() for v in codes]
    changed = {"cut byte": data[:-1], "more": data + data, "empty word": data + bytes(4), "cut word": data[4:]}
    with pytest.raises(BitstreamError):
        decode_segments(changed[change], counts, grid)


@pytest.mark.parametrize("mean_index", [0, 2047, -2048])
@pytest.mark.parametrize("sigma_index", [0, 255])
@pytest.mark.parametrize("reach", [0, 1, 255])
def test_any_side_information_decodes_or_is_refused(mean_index: int, sigma_index: int, reach: int) -> None:
    grid = GaussianGrid(np.array([sigma_index]), np.array([mean_index]), 0, reach)
    data = np.array([0x12345678, 0x9ABCDEF], "<u4").tobytes()
    try:
        (decoded,) = decode_segments(data, [3], grid)
    except BitstreamError:
        return
    low, high = grid.support(0)
    assert ((decoded >= low) & (decoded <= high)).all()
