"""Small clips made by ffmpeg, and the PNGs that plain ffmpeg would give of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from boostnerv.config import ExtractJob, PathSource, Preparation, RawVideo, VideoSpec, load_dataset
from boostnerv.video.datasets import fetch_source, source_path
from boostnerv.video.ffmpeg import binary
from boostnerv.video.frames import Frames, extract_frames, manifest_path, open_frames

Pixels = npt.NDArray[np.uint8]
LOSSLESS = ("-c:v", "libx264rgb", "-qp", "0", "-pix_fmt", "rgb24")
BUNNY = load_dataset("bunny").video("bunny")


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> None:
    command = [binary(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, input=stdin or b"", check=True, timeout=60)


def write_images(folder: Path, pixels: Pixels) -> Path:
    """A folder with one PNG a frame."""
    folder.mkdir()
    for index, frame in enumerate(pixels):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def write_clip(path: Path, pixels: Pixels, *options: str, fps: int = 10) -> Path:
    """Encode uint8 RGB [T, H, W, 3] into `path` with ffmpeg's output `options`."""
    _, height, width, _ = pixels.shape
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0")
    ffmpeg(*raw, *options, path, stdin=pixels.tobytes())
    return path


def synthetic(path: Path, *options: str, size: str = "64x48", frames: int = 6, source: str = "testsrc2") -> Path:
    """Encode ffmpeg's test pattern into `path`."""
    ffmpeg("-f", "lavfi", "-i", f"{source}=size={size}:rate=10", "-frames:v", str(frames), *options, path)
    return path


def reference(path: Path, folder: Path, *options: str) -> Pixels:
    """What ``ffmpeg -i FILE %04d.png`` gives: uint8 RGB [T, H, W, 3]."""
    folder.mkdir()
    ffmpeg("-i", path, "-fps_mode", "passthrough", *options, folder / "%04d.png")
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.iterdir())])


def noise(frames: int, height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


Extract = Callable[..., Frames]


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    """Extract a source with keyword settings of `Preparation` and open the result."""

    def run(
        source: Path,
        *,
        raw: RawVideo | None = None,
        declared: dict[str, object] | None = None,
        **settings: object,
    ) -> Frames:
        spec = VideoSpec(
            name="clip",
            source=PathSource(path=str(source), raw=raw),
            **(declared or {}),  # type: ignore[arg-type]
        )
        output = tmp_path / "out" / "frames.npy"
        extract_frames(source, ExtractJob(dataset="own", video=spec, preparation=Preparation(**settings)), output)  # type: ignore[arg-type]
        return open_frames(manifest_path(output))

    return run


@pytest.fixture(scope="session")
def bunny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip of the registry: from this checkout when it was fetched before, else downloaded."""
    here = source_path(BUNNY, "bunny")
    output = here if here.is_file() else tmp_path_factory.mktemp("bunny") / "bunny.mp4"
    fetch_source(BUNNY, output, "bunny")
    return output
