"""The training set of a multi-video model: a small file that lists the videos' frames files, and its reader.

Legend: T frames of a video; frame size H, W and patch size h, w in pixels; P patches of a frame. As there may be
thousands of videos, their files are opened on demand, a bounded number at a time.
"""

from __future__ import annotations

import itertools
import math
import os
import resource
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from boostnerv import files
from boostnerv.config import Closed, Sha256, name_of_all, parse
from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video.frames import Frames, Manifest, Pixels, open_frames
from boostnerv.video.patches import merge
from boostnerv.video.videos import Colour, MemberVideo, Videos

MOST_OPEN_FILES = 256
_BLOCK_BYTES = 1 << 24
_DECIMALS = 4
_LEAST_DEVIATION = 10**-_DECIMALS


class CollectedVideo(Closed):
    """One video of a collection."""

    name: str = Field(description="Video of the data set.")
    frames: int = Field(gt=0, description="Number of frames T.")
    fps: float = Field(gt=0, description="Frames per second.")
    manifest: str = Field(description="Path of the manifest of its frames file, seen from the collection's folder.")
    pixels_sha256: Sha256 = Field(description="SHA-256 of the pixels of that file.")
    whole_sha256: Sha256 = Field(description="SHA-256 of the pixels of the whole frames.")


class Collection(Closed):
    """Videos of one size, split into one grid of patches. It identifies their pixels."""

    dataset: str = Field(description="Data set.")
    videos: tuple[CollectedVideo, ...] = Field(min_length=1, description="Videos in order.")
    height: int = Field(gt=0, description="Height H of whole frames in pixels.")
    width: int = Field(gt=0, description="Width W of whole frames in pixels.")
    rows: int = Field(gt=0, description="Patches below each other in a frame.")
    columns: int = Field(gt=0, description="Patches beside each other.")
    mean: Colour = Field(description="Mean of R, G and B in [0, 1].")
    std: Colour = Field(description="Standard deviation of R, G and B, the same.")
    computed: bool = Field(description="Whether mean and std are those of these pixels; else they were given.")
    colour: str = Field(default="ffmpeg-default", description="Profile by which the sources became RGB.")
    pixels_sha256: Sha256 = Field(description="SHA-256 of the videos' names and hashes.")

    # The properties that `Manifest` has for one video, here for all of them concatenated.
    timestamps_s: ClassVar[None] = None
    # Each video has a source of its own.
    source: ClassVar[None] = None
    source_sha256: ClassVar[None] = None
    preparation: ClassVar[None] = None

    @property
    def video(self) -> str:
        """Name of the whole collection: that of the data set, unless one of its videos has it."""
        return name_of_all(self.dataset, (video.name for video in self.videos))

    @property
    def frames(self) -> int:
        """Frames of all videos."""
        return sum(video.frames for video in self.videos)

    @property
    def fps(self) -> float:
        """Frames per second of the first video."""
        return self.videos[0].fps


# --- writing ----------------------------------------------------------------------------------------------


def gather(
    manifests: Sequence[Path],
    output: Path,
    statistics: tuple[Colour, Colour] | None = None,
    progress: Progress = silent,
) -> Collection:
    """Write the collection `output` (``.json``) of frames files in the given order.

    `statistics` are mean and standard deviation of R, G and B in [0, 1]; without them all pixels are read. `progress`
    receives the number of videos done. Raises `UserError` if the videos do not fit together.
    """
    output = Path(output)
    if output.absolute() in {Path(path).absolute() for path in manifests}:
        raise UserError(f"collection {output} is also the manifest of one of its videos; choose another name for it")
    described: list[Manifest] = []
    sums = _Sums()
    for done, path in enumerate(manifests, start=1):
        frames = open_frames(path)
        described.append(frames.manifest)
        _check_alike(described[0], frames.manifest)
        if statistics is None:
            sums.add(frames.pixels)
        progress(done)
    _check_names(described)
    mean, std = statistics or sums.statistics()
    folder = output.absolute().parent
    rows, columns = _grid(described[0])
    videos = tuple(_collected(each, path, folder) for each, path in zip(described, manifests, strict=True))
    collection = Collection(
        dataset=described[0].dataset,
        videos=videos,
        height=rows * described[0].height,
        width=columns * described[0].width,
        rows=rows,
        columns=columns,
        mean=mean,
        std=std,
        computed=statistics is None,
        colour=described[0].colour,
        pixels_sha256=files.sha256_of_value([[video.name, video.pixels_sha256] for video in videos]),
    )
    files.write_json(output, collection.model_dump(mode="json"))
    return collection


