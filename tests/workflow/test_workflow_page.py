"""docs/workflow.md says what the rules are and do, and its pictures are those of the demo."""

from __future__ import annotations

import html
import re
from functools import cache

import pytest

from tests.workflow.forked import run_snakemake
from tests.workflow.test_dag import ROOT
from workflow import graphs

graph_once = cache(graphs.graph)
PAGE = graphs.PAGE.read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| `([\w-]+)` \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
RULES = dict(
    re.findall(
        r"^rule (\w+):\n(.*?)(?=^\S|\Z)",
        "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk"))),
        re.MULTILINE | re.DOTALL,
    )
)


def test_every_rule_is_in_the_table_and_no_other() -> None:
    listed = run_snakemake(
        ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT), "--list-rules"]
    ).stdout.split()
    assert sorted(name for name, *_ in ROWS) == sorted(set(listed) - {"all"}) == sorted(RULES)


@pytest.mark.parametrize(("name", "verb", "_does", "makes"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_has_the_verb_and_the_files_of_its_rule(name: str, verb: str, _does: str, makes: str) -> None:
    """A file of the row is named by the rule, or by what it is called where common.smk names it."""
    assert f'"boostnerv {verb} ' in RULES[name]
    output = RULES[name].split("    output:\n")[1].split("    log:\n")[0]
    if name == "plot":
        assert "PLAN.figures" in output
        assert set(files_of_the_row(makes)) == {"figures/PART-VIDEO.svg", ".png", "training.svg"}
        return
    if name == "plot_runs":
        assert "run_figure_files" in output
        return
    for file in files_of_the_row(makes):
        ending = re.sub(r".*(/|…)", "", file) or file.removeprefix("data/")
        assert ending.removeprefix("ANCHOR") in output, (file, output)


def files_of_the_row(makes: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"`([^`]+)`", makes)))


def test_the_chart_is_what_snakemake_prints_for_the_demo() -> None:
    assert graphs.page_block() == graphs.mermaid(), "run: make docs-graphs"


def test_equal_plans_are_drawn_alike() -> None:
    first, second = graph_once("rulegraph", "dot"), graphs.graph("rulegraph", "dot")
    assert first == second
    assert first.startswith("digraph")
    assert first.endswith("\n}\n")
    assert first.count("->") == graphs.page_block().count("-->")


@pytest.mark.parametrize("kind", list(graphs.IMAGES))
def test_pictures_show_what_is_planned(kind: str) -> None:
    """Positions are graphviz's own and differ with its version; what stands in boxes does not."""
    if not graphs.IMAGES[kind].exists():
        pytest.skip("make docs-graphs draws it where graphviz is installed")
    svg = graphs.IMAGES[kind].read_text(encoding="utf-8")
    dot = graph_once(kind, "dot")
    labels = [line for label in re.findall(r'label = "(.*?)"', dot) for line in label.split("\\n")]
    shown = [html.unescape(text) for text in re.findall(r"<text [^>]*>(.*?)</text>", svg)]
    assert sorted(shown) == sorted(labels)
    assert svg.count('class="edge"') == dot.count("->")


def test_links_inside_the_page_lead_somewhere() -> None:
    missing = {
        target for target in re.findall(r"\]\((?!https)([^)#]+)\)", PAGE) if not (ROOT / "docs" / target).exists()
    }
    assert missing <= {"images/rulegraph.svg", "images/dag.svg"}
