"""Folders of images as videos, read by Pillow in natural order (frame2 before frame10); all images have one size."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from boostnerv.config import Preparation
from boostnerv.errors import UserError
from boostnerv.files import sha256_of_file
from boostnerv.video import ffmpeg
from boostnerv.video.image_names import gap_note, natural, pattern_problem
from boostnerv.video.info import Geometry, SourceInfo, Timing, geometry
from boostnerv.video.selection import WHOLE, Part, Selection, select, select_at_rate

IMAGE_SUFFIXES = (
    *(".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    *(".avif", ".gif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
)
DEFAULT_FPS = 25.0

# The formats that are allowed. Pillow knows more, some of which start other programs.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# Pillow's modes with at most 8 bits per sample -> what conversion to RGB drops.
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
_BITS_PER_SAMPLE = 258  # tag of TIFF
_JPEG2000_START = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ of its codestream
_AV1_SETTINGS = re.compile(rb"av1C\x81.(.)", re.DOTALL)  # a box; a bit of its third byte means more than 8 bits
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images of `folder` in natural order, without hidden files.

    Raises `UserError` if there are none, if one is not a file, or if the frames are ambiguous: two images with the same
    name or number, or names of several patterns.
    """
    files = _images_in(folder)
    if not files:
        kinds = " ".join(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
        raise UserError(f"folder {folder} holds no image; put the frames there as one of: {kinds}")
    ordered = sorted(files, key=lambda file: (natural(file), file.name))
    for one, other in itertools.pairwise(ordered):
        if natural(one) == natural(other):
            raise UserError(
                f"folder {folder} holds both {one.name} and {other.name}, and it is not clear which is the "
                "frame; keep one of them"
            )
    if problem := pattern_problem(ordered):
        raise UserError(
            f"folder {folder} holds images of {problem}, of which only one can be the video; move the others elsewhere"
        )
    return tuple(ordered)


def folder_sha256(folder: Path) -> str:
    """Hex SHA-256 over the names and hashes of the images in order; raises `UserError` if one cannot be read."""
    digest = hashlib.sha256()
    for file in image_files(folder):
        try:
            line = f"{file.name}\0{sha256_of_file(file)}\n"
        except OSError as error:
            raise _unreadable(file, error) from error
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def probe_folder(folder: Path, fps: float | None = None) -> SourceInfo:
    """Properties of a folder of images, from the first image; raises `UserError` if it cannot be read."""
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
    """Prepared frames of a folder of images; `timing` and `notes` are valid once `frames` has been read."""

    path: Path
    preparation: Preparation
    files: tuple[Path, ...]
    info: SourceInfo
    geometry: Geometry
    selection: Selection
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of images in the folder."""
        return len(self.files)

    @property
    def expected(self) -> int | None:
        """Number of frames that `frames` will yield."""
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
        """A constant frame rate, by default `DEFAULT_FPS`."""
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
    """Open the video, a `part` of a folder of images; raises `UserError` if `preparation` does not allow it."""
    files = image_files(folder)
    info = probe_folder(folder, fps)
    if preparation.fps is None:
        selection = select(folder, preparation, part, len(files))
    else:
        clock, end = Timing(fps or DEFAULT_FPS, None), part.end
        total = len(files) if end is None else min(end, len(files))
        selection = select_at_rate(folder, preparation, part, total, clock)
    gaps = gap_note(files[selection.first : selection.end])
    return FolderDecoder(
        path=folder,
        preparation=preparation,
        files=files,
        info=info,
        geometry=geometry(info, preparation, folder),
        selection=selection,
        notes=[gaps] if gaps else [],
    )


# --- details ----------------------------------------------------------------------------------------------


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder, unordered; raises `UserError` for anything else with the name of an image."""
    try:
        with os.scandir(folder) as entries:
            named = [
                entry
                for entry in entries
                if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
            ]
    except OSError as error:
        raise UserError(f"folder {folder} cannot be read: {error.strerror}; check its permissions") from error
    for entry in named:
        if problem := _instead_of_file(entry):
            raise UserError(f"{entry.path} {problem}, but has the name of an image; put the image there, or remove it")
    return [folder / entry.name for entry in named]


def _instead_of_file(entry: os.DirEntry[str]) -> str:
    """What a folder entry is instead of a file; empty for a file."""
    try:
        if entry.is_file():
            return ""
        if entry.is_dir():
            return "is a folder"
        entry.stat()
    except OSError:
        return "is a link that leads to no file" if entry.is_symlink() else "is gone"
    return "is a pipe or a device"


def _read(file: Path) -> tuple[npt.NDArray[np.uint8], str, list[str]]:
    """(uint8 RGB [H, W, 3], format, notes) of one image; of a camera's file with several (MPO), the first."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_image(image, file)
            turn, notes = _turn(image)
            # `ImageOps.exif_transpose` would rewrite the EXIF data and fail at values that it cannot write.
            upright = image if turn is None else image.transpose(turn)
            picture = np.asarray(upright.convert("RGB"))
            return picture, (image.format or "unknown").lower(), _notes(image, notes)
    except UserError:
        raise
    except Exception as error:  # Pillow raises all sorts of exceptions for damaged files
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"image {file} cannot be read: {error.strerror}; check its permissions and the disk")
    return UserError(f"image {file} cannot be read ({_short(error)}); replace it with an intact one")


def _check_image(image: Image.Image, file: Path) -> None:
    if (bits := _bits(image, file)) > 8 or image.mode not in _MODES:
        problem = f"has {bits} bits per sample" if bits > 8 else f"is of mode {image.mode}"
        raise UserError(f"image {file} {problem}; convert it to 8-bit RGB first")
    if (count := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
        raise UserError(f"image {file} holds {count} pictures; save each in its own file")


def _bits(image: Image.Image, file: Path) -> int:
    """Bits per sample in the file; Pillow silently reduces many kinds of more than 8 bits."""
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))))  # type: ignore[attr-defined]
    if image.format == "JPEG2000":
        return _bits_of_jpeg2000(file.read_bytes())
    if image.format == "AVIF":
        return 10 if any(box[1][0] & 0x40 for box in _AV1_SETTINGS.finditer(file.read_bytes())) else 8
    if image.mode == "F":
        return 32
    arguments = [argument for tile in getattr(image, "tile", []) for argument in _listed(tile[3])]
    numbers = (argument for argument in arguments if image.format == "PPM" and isinstance(argument, int))
    maxval = max(numbers, default=0)
    # BGR;16 has 5, 6 and 5 bits.
    deep = any(";16" in str(argument) and argument != "BGR;16" for argument in arguments)
    return max(8, maxval.bit_length(), 16 if deep or image.mode.startswith("I") else 8)


def _bits_of_jpeg2000(data: bytes) -> int:
    """From the SIZ segment of the codestream, as the boxes around it may say otherwise."""
    start = data.index(_JPEG2000_START)
    components = int.from_bytes(data[start + 40 : start + 42])
    return max((data[start + 42 + 3 * index] & 0x7F) + 1 for index in range(components))


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _turn(image: Image.Image) -> tuple[Image.Transpose | None, list[str]]:
    """The transposition that EXIF asks for, None if the image is upright; and notes on it."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in `_read`
        return None, ["EXIF that cannot be read is ignored"]
    return turn, ["rotated as the images ask for"] if turn is not None else []


def _notes(image: Image.Image, on_turn: list[str]) -> list[str]:
    notes = ["alpha is dropped"] if _MODES[image.mode] or "transparency" in image.info else []
    notes += on_turn
    if "icc_profile" in image.info:
        notes.append("colour profiles of the images are not applied")
    if getattr(image, "n_frames", 1) > 1:
        notes.append("the first picture of each file is used")
    return notes


def _scaled(picture: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Scale bicubically by swscale, as videos are."""
    size = (picture.shape[1], picture.shape[0])
    source = ffmpeg.input_from_pipe(format="rawvideo", pixel_format="rgb24", video_size=size)
    graph = source.filter("scale", width, height, flags="bicubic").output("pipe:1", format="rawvideo", pix_fmt="rgb24")
    pixels = ffmpeg.run(graph, picture.tobytes()).stdout
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _short(error: BaseException) -> str:
    return str(error).split(" '")[0].rstrip(".") or type(error).__name__
