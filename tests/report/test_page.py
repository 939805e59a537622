from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from boostnerv import steps
from boostnerv.config import Experiment
from boostnerv.errors import UserError
from boostnerv.evaluation.points import Point, write_points
from boostnerv.report.page import page_html
from tests.report.pages import write_log, write_results
from tests.report.results import anchor_points, model_points, trained_points
from tests.report.test_bd_table import whole_uvg

VOID = ("meta", "input", "br")
HOSTILE = "<script>alert(1)</script>\"&'</style>"


class Page(HTMLParser):
    """A page's texts, ids and attributes; a tag that is not closed in its turn is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.sorted_by: dict[str, list[list[str | None]]] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: dict[str, int] = {}
        self.scripts: dict[str, str] = {}
        self._script, self._table = "", ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if tag == "a" else []
        loading = ("src", "srcset", "data", "poster", "action", *(("href",) if tag != "a" else ()))
        self.loads += [value or "" for name, value in attrs if name in loading]
        if tag == "script":
            self._script = named.get("id") or ""
        if tag == "table":
            self._table = named.get("id") or ""
            self.tables.setdefault(self._table, [])
            self.sorted_by.setdefault(self._table, [])
        if tag == "tr":
            self.tables[self._table].append([])
            self.sorted_by[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")
            self.sorted_by[self._table][-1].append(named.get("data-key"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        if tag == "script":
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
            return
        self.texts.setdefault(tag, []).append(data)
        if {"td", "th"} & set(self.open):
            self.tables[self._table][-1][-1] += data.strip()

    @property
    def data(self) -> dict:
        return json.loads(self.scripts["data"])


def page(points: list[Point], folder: Path, experiment: Experiment | None = None) -> Page:
    return Page(page_html(points, folder, experiment))


def test_one_file_has_tables_curves_videos_and_runs(tmp_path: Path) -> None:
    points = [*model_points(), *anchor_points()]
    write_results(points, tmp_path)
    found = page(points, tmp_path)
    assert len(found.tables["table-quality"]) == 1 + len(points)
    assert found.tables["table-quality"][1][:4] == ["hnerv-boost-0.08M", "hnerv-boost", "0.08M", "33,120"]
    assert found.sorted_by["table-quality"][1][3] == "33120"
    curves = found.data["quality"][0]["curves"]
    assert [(curve["name"], len(curve["points"])) for curve in curves] == [
        ("hnerv-boost", 4), ("nerv-boost", 1), ("x264", 4), ("x265", 4)
    ]  # fmt: skip
    assert [len(each["loss"]) for each in found.data["training"]] == [30] * 5
    assert len([name for name in found.scripts if name.startswith("video-")]) == 1 + len(points)
    assert all(f"run-bunny-{point['run']}" in found.ids for point in points)
    (log,) = {text for text in found.texts["pre"] if "of <the> log" in text}
    assert [log.splitlines()[index] for index in (0, 9, 10, 11, -1)] == [
        *("line 0 of <the> log", "line 9 of <the> log", "… 50 lines …", "line 60 of <the> log", "line 99 of <the> log")
    ]


def test_columns_stand_where_they_tell_points_apart(tmp_path: Path) -> None:
    points = [*model_points(), *anchor_points()]
    write_results(points, tmp_path)
    usual = [point | {"device": "one", "decode_device": "one", "returns": 0} for point in points]
    for changes, column in (
        ({"device": "other"}, "device"),
        ({"decode_device": "other"}, "decoded on"),
        ({"returns": 2}, "returns"),
    ):
        shown = page([usual[0] | changes, *usual[1:]], tmp_path).tables["table-cost"][0]
        assert column in shown
        assert column not in page(usual, tmp_path).tables["table-cost"][0]


def test_it_loads_nothing_and_its_links_lead_into_it(tmp_path: Path) -> None:
    points = [*model_points(), *anchor_points()]
    write_results(points, tmp_path)
    text = page_html(points, tmp_path, None)
    found = Page(text)
    assert found.loads == []
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none';")
    assert not re.search(r"https?:|\*", policy[1])
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # plotly's text names addresses
    assert not re.search(r"https?://|url\(|@import|<link|<img|<iframe", own)


def test_the_videos_are_those_on_disk(tmp_path: Path) -> None:
    points = model_points()[:1]
    write_results(points, tmp_path)
    found = page(points, tmp_path)
    head, data = found.scripts["video-1"].split(",")
    assert head == "data:video/mp4;base64"
    assert base64.b64decode(data) == (tmp_path / "previews/bunny/hnerv-boost-0.08M.mp4").read_bytes()
    (player,) = found.data["players"]
    assert (player["left"], player["right"]) == ("source", "hnerv-boost-0.08M")


def test_the_first_pair_is_the_best_model_and_what_is_nearest_in_size(tmp_path: Path) -> None:
    points = [*model_points()[:3], *anchor_points()]
    write_results(points, tmp_path)
    (player,) = page(points, tmp_path).data["players"]
    assert (player["left"], player["right"]) == ("hnerv-boost-0.18M", "x265-q18")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    points = [
        point | {"experiment": HOSTILE, "codec": HOSTILE, "device": HOSTILE, "command": HOSTILE}
        for point in [*model_points(), *anchor_points()]
    ]
    write_results(points, tmp_path, previews=False)
    found = page(points, tmp_path)
    assert found.tags["script"] == 3
    assert found.texts["h1"] == [HOSTILE]
    assert found.tables["table-quality"][1][1] == HOSTILE
    assert found.data["quality"][0]["curves"][0]["name"].startswith(HOSTILE)


@pytest.mark.parametrize(
    "points",
    [model_points()[:1], anchor_points(), trained_points(), [*model_points("a"), *model_points("b")]],
    ids=["one run", "anchors only", "nothing coded", "two videos"],
)
@pytest.mark.parametrize("previews", [True, False])
def test_it_is_made_of_whatever_there_is(points: list[Point], previews: bool, tmp_path: Path) -> None:
    if previews:
        write_results(points, tmp_path)
    found = page(points, tmp_path)
    assert ("players" in found.ids) == previews
    assert len(found.tables["table-quality"]) == 1 + len(points)
    assert ("video-choice" in found.ids) == (len({point["video"] for point in points}) > 1)


def test_nothing_coded_stands_over_parameters(tmp_path: Path) -> None:
    found = page(trained_points(), tmp_path)
    assert found.data["quality"][0]["x"] == "parameters (millions)"
    assert any("Nothing was coded" in text for text in found.texts["p"])
    assert "file (bytes)" not in found.tables["table-quality"][0]


def test_parts_are_a_table_of_their_own(tmp_path: Path) -> None:
    points = [model_points()[0], *(model_points(name)[0] | {"kind": "part"} for name in "abc")]
    found = page(points, tmp_path)
    assert [row[0] for row in found.tables["table-each"]] == ["video", "a", "b", "c"]
    assert len(found.tables["table-quality"]) == 2
    assert found.data["players"] == []


def test_bd_rates_have_a_number_or_the_reason_why_there_is_none(tmp_path: Path) -> None:
    found = page([*model_points(), *anchor_points()], tmp_path)
    rows = {tuple(row[:3]): row for row in found.tables["table-bd-rate"]}
    none = "The qualities do not overlap."
    assert rows[("hnerv-boost", "x265", "PSNR (dB)")][3:7] == [none, "–", "–", "0"]
    against_x264 = [float(value) for value in rows[("x265", "x264", "PSNR (dB)")][3:]]
    assert all(value < 0 for value in against_x264[:3])
    assert all(value > 0 for value in against_x264[4:7])
    assert "table-published" not in found.tables
    several = page([*model_points("a"), *anchor_points("a"), *model_points("b"), *anchor_points("b")], tmp_path)
    assert {row[0] for row in several.tables["table-bd-rate"]} == {"video", "a", "b", "mean of 2 videos"}


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    points = trained_points(video="Jockey", dataset="uvg")
    found = page(points, tmp_path)
    assert [row[:7] for row in found.tables["table-published"][1:]] == [
        ["hnerv-boost-3M", "3.05", "PSNR (dB)", "34.29", "33.77", "-0.52", "outside"],
        ["hnerv-boost-5M", "5.01", "PSNR (dB)", "35.84", "34.32", "-1.52", "outside"],
    ]
    assert page_html(points, tmp_path, None).count('<tr data-video="Jockey" class="outside">') == 2
    assert "table-bd-rate" not in found.tables


def test_published_curves_and_bd_rates_stand_beside_those_of_whole_videos(tmp_path: Path) -> None:
    found = page(whole_uvg(), tmp_path)
    assert [group["video"] for group in found.data["quality"]][-1] == "mean of 7 videos"
    for group in found.data["quality"]:
        by_kind = {curve["name"]: curve for curve in group["curves"] if curve["kind"] == "published"}
        assert {"HiNeRV (published)", "HNeRV (published)"} <= set(by_kind)
        assert "HiNeRV" in by_kind["HiNeRV (published)"]["source"]
    rows = found.tables["table-published-bd-rate"]
    assert ["NVRC", "x265 veryslow", "RGB PSNR", "-73.74", "–", "–", "NVRC (NeurIPS 2024) table 1"] in rows


def test_points_of_a_curve_name_their_run(tmp_path: Path) -> None:
    points = [*model_points(seed=1, suffix="-s1"), *model_points(seed=2, suffix="-s2"), *anchor_points()]
    curves = page(points, tmp_path).data["quality"][0]["curves"]
    assert [each["run"] for each in curves[0]["points"]][:2] == ["hnerv-boost-0.08M", "hnerv-boost-0.12M"]
    assert curves[-1]["points"][0]["run"] == "x265-q33"


def test_rows_link_only_to_details_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boostnerv.report.page.MOST_DETAILS", 3)
    points = [*model_points(), *anchor_points()]
    found = page(points, tmp_path)
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert sum(link.startswith("#run-") for link in found.links) == 2 * 3
    assert any("10 more runs stand in points.csv" in text for text in found.texts["p"])


def test_a_run_of_another_training_shows_its_log(tmp_path: Path) -> None:
    model = {"name": "hnerv", "total_m": [0.08], "post_training": {}}
    settings = {"name": "demo", "own_videos": [{"path": "x.mp4"}], "models": [model]}
    base = model_points()[0] | {"codec": "hnerv-post-training", "run": "hnerv-0.08M-post-training"}
    write_log(tmp_path / "bunny/hnerv-0.08M")
    found = page([base], tmp_path, Experiment.model_validate(settings))
    assert "train.jsonl of hnerv-0.08M" in found.texts["summary"]
    assert any('"epoch": 30' in text for text in found.texts["pre"])


def test_anchors_have_settings(tmp_path: Path) -> None:
    point = anchor_points()[0] | {"preset": "veryslow", "pixel_format": "yuv444p", "threads": 2, "command": "ffmpeg -i"}
    found = page([point], tmp_path)
    assert {"settings of encoding", "command"} <= set(found.texts["summary"])
    settings = next(json.loads(text) for text in found.texts["pre"] if text.startswith("{"))
    assert (settings["preset"], settings["pixel_format"], settings["threads"]) == ("veryslow", "yuv444p", 2)


def test_the_experiment_gives_its_title_and_settings(tmp_path: Path) -> None:
    model = {"name": "hnerv-boost", "total_m": [0.08]}
    settings = {"name": "demo", "title": "Mine & yours", "own_videos": [{"path": "x.mp4"}], "models": [model]}
    found = page(model_points()[:1], tmp_path, Experiment.model_validate(settings))
    assert found.texts["h1"] == ["Mine & yours"]
    assert any('"total_m": 0.08' in text for text in found.texts["pre"])


def test_videos_get_what_everything_else_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [*model_points(), *anchor_points()]
    write_results(points, tmp_path)
    least, most = len(page_html(points, tmp_path / "nowhere", None)), len(page_html(points, tmp_path, None))
    limit = (least + most) // 2 + 5_000
    monkeypatch.setattr("boostnerv.report.page.MOST_BYTES", limit)
    text = page_html(points, tmp_path, None)
    assert least < len(text.encode()) <= limit
    monkeypatch.setattr("boostnerv.report.page.MOST_BYTES", least)
    assert Page(page_html(points, tmp_path, None)).data["players"] == []


def test_what_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [*model_points()[:1], *anchor_points()]
    write_results(points, tmp_path)
    large = tmp_path / "previews/bunny/x264-q23.mp4"
    large.write_bytes(large.read_bytes() + bytes(20_000_000))
    text = page_html(points, tmp_path, None)
    assert len(text) < 30_000_000
    found = Page(text)
    assert "x264-q23" not in [choice["name"] for choice in found.data["players"][0]["choices"]]
    assert any("did not fit" in note and "x264-q23" in note for note in found.texts["p"])


def test_the_step_writes_it(tmp_path: Path) -> None:
    points = [*model_points(), *anchor_points()]
    write_points(points, tmp_path / "points.csv")
    size_bytes = steps.page(tmp_path / "points.csv", tmp_path, None, tmp_path / "report/index.html")
    assert (tmp_path / "report/index.html").stat().st_size == size_bytes
    with pytest.raises(UserError, match="no points"):
        page_html([], tmp_path, None)
