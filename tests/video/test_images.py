"""Folders of images as videos."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boostnerv.errors import UserError
from boostnerv.video.source import probe, source_sha256

from .conftest import Extract, Pixels, ffmpeg, noise, write_images

DATA = Path(__file__).parents[1] / "data" / "images"


def save(folder: Path, name: str, pixels: Pixels, **options: object) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **options)  # type: ignore[arg-type]


def test_natural_order(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(12, 6, 7)
    folder = tmp_path / "images"
    for index, frame in enumerate(pixels):
        save(folder, f"Frame{index}.PNG" if index % 2 else f"frame{index}.png", frame)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / ".hidden.png").write_bytes(b"x")
    frames = extract(folder)
    np.testing.assert_array_equal(frames.pixels, pixels)
    assert frames.manifest.fps == 25
    assert "25 frames per second are assumed" in frames.manifest.notes[0]
    assert extract(folder, declared={"fps": 12.5}).manifest.fps == 12.5
    np.testing.assert_array_equal(extract(folder, first_frame=9, frame_count=2).pixels, pixels[9:11])
    with pytest.raises(UserError, match="has 12 frames, but 13 frames"):
        extract(folder, frame_count=13)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "ppm", "pnm", "tga", "jp2"])
def test_lossless_formats(suffix: str, tmp_path: Path, extract: Extract) -> None:
    pixels = noise(3, 9, 5)
    for index, frame in enumerate(pixels):
        save(tmp_path / "images", f"{index}.{suffix}", frame)
    np.testing.assert_array_equal(extract(tmp_path / "images").pixels, pixels)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp", "avif", "gif"])
def test_lossy_formats(suffix: str, tmp_path: Path, extract: Extract) -> None:
    save(tmp_path / "images", f"1.{suffix}", noise(1, 16, 8)[0])
    expected = np.asarray(Image.open(tmp_path / "images" / f"1.{suffix}").convert("RGB"))
    np.testing.assert_array_equal(extract(tmp_path / "images").pixels[0], expected)


def test_netpbm_without_colour(tmp_path: Path, extract: Extract) -> None:
    """Grey of 4 bits is spread over 8, black and white of one bit as well; all are of one pattern."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.pgm").write_bytes(b"P5 2 1 15\n" + bytes([3, 15]))
    (folder / "2.pbm").write_bytes(b"P4 2 1\n" + bytes([0b10000000]))
    (folder / "3.ppm").write_bytes(b"P3 2 1 255\n1 2 3 4 5 6\n")
    expected = [[[51] * 3, [255] * 3], [[0] * 3, [255] * 3], [[1, 2, 3], [4, 5, 6]]]
    np.testing.assert_array_equal(extract(folder).pixels[:, 0], expected)


def test_modes(tmp_path: Path, extract: Extract) -> None:
    """Grey, palette and black-and-white become RGB; alpha is dropped with a note, never blended."""
    folder = tmp_path / "images"
    rgba = np.random.default_rng(1).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    rgba[0, 0] = (200, 100, 50, 0)
    grey = noise(1, 6, 7)[0, :, :, 0]
    save(folder, "1.png", rgba)
    save(folder, "2.png", grey)
    Image.fromarray(rgba[..., :3]).quantize(16).save(folder / "3.png")
    Image.fromarray(grey).convert("1").save(folder / "4.png")
    Image.fromarray(rgba).convert("LA").save(folder / "5.png")
    frames = extract(folder)
    np.testing.assert_array_equal(frames.pixels[0], rgba[..., :3])
    np.testing.assert_array_equal(frames.pixels[1], np.repeat(grey[..., None], 3, axis=2))
    assert set(np.unique(frames.pixels[3])) <= {0, 255}
    assert "alpha is dropped" in frames.manifest.notes


