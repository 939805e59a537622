"""Any video to a file of a wanted size: what is planned, what comes out, and what an interruption costs."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import boostnerv
from boostnerv import compression, files, progress, steps
from boostnerv.codec.container.bitstream import Bitstream, Display, head_bytes, write
from boostnerv.codec.decoder import VideoFile
from boostnerv.compression import (
    Preset,
    Request,
    chain,
    compress,
    parse_size,
    plan,
    plan_segments,
    segment_planning,
    verification,
    verify,
)
from boostnerv.config import Preparation
from boostnerv.errors import InterruptedBySignal, UserError
from boostnerv.host.machine import Host
from boostnerv.host.signals import obeyed
from boostnerv.models.architecture import architecture
from boostnerv.models.budget import natural_strides, total_parameters
from boostnerv.video import ffmpeg as ffmpeg_runner
from boostnerv.video.frames import Frames, Manifest, open_frames
from boostnerv.video.options import parse_preparation, parse_raw
from boostnerv.video.source import open_source
from boostnerv.video.writing import OutputVideo, write_frames
from tests.video.conftest import Pixels, ffmpeg, noise, synthetic, write_clip, write_images
from tests.video.test_scenes import scene

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("compression")

TINY = Preset(epochs=12, finetuning_epochs=4)
TIMES_S = (0.0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.32, 0.5, 0.54, 0.58, 0.62, 0.66)
INTERLACED = ("-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ildct+ilme")
ASKED = Request(bpp=None, size_bytes=8000, preset="fast", model="hnerv", gop=8)


SCRIPT = f"""
from boostnerv import cli, compression
compression.PRESETS["fast"] = compression.Preset({TINY.epochs}, {TINY.finetuning_epochs})
cli.main()
"""


@pytest.fixture(autouse=True, scope="module")
def tiny_preset() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(compression.PRESETS, "fast", TINY)
        yield


class Told:
    """Progress as it was shown: title, and the units that were told."""

    def __init__(self) -> None:
        self.units: dict[str, list[int]] = {}

    @contextlib.contextmanager
    def __call__(self, title: str, total: int | None, unit: str) -> Iterator[progress.Progress]:
        done = self.units.setdefault(title, [])
        yield lambda count, note="": done.append(count)


@dataclass(frozen=True)
class Done:
    source: Path
    output: Path
    work: Path
    found: dict[str, Any]
    titles: list[str]

    def frames(self) -> Frames:
        return frames_in(self.work)


def frames_in(work: Path) -> Frames:
    (manifest,) = work.glob("*/frames.json")
    return open_frames(manifest)


def two_scenes() -> Pixels:
    return np.concatenate([scene(0, 6, 48, 64), scene(2, 6, 48, 64)])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes at a variable rate, with the sound of a sine."""
    folder = tmp_path_factory.mktemp("source")
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.7", "-c:a", "flac")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=10:duration=0.5", *sine, folder / "sine.mkv")
    pixels = two_scenes()
    video = OutputVideo(*pixels.shape[:3], fps=16, timestamps_s=TIMES_S)
    write_frames(pixels, folder / "clip.mkv", video, lossless=True, audio_from=folder / "sine.mkv")
    return folder / "clip.mkv"


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """That video in a file, and the folder of its work."""
    folder, told = tmp_path_factory.mktemp("done"), Told()
    output, work = folder / "deeper" / "clip.bnv", folder / "clip.bnv.work"
    found = compress(source, output, ASKED, work, told)
    return Done(source, output, work, found, list(told.units))


# --- what comes out ---------------------------------------------------------------------------------------


def test_the_file_has_the_size_that_was_asked_for(done: Done) -> None:
    assert ASKED.size_bytes is not None
    size = done.output.stat().st_size
    assert 0.96 * ASKED.size_bytes <= size <= ASKED.size_bytes
    assert done.found["file_bytes"] == size
    assert done.found["bpp"] == 8 * size / (12 * 48 * 64)


def test_what_is_said_of_the_file_is_what_it_decodes_to(done: Done) -> None:
    pixels = done.frames().pixels
    np.testing.assert_array_equal(pixels, two_scenes())
    errors = [
        np.mean((frame.astype(float) - pixels[k]) ** 2) for k, frame in enumerate(VideoFile(done.output).frames())
    ]
    assert done.found["psnr_db"] == pytest.approx(np.mean([10 * math.log10(255**2 / error) for error in errors]))
    assert done.found["frames"] == len(errors) == 12
    assert done.found["decode_fps"] > 0
    assert done.found["train_s"] > 0
    assert {path.name for path in done.output.parent.iterdir()} == {"clip.bnv"}
    text = compression.result_text(done.found)
    assert f"{done.found['file_bytes']:,} bytes" in text
    assert "12 frames of 48×64" in text
    assert "2 segments of hnerv\n" in text


