"""Frames files: pixels come back, manifests describe them, nothing half-written has a final name."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from boostnerv import files
from boostnerv.config import ExtractJob, PathSource, Preparation, RawVideo, VideoSpec
from boostnerv.errors import UserError
from boostnerv.video.frames import Manifest, Pixels, extract_frames, open_frames, write_frames

from .conftest import BUNNY, Extract, ffmpeg, noise, reference, synthetic


def spec(source: Path, **declared: object) -> VideoSpec:
    return VideoSpec(name="clip", source=PathSource(path=str(source)), **declared)  # type: ignore[arg-type]


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.just(3))


@settings(max_examples=40, deadline=None)
@given(pixels=arrays.arrays(np.uint8, SHAPES))
def test_what_is_written_is_read(pixels: Pixels) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        manifest = write_frames(pixels, path, dataset="d", video="v", fps=30)
        frames = open_frames(path.with_suffix(".json"))
        assert frames.manifest == manifest
        assert (manifest.frames, manifest.height, manifest.width) == pixels.shape[:3]
        np.testing.assert_array_equal(frames.pixels, pixels)
        np.testing.assert_array_equal(np.load(path), pixels)
        frames.verify()
        assert {file.name for file in Path(folder).iterdir()} == {"x.npy", "x.json"}


def test_an_iterable_of_unknown_length_gives_the_same_file(tmp_path: Path) -> None:
    pixels = noise(11, 5, 7)
    write_frames(pixels, tmp_path / "a.npy", dataset="d", video="v")
    write_frames((frame for frame in pixels), tmp_path / "b.npy", dataset="d", video="v")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    # Non-contiguous views are written as what they show.
    write_frames(pixels[:, ::-1, ::-1], tmp_path / "c.npy", dataset="d", video="v")
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), pixels[:, ::-1, ::-1])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((2, 4, 4, 4), np.uint8),
        np.zeros((2, 4, 4), np.uint8),
        [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)],
    ],
)
def test_only_frames_are_written(pixels: Pixels, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames"):
        write_frames(pixels, tmp_path / "x.npy", dataset="d", video="v")
    assert not list(tmp_path.iterdir())


def test_the_map_is_read_only_and_lazy(tmp_path: Path) -> None:
    write_frames(noise(2, 4, 4), tmp_path / "x.npy", dataset="d", video="v")
    pixels = open_frames(tmp_path / "x.json").pixels
    assert isinstance(pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    write_frames(noise(3, 4, 5), path, dataset="d", video="v")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    frames = open_frames(tmp_path / "x.json")
    with pytest.raises(UserError, match="not those that its manifest describes"):
        frames.verify()
    for bad in (good[:-1], good[:20], b"", b"garbage" * 100):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="cannot be opened"):
            open_frames(tmp_path / "x.json")
    np.save(path, noise(3, 5, 4))
    with pytest.raises(UserError, match=r"\[3, 5, 4, 3\], but x.json says uint8 \[3, 4, 5, 3\]"):
        open_frames(tmp_path / "x.json")
    path.unlink()
    with pytest.raises(UserError, match=r"are missing beside x.json"):
        open_frames(tmp_path / "x.json")
    with pytest.raises(UserError, match="does not exist"):
        open_frames(tmp_path / "y.json")
    broken = json.loads((tmp_path / "x.json").read_text())
    files.write_json(tmp_path / "x.json", {**broken, "frames": 0})
    with pytest.raises(UserError, match="frames"):
        open_frames(tmp_path / "x.json")


# --- extraction -------------------------------------------------------------------------------------------


def test_bunny(bunny: Path, tmp_path: Path) -> None:
    """The registry's clip: 132 frames, equal to the PNGs of plain ffmpeg."""
    seen: list[int] = []
    job = ExtractJob(dataset="bunny", video=BUNNY, preparation=Preparation(), credit="c", licence="l")
    manifest = extract_frames(bunny, job, tmp_path / "b.npy", progress=lambda done, note="": seen.append(done))
    assert (manifest.frames, manifest.height, manifest.width, manifest.fps) == (132, 720, 1280, 25)
    assert (manifest.timestamps_s, manifest.notes) == (None, ())
    assert (manifest.credit, manifest.licence, manifest.source_sha256) == ("c", "l", BUNNY.source.sha256)
    assert seen == list(range(1, 133))
    frames = open_frames(tmp_path / "b.json")
    frames.verify()
    chosen = [0, 1, 65, 131]
    pick = "select='" + "+".join(f"eq(n,{index})" for index in chosen) + "'"
    np.testing.assert_array_equal(frames.pixels[chosen], reference(bunny, tmp_path / "png", "-vf", pick))
    small = tmp_path / "small"
    small.mkdir()
    ffmpeg("-i", bunny, "-s", "32x18", small / "%04d.png")
    assert len(list(small.iterdir())) == 132