@pytest.mark.parametrize("pixel_format", ["rgb48be", "gray16be", "rgba64be"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_refused(pixel_format: str, suffix: str, tmp_path: Path, extract: Extract) -> None:
    """Pillow would open 16-bit colour as 8-bit without a word."""
    folder = tmp_path / "images"
    folder.mkdir()
    path = folder / f"1.{suffix}"
    stored = pixel_format.replace("be", "le") if suffix == "tif" else pixel_format
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=16x8", "-frames:v", "1", "-pix_fmt", stored, path)
    with pytest.raises(UserError, match=r"16 bits per sample; convert it to 8-bit|is of mode|cannot be read"):
        extract(folder)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "bits"),
    [
        ("1.ppm", "ppm", "rgb48be", 16),
        ("1.pgm", "pgm", "gray16be", 16),
        ("1.pgm", "pgm", "gray10be", 10),
        ("1.jp2", "jpeg2000", "rgb48le", 16),
        ("1.jp2", "jpeg2000", "gray12le", 12),
        ("1.jp2", "jpeg2000", "yuv420p10le", 10),
        ("1.avif", "libaom-av1", "yuv420p10le", 10),
    ],
)
def test_more_than_eight_bits_are_refused(
    name: str, codec: str, pixel_format: str, bits: int, tmp_path: Path, extract: Extract
) -> None:
    """Pillow would shorten these as well; of 8 bits each is taken."""
    folder = tmp_path / "images"
    folder.mkdir()
    picture = ("-f", "lavfi", "-i", "testsrc2=size=16x8", "-frames:v", "1", "-c:v", codec)
    ffmpeg(*picture, "-pix_fmt", pixel_format, folder / name)
    wanted = 16 if pixel_format == "gray10be" else bits  # Pillow says only that it is more than 8
    with pytest.raises(UserError, match=f"has {wanted} bits per sample; convert it to 8-bit RGB"):
        extract(folder)
    eight = {"rgb": "rgb24", "gra": "gray", "yuv": "yuv420p"}[pixel_format[:3]]
    ffmpeg(*picture, "-pix_fmt", eight, folder / name)
    expected = np.asarray(Image.open(folder / name).convert("RGB"))
    np.testing.assert_array_equal(extract(folder).pixels[0], expected)


def test_float_images_are_refused(tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "1.tif")
    with pytest.raises(UserError, match="32 bits per sample"):
        extract(folder)


