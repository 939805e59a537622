"""Names of images: their order, their patterns, the numbers that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.video.image_names import gap_note, natural, pattern_problem


def ordered(*names: str) -> list[Path]:
    return sorted(map(Path, names), key=lambda file: (natural(file), file.name))


def names(pattern: str, *ranges: range) -> list[str]:
    return [pattern.format(number) for numbers in ranges for number in numbers]


@pytest.mark.parametrize(
    "one_pattern",
    [
        ["a.png"],
        ["a.png", "b.png", "cat.png"],
        names("frame{:04}.png", range(3)),
        names("{}.png", range(8, 12)),
        ["frame1.png", "Frame02.PNG", "frame003.Png"],
        ["DSC00001.JPG", "DSC00002.jpg", "DSC00003.jpeg"],
        ["1.tif", "2.tiff"],
        ["1.pgm", "2.ppm"],
        names("clip2_1080p_{:03}.png", range(3)),
        ["2024-01-31_23-59-59.png", "2024-02-01_00-00-00.png", "2024-02-01_00-00-01.png"],
        ["1305031102.175304.png", "1305031102.211214.png", "1305031103.175304.png"],
        ["shot1_1.png", "shot1_2.png", "shot2_3.png", "shot2_4.png"],
        ["²1.png", "²2.png"],
    ],
)
def test_names_of_one_pattern(one_pattern: list[str]) -> None:
    assert pattern_problem(ordered(*one_pattern)) == ""


@pytest.mark.parametrize(
    ("several", "problem"),
    [
        (
            names("frame{:04}.png", range(3)) + names("mask{:04}.png", range(2)),
            "2 name patterns, frame*.png (3, e.g. frame0000.png), mask*.png (2, e.g. mask0000.png)",
        ),
        (
            names("{:04}.png", range(3)) + names("{:04}_mask.png", range(3)),
            "2 name patterns, *.png (3, e.g. 0000.png), *_mask.png (3, e.g. 0000_mask.png)",
        ),
        (["frame_0001.jpg", "frame_0002.jpg", "thumb.jpg"], "frame_*.jpg (2, e.g. frame_0001.jpg), thumb.jpg (1)"),
        (["1.png", "2.png", "a.png", "b.png"], "*.png (2, e.g. 1.png), names without a number (2, e.g. a.png)"),
        (["1.png", "2.png", "3.gif"], "*.png (2, e.g. 1.png), 3.gif (1)"),
        (
            names("cam1_{:02}.png", range(3)) + names("cam2_{:02}.png", range(3)),
            "cam1_*.png (3, e.g. cam1_00.png), cam2_*.png (3, e.g. cam2_00.png)",
        ),
        (
            [f"{frame:06}_{side}.png" for frame in range(3) for side in (10, 11)],
            "*_10.png (3, e.g. 000000_10.png), *_11.png (3, e.g. 000000_11.png)",
        ),
        (
            [f"{letter}1.png" for letter in "abcdefg"],
            "7 name patterns, a1.png (1), b1.png (1), c1.png (1), d1.png (1), e1.png (1), and 2 more",
        ),
    ],
)  # fmt: skip
def test_names_of_several_patterns(several: list[str], problem: str) -> None:
    assert pattern_problem(ordered(*several)).endswith(problem)


@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        ([5, 6, 7], ""),
        ([3], ""),
        ([1, 3], "number 2 is missing in the names of the images"),
        ([1, 2, 4], "number 3 is missing in the names of the images"),
        ([1, 4], "numbers 2-3 are missing in the names of the images"),
        ([6, 8, 9, 10, 11, 15], "numbers 7 and 12-14 are missing in the names of the images"),
        ([1, 3, 5, 8], "numbers 2, 4 and 6-7 are missing in the names of the images"),
        ([0, 5, 10], "the images are numbered in steps of 5, and taken as consecutive frames"),
        (
            [0, 1, 3, 5, 7, 9, 11, 13],
            "numbers 2, 4, 6, 8, 10 and others are missing in the names of the images",
        ),
    ],
)
def test_numbers_that_are_missing(numbers: list[int], note: str) -> None:
    assert gap_note(ordered(*(f"clip2_{number:03}.png" for number in numbers))) == note


def test_names_without_one_number_have_no_gaps() -> None:
    assert gap_note(ordered("a.png", "b.png")) == ""
    assert gap_note(ordered("2024-01-31_23-59-59.png", "2024-02-01_00-00-00.png")) == ""


@given(
    numbers=st.sets(st.integers(0, 10**20), min_size=1, max_size=30),
    widths=st.lists(st.integers(0, 6), min_size=30, max_size=30),
    letters=st.text(st.characters(blacklist_characters="/\0.", blacklist_categories=["Nd", "Cs"]), max_size=8),
)
def test_any_numbers_after_any_letters_are_one_pattern_in_order(
    numbers: set[int], widths: list[int], letters: str
) -> None:
    files = [Path(f"{letters}x{number:0{width}}.png") for number, width in zip(numbers, widths, strict=False)]
    files = sorted(files, key=natural)
    assert [int(file.stem.removeprefix(f"{letters}x")) for file in files] == sorted(numbers)
    assert pattern_problem(files) == ""
