"""Choosing the previews that a page embeds, so that it stays small enough to be sent."""

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
    """A small video on disk: of the source (`kind` is ``source``), or of the frames of a model or an anchor.

    `size` is used for matching: bytes of the file, or parameters if nothing was coded; None for a source.
    """

    video: str
    name: str
    kind: str
    size: float | None
    path: Path

    @property
    def embedded_bytes(self) -> int:
        """Length of its base64 text."""
        return 4 * -(-self.path.stat().st_size // 3)

    def text(self) -> str:
        """The video as base64."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


def preview_path(folder: Path, video: str, name: str) -> Path:
    """Path of the preview of a run, an anchor or the source of `video`, in the results `folder` of an experiment."""
    return folder / "previews" / video / f"{name}.mp4"


def found_previews(points: Sequence[Point], folder: Path) -> list[Preview]:
    """The existing previews of the sources and of `points`."""
    runs = [point for point in points if point["kind"] != "part"]
    videos = dict.fromkeys(str(point["video"]) for point in runs)
    candidates = [Preview(video, SOURCE, SOURCE, None, preview_path(folder, video, SOURCE)) for video in videos]
    for point in runs:
        video, name, size = str(point["video"]), str(point["run"]), point["file_bytes"] or point["params_total"]
        path = preview_path(folder, video, name)
        candidates.append(Preview(video, name, str(point["kind"]), float(size) if size else None, path))
    return [preview for preview in candidates if preview.path.is_file()]


def choose(previews: Sequence[Preview], budget_bytes: int) -> tuple[list[Preview], list[Preview]]:
    """Split `previews` into those that fit into `budget_bytes` and the others, keeping their order.

    Videos take turns. For each the source comes first, then the previews with the nearest match in size among models
    and anchors.
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
    left_out = [preview for preview in previews if preview not in kept]
    return [preview for preview in previews if preview in kept], left_out


def nearest(preview: Preview, others: Sequence[Preview]) -> Preview | None:
    """Among `others`, the anchor for a model, or model for an anchor, with the nearest size by ratio, if any."""
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
    """Distance of the sizes of a model and an anchor; infinite for any other pair."""
    if {one.kind, other.kind} != {"model", "anchor"} or not one.size or not other.size:
        return math.inf
    return apart(one.size, other.size)


def _in_turns(ranked: Sequence[Sequence[Preview]]) -> Iterator[Preview]:
    for places in itertools.zip_longest(*ranked):
        yield from filter(None, places)
