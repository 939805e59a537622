"""The site of the documentation: every page is in its navigation, and every link leads somewhere."""

from __future__ import annotations

import importlib.util
import posixpath
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from boostnerv.cli import app

ROOT = Path(__file__).parents[1]
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def _hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = _hooks()
WRITTEN = {path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").rglob("*.md")}
PAGES = WRITTEN | {site_path: ROOT / path for path, site_path in HOOKS.PAGES.items()}


def entries(nav: Any) -> Iterator[str]:
    """Paths of all pages in a navigation of MkDocs."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(entry)


def test_the_navigation_names_every_page_once() -> None:
    assert sorted(entries(SETTINGS["nav"])) == sorted([*PAGES, HOOKS.COMMAND_LINE])


@pytest.mark.parametrize("site_path", sorted(PAGES))
def test_links_lead_to_files_of_the_site(site_path: str) -> None:
    text = HOOKS.with_site_links(PAGES[site_path].read_text(encoding="utf-8"), site_path)
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose):
        if not target.startswith("https://"):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(site_path), target))
            assert path in {*PAGES, HOOKS.COMMAND_LINE} or (ROOT / "docs" / path).is_file(), target


@pytest.mark.parametrize(
    ("markdown", "site_path", "expected"),
    [
        ("[data](docs/data.md#publish)", "index.md", "[data](data.md#publish)"),
        ("[keys](config/README.md)", "index.md", "[keys](reference/experiment-keys.md)"),
        ("[keys](../../config/README.md)", "tutorial/own-video.md", "[keys](../reference/experiment-keys.md)"),
        ("[the start](../README.md)", "design.md", "[the start](index.md)"),
        ("[profile](../slurm/config.yaml)", "cluster.md", "profile"),
        ("[paper](https://arxiv.org/abs/2402.18152)", "index.md", "[paper](https://arxiv.org/abs/2402.18152)"),
        ("![growth](images/growth.svg)", "performance.md", "![growth](images/growth.svg)"),
        ("[nowhere](../slurm/missing.yaml)", "cluster.md", "[nowhere](../slurm/missing.yaml)"),
        ("[nowhere](docs/missing.md)", "index.md", "[nowhere](missing.md)"),
    ],
)
def test_links_between_files_become_links_between_pages(markdown: str, site_path: str, expected: str) -> None:
    assert HOOKS.with_site_links(markdown, site_path) == expected


def test_the_command_line_page_has_every_verb_under_its_heading() -> None:
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", HOOKS.command_line_page(), re.MULTILINE | re.DOTALL))
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert f"### `boostnerv {name}`" in sections[command.rich_help_panel]


def commands(path: Path) -> Iterator[list[str]]:
    """Words of the commands of `boostnerv` and make in the shell blocks of a page."""
    for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in {"boostnerv", "make"}:
                yield words


@pytest.mark.parametrize("site_path", sorted(PAGES))
def test_commands_of_the_pages_exist(site_path: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    group: Any = typer.main.get_command(app)
    for words in commands(PAGES[site_path]):
        if words[0] == "make":
            assert words[1] in targets, words
            continue
        assert words[1] in group.commands, words
        options = {name for param in group.commands[words[1]].params for name in (*param.opts, *param.secondary_opts)}
        assert {word for word in words[2:] if re.match("--?[a-z]", word)} <= options, words


def test_modules_of_the_python_reference_exist() -> None:
    modules = [
        name
        for site_path, path in WRITTEN.items()
        if site_path.startswith("reference/python/")
        for name in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(modules) > 10
    for name in modules:
        assert importlib.util.find_spec(name) is not None, name


def test_the_caption_of_the_points_names_the_page_that_explains_them() -> None:
    caption = (ROOT / "workflow/report/points.rst").read_text(encoding="utf-8")
    (named,) = re.findall(r"``docs/(\S+\.md)``", caption)
    assert "psnr_of_mean_mse_db" in WRITTEN[named].read_text(encoding="utf-8")


def test_pages_load_nothing_from_other_hosts() -> None:
    assert SETTINGS["theme"]["font"] is False
    plugins = {name for entry in SETTINGS["plugins"] for name in ([entry] if isinstance(entry, str) else entry)}
    assert plugins == {"search", "mkdocstrings"}
    page = type("Page", (), {"file": type("File", (), {"src_uri": "workflow.md"})})
    assert "mermaid" not in HOOKS.on_page_markdown(WRITTEN["workflow.md"].read_text(encoding="utf-8"), page)
