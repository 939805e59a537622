"""Progress of long steps on stderr: a bar in a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

_LINE_EVERY_S = 10.0


class Progress(Protocol):
    """Called with the number of completed units and, optionally, a note to display."""

    def __call__(self, done: int, note: str = "") -> None: ...


def silent(done: int, note: str = "") -> None:
    """A `Progress` that displays nothing."""


@contextlib.contextmanager
def track(title: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` that displays `title` and up to `total` units (None if unknown)."""
    if sys.stderr.isatty():
        with _bar(title, total, unit) as progress:
            yield progress
    else:
        yield _Lines(title, total, unit)


@contextlib.contextmanager
def _bar(title: str, total: int | None, unit: str) -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn(unit),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(title, total=total, note="")

        def update(done: int, note: str = "") -> None:
            if note:
                display.update(task, completed=done, note=note)
            else:
                display.update(task, completed=done)

        yield update


class _Lines:
    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._started = self._last = time.monotonic()
        self._first: int | None = None
        self._note = ""

    def __call__(self, done: int, note: str = "") -> None:
        self._note = note or self._note
        now = time.monotonic()
        if self._first is None:
            self._first = done
            if note:
                _print_line(f"{self._title}: {note} at {done} of {self._total} {self._unit}")
        if now - self._last < _LINE_EVERY_S and done != self._total:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        total = f"/{self._total}" if self._total is not None else ""
        remaining = f", {(self._total - done) / rate:.0f} s left" if self._total is not None and rate > 0 else ""
        note = f" · {self._note}" if self._note else ""
        _print_line(f"{self._title}: {done}{total} {self._unit}, {rate:.2f}/s{remaining}{note}")


def _print_line(line: str) -> None:
    # A vanished reader, such as `tee` after Ctrl-C, or a full disk must not end the work before it is saved.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
