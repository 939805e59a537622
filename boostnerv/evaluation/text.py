"""Tables as text, for terminals."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(lines: Sequence[Sequence[str]], to_the_left: Collection[int]) -> list[str]:
    """Format rows of cells as lines with aligned columns, all right-aligned but those of the indices `to_the_left`.

    All rows have the same number of cells.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in to_the_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def number(value: float | None, form: str) -> str:
    """A number in a format such as ``.2f``; a dash for None."""
    return "–" if value is None else f"{value:{form}}"
