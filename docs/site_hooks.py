"""Hooks of MkDocs: pages that are not in `docs/` become part of the site, and links to files outside it stay text.

README.md is the site's front page, and the reference of the command line is generated from the command itself.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "reference/experiment-keys.md",
    "bench/README.md": "benchmarks.md",
}
"""Pages elsewhere in the repository, and their places in the site."""
COMMAND_LINE = "reference/command-line.md"

_REPOSITORY_PATHS = {site_path: path for path, site_path in PAGES.items()}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_GRAPH = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs/`."""
    from mkdocs.structure.files import File

    for path, site_path in PAGES.items():
        files.append(File.generated(config, site_path, content=(ROOT / path).read_text(encoding="utf-8")))
    files.append(File.generated(config, COMMAND_LINE, content=command_line_page()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links between the repository's files to the site's pages."""
    # A browser would load what draws Mermaid from another host; the picture of the same graph is part of the site.
    markdown = _GRAPH.sub("![The rules of the demo](images/rulegraph.svg)", markdown)
    return with_site_links(markdown, page.file.src_uri)


def with_site_links(markdown: str, site_path: str) -> str:
    """Return a page whose relative links lead to pages of the site; links to other files become their text.

    `site_path` is the page's path in the site, e.g. ``index.md``. A link that leads nowhere stays as it is, so that
    MkDocs reports it.
    """
    repository_path = _REPOSITORY_PATHS.get(site_path, f"docs/{site_path}")

    def site_link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(repository_path), target))
        if path in PAGES or path.startswith("docs/"):
            destination = PAGES.get(path, path.removeprefix("docs/"))
            return f"[{text}]({posixpath.relpath(destination, posixpath.dirname(site_path) or '.')}{anchor})"
        return text if (ROOT / path).exists() else match[0]

    return _LINK.sub(site_link, markdown)


def command_line_page() -> str:
    """The reference of the command line, a section for each verb under the headings of ``boostnerv --help``."""
    import typer
    from typer.cli import get_docs_for_click

    from boostnerv.cli import app

    group: Any = typer.main.get_command(app)
    context: Any = typer.Context(group, info_name="boostnerv")
    sections: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        verb = typer.Context(command, info_name=name, parent=context)
        text = get_docs_for_click(obj=command, ctx=verb, indent=2, name=name, call_prefix="boostnerv")
        sections.setdefault(command.rich_help_panel, []).append(text)
    lines = ["# Command line", group.help, "Generated from the command's own help: `boostnerv VERB --help`."]
    for heading, verbs in sections.items():
        lines += [f"## {heading}", *verbs]
    return "\n\n".join(lines) + "\n"