def test_every_scene_has_a_model_of_its_own(done: Done) -> None:
    first, second = VideoFile(done.output).stream.segments
    assert (first.spec.frames, second.spec.frames) == (6, 6)
    assert first.weights != second.weights
    assert done.titles == [
        *("extract", "look for scenes", "1/2 train", "1/2 finetune", "2/2 train", "2/2 finetune", "measure")
    ]


def test_times_of_frames_reach_the_decoded_video(done: Done, tmp_path: Path) -> None:
    steps.decode(steps.DecodingFiles(file=done.output, output=tmp_path / "a.mp4"), steps.DecodingChoice(), Host("cpu"))
    decoder = open_source(tmp_path / "a.mp4", Preparation())
    assert len(list(decoder.frames())) == 12
    assert decoder.timing().timestamps_s == pytest.approx(TIMES_S, abs=1e-4)


def audio_packets(path: Path) -> list[str]:
    """Checksums of the packets of the sound."""
    command = [ffmpeg_runner.binary(), "-v", "error", "-i", str(path), "-map", "0:a", "-c", "copy", "-f", "framemd5"]
    lines = subprocess.run([*command, "-"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split(",")[-1].strip() for line in lines if not line.startswith("#")]


def test_sound_is_said_to_be_missing_and_can_be_added(done: Done, tmp_path: Path) -> None:
    notes = [note for note in done.found["notes"] if "sound" in note]
    assert notes == [f"sound is not stored; `boostnerv decode --audio-from {done.source}` adds it"]
    steps.decode(
        steps.DecodingFiles(file=done.output, output=tmp_path / "a.mkv", audio_from=done.source),
        steps.DecodingChoice(),
        Host("cpu"),
    )
    assert audio_packets(tmp_path / "a.mkv") == audio_packets(done.source) != []


def test_a_source_without_sound_has_no_note_of_it(tmp_path: Path) -> None:
    mute = synthetic(tmp_path / "mute.mp4")
    assert chain._sound_notes(mute, ASKED) == []
    assert chain._sound_notes(write_images(tmp_path / "folder", noise(2, 16, 16)), ASKED) == []


def test_what_players_do_not_learn_is_planned_for_and_said(tmp_path: Path) -> None:
    clip = synthetic(tmp_path / "wide.mkv", "-vf", "setsar=4/3", "-c:v", "ffv1")
    sizes = {}
    for choice in ("keep", "square"):
        request = dataclasses.replace(ASKED, preparation=parse_preparation([f"sample_aspect={choice}"]))
        video = chain._extracted(clip, request, tmp_path / "work", Told())
        head, bare = segment_planning.headers(video.manifest)
        sizes[choice] = head_bytes(head) - head_bytes(bare)
        notes = chain._display_notes(video.manifest)
        if choice == "keep":
            assert head.display == Display(sample_aspect="4:3")
            (note,) = notes
            assert note.startswith(
                "the pixel aspect is 4:3, but decoded videos claim square pixels; `ffmpeg -i DECODED"
            )
            assert "-aspect 16:9 " in note
        else:
            assert (head.display, notes) == (None, [])
    assert sizes == {"keep": 20, "square": 0}


def test_a_file_that_decodes_to_something_else_is_found_out(done: Done, tmp_path: Path) -> None:
    video = done.frames()
    plans = plan(video, ASKED, Told())
    stream = VideoFile(done.output).stream
    wrong = tmp_path / "wrong.bnv"
    wrong.write_bytes(write(Bitstream(stream.video, stream.segments[::-1])))
    with pytest.raises(UserError, match=r"frames 0 to 5 of .*wrong\.bnv decode to .* dB and had .* dB when they were"):
        verify(wrong, video, plans, Told())


def test_a_file_that_does_not_decode_is_found_out(
    done: Done, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(done.output.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.bnv").write_bytes(data)
    with pytest.raises(UserError, match=r"damaged\.bnv could not be decoded by a fresh process, which ended with 2"):
        verify(tmp_path / "damaged.bnv", done.frames(), (), Told())
    assert "fails its CRC" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("text", {}, "video"),
        ("interlaced", {}, "add --prepare interlaced="),
        ("small", {"fit": "crop-center", "height": 100, "width": 100}, "smaller than the crop"),
    ],
)
def test_what_cannot_be_coded_leaves_no_folder(
    kind: str, settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    source = tmp_path / "source.mkv"
    if kind == "text":
        source.write_text("no video\n")
    else:
        fields = ("-vf", "setfield=tff", "-flags", "+ildct+ilme", "-c:v", "mpeg2video") if kind == "interlaced" else ()
        write_clip(source, noise(4, 48, 64), *fields)
    request = dataclasses.replace(ASKED, preparation=Preparation(**settings))
    with pytest.raises(UserError, match=sentence):
        compress(source, tmp_path / "a.bnv", request, tmp_path / "a.bnv.work", Told())
    assert [path.name for path in tmp_path.iterdir()] == ["source.mkv"]


def test_frames_that_decoders_would_refuse_are_not_planned() -> None:
    video = video_of(8, 48, 64)
    each = compression.plan(video, ASKED, Told())[0]
    huge = dataclasses.replace(each, spec=dataclasses.replace(each.spec, height=8000, width=8000))
    segment_planning._check_decodable(8e9, (huge,), video.manifest, ASKED)
    with pytest.raises(UserError, match=r"take work that decoders refuse .*: ask for [\d,]+ bytes or more"):
        segment_planning._check_decodable(8e2, (huge,), video.manifest, ASKED)


def test_a_file_that_is_too_large_gets_no_name(tmp_path: Path) -> None:
    video = video_of(8, 48, 64)
    (tmp_path / "a.bnv").write_bytes(bytes(8001))
    with pytest.raises(UserError, match="has 8,001 bytes, more than the 8,000 that were asked for"):
        verification.check_size(tmp_path / "a.bnv", video, ASKED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "asked", "shape", "parts"),
    [
        (
            lambda folder: synthetic(folder / "one.mkv", "-c:v", "ffv1", size="16x16", frames=1),
            ("400",),
            (1, 16, 16),
            1,
        ),
        (lambda folder: write_images(folder / "images", noise(5, 17, 31)), ("4k", "--gop", "1"), (5, 17, 31), 5),
        (lambda folder: write_images(folder / "small", noise(3, 8, 8)), ("500",), (3, 8, 8), 1),
        (
            lambda folder: synthetic(folder / "i.mkv", *INTERLACED),
            ("5k", "--prepare", "interlaced=deinterlace", "--prepare", "frame_count=2"),
            (2, 48, 64),
            1,
        ),
        (
            lambda folder: synthetic(folder / "wide.mkv", "-vf", "setsar=2", "-c:v", "ffv1", frames=2),
            ("5k", "--prepare", "sample_aspect=keep"),
            (2, 48, 64),
            1,
        ),
        (
            lambda folder: synthetic(folder / "a.yuv", "-pix_fmt", "yuv420p", "-f", "rawvideo", frames=2),
            ("5k", "--raw", "64x48,yuv420p,30000/1001"),
            (2, 48, 64),
            1,
        ),
    ],
)
def test_the_command_on_uncommon_sources(
    make: Callable[[Path], Path], asked: tuple[str, ...], shape: tuple[int, int, int], parts: int, tmp_path: Path
) -> None:
    """In folders beside the working one, the output's yet to be made."""
    source = make(tmp_path)
    options = ["--preset", "fast", "--model", "hnerv", "--threads", "1", "--json", "--size", *asked]
    command = [sys.executable, "-c", SCRIPT, "compress", source.name, "new/deeper/x.bnv", *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(boostnerv.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    video = VideoFile(tmp_path / "new/deeper/x.bnv")
    assert (len(video), video.height, video.width) == (found["frames"], found["height"], found["width"]) == shape
    assert found["segments"] == len(video.stream.segments) == parts
    assert set(video.notes) <= set(found["notes"])
    assert (video.stream.video.display is not None) == ("sample_aspect=keep" in asked)
    assert video.file_bytes == found["file_bytes"] <= parse_size(asked[0])
    assert [path.name for path in (tmp_path / "new/deeper").iterdir()] == ["x.bnv"]


# --- going on ---------------------------------------------------------------------------------------------


def arguments(source: Path, output: Path, *more: str) -> list[str]:
    asked = ("--size", str(ASKED.size_bytes), "--preset", "fast", "--model", "hnerv", "--gop", str(ASKED.gop))
    settled = ("--device", "cpu", "--threads", "1")
    return [sys.executable, "-c", SCRIPT, "compress", str(source), str(output), *asked, *settled, *more]


def stop_in_training(command: list[str], work: Path, number: signal.Signals) -> tuple[int, str]:
    """Start the command, send a signal after an epoch of the first training; returns exit code and stderr."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 120
            while not any(path.stat().st_size for path in work.glob("*/*/state-train/log.jsonl")):
                assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
                assert time.monotonic() < until
                time.sleep(0.002)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, errors


def test_an_interruption_costs_nothing(done: Done, tmp_path: Path) -> None:
    output, work = tmp_path / "clip.bnv", tmp_path / "clip.bnv.work"
    code, errors = stop_in_training(arguments(done.source, output), work, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert "boostnerv: stopped by SIGINT in epoch " in errors
    assert errors.endswith("the state is saved, run the same command to resume\n")
    assert "Traceback" not in errors
    assert not output.exists()
    (state,) = work.glob("*/*/state-train")
    before = (state / "log.jsonl").read_text().splitlines()
    assert 0 < len(before) < TINY.epochs

    told = Told()
    found = compress(done.source, output, ASKED, work, told)
    assert output.read_bytes() == done.output.read_bytes()
    differing = ("file", "time_s", "train_s", "decode_fps")
    assert {**found, **dict.fromkeys(differing)} == {**done.found, **dict.fromkeys(differing)}
    # What was done is not done again: the frames are there, and the first step is one after those that are logged.
    assert "extract" not in told.units
    assert told.units["1/2 train"][0] >= 6 * len(before)
    assert told.units["2/2 train"][0] == 1
    (log,) = work.glob(f"*/{state.parent.name}/train.jsonl")
    assert [strip(line) for line in log.read_text().splitlines()[: len(before)]] == [strip(line) for line in before]


def strip(line: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(line).items() if key != "wall_s"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_other_signals_and_the_folder_of_the_command(number: signal.Signals, done: Done, tmp_path: Path) -> None:
    output, where = tmp_path / "clip.bnv", tmp_path / "elsewhere"
    work = where / "clip.bnv.work"
    precious = where / "precious"
    where.mkdir()
    precious.write_text("")
    command = arguments(done.source, output, "--work", str(where), "--json")
    assert stop_in_training(command, work, number)[0] == 128 + number
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert output.read_bytes() == done.output.read_bytes()
    assert json.loads(again.stdout)["file_bytes"] == output.stat().st_size
    assert list(where.iterdir()) == [precious]


@pytest.mark.parametrize("number", obeyed())
@pytest.mark.parametrize("title", ["extract", "look for scenes"])
def test_signals_outside_of_trainings(number: signal.Signals, title: str, source: Path, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def shown(name: str, total: int | None, unit: str) -> Iterator[progress.Progress]:
        yield lambda count, note="": os.kill(os.getpid(), number) if (name, count) == (title, 3) else None

    handlers = [signal.getsignal(each) for each in obeyed()]
    work = tmp_path / "clip.bnv.work"
    with pytest.raises(InterruptedBySignal, match="before the file was done; the state is saved, run the same command"):
        compress(source, tmp_path / "clip.bnv", ASKED, work, shown)
    assert [signal.getsignal(each) for each in obeyed()] == handlers
    # Nothing half-written, and nothing that blocks the next call.
    left = {path.name for path in work.rglob("*") if path.is_file()}
    assert left == (set() if title == "extract" else {"frames.npy", "frames.json"})
    assert not (tmp_path / "clip.bnv").exists()


def test_frames_are_extracted_once_for_a_source_and_a_preparation(tmp_path: Path) -> None:
    def extracted(source: Path, preparation: Preparation | None = None) -> tuple[Frames, bool]:
        told = Told()
        request = dataclasses.replace(ASKED, preparation=preparation or Preparation())
        found = chain._extracted(source, request, tmp_path / "work", told)
        return found, "extract" in told.units

    clip, folder = write_clip(tmp_path / "a.mkv", noise(3, 16, 24), "-c:v", "ffv1"), tmp_path / "folder"
    write_images(folder, noise(3, 16, 24))
    for path in (clip, folder):
        first, was_first = extracted(path)
        again, was_again = extracted(path)
        assert (was_first, was_again, first.path) == (True, False, again.path)
    shorter, was_shorter = extracted(clip, Preparation(frame_count=2))
    assert was_shorter
    assert len(shorter.pixels) == 2
    # An image that is written anew leaves its folder as it was.
    Image.new("RGB", (24, 16)).save(folder / "1.png")
    write_clip(clip, noise(3, 16, 24, seed=1), "-c:v", "ffv1")
    for path in (clip, folder):
        assert extracted(path)[1]
    assert not extracted(folder)[0].pixels[1].any()


def test_the_rate_of_a_folder_of_write_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "folder", noise(3, 16, 24))
    for fps, found in ((None, 25.0), (12.5, 12.5)):
        request = dataclasses.replace(ASKED, fps=fps)
        assert chain._extracted(folder, request, tmp_path / "work", Told()).manifest.fps == found
    clip = write_clip(tmp_path / "a.mkv", noise(3, 16, 24), "-c:v", "ffv1")
    for source, fps in ((clip, 25.0), (folder, 0.0), (folder, float("nan"))):
        with pytest.raises(UserError, match="--fps .* is for folders of images, and above zero; correct it"):
            compress(source, tmp_path / "a.bnv", dataclasses.replace(ASKED, fps=fps), tmp_path / "w", Told())


def test_the_layout_of_a_headerless_video(tmp_path: Path) -> None:
    source, work = tmp_path / "a.yuv", tmp_path / "work"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=24x16", "-frames:v", "4", "-pix_fmt", "gray", "-f", "rawvideo", source)
    sizes = {}
    for text in ("24x16,gray,50", "16x24,gray,50", "24x16,gray,25", "24x16,yuv420p,50"):
        request = dataclasses.replace(ASKED, raw=parse_raw(text))
        if text == "24x16,yuv420p,50":
            with pytest.raises(UserError, match="not a multiple of 576 bytes"):
                chain._extracted(source, request, work, Told())
            continue
        manifest = chain._extracted(source, request, work, Told()).manifest
        sizes[text] = (manifest.frames, manifest.height, manifest.width, manifest.fps)
        # Frames of another layout are not taken for these.
        assert len(list(work.glob("*/frames.json"))) == len(sizes)
    assert sizes == {
        "24x16,gray,50": (4, 16, 24, 50),
        "16x24,gray,50": (4, 24, 16, 50),
        "24x16,gray,25": (4, 16, 24, 25),
    }
    asked = dataclasses.replace(ASKED, raw=parse_raw("24x16,gray,50"))
    assert chain._sound_notes(source, asked) == []
    clip = write_clip(tmp_path / "a.mkv", noise(3, 16, 24), "-c:v", "ffv1")
    with pytest.raises(
        UserError, match=r"--raw is the layout of headerless \.yuv files, and none is given; leave it out"
    ):
        compress(clip, tmp_path / "a.bnv", asked, work, Told())


def test_one_folder_of_work_has_one_process(source: Path, tmp_path: Path) -> None:
    from boostnerv.training.lease import hold

    work = tmp_path / "a.bnv.work"
    with hold(work):
        waiting = subprocess.Popen(arguments(source, tmp_path / "a.bnv"), stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith(f"{work}: being trained by process {os.getpid()} on ")
        waiting.send_signal(signal.SIGTERM)
        errors = waiting.communicate(timeout=60)[1]
    assert waiting.returncode == 128 + signal.SIGTERM
    assert errors.startswith("boostnerv: stopped by SIGTERM before the file was done")
    assert list(work.iterdir()) == []
    files.remove_folder(work)
    assert list(tmp_path.iterdir()) == []


# --- planning ---------------------------------------------------------------------------------------------


def video_of(frames: int, height: int, width: int, timestamps_s: tuple[float, ...] | None = None) -> Frames:
    """A black video, which takes no room."""
    manifest = Manifest(
        dataset="own",
        video="clip",
        frames=frames,
        height=height,
        width=width,
        fps=25,
        timestamps_s=timestamps_s,
        pixels_sha256="0" * 64,
    )
    pixels = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (frames, height, width, 3))
    return Frames(manifest, pixels, Path("frames.npy"))


@settings(max_examples=25)
@given(
    frames=st.integers(1, 40),
    size=st.sampled_from([(16, 16), (17, 31), (48, 64), (180, 320)]),
    gop=st.integers(1, 50),
    bpp=st.floats(0.01, 20),
    model=st.sampled_from(["hnerv", "nerv", "hnerv-boost"]),
    variable=st.booleans(),
)
def test_plans_cover_the_video_and_keep_within_the_bits(
    frames: int, size: tuple[int, int], gop: int, bpp: float, model: str, variable: bool
) -> None:
    times = tuple(0.1 * index**1.5 for index in range(frames)) if variable else None
    video = video_of(frames, *size, times)
    request = Request(bpp=bpp, size_bytes=None, preset="fast", model=model, gop=gop, cut_scenes=False)
    bits = bpp * frames * size[0] * size[1]
    try:
        plans = plan(video, request, Told())
    except UserError as error:
        if "are smaller than the smallest file of" in str(error):
            return
        # What the sentence asks for is enough, and not a byte too much.
        fewest = int(str(error).split("(--size ")[1].split(",")[0])
        assert fewest > bits / 8
        enough = dataclasses.replace(request, bpp=None, size_bytes=fewest)
        plans = plan(video, enough, Told())
        bits = 8 * fewest
        with pytest.raises(UserError, match="bytes are too few for"):
            plan(video, dataclasses.replace(enough, size_bytes=fewest - 1), Told())
    assert [index for each in plans for index in each.frames] == list(range(frames))
    assert all(1 <= len(each.frames) <= gop for each in plans)
    head_bits, bare_bits = (8 * head_bytes(head) for head in segment_planning.headers(video.manifest))
    wanted = [each.finetune.finetuning.target_bits * total_parameters(architecture(model), each.spec) for each in plans]
    assert head_bits + sum(wanted) - len(plans) * bare_bits == pytest.approx(bits)
    for each in plans:
        assert (each.spec.frames, each.spec.height, each.spec.width) == (len(each.frames), *size)
        assert each.spec.embedding_parameters <= 0.5 * total_parameters(architecture(model), each.spec)
    assert len({each.identity for each in plans}) == len(plans)


@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from(["hnerv", "nerv"]))
def test_the_fewest_bits_are_enough_to_the_last_bit(frames: int, gop: int, model: str) -> None:
    video = video_of(frames, 48, 64)
    request = Request(bpp=None, size_bytes=1, preset="fast", model=model, gop=gop, cut_scenes=False)
    with pytest.raises(UserError) as refused:
        plan(video, request, Told())
    if found := re.search(r"--size (\d+)", str(refused.value)):
        per_pixel = 8 * int(found[1]) / (frames * 48 * 64)
        assert plan(video, dataclasses.replace(request, size_bytes=None, bpp=per_pixel), Told())


@pytest.mark.parametrize(
    ("gop", "cuts", "parts"),
    [
        (40, (), [range(40)]),
        (40, (10, 20), [range(20), range(20, 40)]),  # the first scene is too short for a segment of its own
        (12, (), [range(10), range(10, 20), range(20, 30), range(30, 40)]),
        (20, (16,), [range(16), range(16, 28), range(28, 40)]),
    ],
)
def test_segments_follow_from_the_cuts_and_share_the_bits_by_their_frames(
    gop: int, cuts: tuple[int, ...], parts: list[range]
) -> None:
    manifest, request = video_of(40, 48, 64).manifest, dataclasses.replace(ASKED, gop=gop, size_bytes=60_000)
    plans = plan_segments(manifest, cuts, request)
    assert [segment.frames for segment in plans] == parts
    bare_bits = 8 * head_bytes(segment_planning.headers(manifest)[1])
    for segment in plans:
        parameters = total_parameters(architecture("hnerv"), segment.spec)
        share = (480_000 - bare_bits) * len(segment.frames) / 40 + bare_bits
        assert segment.finetune.finetuning.target_bits * parameters == pytest.approx(share)


@pytest.mark.parametrize(
    ("frames", "gop", "cut_scenes", "expected"),
    [(96, 600, True, True), (95, 600, True, False), (96, 600, False, False), (8, 8, True, True), (7, 8, True, False)],
)
def test_scenes_are_looked_for_where_they_may_begin_segments(
    frames: int, gop: int, cut_scenes: bool, expected: bool
) -> None:
    request = dataclasses.replace(ASKED, gop=gop, cut_scenes=cut_scenes)
    assert segment_planning.can_have_cuts(video_of(frames, 16, 16).manifest, request) == expected


def test_a_video_smaller_than_any_file_of_it() -> None:
    request = Request(bpp=8.0, size_bytes=None, gop=1)
    sentence = (
        r"2 frames of 16×16 in 2 segments are smaller than the smallest file of hnerv-boost would be \([\d,]+ bytes\): "
        r"choose a smaller --model, e\.g\. hnerv, or for fewer segments"
    )
    with pytest.raises(UserError, match=sentence):
        plan(video_of(2, 16, 16), request, Told())


def test_what_changes_a_model_changes_its_folder() -> None:
    video = video_of(8, 48, 64)

    def folders(**changes: Any) -> set[str]:
        request = dataclasses.replace(ASKED, cut_scenes=False, size_bytes=10_000, **changes)
        return {each.identity for each in plan(video, request, Told())}

    same = folders()
    assert folders(device="cuda", gop=100) == same
    for changes in ({"seed": 2}, {"preset": "best"}, {"gop": 4}, {"model": "nerv"}):
        assert not folders(**changes) & same


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (17, 31), (160, 200), (161, 200)])
def test_frames_of_any_size_have_a_loss(size: tuple[int, int]) -> None:
    import torch

    from boostnerv.training.losses import check_frame_size, frame_losses

    terms = segment_planning._loss(*size)
    check_frame_size(terms, *size)
    pictures = torch.rand(2, 1, 3, *size, generator=torch.Generator().manual_seed(1))
    assert frame_losses(terms, pictures[0], pictures[1]).isfinite().all()


@given(st.integers(2, 5000), st.integers(2, 5000))
@example(74, 74)
@example(73, 75)
def test_natural_strides_fit_the_frame(height: int, width: int) -> None:
    strides = natural_strides(height, width)
    step = math.prod(strides)
    assert step <= min(height, width)
    assert all(one >= other for one, other in itertools.pairwise(strides))
    if min(height, width) >= 16 and max(height, width) <= 6 * min(height, width):
        rows, columns = -(-height // step), -(-width // step)
        assert 3 <= min(rows, columns) <= 27
        # Of sides up to 150 all were tried: only these two are padded by more, for about nine rows.
        if sorted((height, width)) not in ([73, 73], [73, 74]):
            assert rows * columns * step**2 <= 1.2 * height * width


def test_natural_strides_are_the_papers() -> None:
    assert natural_strides(720, 1280) == (5, 2, 2, 2, 2)
    assert natural_strides(1080, 1920) == (5, 3, 2, 2, 2)


# --- what cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size_bytes": None}, "give either --bpp, e.g. 0.05, or --size, e.g. 1.5M"),
        ({"bpp": 0.1}, "give either --bpp"),
        ({"size_bytes": None, "bpp": 0.0}, "must be above zero"),
        ({"size_bytes": None, "bpp": -1.0}, "must be above zero"),
        ({"size_bytes": None, "bpp": math.nan}, "must be above zero"),
        ({"size_bytes": None, "bpp": math.inf}, "must be above zero"),
        ({"gop": 0}, "must be above zero"),
        ({"preset": "fastest"}, "unknown preset 'fastest': did you mean 'fast'"),
        ({"model": "hnerv-bost"}, "hnerv-bost.*did you mean 'hnerv-boost'"),
        ({"size_bytes": 100}, r"100 bytes are too few for hnerv on 12 frames of 48×64 in 2 segments: ask for [\d,]+"),
        ({"size_bytes": 10**6}, "1,000,000 bytes are more than the 110,592 of the frames themselves; ask for less"),
    ],
)
def test_requests_that_cannot_be(changes: dict[str, Any], sentence: str, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "clip.bnv"
    output.write_text("an earlier one")
    with pytest.raises(UserError, match=sentence):
        compress(source, output, dataclasses.replace(ASKED, **changes), tmp_path / "work", Told())
    assert output.read_text() == "an earlier one"


Prepared = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder / "absent.mp4", r"there is no video file .*absent\.mp4; check the path"),
        (lambda folder: _text(folder / "noextension"), "noextension cannot be read as video"),
        (lambda folder: _text(folder / "text.mp4"), r"text\.mp4 cannot be read as video"),
        (
            lambda folder: _text(folder / "a.yuv"),
            r"a\.yuv has no header; give its layout with --raw WIDTHxHEIGHT,PIXEL_FORMAT,FPS, e\.g\. 1920x1080,",
        ),
        (
            lambda folder: synthetic(folder / "i.mkv", *INTERLACED),
            r"i\.mkv is interlaced: add --prepare interlaced=deinterlace \(bwdif\) or --prepare interlaced=keep",
        ),
        (
            lambda folder: synthetic(folder / "s.mkv", "-vf", "setsar=2", "-c:v", "libx264"),
            r"s\.mkv has pixels of aspect 2:1, not square: add --prepare sample_aspect=square \(scales the width\) or",
        ),
    ],
)
def test_sources_that_cannot_be(make: Prepared, sentence: str, tmp_path: Path) -> None:
    source = make(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=sentence):
        compress(source, tmp_path / "out" / "a.bnv", ASKED, tmp_path / "out" / "a.bnv.work", Told())
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "out"}
    assert [path.name for path in tmp_path.joinpath("out").rglob("*") if path.is_file()] in ([], ["lock"])


def _text(path: Path) -> Path:
    path.write_text("text")
    return path


def test_outputs_that_cannot_be(source: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.bnv").mkdir()
    (tmp_path / "file").write_text("precious")
    work = tmp_path / "work"
    for output, sentence in (
        (tmp_path / "a.mp4", r"the output must end in \.bnv, not '\.mp4'"),
        (tmp_path / "taken.bnv", r"cannot write .*taken\.bnv: Is a directory; choose a writable output folder"),
        (tmp_path / "file" / "a.bnv", r"cannot write .*a\.bnv: .*; choose a writable output folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            compress(source, output, ASKED, work, Told())
    with pytest.raises(UserError, match="cannot write .*; choose a writable output folder"):
        compress(source, tmp_path / "a.bnv", ASKED, tmp_path / "file" / "work", Told())
    assert not work.exists()
    assert (tmp_path / "file").read_text() == "precious"


def test_sizes() -> None:
    assert [parse_size(text) for text in ("1.5M", "800k", "120000", "2G", "1.5m", "1e3")] == [
        *(1_500_000, 800_000, 120_000, 2_000_000_000, 1_500_000, 1000)
    ]
    for text in ("", "M", "big", "1.5MB", "nan", "inf", "-1k", "0", "0.2"):
        with pytest.raises(UserError, match="--size"):
            parse_size(text)


def test_files_reach_their_name_only_when_they_are_verified(done: Done) -> None:
    assert done.output.read_bytes() == (done.work / "coded.bnv").read_bytes()
    assert files.read_json(done.work / "coded.json")["frames"] == 12


def test_names_of_work_folders(tmp_path: Path) -> None:
    assert compression.work_folder(Path("a/x.bnv")) == Path("a/x.bnv.work")
    assert compression.work_folder(Path("a/x.bnv"), Path("b")) == Path("b/x.bnv.work")
    long = [compression.work_folder(tmp_path / ("x" * 250 + last)) for last in ("a", "b")]
    assert long[0] != long[1]
    for folder in long:
        folder.mkdir()


def test_a_source_that_would_be_removed(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lies in .*, which is removed at the end; move it elsewhere"):
        compress(source, tmp_path / "a.bnv", ASKED, source.parent, Told())
    (tmp_path / "same.bnv").symlink_to(source)
    for output in (source, tmp_path / "same.bnv"):
        with pytest.raises(UserError, match=f"{output} is {source} itself"):
            compress(source, output, ASKED, tmp_path / "work", Told())
    assert source.exists()


def test_code_beside_the_video_is_not_run(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("open('ran', 'w').close()\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    (coded,) = done.work.glob("*.bnv")
    video = frames_in(done.work)
    quality, _ = verify(coded, video, plan(video, ASKED, Told()), Told())
    assert quality.psnr_db > 0
    assert [path.name for path in tmp_path.iterdir()] == ["numpy.py"]


@pytest.mark.slow
def test_names_that_are_no_utf8(done: Done, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"-caf\xe9\n.mkv")
    source.write_bytes(done.source.read_bytes())
    output = tmp_path / os.fsdecode(b"-caf\xe9\n" + b"x" * 240 + b".bnv")
    # Options first, then what tells them from names.
    command = [*arguments(source, output, "--json", "--"), source.name, output.name]
    del command[4:6]
    finished = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert json.loads(finished.stdout)["file"] == output.name
    assert output.read_bytes() == done.output.read_bytes()
    assert set(tmp_path.iterdir()) == {source, output}


@pytest.mark.slow
def test_a_terminal_that_is_closed_saves_the_state(done: Done, tmp_path: Path) -> None:
    output, work = tmp_path / "clip.bnv", tmp_path / "clip.bnv.work"
    master, terminal = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        arguments(done.source, output), stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        preexec_fn=take_terminal,
    ) as process:  # fmt: skip
        try:
            os.close(terminal)
            until = time.monotonic() + 240
            while not any(path.stat().st_size for path in work.glob("*/*/state-train/log.jsonl")):
                assert process.poll() is None
                assert time.monotonic() < until
                if select.select([master], [], [], 0.002)[0]:
                    os.read(master, 1 << 16)
            os.close(master)
            assert process.wait(timeout=120) == 128 + signal.SIGHUP
        finally:
            process.kill()
    assert [path.name for path in work.glob("*/*/state-train/state.pt")] == ["state.pt"]