def _collected(manifest: Manifest, path: Path, folder: Path) -> CollectedVideo:
    grid = manifest.patches
    return CollectedVideo(
        name=manifest.video,
        frames=grid.frames if grid else manifest.frames,
        fps=manifest.fps,
        manifest=Path(os.path.relpath(Path(path).absolute(), folder)).as_posix(),
        pixels_sha256=manifest.pixels_sha256,
        whole_sha256=grid.whole_sha256 if grid else manifest.pixels_sha256,
    )


def _grid(manifest: Manifest) -> tuple[int, int]:
    """Rows and columns of patches."""
    return (manifest.patches.rows, manifest.patches.columns) if manifest.patches else (1, 1)


def _check_alike(first: Manifest, other: Manifest) -> None:
    """Raise `UserError` unless one model can represent both videos."""
    sizes = [(rows * each.height, columns * each.width) for each in (first, other) for rows, columns in [_grid(each)]]
    grids = [_grid(first), _grid(other)]
    if first.dataset != other.dataset:
        raise UserError(
            f"video '{other.video}' is of data set '{other.dataset}', but '{first.video}' is of '{first.dataset}'; "
            "one model has the videos of one data set"
        )
    if first.colour != other.colour:
        raise UserError(
            f"video '{other.video}' became RGB by the profile '{other.colour}', but '{first.video}' by "
            f"'{first.colour}'; extract their frames alike"
        )
    if sizes[0] != sizes[1]:
        raise UserError(
            f"video '{other.video}' has frames of {sizes[1][0]}×{sizes[1][1]}, but '{first.video}' has "
            f"{sizes[0][0]}×{sizes[0][1]}; one model has videos of one size: crop or resize them when extracting frames"
        )
    if grids[0] != grids[1]:
        raise UserError(
            f"video '{other.video}' is cut into {grids[1][0]}×{grids[1][1]} patches, but '{first.video}' into "
            f"{grids[0][0]}×{grids[0][1]}; cut all videos of a model alike"
        )


def _check_names(manifests: Sequence[Manifest]) -> None:
    if not manifests:
        raise UserError("a collection needs one video or more; name their manifests")
    seen: set[str] = set()
    for manifest in manifests:
        if manifest.video in seen:
            raise UserError(f"video '{manifest.video}' stands twice among the videos of one model; name it once")
        seen.add(manifest.video)


