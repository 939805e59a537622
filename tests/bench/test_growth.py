"""Slopes are those of the growth that was put in, and models grow in one thing at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from bench.growth import OCTAVES, Measured, draw, models, of_one, slope, table
from boostnerv.models.architecture import architecture
from boostnerv.models.budget import decoder_parameters


def measured(power: float) -> list[Measured]:
    return [
        Measured(growing, times, 180, 320, 16, 1000 * times, [0.1 * times**power] * 3)
        for growing in ("pixels", "parameters", "frames")
        for times in OCTAVES
    ]


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_a_slope(power: float) -> None:
    for growing in ("pixels", "parameters", "frames"):
        assert slope(*of_one(measured(power), growing)) == pytest.approx(power, abs=1e-9)
    assert table(measured(power))[-1].split()[-1] == f"{power:.2f}"


def test_one_thing_grows_at_a_time() -> None:
    found, entry = models("hnerv-boost"), architecture("hnerv-boost")
    first = found["pixels", 1]
    for times in OCTAVES:
        wide, large, long = (found[growing, times] for growing in ("parameters", "pixels", "frames"))
        assert large.height * large.width == times * first.height * first.width
        assert decoder_parameters(entry, large) == decoder_parameters(entry, long) == decoder_parameters(entry, first)
        assert long == dataclasses.replace(first, frames=times * first.frames)
        assert (wide.height, wide.width, wide.frames) == (first.height, first.width, first.frames)
    largest = decoder_parameters(entry, found["parameters", 8])
    assert 7 < largest / decoder_parameters(entry, first) < 12


def test_a_figure(tmp_path: Path) -> None:
    draw(measured(1.0), tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as image:
        assert min(image.size) > 500
