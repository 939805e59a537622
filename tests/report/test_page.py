from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from boostnerv import steps
from boostnerv.evaluation.points import write_points
from boostnerv.report.page import html_page
from boostnerv.report.tables import write_tables
from tests.report.results import anchor_points, model_points


class Page(HTMLParser):
    """Headings, paragraphs and cells of a page; a tag that is not closed in its turn is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.texts.setdefault(tag, []).append(data)
        if tag in ("td", "th"):
            self.rows[-1][-1] += data


def markdown(path: Path) -> str:
    write_tables([*model_points("a"), *model_points("b"), *anchor_points("a")], path / "t.md", path / "t.csv")
    return (path / "t.md").read_text(encoding="utf-8")


def test_a_page_has_what_the_table_has(tmp_path: Path) -> None:
    text = markdown(tmp_path)
    page = Page(html_page(text, [], "demo"))
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert page.rows[:-1] == [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert page.texts["h2"] == ["a", "b", "mean of 2 videos", "Made with"]
    assert page.texts["h1"] == page.texts["title"] == ["demo"]
    assert sum("16 frames of 180×320" in text for text in page.texts["p"]) == 2


def test_numbers_stand_at_the_right(tmp_path: Path) -> None:
    text = html_page(markdown(tmp_path), [], "demo")
    assert "<td>hnerv-boost</td><td>0.08M</td>" in text
    assert '<td class="number">33,120</td>' in text


def test_it_says_what_points_were_made_with_and_loads_nothing(tmp_path: Path) -> None:
    points = [
        point | {"version": "0.1.0", "commit": commit, "device": "a <fast> GPU", "encoder_version": None}
        for point, commit in zip(model_points(), ("one", "two", "two", "one", None), strict=True)
    ]
    text = html_page("", points, "a & b")
    page = Page(text)
    assert page.rows[1:] == [
        ["boostnerv", "0.1.0"],
        ["commit", "one"],
        ["commit", "two"],
        ["trained or encoded on", "a <fast> GPU"],
    ]
    assert page.texts["h1"] == ["a & b"]
    assert page.attributes == {"lang", "charset"}
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img", text)


def test_the_step_writes_it_where_it_is_wanted(tmp_path: Path) -> None:
    write_points(model_points(), tmp_path / "points.csv")
    names = [tmp_path / f"t.{suffix}" for suffix in ("md", "csv", "html")]
    steps.tabulate(tmp_path / "points.csv", *names[:2])
    assert not names[2].exists()
    steps.tabulate(tmp_path / "points.csv", *names)
    assert Page(names[2].read_text(encoding="utf-8")).texts["h1"] == ["demo"]
