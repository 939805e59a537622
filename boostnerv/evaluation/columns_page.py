"""The page of all columns of points.csv: ``python -m boostnerv.evaluation.columns_page`` writes `docs/points.md`."""

from __future__ import annotations

from pathlib import Path

from boostnerv.evaluation.points import COLUMNS

_PAGE = Path("docs/points.md")
_KINDS = {"text": "text", "int": "whole number", "float": "number", "bool": "true or false"}


def columns_page() -> str:
    """The text of `docs/points.md`, from the table of columns."""
    lines = [
        "# The columns of points.csv",
        "",
        "Generated from `boostnerv/evaluation/points.py` by `make docs`; a test keeps it in step. `points.csv` has one",
        "row for each model run, each anchor point and each video of a multi-video model. An empty cell means that the",
        "value does not exist or was not measured. Columns are only ever added at the end. Tables of an experiment",
        "show means of the columns marked with ×, over seeds and over videos.",
        "",
        "| column | group | type | unit | mean | meaning |",
        "|---|---|---|---|:-:|---|",
    ]
    for column in COLUMNS:
        mean = "×" if column.averaged else ""
        cells = (f"`{column.name}`", column.group, _KINDS[column.kind], column.unit, mean, column.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    _PAGE.write_text(columns_page(), encoding="utf-8")
