"""Folders of images as videos: read by Pillow in natural order (frame2 before frame10), all of one size."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from boostnerv.config import Preparation
from boostnerv.errors import UserError
from boostnerv.files import sha256_of_file
from boostnerv.video import ffmpeg
from boostnerv.video.info import Geometry, SourceInfo, Timing, geometry
from boostnerv.video.selection import WHOLE, Part, Selection, select, select_at_rate

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
DEFAULT_FPS = 25.0

# Modes of Pillow with at most 8 bits per sample, and what a conversion to RGB drops.
_MODES = {
    "1": "",
    "L": "",
    "P": "",
    "RGB": "",
    "CMYK": "",
    "YCbCr": "",
    "LA": "alpha",
    "La": "alpha",
    "PA": "alpha",
    "RGBA": "alpha",
    "RGBa": "alpha",
    "RGBX": "alpha",
}
_ORIENTATION = 0x0112  # tag of EXIF
_BITS_PER_SAMPLE = 258  # tag of TIFF
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images of `folder` in natural order; raises `UserError` where there are none or two of one name."""
    files = [
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        kinds = " ".join(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
        raise UserError(f"folder {folder} holds no image; put the frames there as one of: {kinds}")
    ordered = sorted(files, key=_natural)
    for one, other in itertools.pairwise(ordered):
        if one.stem == other.stem:
            raise UserError(
                f"folder {folder} holds both {one.name} and {other.name}, and it is not clear which is the "
                "frame; keep one of them"
            )
    return tuple(ordered)


def folder_sha256(folder: Path) -> str:
    """Hex SHA-256 over the names and SHA-256 of the images in order."""
    digest = hashlib.sha256()
    for file in image_files(folder):
        digest.update(f"{file.name}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def probe_folder(folder: Path, fps: float | None = None) -> SourceInfo:
    """Properties of a folder of images from the first one; raises `UserError` where it cannot be read."""
    picture, codec, _ = _read(image_files(folder)[0])
    height, width, _ = picture.shape
    return SourceInfo(
        codec=codec,
        pixel_format="rgb24",
        bit_depth=8,
        width=width,
        height=height,
        display_width=width,
        display_height=height,
        fps=fps,
    )


@dataclass
class FolderDecoder:
    """Frames of a folder of images, prepared; `timing` and `notes` hold after `frames` was used."""

    path: Path
    preparation: Preparation
    files: tuple[Path, ...]
    info: SourceInfo
    geometry: Geometry
    selection: Selection
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many images the folder has."""
        return len(self.files)

    @property
    def expected(self) -> int | None:
        """How many frames will come."""
        return self.selection.count

    def frames(self) -> Generator[npt.NDArray[np.uint8]]:
        """Yield uint8 RGB [height, width, 3]; raises `UserError` for an image that cannot be used."""
        for index in self.selection.indices():
            file = self.files[index]
            picture, _, notes = _read(file)
            self.notes += [note for note in notes if note not in self.notes]
            self._check_size(file, picture)
            yield self._prepared(picture)

    def timing(self) -> Timing:
        """A constant rate, the default one where none is given."""
        if self.info.fps is None and (note := _ASSUMED) not in self.notes:
            self.notes.append(note)
        return Timing(self.preparation.fps or self.info.fps or DEFAULT_FPS, None)

    def _check_size(self, file: Path, picture: npt.NDArray[np.uint8]) -> None:
        size = (self.info.display_height, self.info.display_width)
        if picture.shape[:2] != size:
            raise UserError(
                f"{file} is {picture.shape[0]}x{picture.shape[1]} but {self.files[0].name} is "
                f"{size[0]}x{size[1]} (height x width); all images of a folder must have one size"
            )

    def _prepared(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if self.geometry.before:
            picture = self.geometry.before.of(picture)
        if self.geometry.scaled:
            picture = _scaled(picture, *self.geometry.scaled)
        return self.geometry.window.of(picture)


_ASSUMED = f"images carry no frame rate; {DEFAULT_FPS:g} frames per second are assumed"


def open_folder(folder: Path, preparation: Preparation, fps: float | None = None, part: Part = WHOLE) -> FolderDecoder:
    """List and probe a folder of images and check it against `preparation`; raises `UserError`.

    `part` of it is the video.
    """
    files = image_files(folder)
    info = probe_folder(folder, fps)
    if preparation.fps is None:
        selection = select(folder, preparation, part, len(files))
    else:
        clock, end = Timing(fps or DEFAULT_FPS, None), part.end
        found = len(files) if end is None else min(end, len(files))
        selection = select_at_rate(folder, preparation, part, found, clock)
    return FolderDecoder(
        path=folder,
        preparation=preparation,
        files=files,
        info=info,
        geometry=geometry(info, preparation, folder),
        selection=selection,
    )


# --- details ----------------------------------------------------------------------------------------------


def _read(file: Path) -> tuple[npt.NDArray[np.uint8], str, list[str]]:
    """(uint8 RGB [H, W, 3], format, notes) of one image."""
    try:
        with Image.open(file) as image:
            _check_image(image, file)
            notes = _notes(image)
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("RGB")), (image.format or "unknown").lower(), notes
    except _BROKEN as error:
        raise UserError(f"image {file} cannot be read ({_short(error)}); replace it by an intact one") from error


def _check_image(image: Image.Image, file: Path) -> None:
    if (bits := _bits(image)) > 8 or image.mode not in _MODES:
        what = f"has {bits} bits per sample" if bits > 8 else f"is of mode {image.mode}"
        raise UserError(f"image {file} {what}; convert it to 8-bit RGB before")
    if getattr(image, "n_frames", 1) > 1:
        raise UserError(f"image {file} holds {image.n_frames} pictures; save each in a file of its own")  # type: ignore[attr-defined]


def _bits(image: Image.Image) -> int:
    """Bits per sample in the file. Pillow shortens 16-bit colour to 8 bits without a word."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return 32 if image.mode in ("I", "F") and image.format != "PNG" else 16
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))))  # type: ignore[attr-defined]
    modes = [str(tile[3]) for tile in getattr(image, "tile", [])]
    return 16 if any(";16" in mode for mode in modes) else 8


def _notes(image: Image.Image) -> list[str]:
    notes = []
    if _MODES[image.mode] or "transparency" in image.info:
        notes.append("alpha is dropped")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        notes.append("rotated as the images ask for")
    if "icc_profile" in image.info:
        notes.append("colour profiles of the images are not applied")
    return notes


def _scaled(picture: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Bicubic scaling by swscale, so that images and videos are scaled alike."""
    size = (picture.shape[1], picture.shape[0])
    source = ffmpeg.input_from_pipe(format="rawvideo", pixel_format="rgb24", video_size=size)
    graph = source.filter("scale", width, height, flags="bicubic").output("pipe:1", format="rawvideo", pix_fmt="rgb24")
    pixels = ffmpeg.run(graph, picture.tobytes()).stdout
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Numbers by value; the name itself decides between frame2 and frame02."""
    parts = re.split(r"([0-9]+)", file.stem.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file.name


def _short(error: BaseException) -> str:
    return str(error).split(" '")[0].rstrip(".") or type(error).__name__