@dataclass
class _Sums:
    """Exact sums over pixels: their number, R, G and B, and the squares of R, G and B."""

    count: int = 0
    values: list[int] = field(default_factory=lambda: [0, 0, 0])
    squares: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, pixels: Pixels) -> None:
        """Add all pixels of uint8 frames ``[T, H, W, 3]``, a few MB at a time."""
        step = max(_BLOCK_BYTES // pixels[0].size, 1)
        for first in range(0, len(pixels), step):
            block = pixels[first : first + step]
            self.count += block.size // 3
            for total, operands in ((self.values, (block,)), (self.squares, (block, block))):
                sums = np.einsum(",".join(["thwc"] * len(operands)) + "->c", *operands, dtype=np.int64)
                total[:] = [before + int(value) for before, value in zip(total, sums, strict=True)]

    def statistics(self) -> tuple[Colour, Colour]:
        """Mean and standard deviation in [0, 1], rounded; deviations are divisors and never 0."""
        pairs = list(zip(self.values, self.squares, strict=True))
        mean = [round(value / (255 * self.count), _DECIMALS) for value, _ in pairs]
        variances = [(self.count * square - value**2) / (255 * self.count) ** 2 for value, square in pairs]
        std = [max(round(math.sqrt(variance), _DECIMALS), _LEAST_DEVIATION) for variance in variances]
        return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


# --- reading ----------------------------------------------------------------------------------------------


def open_collection(path: Path) -> OpenCollection:
    """Open a collection by its file; the videos' files are opened when they are first read."""
    path = Path(path)
    value = files.read_json(path, "collection")
    if isinstance(value, dict) and "video" in value:
        raise UserError(
            f"{path} describes one video, and many are needed here; give what `boostnerv gather-videos` wrote"
        )
    return OpenCollection(parse(Collection, value, f"collection {path}"), path)


class OpenCollection:
    """An open collection, whose videos are accessed by number; it is thread-safe.

    A view keeps its file open. Raises `UserError` for a file that is missing or has changed since it was gathered.
    """

    def __init__(self, manifest: Collection, path: Path) -> None:
        self.manifest, self.path = manifest, path
        self._most_open_files = _most_open_files()
        self._opened: OrderedDict[int, Frames] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """T of each video."""
        return tuple(video.frames for video in self.manifest.videos)

    @property
    def height(self) -> int:
        """H."""
        return self.manifest.height

    @property
    def width(self) -> int:
        """W."""
        return self.manifest.width

    @property
    def rows(self) -> int:
        """Patches below each other in a frame."""
        return self.manifest.rows

    @property
    def columns(self) -> int:
        """Patches beside each other in a frame."""
        return self.manifest.columns

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.rows, self.columns

    @property
    def is_cut(self) -> bool:
        """Whether frames are cut into several patches."""
        return self.grid != (1, 1)

    @property
    def statistics(self) -> tuple[Colour, Colour]:
        """Mean and standard deviation of R, G and B in [0, 1]."""
        return self.manifest.mean, self.manifest.std

    @cached_property
    def members(self) -> tuple[MemberVideo, ...]:
        """The videos in order."""
        stops = itertools.accumulate(self.lengths)
        return tuple(
            MemberVideo(video.name, range(stop - video.frames, stop), video.fps, video.whole_sha256)
            for video, stop in zip(self.manifest.videos, stops, strict=True)
        )

    @property
    def pixels(self) -> AllFrames:
        """The whole frames of all videos, concatenated; patches are merged on access."""
        return AllFrames(self)

    def array(self) -> Pixels:
        """The whole frames of all videos in memory, uint8 ``[T, H, W, 3]``."""
        return self.pixels[:]

    def patch(self, video: int, patch: int) -> Pixels:
        """One patch of all frames of a video: a read-only view, uint8 ``[T, h, w, 3]``."""
        return self._patches(video)[patch]

    def frame(self, video: int, number: int) -> Pixels:
        """One whole frame of a video, uint8 ``[H, W, 3]``."""
        return self.frames_of(video)[number : number + 1][0]

    def frames_of(self, video: int) -> WholeFrames:
        """The whole frames of a video; patches are merged on access."""
        return WholeFrames(self, video)

    def _patches(self, video: int) -> Pixels:
        """Patches of a video ``[P, T, h, w, 3]``."""
        pixels = self._frames(video).pixels
        return pixels.reshape(self.rows * self.columns, self.lengths[video], *pixels.shape[1:])

    def _frames(self, video: int) -> Frames:
        """The open file of a video; the least recently used files are released."""
        with self._lock:
            opened = self._opened.pop(video, None) or self._open(video)
            self._opened[video] = opened
            while len(self._opened) > self._most_open_files:
                self._opened.popitem(last=False)
            return opened

    def _open(self, video: int) -> Frames:
        entry = self.manifest.videos[video]
        path = self.path.parent / entry.manifest
        frames = open_frames(path)
        size = (self.rows * frames.manifest.height, self.columns * frames.manifest.width)
        actual = (frames.manifest.pixels_sha256, *_grid(frames.manifest), *size, frames.manifest.frames)
        count = entry.frames * self.rows * self.columns
        if actual != (entry.pixels_sha256, self.rows, self.columns, self.height, self.width, count):
            raise UserError(
                f"video '{entry.name}' in {path} has changed since collection {self.path} was gathered; gather it "
                "again, or bring the old frames back"
            )
        return frames


def _most_open_files() -> int:
    """Half of the process's limit of open files, as others need some, and at most `MOST_OPEN_FILES`."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN_FILES if allowed == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, max(allowed // 2, 1))


def open_videos(path: Path, *, many: bool) -> Videos:
    """Open a training set: the frames of one video by their manifest, or a collection for a multi-video model (`many`).

    Raises `UserError` for the other kind.
    """
    return open_collection(path) if many else open_frames(path)


class AllFrames:
    """Whole frames of all videos of a collection, concatenated; slices are uint8 ``[B, H, W, 3]``."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, collection: OpenCollection) -> None:
        self._collection = collection
        self._starts = list(itertools.accumulate(collection.lengths, initial=0))
        self.shape: tuple[int, ...] = (self._starts[-1], collection.height, collection.width, 3)
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Pixels:
        return np.stack([self._frame(number) for number in range(len(self))[part]])

    def _frame(self, number: int) -> Pixels:
        video = bisect_right(self._starts, number) - 1
        return self._collection.frame(video, number - self._starts[video])


class WholeFrames:
    """Whole frames of one video of a collection; slices over time are uint8 ``[B, H, W, 3]``."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, collection: OpenCollection, video: int) -> None:
        self._collection, self._video = collection, video
        self.shape: tuple[int, ...] = (collection.lengths[video], collection.height, collection.width, 3)
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Pixels:
        patches = self._collection._patches(self._video)[:, part]
        return merge(patches, self._collection.rows, self._collection.columns)
