"""The tables of an experiment as one page for browsers: what `boostnerv.report.tables` writes as Markdown, and what it
was made with. A page loads nothing from anywhere, so that it can be carried inside another."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from itertools import groupby

from boostnerv.evaluation.points import Point

_STYLE = """
body { font: 14px/1.5 sans-serif; margin: 2em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2em 0.8em; text-align: left; white-space: nowrap; }
th { border-bottom-color: #222; }
td.number, th.number { text-align: right; }
p { max-width: 60em; }
"""
_MADE_WITH = {
    "version": "boostnerv",
    "commit": "commit",
    "device": "trained or encoded on",
    "encoder_version": "classical codecs",
}


def html_page(markdown: str, points: Sequence[Point], title: str) -> str:
    """A page of the tables in `markdown` (headings of the second level, paragraphs and tables, as `write_tables` has
    them) and of the versions, commits and machines that `points` name."""
    blocks = "\n".join([*_blocks(markdown), *_made_with(points)])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{blocks}\n</body>\n</html>\n"
    )


def _blocks(markdown: str) -> Iterator[str]:
    for is_table, lines in groupby(markdown.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            yield _table([_cells(line) for line in lines])
            continue
        for line in filter(None, lines):
            heading = line.startswith("## ")
            yield f"<h2>{html.escape(line[3:])}</h2>" if heading else f"<p>{html.escape(line)}</p>"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a Markdown table: headings, alignments, then cells."""
    headings, alignments, *lines = rows
    numbers = [alignment.endswith(":") for alignment in alignments]
    parts = [_row("th", headings, numbers), *(_row("td", line, numbers) for line in lines)]
    return "<table>\n" + "\n".join(parts) + "\n</table>"


def _row(tag: str, cells: Sequence[str], numbers: Sequence[bool]) -> str:
    opening = [f'<{tag} class="number">' if number else f"<{tag}>" for number in numbers]
    shown = zip(opening, cells, strict=True)
    return "<tr>" + "".join(f"{begin}{html.escape(cell)}</{tag}>" for begin, cell in shown) + "</tr>"


def _made_with(points: Sequence[Point]) -> Iterator[str]:
    yield "<h2>Made with</h2>"
    rows = [["what", "of these points"], ["---", "---"]]
    for column, name in _MADE_WITH.items():
        found = sorted({str(point[column]) for point in points if point[column]})
        rows += [[name, value] for value in found]
    yield _table(rows)
