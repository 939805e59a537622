"""The verb decode: one file into every kind of output, whole or in part, in memory that does not grow with it."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from boostnerv import cli, files, provenance
from boostnerv.codec.container import bitstream
from boostnerv.codec.container.bitstream import Bitstream, Display, Segment, Video, write
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.codec.entropy.payloads import write_weights
from boostnerv.config import Preparation
from boostnerv.models.architecture import architecture, tensor_shapes
from boostnerv.video.source import open_source
from tests.models.tiny import tiny_model, tiny_spec
from tests.video.conftest import Pixels, ffmpeg

Decode = Callable[..., tuple[int, str, str]]
FRAMES, HEIGHT, WIDTH = 24, 18, 26
TIMES_S = tuple(0.04 * index + 0.1 * (index > 7) for index in range(FRAMES))


def make_file(
    path: Path, frames: int, height: int, width: int, *, timestamps_s: tuple[float, ...] | None = None
) -> Path:
    """A file of two segments with random weights, the first of them of ten frames."""
    segments = []
    for seed, count in enumerate((10, frames - 10)):
        model = tiny_model("hnerv-boost", seed=seed, frames=count, height=height, width=width)
        assert model.spec.embedding_shape is not None
        noise = torch.Generator().manual_seed(seed)
        embeddings = torch.randn(count, *model.spec.embedding_shape, generator=noise)
        quantized = Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, 6)
        segments.append(encode_segment(model.architecture, model.spec, snap(quantized)))
    video = Video(frames, height, width, 25.0, "ffmpeg-default", timestamps_s=timestamps_s)
    path.write_bytes(write(Bitstream(video, tuple(segments))))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("file") / "x.bnv", FRAMES, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("file") / "x.bnv", FRAMES, HEIGHT, WIDTH, timestamps_s=TIMES_S)


@pytest.fixture
def decode(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Decode:
    """Run the verb in this process; returns exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["boostnerv", "decode", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def whole(file: Path, decode: Decode, tmp_path: Path) -> Pixels:
    """All frames of the file."""
    assert decode(file, "-o", tmp_path / "whole.npy")[0] == 0
    return np.load(tmp_path / "whole.npy")


def read(path: Path) -> Pixels:
    if path.suffix == ".npy":
        return np.load(path)
    if path.is_dir():
        return np.stack([np.asarray(Image.open(image)) for image in sorted(path.iterdir())])
    return np.stack(list(open_source(path, Preparation()).frames()))


def refused(outcome: tuple[int, str, str], sentence: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert re.fullmatch(r"boostnerv: [^\n]+\n", err), err
    assert re.search(sentence, err), err


# --- room ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "sentence"),
    [
        (
            "a.npy",
            1 << 24,
            r"a\.npy takes 50331\.6 GB for 16777216 frames of 1000×1000, and .* GB left: free space there",
        ),
        ("a.y4m", 1 << 24, r"a\.y4m takes 50331\.6 GB"),
        ("a.mkv", 1 << 24, r"a\.mkv takes at least 50\.3 GB"),
        ("folder", 1 << 24, r"folder takes at least 50\.3 GB"),
    ],
)
def test_more_than_the_disk_holds(
    name: str, count: int, sentence: str, decode: Decode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 137 bytes may have 16 million frames."""
    spec = dataclasses.replace(
        tiny_spec("nerv"), frames=count, height=1000, width=1000, strides=(10, 5), fc_dim=1, lower_width=1, reduce=1.0
    )
    shapes = tensor_shapes(architecture("nerv"), spec).values()
    weights = write_weights([np.zeros(shape, np.int32) for shape in shapes], np.full(len(shapes), 2000))
    segment = Segment(architecture("nerv"), spec, "uniform", weights)
    video = Video(count, 1000, 1000, 25.0, "ffmpeg-default")
    (tmp_path / "x.bnv").write_bytes(write(Bitstream(video, (segment,))))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=20_000_000_000))
    refused(decode(tmp_path / "x.bnv", "-o", tmp_path / name), sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bnv"]


# --- kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.npy", "folder", "a.mkv", "a.mp4", "a.mov"])
def test_kinds_that_keep_every_bit(name: str, file: Path, whole: Pixels, decode: Decode, tmp_path: Path) -> None:
    output, report = tmp_path / "deeper" / name, tmp_path / "report.json"
    lossless = ["--lossless"] if name.startswith("a.m") else []
    code, out, err = decode(file, "-o", output, "--report", report, *lossless)
    assert code == 0, err
    np.testing.assert_array_equal(read(output), whole)
    found = json.loads(out)
    assert found == json.loads(report.read_text())
    assert (found["frames"], found["height"], found["width"]) == (FRAMES, HEIGHT, WIDTH)
    assert found["decode_fps"] == pytest.approx(FRAMES / found["decode_s"])
    assert (found["decode_device"], found["exact"]) == (provenance.processor(), True)
    assert min(found["decode_warm_fps"], found["decode_compute_fps"]) > 0
    assert f"decode: {FRAMES}/{FRAMES} frames, " in err
    assert [path.name for path in output.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.y4m"])
def test_kinds_that_are_near(name: str, file: Path, whole: Pixels, decode: Decode, tmp_path: Path) -> None:
    assert decode(file, "-o", tmp_path / name)[0] == 0
    found = read(tmp_path / name)
    assert found.shape == whole.shape
    # Brightness is kept where colours share their places.
    assert np.abs(found.mean((1, 2, 3)) - whole.mean((1, 2, 3))).max() < 3
    decoder = open_source(tmp_path / name, Preparation())
    assert len(list(decoder.frames())) == FRAMES
    assert decoder.timing().fps == pytest.approx(25)


def test_names_beside_the_working_folder(
    file: Path, whole: Pixels, decode: Decode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.bnv").write_bytes(file.read_bytes())
    for name in ("a.npy", "images", "new/a.npy"):
        assert decode("x.bnv", "-o", name)[0] == 0
        np.testing.assert_array_equal(read(Path(name)), whole)
    Path("a.npy").write_text("an earlier one")
    assert decode("x.bnv", "-o", "a.npy")[0] == 0
    np.testing.assert_array_equal(np.load("a.npy"), whole)


def test_outputs_that_cannot_be(file: Path, decode: Decode, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("")
    for arguments, sentence in (
        (["-o", tmp_path / "a.avi"], r"a\.avi is not a format that can be written"),
        (["-o", tmp_path / "folder"], "folder exists and is not an empty folder"),
        (["-o", tmp_path / "a.y4m", "--lossless"], r"a\.y4m cannot be lossless"),
        (["-o", tmp_path / "a.npy", "--audio-from", file], r"a\.npy cannot hold audio"),
        (["-o", tmp_path / "folder" / "precious" / "a.mkv"], "cannot write .*; choose a writable output folder"),
    ):
        refused(decode(file, *arguments), sentence)
    refused(decode(tmp_path / "absent.bnv", "-o", tmp_path / "a.npy"), r"cannot read .*absent\.bnv")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "precious"]


# --- parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("9:12", slice(9, 12)),
        ("10:20", slice(10, 20)),
        ("10:", slice(10, None)),
        (":20", slice(20)),
        (":", slice(None)),
        ("23:24", slice(23, 24)),
        ("20:99", slice(20, 24)),
        (f"0:{10**30}", slice(None)),
    ],
)
def test_parts(asked: str, part: slice, file: Path, whole: Pixels, decode: Decode, tmp_path: Path) -> None:
    code, out, err = decode(file, "-o", tmp_path / "a.npy", "--frames", asked)
    assert code == 0, err
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), whole[part])
    count = len(whole[part])
    assert json.loads(out)["frames"] == count
    assert f"decode: {count}/{count} frames, " in err


@pytest.mark.parametrize("asked", ["20:10", "5:5", "24:", "24:30", f"{10**30}:", ":0"])
def test_parts_that_are_empty(asked: str, file: Path, decode: Decode, tmp_path: Path) -> None:
    sentence = r"x\.bnv has frames 0 to 23, none of which is asked for; correct --frames"
    refused(decode(file, "-o", tmp_path / "a.npy", "--frames", asked), sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", ["5", "", "a:b", "=-3:5", "1:2:3", "1.5:3", "٣:"])
def test_parts_that_are_none(asked: str, file: Path, decode: Decode, tmp_path: Path) -> None:
    sentence = "is no range; write it as 10:20, 10: or :20"
    refused(decode(file, "-o", tmp_path / "a.npy", f"--frames={asked.removeprefix('=')}"), sentence)
    assert list(tmp_path.iterdir()) == []


# --- fast, times, sound -----------------------------------------------------------------------------------


def test_fast_is_within_a_level(file: Path, whole: Pixels, decode: Decode, tmp_path: Path) -> None:
    code, out, _ = decode(file, "-o", tmp_path / "a.npy", "--fast", "--frames", "5:")
    assert code == 0
    assert json.loads(out)["exact"] is False
    assert np.abs(np.load(tmp_path / "a.npy").astype(int) - whole[5:]).max() <= 1


def test_times_of_a_variable_rate(variable: Path, decode: Decode, tmp_path: Path) -> None:
    def times(name: str, *more: str) -> tuple[tuple[float, ...] | None, str]:
        code, _, err = decode(variable, "-o", tmp_path / name, *more)
        assert code == 0, err
        decoder = open_source(tmp_path / name, Preparation())
        assert len(list(decoder.frames())) > 0
        return decoder.timing().timestamps_s, err

    found, err = times("a.mp4")
    assert found == pytest.approx(TIMES_S, abs=1e-4)
    assert "rate" not in err
    assert times("b.mp4", "--frames", "4:12")[0] == pytest.approx([time - TIMES_S[4] for time in TIMES_S[4:12]])
    found, err = times("a.y4m")
    assert found is None
    assert "a.y4m shows frames at 25 fps, as .y4m cannot hold the video's variable rate; .mkv, .mp4 and .mov can" in err
    # An array has no rate at all.
    assert "rate" not in decode(variable, "-o", tmp_path / "a.npy")[2]


def test_what_players_do_not_learn_is_said(file: Path, decode: Decode, tmp_path: Path) -> None:
    stream = bitstream.read(file.read_bytes())
    shown = dataclasses.replace(stream.video, display=Display(sample_aspect="128:117"))
    (tmp_path / "x.bnv").write_bytes(write(Bitstream(shown, stream.segments)))
    code, _, err = decode(tmp_path / "x.bnv", "-o", tmp_path / "a.mp4")
    assert code == 0
    assert (
        f"{tmp_path / 'x.bnv'}: the pixel aspect is 128:117, but decoded videos claim square pixels; `ffmpeg -i" in err
    )
    code, _, err = decode(file, "-o", tmp_path / "b.mp4")
    assert code == 0
    assert "pixel aspect" not in err
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    # An array is not shown by players.
    assert "pixel aspect" not in decode(tmp_path / "x.bnv", "-o", tmp_path / "a.npy")[2]


def test_sound_belongs_to_whole_videos(file: Path, decode: Decode, tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    sine = ("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "flac", "-c:v", "ffv1")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=1", *sine, source)
    arguments = (file, "-o", tmp_path / "a.mkv", "--audio-from", source)
    for part in ("3:", ":20"):
        refused(
            decode(*arguments, "--frames", part), "--audio-from belongs to whole videos, and --frames leaves some out"
        )
    assert not (tmp_path / "a.mkv").exists()
    assert decode(*arguments, "--frames", "0:")[0] == 0


# --- memory -----------------------------------------------------------------------------------------------

PEAK = """
import re, sys
from pathlib import Path
from boostnerv import steps
from boostnerv.host.machine import Host
files = steps.DecodingFiles(file=Path(sys.argv[1]), output=Path(sys.argv[2]))
steps.decode(files, steps.DecodingChoice(), Host("cpu", threads=1))
# Not ru_maxrss, which counts the memory of the process that started this one.
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak_kib(folder: Path, frames: int) -> int:
    path = make_file(folder / f"{frames}.bnv", frames, 120, 160)
    command = [sys.executable, "-c", PEAK, str(path), str(folder / f"{frames}.npy")]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    short, long = peak_kib(tmp_path, 64), peak_kib(tmp_path, 512)
    assert (tmp_path / "512.npy").stat().st_size - (tmp_path / "64.npy").stat().st_size > 24 * 2**20
    assert long - short < 10 * 2**10
