"""Image names as frame names: their order, whether they belong to one video, and which numbers are missing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from boostnerv.errors import enumeration

_NUMBER = re.compile(r"([0-9]+)")
_SAME_KIND = {".jpeg": ".jpg", ".tiff": ".tif", ".pbm": ".pnm", ".pgm": ".pnm", ".ppm": ".pnm"}
_MOST_NAMED = 5


def natural(file: Path) -> list[tuple[int, str]]:
    """Sort key that puts frame2 before frame10: numbers by value, letters in lower case."""
    parts = _NUMBER.split(file.stem.lower())
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]


def pattern_problem(files: Sequence[Path]) -> str:
    """The name patterns of `files`, in words, if there are several; empty if there is one.

    A pattern is a name without its numbers, e.g. ``frame*.png``, regardless of leading zeros, case and the spelling of
    the suffix. All names without a number share one pattern. Numbers in several places, as in dates, are one pattern
    unless they form several series with the same frame numbers: ``left0001`` and ``right0001``, or ``1_0001`` and
    ``2_0001``.
    """
    patterns = [series for group in _grouped(files, map(_letters, files)) for series in _series(group)]
    if len(patterns) == 1:
        return ""
    return f"{len(patterns)} name patterns, {enumeration([_summary(pattern) for pattern in patterns], _MOST_NAMED)}"


def gap_note(files: Sequence[Path]) -> str:
    """A note on the numbers missing in the names of `files`, which share one pattern and are in order; empty if none
    are."""
    columns = _varying(files)
    if len(columns) != 1:
        return ""
    numbers = columns[0]
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    if steps == {1}:
        return ""
    if len(steps) == 1 and len(numbers) > 2:
        return f"the images are numbered in steps of {steps.pop()}, and taken as consecutive frames"
    gaps = [
        str(earlier + 1) if later - earlier == 2 else f"{earlier + 1}-{later - 1}"
        for earlier, later in itertools.pairwise(numbers)
        if later - earlier > 1
    ]
    if len(gaps) > _MOST_NAMED:
        gaps[_MOST_NAMED:] = ["others"]
    *others, last = gaps
    missing = f"{', '.join(others)} and {last}" if others else last
    kind = "number" if not others and "-" not in last else "numbers"
    return f"{kind} {missing} {'is' if kind == 'number' else 'are'} missing in the names of the images"


# --- details ----------------------------------------------------------------------------------------------


def _letters(file: Path) -> Hashable:
    """The parts of a name between its numbers, None if it has no number; and its suffix."""
    letters = tuple(_NUMBER.split(file.stem.lower())[::2])
    suffix = file.suffix.lower()
    return (letters if len(letters) > 1 else None), _SAME_KIND.get(suffix, suffix)


def _numbers(file: Path) -> list[int]:
    return [int(number) for number in _NUMBER.findall(file.stem)]


def _grouped(files: Sequence[Path], keys: Iterable[Hashable]) -> list[list[Path]]:
    groups: dict[Hashable, list[Path]] = {}
    for file, key in zip(files, keys, strict=True):
        groups.setdefault(key, []).append(file)
    return list(groups.values())


def _varying(files: Sequence[Path]) -> list[tuple[int, ...]]:
    """The numbers of all names, for each position where they differ; the names have the same letters."""
    if not _NUMBER.search(files[0].stem):
        return []
    return [column for column in zip(*map(_numbers, files), strict=True) if len(set(column)) > 1]


def _series(files: Sequence[Path]) -> list[list[Path]]:
    """Group `files`, whose names have the same letters, into series that all have the same frame numbers."""
    columns = _varying(files)
    if len(columns) < 2:
        return [list(files)]
    # The frame number is the one with the most values, on a tie the last.
    frame = max(range(len(columns)), key=lambda index: (len(set(columns[index])), index))
    others = list(zip(*(column for index, column in enumerate(columns) if index != frame), strict=True))
    complete = len(set(others)) * len(set(columns[frame])) == len(files)
    return _grouped(files, others) if complete else [list(files)]


def _summary(files: Sequence[Path]) -> str:
    """A pattern with its number of names and an example."""
    first = files[0]
    if len(files) == 1:
        return f"{first.name} (1)"
    if not _NUMBER.search(first.stem):
        return f"names without a number ({len(files)}, e.g. {first.name})"
    columns = list(zip(*map(_numbers, files), strict=True))
    parts = _NUMBER.split(first.stem)
    parts[1::2] = [
        number if len(set(column)) == 1 else "*" for number, column in zip(parts[1::2], columns, strict=True)
    ]
    return f"{''.join(parts)}{first.suffix} ({len(files)}, e.g. {first.name})"
