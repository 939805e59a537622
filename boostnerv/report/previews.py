"""Which of an experiment's small videos a page carries, so that it stays small enough to be sent."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boostnerv.evaluation.points import Point
from boostnerv.report.runs import apart

SOURCE = "source"


@dataclass(frozen=True)
class Preview:
    """A small video on disk: the source (`kind` is ``source``), or what a model or an anchor made of it.

    `size` is what is compared to find a match: bytes of the file, parameters where nothing was coded; None of a source.
    """

    video: str
    name: str
    kind: str
    size: float | None
    path: Path

    @property
    def embedded_bytes(self) -> int:
        """Characters of its base64."""
        return 4 * -(-self.path.stat().st_size // 3)

    def text(self) -> str:
        """Its base64."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


def preview_path(folder: Path, video: str, name: str) -> Path:
    """Where the preview of a run, an anchor or the source of `video` lies below the results of an experiment."""
    return folder / "previews" / video / f"{name}.mp4"


def found_previews(points: Sequence[Point], folder: Path) -> list[Preview]:
    """The previews that are there, of the sources and of `points`."""
    shown = [point for point in points if point["kind"] != "part"]
    videos = dict.fromkeys(str(point["video"]) for point in shown)
    wanted = [Preview(video, SOURCE, SOURCE, None, preview_path(folder, video, SOURCE)) for video in videos]
    for point in shown:
        video, name, size = str(point["video"]), str(point["run"]), point["file_bytes"] or point["params_total"]
        path = preview_path(folder, video, name)
        wanted.append(Preview(video, name, str(point["kind"]), float(size) if size else None, path))
    return [preview for preview in wanted if preview.path.is_file()]


def choose(previews: Sequence[Preview], budget_bytes: int) -> tuple[list[Preview], list[Preview]]:
    """Those that fit into `budget_bytes`, and the others; both in their order.

    Videos take turns. Of each the source comes first, then what has a near match in size of the other kind.
    """
    by_video: dict[str, list[Preview]] = {}
    for preview in previews:
        by_video.setdefault(preview.video, []).append(preview)
    ranked = [sorted(group, key=lambda preview: _distance(preview, group)) for group in by_video.values()]
    kept, left_bytes = set(), budget_bytes
    for preview in _in_turns(ranked):
        if preview.embedded_bytes <= left_bytes:
            kept.add(preview)
            left_bytes -= preview.embedded_bytes
    return [each for each in previews if each in kept], [each for each in previews if each not in kept]


def nearest(preview: Preview, others: Sequence[Preview]) -> Preview | None:
    """Of `others` the one of the other kind, model or anchor, whose size is nearest in proportion; None without one."""
    return min(
        (other for other in others if math.isfinite(_apart(preview, other))),
        key=lambda other: _apart(preview, other),
        default=None,
    )


def _distance(preview: Preview, group: Sequence[Preview]) -> float:
    if preview.kind == SOURCE:
        return -1.0
    return min((_apart(preview, other) for other in group), default=math.inf)


def _apart(one: Preview, other: Preview) -> float:
    """How far two sizes are from each other, infinite where they do not make a pair of a model and an anchor."""
    if {one.kind, other.kind} != {"model", "anchor"} or not one.size or not other.size:
        return math.inf
    return apart(one.size, other.size)


def _in_turns(ranked: Sequence[Sequence[Preview]]) -> Iterator[Preview]:
    for places in itertools.zip_longest(*ranked):
        yield from filter(None, places)
