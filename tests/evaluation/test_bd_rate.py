"""BD-rates of curves whose differences are known."""

from __future__ import annotations

import builtins
import math
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.evaluation.bd_rate import METHODS, Curve, Delta, difference, ms_ssim_db

RATES = (0.05, 0.1, 0.2, 0.4, 0.8)
QUALITIES = (30.0, 32.5, 34.5, 36.0, 37.0)
ANCHOR = Curve("x265", tuple(zip(RATES, QUALITIES, strict=True)))


def changed(name: str = "ours", factor: float = 1.0, gain_db: float = 0.0, anchor: Curve = ANCHOR) -> Curve:
    return Curve(name, tuple((rate * factor, quality + gain_db) for rate, quality in anchor.points))


def numbers(delta: Delta) -> list[float]:
    assert delta.reason == ""
    assert tuple(delta.values) == METHODS
    return list(delta.values.values())


def test_equal_curves_differ_by_nothing() -> None:
    found = difference(changed(), ANCHOR)
    assert numbers(found.rate_percent) == pytest.approx([0.0] * 3, abs=1e-9)
    assert numbers(found.quality) == pytest.approx([0.0] * 3, abs=1e-9)
    assert (found.rate_percent.overlap_percent, found.quality.overlap_percent) == (100.0, 100.0)
    assert f"{found.rate_percent.values['pchip']:.2f} %" == "0.00 %"


def test_twice_the_rate_is_100_percent() -> None:
    found = difference(changed(factor=2.0), ANCHOR)
    assert numbers(found.rate_percent) == pytest.approx([100.0] * 3)
    assert all(value < 0 for value in numbers(found.quality))


def test_a_decibel_more_everywhere_is_a_decibel() -> None:
    found = difference(changed(gain_db=1.0), ANCHOR)
    assert numbers(found.quality) == pytest.approx([1.0] * 3)
    assert all(value < 0 for value in numbers(found.rate_percent))


curves = st.tuples(
    st.lists(st.floats(0.1, 1.0), min_size=4, max_size=8),
    st.lists(st.floats(0.1, 5.0), min_size=8, max_size=8),
    st.floats(1e-3, 1.0),
).map(lambda drawn: _rising(*drawn))


def _rising(rate_steps: list[float], quality_steps: list[float], rate: float) -> Curve:
    points, quality = [], 25.0
    for octave, step_db in zip(rate_steps, quality_steps, strict=False):
        rate, quality = rate * 2**octave, quality + step_db
        points.append((rate, quality))
    return Curve("anchor", tuple(points))


@given(curves, st.floats(0.05, 20.0))
def test_rates_times_k_are_100_k_less_1_percent(anchor: Curve, factor: float) -> None:
    found = difference(changed(factor=factor, anchor=anchor), anchor)
    expected = 100.0 * (factor - 1.0)
    assert numbers(found.rate_percent) == pytest.approx([expected] * 3, rel=1e-4, abs=1e-4)


@given(curves, st.randoms())
def test_the_order_of_points_does_not_matter(anchor: Curve, random: Any) -> None:
    points = list(anchor.points)
    random.shuffle(points)
    other = changed(factor=1.1, anchor=anchor)
    assert difference(other, Curve("anchor", tuple(points))) == difference(other, anchor)


@given(curves)
def test_there_and_back_is_nothing(anchor: Curve) -> None:
    other = changed(factor=1.3, anchor=anchor)
    there, back = (numbers(difference(*pair).rate_percent)[1] for pair in ((other, anchor), (anchor, other)))
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0)


def test_curves_may_have_different_numbers_of_points() -> None:
    shorter = Curve("ours", ANCHOR.points[:4])
    found = difference(shorter, ANCHOR)
    assert numbers(found.rate_percent)[1] == pytest.approx(0.0, abs=0.5)
    assert found.rate_percent.overlap_percent == pytest.approx(100 * 6 / 7)


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (Curve("ours", ANCHOR.points[:3]), "ours has 3 points, 4 are needed."),
        (Curve("ours", ANCHOR.points[:1]), "ours has 1 point, 4 are needed."),
        (Curve("ours", (*ANCHOR.points, (1.6, 36.9))), "ours does not rise: more bits give no more quality."),
        (Curve("ours", (*ANCHOR.points, (1.6, 37.0))), "ours does not rise: more bits give no more quality."),
        (Curve("ours", (*ANCHOR.points, (0.8, 37.5))), "ours has two points at one rate."),
        (Curve("ours", (*ANCHOR.points, (1.6, math.inf))), "ours has a point of infinite quality."),
    ],
)
def test_what_is_no_curve_has_a_reason_and_no_number(curve: Curve, reason: str) -> None:
    for found in (difference(curve, ANCHOR), difference(ANCHOR, curve)):
        assert found.rate_percent == found.quality == Delta(reason=reason)


def test_under_half_an_overlap_there_is_no_number_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apart = difference(changed(gain_db=10.0), ANCHOR)
        little = difference(changed(gain_db=3.0), ANCHOR)
        half = difference(changed(gain_db=7 / 3), ANCHOR)
    assert apart.rate_percent == Delta(overlap_percent=0.0, reason="The qualities do not overlap.")
    assert numbers(apart.quality) == pytest.approx([10.0] * 3)  # their rates are the same
    assert little.rate_percent.reason == "The qualities overlap by 40 %, 50 % are needed."
    assert (little.rate_percent.values, little.rate_percent.overlap_percent) == ({}, pytest.approx(40.0))
    assert numbers(half.rate_percent)
    rates = difference(changed(factor=8.0), ANCHOR)
    assert rates.quality.reason == "The rates overlap by 14 %, 50 % are needed."
    assert numbers(rates.rate_percent) == pytest.approx([700.0] * 3)


def test_points_too_close_to_interpolate_have_a_reason() -> None:
    near = Curve("ours", tuple((rate, 30.0 + step * 1e-13) for step, rate in enumerate(RATES)))
    assert difference(near, near).rate_percent == Delta(
        overlap_percent=100.0, reason="The points lie too close to be interpolated."
    )


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_bad_curves_are_refused(rate: float) -> None:
    for pair in ((Curve("ours", ()), ANCHOR), (ANCHOR, Curve("ours", ()))):
        with pytest.raises(UserError, match="ours has no points"):
            difference(*pair)
    with pytest.raises(UserError, match="ours has a rate of"):
        difference(Curve("ours", (*ANCHOR.points, (rate, 38.0))), ANCHOR)


def test_ms_ssim_in_decibels() -> None:
    assert ms_ssim_db(0.9) == pytest.approx(10.0)
    assert ms_ssim_db(0.99) == pytest.approx(20.0)
    assert ms_ssim_db(0.0) == 0.0
    assert ms_ssim_db(1.0) == math.inf


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "bjontegaard":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'boostnerv\[report\]'"):
        difference(changed(), ANCHOR)
