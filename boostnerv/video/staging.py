"""Copying videos to a local disk, as training a multi-video model reads every video once per epoch.

Models of one video hold its frames in memory and need no copies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video.collections import open_collection
from boostnerv.video.frames import payload_path


def staged(collection: Path, scratch: str, progress: Progress = silent) -> Path:
    """Copy the videos of a collection to the folder `scratch` and return the path of the copied collection.

    Environment variables such as ``$TMPDIR`` are expanded. Existing copies are reused, and concurrent processes share
    one copy. If there is no room, a line on stderr says so and `collection` itself is returned. `progress` receives the
    number of copied videos. Raises `UserError` for a variable that is not set.
    """
    folder = Path(os.path.expandvars(scratch))
    if "$" in str(folder):
        raise UserError(f"scratch folder {scratch} names a variable that is not set here; correct cluster.scratch")
    source = open_collection(collection).manifest
    folder = folder / f"boostnerv-{source.pixels_sha256[:16]}"
    try:
        with _one_at_a_time(folder):
            for done, video in enumerate(source.videos, start=1):
                _copy(collection.parent / video.manifest, folder / f"{video.pixels_sha256}.json")
                progress(done)
            videos = [video.model_copy(update={"manifest": f"{video.pixels_sha256}.json"}) for video in source.videos]
            copied = source.model_copy(update={"videos": tuple(videos)})
            files.write_json(folder / collection.name, copied.model_dump(mode="json"))
    except UserError as error:
        print(f"frames are read where they are: {error}", file=sys.stderr)
        return collection
    return folder / collection.name


def _copy(manifest: Path, copy: Path) -> None:
    """Copy a frames file and then its manifest, unless they exist with the same size."""
    for source, target in ((payload_path(manifest), payload_path(copy)), (manifest, copy)):
        if target.exists() and target.stat().st_size == source.stat().st_size:
            continue
        with files.final(target) as temporary:
            shutil.copyfile(source, temporary)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    files.check_writable(folder / "lock")
    with open(folder / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
