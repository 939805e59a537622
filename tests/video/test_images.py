"""Folders of images as videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boostnerv.errors import UserError
from boostnerv.video.source import probe, source_sha256

from .conftest import Extract, Pixels, ffmpeg, noise


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


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
def test_lossless_formats(suffix: str, tmp_path: Path, extract: Extract) -> None:
    pixels = noise(3, 9, 5)
    for index, frame in enumerate(pixels):
        save(tmp_path / "images", f"{index}.{suffix}", frame)
    np.testing.assert_array_equal(extract(tmp_path / "images").pixels, pixels)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats(suffix: str, tmp_path: Path, extract: Extract) -> None:
    save(tmp_path / "images", f"1.{suffix}", noise(1, 16, 8)[0])
    expected = np.asarray(Image.open(tmp_path / "images" / f"1.{suffix}").convert("RGB"))
    np.testing.assert_array_equal(extract(tmp_path / "images").pixels[0], expected)


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


def test_several_pictures_in_one_file(tmp_path: Path, extract: Extract) -> None:
    folder = tmp_path / "images"
    one, two = (Image.fromarray(frame) for frame in noise(2, 8, 8))
    folder.mkdir()
    one.save(folder / "1.tif", save_all=True, append_images=[two])
    with pytest.raises(UserError, match="holds 2 pictures"):
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
