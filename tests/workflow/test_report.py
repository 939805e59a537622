"""Snakemake's report of a finished experiment is complete, loads nothing, and says what it shows."""

from __future__ import annotations

import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docutils.core
import pytest
from jinja2 import Environment, StrictUndefined

from tests.workflow.test_dag import ROOT, experiment, make_clip, snakemake

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("report")

RESULTS = Path("results/tiny")
CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))


class Tags(HTMLParser):
    """What a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


class Report:
    """The data that a report carries, by its name."""

    def __init__(self, path: Path, said: str) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.said = said

    def __getitem__(self, name: str) -> Any:
        found = re.search(rf'<script id="{name}">\s*var \w+ = (.*?);\s*</script>', self.text, re.DOTALL)
        assert found, name
        return json.loads(found[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_clip(folder)
    anchors = [{"codec": "x264", "qualities": [30, 40]}]
    experiment(folder, title="Noise & <more>, 8 frames", training={"epochs": 1, "loss": {"l1": 1.0}}, anchors=anchors)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    done = snakemake(folder, "--report", "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    return Report(folder / "report.html", done.stdout + done.stderr)


def test_every_table_and_figure_is_in_it(folder: Path, report: Report) -> None:
    figures = {str(path.relative_to(folder)) for path in (folder / RESULTS / "figures").glob("*.svg")}
    points = [
        str(RESULTS / name)
        for name in (
            "tables/bd-rate.csv",
            "report/index.html",
            "points.csv",
            "tables/points.csv",
            "tables/published.csv",
        )
    ]
    assert set(report["results"]) == figures | set(points)
    assert report["categories"] == {
        "Points": {"Other": points},
        "Figures": {
            "clip": [
                str(RESULTS / f"figures/{part}-clip.svg")
                for part in ("bits", "crops", "frames", "ms-ssim", "psnr", "size", "time")
            ],
            "trainings": [str(RESULTS / f"figures/{name}.svg") for name in ("training-time", "training")],
        },
    }


def test_it_carries_the_files_themselves(folder: Path, report: Report) -> None:
    for path, result in report["results"].items():
        head, data = result["data_uri"].split(";base64,")
        assert base64.b64decode(data) == (folder / path).read_bytes()
        assert head.startswith({".svg": "data:image/svg+xml", ".csv": "data:text/csv", ".html": "data:text/html"}[
            Path(path).suffix
        ])  # fmt: skip


def test_every_result_has_a_caption_and_labels(report: Report) -> None:
    for path, result in report["results"].items():
        assert "tiny" in result["caption"], path
        assert "system-message" not in result["caption"], path
        assert result["labels"], path
    points, training = (
        " ".join(report["results"][str(RESULTS / name)]["caption"].split())
        for name in ("points.csv", "figures/training.svg")
    )
    assert "1 run of models and 2 files of classical codecs" in points
    assert "PSNR and loss of 1 training of" in training
    labels = {tuple(sorted(result["labels"].items())) for result in report["results"].values()}
    assert len(labels) == len(report["results"])


def test_it_opens_with_the_experiment(report: Report) -> None:
    assert "Noise &amp; &lt;more&gt;, 8 frames</h1>" in report["workflow-desc"]
    assert "own_videos" in report["workflow-desc"]
    assert "system-message" not in report["workflow-desc"]


def test_every_rule_has_its_command_and_provenance(report: Report) -> None:
    assert "Missing metadata" not in report.said
    assert "too old Snakemake" not in report.said
    rules = report["rules"]
    assert set(rules) == {
        "extract_frames", "train", "finetune", "encode", "decode", "evaluate", "encode_anchor", "collect", "tabulate",
        "plot", "plot_runs", "preview_source", "page",
    }  # fmt: skip
    assert {name for name, rule in rules.items() if rule["n_jobs"] != 1} == {"encode_anchor"}
    for name, rule in rules.items():
        assert f"boostnerv {name.replace('_', '-')} " in html.unescape(re.sub(r"<[^>]+>", "", rule["code"])), name
    assert len(report["timeline"]["data"]["values"]) == sum(rule["n_jobs"] for rule in rules.values())
    assert report["packages"]["snakemake"]["version"]


def test_it_loads_nothing(folder: Path, report: Report) -> None:
    for text in (report.text, (folder / RESULTS / "report/index.html").read_text()):
        tags = Tags()
        tags.feed(text)
        assert [source for source in tags.sources if not source.startswith(("data:", "#"))] == []


def test_a_report_makes_nothing_again(folder: Path, report: Report) -> None:
    done = snakemake(folder, "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize("path", CAPTIONS, ids=[path.stem for path in CAPTIONS])
@pytest.mark.parametrize("config", [{}, {"name": "mine", "title": "of *mine*, `so`"}], ids=["no file", "file"])
def test_captions_are_sound_whatever_the_experiment(path: Path, config: dict[str, str]) -> None:
    """Without --configfile the configuration is empty, and the experiment is the demo."""
    job = {"runs": ["a"], "anchors": [], "logs": ["a"], "points": "points.csv"}
    text = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined).from_string(path.read_text())
    known = SimpleNamespace(
        config=config,
        input=SimpleNamespace(**job),
        output=SimpleNamespace(page="index.html"),
        wildcards=SimpleNamespace(video="clip"),
    )
    rst = text.render(snakemake=known, categories={}, files=[])
    body = docutils.core.publish_parts(rst, writer="html", settings_overrides={"halt_level": 2})["html_body"]
    assert config.get("name", "demo") in body
