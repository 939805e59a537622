"""Explaining to the user why a path is not a video.

A file is a video if ffmpeg reads it, whatever its name; this module examines only files that ffmpeg does not read.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from boostnerv.errors import UserError, one_letter_apart
from boostnerv.video import ffmpeg

_SIGNATURES = {
    b"BNV": "is coded already: decode it with `boostnerv decode`, or give the video that it was made from",
    b"\x93NUMPY": "is an array, not a video: give the video that it was made from, or its frames as a folder of images",
}
# Formats that Pillow opens as images although they are videos.
_NO_IMAGES = ("MPEG",)
# Formats whose pictures are views of one scene; ffmpeg may read them as consecutive frames.
_VIEWS = ("MPO",)


def check_source(path: str | Path) -> Path:
    """Return `path` if it is a folder or a regular file; raises `UserError` if it is missing, a pipe or a device."""
    path = Path(path)
    if path.is_dir():
        return path
    if not path.exists():
        raise UserError(f"there is no video file {path}; {_neighbour(path)}")
    if not path.is_file():
        raise UserError(f"{path} is not a file on a disk, and a video is read more than once: save it as a file first")
    return path


def unreadable(path: Path, reason: str) -> UserError:
    """The error for a file that ffmpeg cannot read as video; `reason` is ffmpeg's."""
    try:
        with open(path, "rb") as file:
            start = file.read(max(map(len, _SIGNATURES)))
    except OSError as error:
        return UserError(f"{path} cannot be read ({error.strerror}); make it readable, or check the path")
    if not start:
        return UserError(f"{path} cannot be read as video (it is empty); get the file again")
    for signature, explanation in _SIGNATURES.items():
        if start.startswith(signature):
            return UserError(f"{path} {explanation}")
    if (image := _image(path)) is not None:
        return _unreadable_image(path, *image)
    if ffmpeg.NOT_ALLOWED in reason:
        return UserError(
            f"{path} cannot be read as video (it is a text, a list of other files, or pixels without a header); give "
            "the video itself, or its layout where it has no header"
        )
    if "matches no streams" in reason:
        return UserError(f"{path} cannot be read as video (it has no video stream); check the file")
    return UserError(
        f"{path} cannot be read as video ({reason}); check the file, or give its layout where it has no header"
    )


def check_not_still(path: Path, frames: int) -> None:
    """Raise `UserError` for a single image; `frames` is the number of frames that ffmpeg reads of it."""
    image = _image(path)
    if image is not None and (frames == 1 or image[0] in _VIEWS):
        raise _single(path)


def _image(path: Path) -> tuple[str, int] | None:
    """Format and number of pictures of an image file, None for any other."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return None if image.format in _NO_IMAGES else (str(image.format), getattr(image, "n_frames", 1))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _unreadable_image(path: Path, kind: str, pictures: int) -> UserError:
    if kind in _VIEWS or pictures == 1:
        return _single(path)
    return UserError(
        f"{path} is an image of {pictures} pictures ({kind}), which ffmpeg {ffmpeg.ffmpeg_version()} does not read "
        "under this name: rename it without any of * ? % [ {, or give a folder that holds the frames"
    )


def _single(path: Path) -> UserError:
    return UserError(f"{path} is a single image; give the folder that holds the frames")


def _neighbour(path: Path) -> str:
    """Advice for a missing file: a name in its folder that differs in one letter, if there is one."""
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        names = []
    close = next((name for name in names if one_letter_apart(name, path.name)), None)
    return "check the path" if close is None else f"did you mean '{close}'?"