def test_images_ask_for_rotation(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(1, 6, 8)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn counter-clockwise
    save(tmp_path / "images", "1.png", pixels, exif=exif)
    frames = extract(tmp_path / "images")
    np.testing.assert_array_equal(frames.pixels[0], np.rot90(pixels, -1))
    assert "rotated as the images ask for" in frames.manifest.notes


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation(orientation: int, tmp_path: Path, extract: Extract) -> None:
    pixels = noise(1, 6, 8)[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "images", "1.png", pixels, exif=exif)
    upright = {
        0: pixels, 1: pixels, 9: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.swapaxes(0, 1), 6: np.rot90(pixels, -1), 7: pixels[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(pixels),
    }  # fmt: skip
    frames = extract(tmp_path / "images")
    np.testing.assert_array_equal(frames.pixels[0], upright[orientation])
    assert ("rotated as the images ask for" in frames.manifest.notes) == (orientation in range(2, 9))


def test_exif_that_pillow_cannot_write_again(tmp_path: Path, extract: Extract) -> None:
    """Its resolution is 0/0; its orientation, a quarter turn, is plain."""
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(DATA / "exif_rational.jpg", folder / "1.jpg")
    frames = extract(folder)
    stored = np.asarray(Image.open(folder / "1.jpg"))
    np.testing.assert_array_equal(frames.pixels[0], np.rot90(stored, -1))
    assert "rotated as the images ask for" in frames.manifest.notes


def test_exif_that_cannot_be_read(tmp_path: Path, extract: Extract) -> None:
    pixels = noise(1, 6, 8)[0]
    save(tmp_path / "images", "1.png", pixels, exif=b"Exif\0\0no header of TIFF")
    frames = extract(tmp_path / "images")
    np.testing.assert_array_equal(frames.pixels[0], pixels)
    assert "EXIF that cannot be read is ignored" in frames.manifest.notes


def test_sizes(tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    pixels = noise(2, 24, 32)
    save(folder, "1.png", pixels[0])
    save(folder, "2.png", pixels[1])
    cropped = extract(folder, fit="crop-center", height=11, width=21)
    np.testing.assert_array_equal(cropped.pixels, pixels[:, 6:17, 5:26])
    resized = extract(folder, fit="resize", height=10, width=12)
    out = tmp_path / "scaled.rgb"
    ffmpeg("-i", folder / "%d.png", "-vf", "scale=12:10", "-pix_fmt", "rgb24", "-f", "rawvideo", out)
    np.testing.assert_array_equal(resized.pixels, np.fromfile(out, np.uint8).reshape(2, 10, 12, 3))
    save(folder, "3.png", noise(1, 24, 31)[0])
    with pytest.raises(UserError, match=r"3\.png is 24x31 but 1\.png is 24x32"):
        extract(folder)


def test_folders_that_are_no_video(tmp_path: Path, extract: Extract) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no image; put the frames there as one of: bmp jpeg"):
        probe(empty)
    folder = tmp_path / "images"
    save(folder, "1.png", noise(1, 4, 4)[0])
    save(folder, "1.jpg", noise(1, 4, 4)[0])
    with pytest.raises(UserError, match=r"holds both 1.jpg and 1.png"):
        probe(folder)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_broken_images(keep: int, tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    save(folder, "1.png", noise(1, 16, 16)[0])
    save(folder, "2.png", noise(1, 16, 16)[0])
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:keep])
    with pytest.raises(UserError, match=r"image .*2\.png cannot be read"):
        extract(folder)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png", "avif"])
def test_several_pictures_in_one_file(suffix: str, tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    one, two = (Image.fromarray(frame) for frame in noise(2, 16, 16))
    folder.mkdir()
    one.save(folder / f"1.{suffix}", save_all=True, append_images=[two])
    with pytest.raises(UserError, match=r"1\.\w+ holds 2 pictures; save each in its own file"):
        extract(folder)


def test_the_first_of_a_cameras_pictures(tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(DATA / "mpo_DSC00000.JPG", folder / "DSC00000.JPG")
    shutil.copy(DATA / "mpo_DSC00000.JPG", folder / "DSC00001.jpg")
    frames = extract(folder)
    with Image.open(DATA / "mpo_DSC00000.JPG") as camera:
        first = np.asarray(camera.convert("RGB"))
        camera.seek(1)
        assert not np.array_equal(first, np.asarray(camera.convert("RGB")))
    np.testing.assert_array_equal(frames.pixels, [first, first])
    assert "the first picture of each file is used" in frames.manifest.notes


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "link",
            "2.png is a link that leads to no file, but has the name of an image; put the image there",
        ),
        ("loop", "2.png is a link that leads to no file"),
        ("folder", "2.png is a folder, but has the name of an image"),
        ("pipe", "2.png is a pipe or a device"),
    ],
)
def test_what_is_called_as_an_image_and_is_no_file(kind: str, sentence: str, tmp_path: Path, extract: Extract) -> None:
    folder = write_images(tmp_path / "images", noise(2, 6, 8))
    odd = folder / "2.png"
    {
        "link": lambda: odd.symlink_to(tmp_path / "nowhere.png"),
        "loop": lambda: odd.symlink_to(odd),
        "folder": odd.mkdir,
        "pipe": lambda: os.mkfifo(odd),
    }[kind]()
    for use in (extract, probe, source_sha256):
        with pytest.raises(UserError, match=sentence):
            use(folder)
    odd.rmdir() if kind == "folder" else odd.unlink()
    odd.symlink_to(folder / "0.png")
    frames = extract(folder)
    np.testing.assert_array_equal(frames.pixels[2], frames.pixels[0])


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """In it root is another user."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_images_and_folders_that_may_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_images(Path(name) / "images", noise(2, 6, 8))
        Path(name).chmod(0o755)
        (folder / "1.png").chmod(0)
        sentence = r"1\.png cannot be read: Permission denied; check its permissions"
        with without_rights(), pytest.raises(UserError, match=sentence):
            source_sha256(folder)
        folder.chmod(0)
        sentence = "images cannot be read: Permission denied; check its permissions"
        with without_rights(), pytest.raises(UserError, match=sentence):
            probe(folder)
        folder.chmod(0o755)


def test_missing_numbers_are_noted(tmp_path: Path, extract: Extract) -> None:
    folder = write_images(tmp_path / "images", noise(16, 6, 8))
    for number in (7, 12, 13, 14):
        (folder / f"{number}.png").unlink()
    note = "numbers 7 and 12-14 are missing in the names of the images"
    frames = extract(folder)
    assert note in frames.manifest.notes
    assert frames.manifest.frames == 12
    # Of the frames that are used none is missing.
    assert not any("missing" in note for note in extract(folder, frame_count=7).manifest.notes)
    assert not any("missing" in note for note in extract(folder, first_frame=7, frame_count=4).manifest.notes)
    used = extract(folder, first_frame=6, frame_count=2)
    assert "number 7 is missing in the names of the images" in used.manifest.notes


def test_masks_beside_the_frames_are_refused(tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    pixels = noise(3, 6, 8)
    for index, frame in enumerate(pixels):
        save(folder, f"frame{index:04}.png", frame)
    np.testing.assert_array_equal(extract(folder).pixels, pixels)
    for index, frame in enumerate(pixels[:2]):
        save(folder, f"mask{index:04}.png", frame)
    sentence = (
        r"holds images of 2 name patterns, frame\*\.png \(3, e\.g\. frame0000\.png\), mask\*\.png "
        r"\(2, e\.g\. mask0000\.png\), of which only one can be the video; move the others elsewhere"
    )
    with pytest.raises(UserError, match=sentence):
        extract(folder)


def test_the_hash_of_a_folder_covers_names_and_pixels(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    save(folder, "1.png", noise(1, 4, 4)[0])
    before = source_sha256(folder)
    assert source_sha256(folder) == before
    (folder / "1.png").rename(folder / "2.png")
    renamed = source_sha256(folder)
    save(folder, "2.png", noise(1, 4, 4, seed=1)[0])
    assert len({before, renamed, source_sha256(folder)}) == 3


def test_names_that_are_no_utf8_have_a_hash(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", noise(1, 4, 4))
    before = source_sha256(folder)
    (folder / "0.png").rename(folder / os.fsdecode(b"\xff0.png"))
    assert source_sha256(folder) != before
