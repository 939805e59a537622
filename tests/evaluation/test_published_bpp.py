"""The published rates of D-NeRV follow from the published counts, to the digits that were printed."""

from __future__ import annotations

import csv
import itertools
from decimal import Decimal
from pathlib import Path

import pytest

from boostnerv.codec.quantizers.slices import published_bits
from boostnerv.evaluation import published
from boostnerv.evaluation.measure import bits_per_pixel

PIXELS = {"uvg": (1024, 1920, 3900), "ucf101-train": (256, 320, 138041)}
INPUTS = ("params_m", "entropy_efficiency", "keyframes_mbit")
Row = dict[str, str]


def published_bpp(
    params: float, efficiency: float, keyframe_bits: float, height: int, width: int, frames: int
) -> float:
    """As the README of D-NeRV has it."""
    return bits_per_pixel(published_bits(params, efficiency, keyframe_bits) / 8, frames, height, width)


def table() -> dict[str, Row]:
    with open(Path(published.__file__).parent / "published" / "dnerv.csv", encoding="utf-8", newline="") as file:
        return {f"{row['dataset']} {row['model']} {row['size']}": row for row in csv.DictReader(file)}


def ends(printed: str) -> tuple[float, float]:
    """The least and the greatest number that is printed so."""
    half = Decimal(1).scaleb(int(Decimal(printed).as_tuple().exponent)) / 2
    return (0.0, 0.0) if printed == "0" else (float(Decimal(printed) - half), float(Decimal(printed) + half))


def agrees(row: Row, column: str) -> bool:
    """Whether a printed rate is one of those that the numbers behind the printed counts can give."""
    rates = []
    for params_m, efficiency, keyframes_mbit in itertools.product(*(ends(row[name]) for name in INPUTS)):
        counts = (params_m * 1e6, efficiency, keyframes_mbit * 1e6)
        mbit = published_bits(*counts) / 1e6
        rates.append(mbit if column == "total_mbit" else published_bpp(*counts, *PIXELS[row["dataset"]]))
    least, greatest = ends(row[column])
    return min(rates) <= greatest and least <= max(rates)


def test_the_table_is_whole() -> None:
    sizes = {"uvg D-NeRV": ("XS", "S", "M", "L", "XL")} | {f"ucf101-train {m}": "SML" for m in ("D-NeRV", "NeRV")}
    assert list(table()) == [f"{name} {size}" for name, each in sizes.items() for size in each]
    assert {row["source"] for row in table().values()} == {
        "D-NeRV README table of UVG", "D-NeRV README table of UCF101",
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in table() if name != "uvg D-NeRV XL"])
def test_rates_follow_from_the_counts(name: str) -> None:
    row = table()[name]
    assert agrees(row, "total_mbit")
    assert agrees(row, "bpp")


@pytest.mark.parametrize("name", table())
def test_all_eleven_rates_have_the_printed_digits(name: str) -> None:
    """From the printed totals; from the printed counts they follow as far as these are rounded, see above."""
    row = table()[name]
    found = published_bpp(0.0, 0.0, float(row["total_mbit"]) * 1e6, *PIXELS[row["dataset"]])
    assert f"{found:.4f}" == row["bpp"]


def test_the_first_row_in_full() -> None:
    counts = (8.02e6, 0.883, 88.39e6)
    assert f"{published_bits(*counts) / 1e6:.1f}" == "145.0"
    assert f"{published_bpp(*counts, 1024, 1920, 3900):.4f}" == "0.0189"


def test_the_largest_of_uvg_was_printed_with_another_count() -> None:
    """69.75 M would be 743.0 Mb; the total that is printed is that of the 67.95 M which the code counts."""
    row = table()["uvg D-NeRV XL"]
    assert (row["params_m"], row["total_mbit"], row["bpp"]) == ("69.75", "730.3", "0.0952")
    assert published_bits(69.75e6, 0.875, 254.7e6) == pytest.approx(742.95e6)
    for column in ("total_mbit", "bpp"):
        assert not agrees(row, column)
        assert agrees(row | {"params_m": "67.95"}, column)


def test_the_medium_of_ucf101_goes_with_the_printed_count() -> None:
    """Its rates are those of the 38.90 M that are printed, not of the 39.14 M which the code counts."""
    row = table()["ucf101-train D-NeRV M"]
    assert row["params_m"] == "38.90"
    for column in ("total_mbit", "bpp"):
        assert agrees(row, column)
        assert not agrees(row | {"params_m": "39.14"}, column)
