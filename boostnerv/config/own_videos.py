"""Videos that an experiment names by their paths."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import (
    Field,
)

from boostnerv.config.base import Closed, Slug
from boostnerv.config.sources import PathSource, RawVideo, VideoSpec

# Of an own video: names of files have a preparation and an ending besides, and no more than 255 bytes.
_LONGEST_NAME = 128

_LONGEST_STEM = 120


class OwnVideo(Closed):
    """A video of yours, named in the experiment itself."""

    path: str = Field(min_length=1, description="Video file or folder of images.")
    name: Slug | None = Field(default=None, description="Name in paths and tables; else made from the file name.")
    raw: RawVideo | None = Field(default=None, description="Layout, for a headerless file, e.g. .yuv.")


def own_video(video: OwnVideo) -> VideoSpec:
    """A video by its path as one of a data set, under its name or one made from the path."""
    # The path's hash keeps two files of one name apart.
    stem = re.sub(r"[^a-z0-9._-]+", "-", Path(video.path).stem.lower()).strip("-._")[:_LONGEST_STEM] or "video"
    name = video.name or f"{stem}-{hashlib.sha256(video.path.encode()).hexdigest()[:6]}"
    return VideoSpec(name=name, source=PathSource(path=video.path, raw=video.raw))


def check_own_videos(videos: Sequence[OwnVideo]) -> None:
    """Raise `ValueError` for two of one name, for one path twice unless each has a name of its own, and for a name that
    is too long for the files that are called after it."""
    for video in videos:
        if video.name is not None and len(video.name) > _LONGEST_NAME:
            raise ValueError(f"the name '{video.name}' is longer than {_LONGEST_NAME} characters; choose a shorter one")
    paths = Counter(os.path.abspath(os.path.expanduser(video.path)) for video in videos)
    for video in videos:
        if video.name is None and paths[os.path.abspath(os.path.expanduser(video.path))] > 1:
            raise ValueError(f"own video '{video.path}' stands twice; remove one, or give each a name")
    names = Counter(own_video(video).name for video in videos)
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"the name '{name}' is that of {count} own videos; give each a name of its own")