def test_bunny_as_the_workflow_prepares_it(bunny: Path, tmp_path: Path) -> None:
    preparation = Preparation(fit="resize", height=180, width=320, frame_count=16)
    manifest = extract_frames(
        bunny, ExtractJob(dataset="bunny", video=BUNNY, preparation=preparation), tmp_path / "b.npy"
    )
    assert (manifest.frames, manifest.height, manifest.width) == (16, 180, 320)
    again = extract_frames(bunny, ExtractJob(dataset="bunny", video=BUNNY, preparation=preparation), tmp_path / "c.npy")
    assert manifest == again
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "c.json").read_bytes()
    assert Manifest.model_validate_json((tmp_path / "b.json").read_text()) == manifest


def test_what_the_data_set_says_is_checked(tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.mp4", frames=6)
    extract(path, declared={"frames": 6, "height": 48, "width": 64, "fps": 10.05})
    for declared, settings_, words in (
        ({"frames": 7}, {}, "has 6 frames, but the data set says 7"),
        ({"frames": 7}, {"first_frame": 1}, "has 6 frames, but the data set says 7"),
        ({"frames": 6}, {"frame_count": 7}, "video 'clip' has 6 frames, but frames 0 to 6 are asked for"),
        ({"height": 49}, {}, "is 48x64 .* but the data set says 49x64"),
        ({"width": 63}, {}, "is 48x64 .* but the data set says 48x63"),
        ({"fps": 25.0}, {}, "has 10 frames per second, but the data set says 25"),
    ):
        with pytest.raises(UserError, match=words):
            extract(path, declared=declared, **settings_)


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.mp4")
    source = PathSource(path=str(path), sha256="0" * 64)
    with pytest.raises(UserError, match="not the file that the data set describes: its SHA-256 is"):
        extract_frames(
            path,
            ExtractJob(dataset="d", video=VideoSpec(name="v", source=source), preparation=Preparation()),
            tmp_path / "x" / "f.npy",
        )
    assert not (tmp_path / "x").exists()


def test_a_failure_leaves_the_old_files_alone(tmp_path: Path, extract: Extract) -> None:
    good = synthetic(tmp_path / "good.mp4")
    manifest = extract(good).manifest
    with pytest.raises(UserError, match="has 6 frames"):
        extract(good, frame_count=7)
    folder = tmp_path / "out"
    assert {file.name for file in folder.iterdir()} == {"frames.npy", "frames.json"}
    frames = open_frames(folder / "frames.json")
    frames.verify()
    assert frames.manifest == manifest


def test_an_exception_of_the_caller_leaves_nothing(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.mp4", frames=30)

    def interrupt(done: int, note: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_frames(
            path,
            ExtractJob(dataset="d", video=spec(path), preparation=Preparation()),
            tmp_path / "o" / "x.npy",
            progress=interrupt,
        )
    assert not list((tmp_path / "o").iterdir())


def test_a_manifest_that_cannot_be_written_takes_the_payload_along(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises((UserError, OSError)):
        write_frames(noise(2, 4, 4), tmp_path / "x.npy", dataset="d", video="v")
    assert {file.name for file in tmp_path.iterdir()} == {"x.json"}


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    """A sparse file stands for ten terabytes of frames."""
    path = tmp_path / "huge.yuv"
    with open(path, "wb") as file:
        file.truncate(1920 * 1080 * 3 * 10**6)
    raw = RawVideo(width=1920, height=1080, pixel_format="yuv444p", fps=25)
    video = VideoSpec(name="huge", source=PathSource(path=str(path), raw=raw), frames=10**6)
    with pytest.raises(UserError, match=r"1000000 frames of 1080x1920 need 6220\.8 GB, but .* GB left"):
        extract_frames(path, ExtractJob(dataset="d", video=video, preparation=Preparation()), tmp_path / "o" / "x.npy")
    assert not (tmp_path / "o").exists()


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "long.mp4", "-c:v", "libx264", "-preset", "ultrafast", size="640x480", frames=160)
    peaks = [_peak_mib(path, count, tmp_path) for count in (10, 160)]
    # 150 more frames are 132 MiB.
    assert peaks[1] - peaks[0] < 30


def _peak_mib(path: Path, count: int, tmp_path: Path) -> float:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from boostnerv.config import ExtractJob, PathSource, Preparation, VideoSpec\n"
        "from boostnerv.video.frames import extract_frames\n"
        "source, count, output = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])\n"
        "video = VideoSpec(name='v', source=PathSource(path=str(source)))\n"
        "job = ExtractJob(dataset='d', video=video, preparation=Preparation(frame_count=count))\n"
        "extract_frames(source, job, output)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    command = [sys.executable, "-c", code, str(path), str(count), str(tmp_path / f"{count}.npy")]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_package_needs_neither_torch_nor_the_workflow() -> None:
    code = (
        "import sys, boostnerv.video.datasets, boostnerv.video.frames\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("torch", "snakemake", "dvc", "pandas", "matplotlib", "plotly", "typer"):
        assert f"'{name}'" not in done.stdout
