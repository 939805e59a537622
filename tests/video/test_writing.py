"""Frames that were written read back as they were, whatever the kind of output, at the times they were given."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boostnerv import steps
from boostnerv.codec.decoder import VideoFile
from boostnerv.config import Preparation
from boostnerv.errors import BitstreamError, UserError
from boostnerv.host.machine import Host
from boostnerv.video import ffmpeg as ffmpeg_runner
from boostnerv.video import writing
from boostnerv.video.source import open_source, probe
from boostnerv.video.writing import OutputVideo, _choice, _ticks, has_one_rate, write_frames
from tests.codec.tiny import encoded
from tests.disks import full_disk
from tests.models.tiny import tiny_model

from .conftest import Pixels, ffmpeg, noise, synthetic

CONTAINERS = ("a.mp4", "a.mkv", "a.mov")
LOSSLESS_KINDS = ("a.npy", "folder", *CONTAINERS)
TICK_S = 1 / 90_000


def video_of(pixels: Pixels, fps: float = 10, timestamps_s: tuple[float, ...] | None = None) -> OutputVideo:
    return OutputVideo(*pixels.shape[:3], fps=fps, timestamps_s=timestamps_s)


def read(path: Path) -> Pixels:
    if path.suffix == ".npy":
        return np.load(path)
    return np.stack(list(open_source(path, Preparation()).frames()))


def times(path: Path) -> tuple[float, tuple[float, ...] | None]:
    """(frames per second, timestamps) as the project's own reader has them."""
    decoder = open_source(path, Preparation())
    assert all(len(frame) for frame in decoder.frames())
    timing = decoder.timing()
    return timing.fps, timing.timestamps_s


def patches(height: int, width: int) -> Pixels:
    """64 frames of one colour each: the corners and the inside of the RGB cube."""
    colours = np.array(list(np.ndindex(4, 4, 4)), np.uint8) * 85
    return np.broadcast_to(colours[:, None, None], (64, height, width, 3))


# --- pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 24), (17, 31), (1, 1)])
@pytest.mark.parametrize("name", [*LOSSLESS_KINDS, "UPPER.MKV", "odd name: 100%d é.mp4"])
def test_lossless_kinds_keep_every_bit(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    pixels = noise(5, *size)
    path = tmp_path / "deeper" / name
    digest = write_frames(iter(pixels), path, video_of(pixels), lossless=True)
    assert digest == hashlib.sha256(pixels.tobytes()).hexdigest()
    np.testing.assert_array_equal(read(path), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == [name]
    if path.suffix not in (".npy", ""):
        assert times(path) == (10, None)


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
@pytest.mark.parametrize("name", [*CONTAINERS, "a.y4m"])
def test_colours_come_back(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    pixels = patches(*size)
    path = tmp_path / name
    digest = write_frames(iter(pixels), path, video_of(pixels, 24000 / 1001))
    # What was written, not what is read back.
    assert digest == hashlib.sha256(pixels.tobytes()).hexdigest()
    error = read(path).astype(int) - pixels
    assert np.abs(error).max() <= 2
    assert np.abs(error).mean() < 1
    assert times(path) == (pytest.approx(24000 / 1001, rel=1e-9), None)


def test_detail_survives(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :96]
    pixels = np.stack([128 + 60 * np.sin((columns + 3 * k) / 9) * np.cos(rows / 7) for k in range(6)])
    pixels = np.repeat(pixels[..., None], 3, axis=-1).round().astype(np.uint8)
    write_frames(pixels, tmp_path / "a.mp4", video_of(pixels))
    error = read(tmp_path / "a.mp4").astype(float) - pixels
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 42


@pytest.mark.parametrize(
    ("size", "name", "pixel_format", "colours"),
    [
        ((32, 48), "a.mp4", "yuv420p", "bt709"),
        ((33, 48), "a.mkv", "yuv444p", "bt709"),
        ((32, 47), "a.mov", "yuv444p", "bt709"),
        ((33, 47), "a.y4m", "yuv444p", "unknown"),
    ],
)
def test_what_players_are_told(
    size: tuple[int, int], name: str, pixel_format: str, colours: str, tmp_path: Path
) -> None:
    pixels = noise(3, *size)
    write_frames(pixels, tmp_path / name, video_of(pixels))
    info = probe(tmp_path / name)
    assert info.codec == ("rawvideo" if name == "a.y4m" else "h264")
    assert (info.pixel_format, info.range) == (pixel_format, "tv")
    assert (info.matrix, info.primaries, info.transfer) == (colours, colours, colours)
    assert (info.display_height, info.display_width) == size


def test_a_folder_holds_one_png_a_frame(tmp_path: Path) -> None:
    pixels = noise(11, 5, 7)
    (tmp_path / "empty.mp4").mkdir()
    for name in ("new", "empty.mp4"):
        write_frames(pixels, tmp_path / name, video_of(pixels))
        names = sorted(path.name for path in (tmp_path / name).iterdir())
        assert names == [f"frame-{index:06d}.png" for index in range(11)]
        assert Image.open(tmp_path / name / names[3]).mode == "RGB"
        np.testing.assert_array_equal(read(tmp_path / name), pixels)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "empty.mp4"}


def test_an_array_is_what_numpy_saves(tmp_path: Path) -> None:
    pixels = noise(3, 5, 7)
    np.save(tmp_path / "numpy.npy", pixels)
    # Views of other strides too.
    write_frames(np.asfortranarray(pixels), tmp_path / "a.npy", video_of(pixels))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


@pytest.mark.parametrize("name", [*LOSSLESS_KINDS, "a.y4m"])
def test_one_frame_and_progress(name: str, tmp_path: Path) -> None:
    pixels, seen = noise(1, 16, 16), []
    write_frames(pixels, tmp_path / name, video_of(pixels), progress=lambda done, note="": seen.append(done))
    assert seen == [1]
    assert read(tmp_path / name).shape == pixels.shape


def test_frames_are_taken_one_by_one(tmp_path: Path) -> None:
    """No frame is asked for before the last one was passed on, so that none has to be kept."""
    order: list[tuple[str, int]] = []

    def frames() -> Iterator[Pixels]:
        for index, frame in enumerate(noise(4, 16, 16)):
            order.append(("asked", index))
            yield frame

    video = OutputVideo(4, 16, 16, fps=10)
    write_frames(frames(), tmp_path / "a.mp4", video, progress=lambda done, note="": order.append(("done", done - 1)))
    assert order == [(what, index) for index in range(4) for what in ("asked", "done")]


def test_a_coded_video_becomes_any_kind(tmp_path: Path) -> None:
    stream = tmp_path / "x.bnv"
    stream.write_bytes(encoded(tiny_model("nerv-boost", frames=3, height=20, width=30)))
    for name in ("x.npy", "folder", "x.y4m", "x.mp4"):
        report = steps.decode(
            steps.DecodingFiles(file=stream, output=tmp_path / name), steps.DecodingChoice(), Host("cpu")
        )
        assert read(tmp_path / name).shape == (3, 20, 30, 3)
        assert report["decoded_sha256"] == hashlib.sha256(np.load(tmp_path / "x.npy").tobytes()).hexdigest()
    np.testing.assert_array_equal(read(tmp_path / "folder"), read(tmp_path / "x.npy"))
    assert times(tmp_path / "x.mp4") == (VideoFile(stream).fps, None)


# --- times ------------------------------------------------------------------------------------------------


def irregular(count: int) -> tuple[float, ...]:
    steps = np.random.default_rng(count).uniform(0.005, 0.2, count - 1)
    return (0.0, *np.cumsum(steps).tolist())


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("count", [5, 100, 3000])
def test_variable_frame_rates_are_kept(count: int, name: str, lossless: bool, tmp_path: Path) -> None:
    wanted, folder = irregular(count), tmp_path / "odd: 100%d é"
    pixels = np.broadcast_to(noise(1, 16, 16), (count, 16, 16, 3))
    fps = (count - 1) / wanted[-1]
    write_frames(pixels, folder / name, video_of(pixels, fps, wanted), lossless=lossless)
    found_fps, found = times(folder / name)
    # Matroska counts milliseconds.
    tolerance_s = 0.001 if name.endswith("mkv") else TICK_S
    assert found is not None
    assert len(found) == count
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance_s)
    assert found_fps == pytest.approx(fps, rel=1e-3)
    # The last frame is shown for as long as frames are on the average; ffmpeg tells hundredths.
    assert probe(folder / name).duration_s == pytest.approx(wanted[-1] + 1 / fps, abs=0.011)
    assert [path.name for path in folder.iterdir()] == [name]


def test_regular_timestamps_are_a_constant_rate(tmp_path: Path) -> None:
    pixels = noise(30, 16, 16)
    regular = tuple(index * 1001 / 30000 for index in range(30))
    write_frames(pixels, tmp_path / "a.mp4", video_of(pixels, 30000 / 1001, regular))
    assert times(tmp_path / "a.mp4") == (pytest.approx(30000 / 1001, rel=1e-3), None)


def test_kinds_without_timestamps_write_the_mean_rate(tmp_path: Path) -> None:
    pixels = noise(3, 16, 16)
    for name in ("a.y4m", "a.npy", "folder"):
        assert has_one_rate(tmp_path / name) == (name == "a.y4m")
        write_frames(pixels, tmp_path / name, video_of(pixels, 12.5, (0, 0.01, 0.16)))
    assert times(tmp_path / "a.y4m") == (12.5, None)
    assert not any(has_one_rate(tmp_path / name) for name in CONTAINERS)
    (tmp_path / "b.y4m").mkdir()
    assert not has_one_rate(tmp_path / "b.y4m")
    with pytest.raises(UserError, match="not a format that can be written"):
        has_one_rate(tmp_path / "a.gif")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_ticks_increase_and_are_near(seconds: list[float]) -> None:
    ticks = _ticks(sorted(seconds))
    assert all(one < other for one, other in itertools.pairwise(ticks))
    for index, (tick, time_s) in enumerate(zip(ticks, sorted(seconds), strict=True)):
        assert -0.5 <= tick - time_s * 90_000 <= index + 0.5
    # Times that go back are put right too: frames keep their order.
    assert all(one < other for one, other in itertools.pairwise(_ticks(seconds)))


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=70))
def test_a_choice_is_the_list(values: list[int]) -> None:
    expression = _choice(values, 0)
    python = re.sub(r"if\(lt\(N,(\d+)\),", r"choose(N < \1,", expression)
    for index, value in enumerate(values):
        scope = {"N": index, "choose": lambda condition, one, other: one if condition else other}
        assert eval(python, scope) == value
    depth = max(np.cumsum([(letter == "(") - (letter == ")") for letter in python]), default=0)
    assert depth <= np.ceil(np.log2(len(values)))


# --- audio ------------------------------------------------------------------------------------------------


def with_audio(path: Path, *options: str, before: tuple[str, ...] = ()) -> Path:
    """Half a second of video and 0.7 s of a sine."""
    sources = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=10:duration=0.5", *before)
    ffmpeg(*sources, "-f", "lavfi", "-i", "sine=duration=0.7", "-c:v", "libx264", *options, path)
    return path


def packets(path: Path) -> dict[str, list[tuple[float, str]]]:
    """(seconds, checksum) of every packet of the video ("v") and of each audio stream ("a0", ...) of a file."""
    command = [ffmpeg_runner.binary(), "-v", "error", "-i", str(path), "-map", "0:v:0", "-map", "0:a?", "-c", "copy"]
    done = subprocess.run([*command, "-f", "framemd5", "-"], check=True, capture_output=True, text=True)
    bases = {int(k): int(a) / int(b) for k, a, b in re.findall(r"^#tb (\d+): (\d+)/(\d+)", done.stdout, re.MULTILINE)}
    found: dict[str, list[tuple[float, str]]] = {}
    for line in done.stdout.splitlines():
        if line and not line.startswith("#"):
            stream, _, pts, _, _, digest = (part.strip() for part in line.split(",")[:6])
            name = "v" if stream == "0" else f"a{int(stream) - 1}"
            found.setdefault(name, []).append((int(pts) * bases[int(stream)], digest))
    return {name: sorted(rows) for name, rows in found.items()}


AUDIO = {
    "aac.mp4": (("-c:a", "aac"), ()),
    "opus.mkv": (("-c:a", "libopus"), ()),
    "pcm.mov": (("-c:a", "pcm_s16le"), ()),
    "late video.mkv": (("-c:a", "aac"), ("-itsoffset", "-0.12")),
    "late audio.mp4": (("-c:a", "aac"), ("-itsoffset", "0.25")),
    "late video.ts": (("-c:a", "mp2"), ("-itsoffset", "-0.2")),
    "late audio.ts": (("-c:a", "mp2"), ("-itsoffset", "0.2")),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("source", AUDIO)
@pytest.mark.parametrize("variable", [False, True])
def test_audio_is_copied_and_stays_in_time(source: str, name: str, variable: bool, tmp_path: Path) -> None:
    if source == "opus.mkv" and name == "a.mov":
        pytest.skip("QuickTime holds no Opus")
    codec, before = AUDIO[source]
    original = with_audio(tmp_path / source, *codec, before=before)
    pixels = read(original)
    timestamps_s = (0.0, 0.07, 0.21, 0.3, 0.4) if variable else None
    write_frames(pixels, tmp_path / name, video_of(pixels, 10, timestamps_s), lossless=True, audio_from=original)
    np.testing.assert_array_equal(read(tmp_path / name), pixels)
    found_fps, found = times(tmp_path / name)
    assert found_fps == pytest.approx(10, rel=1e-3)
    assert found == (None if timestamps_s is None else pytest.approx(timestamps_s, abs=0.001))
    before_, after = packets(original), packets(tmp_path / name)
    assert [digest for _, digest in after["a0"]] == [digest for _, digest in before_["a0"]]
    offsets = [rows["a0"][0][0] - rows["v"][0][0] for rows in (before_, after)]
    assert offsets[1] == pytest.approx(offsets[0], abs=0.0021)  # both may round to milliseconds


def test_every_audio_stream_is_copied_and_none_is_cut(tmp_path: Path) -> None:
    second = ("-f", "lavfi", "-i", "sine=frequency=880:duration=0.6")
    maps = ("-map", "0", "-map", "1", "-map", "2")
    original = with_audio(tmp_path / "two.mkv", *maps, "-c:a", "aac", before=second)
    pixels = noise(2, 16, 16)
    write_frames(pixels, tmp_path / "a.mp4", video_of(pixels), audio_from=original)
    before, after = packets(original), packets(tmp_path / "a.mp4")
    assert set(after) == {"v", "a0", "a1"}
    # Both are longer than the video.
    for name in ("a0", "a1"):
        assert [digest for _, digest in after[name]] == [digest for _, digest in before[name]]
    assert len(after["v"]) == 2


SOUNDS = {
    "s.wav": ("-c:a", "pcm_s16le"),
    "s.mp3": ("-c:a", "libmp3lame"),
    "s.m4a": ("-c:a", "aac"),
    "s.flac": ("-c:a", "flac"),
    "s.ogg": ("-c:a", "libvorbis"),
    "cover.mp3": ("-c:a", "libmp3lame"),
    "cover.m4a": ("-c:a", "aac"),
    "cover.flac": ("-c:a", "flac"),
}


def sound(path: Path, *codec: str) -> Path:
    """0.7 s of a sine, with a picture beside it where the name says so."""
    if path.stem != "cover":
        ffmpeg("-f", "lavfi", "-i", "sine=duration=0.7", *codec, path)
        return path
    cover = ("-f", "lavfi", "-i", "testsrc2=size=32x32", "-map", "0", "-map", "1", "-c:v", "mjpeg", "-frames:v", "1")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.7", *cover, "-disposition:v", "attached_pic", *codec, path)
    return path


def coded_sound(path: Path) -> bytes:
    """The bytes of all packets of sound, however it is cut into packets."""
    command = [ffmpeg_runner.binary(), "-v", "error", "-i", str(path), "-map", "0:a", "-c", "copy", "-f", "data", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize("source", SOUNDS)
def test_sound_without_pictures_starts_with_the_first_frame(source: str, name: str, tmp_path: Path) -> None:
    original, pixels = sound(tmp_path / source, *SOUNDS[source]), noise(5, 16, 16)
    write_frames(pixels, tmp_path / name, video_of(pixels, 10), lossless=True, audio_from=original)
    np.testing.assert_array_equal(read(tmp_path / name), pixels)
    assert times(tmp_path / name) == (10, None)
    assert coded_sound(tmp_path / name) == coded_sound(original) != b""
    written = packets(tmp_path / name)
    assert set(written) == {"v", "a0"}
    # Samples that a decoder throws away may stand before.
    assert -0.06 < written["a0"][0][0] - written["v"][0][0] < 0.002


def test_audio_that_cannot_be_copied(tmp_path: Path) -> None:
    pixels = noise(2, 16, 16)
    old = with_audio(tmp_path / "old.mkv", "-c:a", "wmav2")
    mute = synthetic(tmp_path / "mute.mp4")
    (tmp_path / "text.mp4").write_text("text")
    for name, source, words in (
        ("a.mp4", old, r"audio of .*old\.mkv cannot be copied into a\.mp4 \(.*\): choose an output that ends in \.mkv"),
        ("a.mkv", mute, r"mute\.mp4 has no audio: give a file with audio"),
        ("a.mkv", tmp_path / "absent.mp4", r"there is no video file .*absent\.mp4"),
        ("a.mkv", tmp_path / "text.mp4", r"text\.mp4 cannot be read as video"),
        ("a.npy", old, r"a\.npy cannot hold audio: choose one of \.mp4 \.mkv \.mov"),
        ("a.y4m", old, r"a\.y4m cannot hold audio"),
        ("folder", old, r"folder cannot hold audio"),
    ):
        with pytest.raises(UserError, match=words):
            write_frames(pixels, tmp_path / name, video_of(pixels), audio_from=source)
    assert {path.name for path in tmp_path.iterdir()} == {"old.mkv", "mute.mp4", "text.mp4"}
    write_frames(pixels, tmp_path / "a.mkv", video_of(pixels), audio_from=old)
    assert packets(tmp_path / "a.mkv")["a0"]


# --- refusals and failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.avi", "a.webm", "a.png", "a.v2", "a.mp4.part"])
def test_unknown_kinds(name: str, tmp_path: Path) -> None:
    words = r"give it one of the suffixes \.npy \.mp4 \.mkv \.mov \.y4m, or none for a folder of PNGs"
    with pytest.raises(UserError, match=words):
        write_frames(noise(1, 4, 4), tmp_path / name, OutputVideo(1, 4, 4, 10))


def test_names_that_are_taken(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("")
    (tmp_path / "file").write_text("precious")
    for name in ("folder", "file"):
        with pytest.raises(UserError, match=rf"{name} exists and is not an empty folder: choose another name"):
            write_frames(noise(1, 4, 4), tmp_path / name, OutputVideo(1, 4, 4, 10))
    assert (tmp_path / "folder" / "precious").exists()
    with pytest.raises(UserError, match=r"cannot write .*; choose a writable output folder"):
        write_frames(noise(1, 4, 4), tmp_path / "file" / "a.mp4", OutputVideo(1, 4, 4, 10))


def test_y4m_is_not_lossless(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.y4m cannot be lossless, as \.y4m holds YUV and not RGB: choose \.mkv"):
        write_frames(noise(1, 4, 4), tmp_path / "a.y4m", OutputVideo(1, 4, 4, 10), lossless=True)


def test_an_ffmpeg_without_x264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my-ffmpeg"
    program.write_text("#!/bin/sh\necho ffmpeg version 8.0 of mine\n")
    program.chmod(0o755)
    monkeypatch.setenv("FFMPEG_BINARY", str(program))
    with pytest.raises(
        UserError, match=r"this ffmpeg \(8\.0\) has no encoder libx264rgb, which .*a\.mkv needs: set FFMPEG"
    ):
        write_frames(noise(1, 4, 4), tmp_path / "a.mkv", OutputVideo(1, 4, 4, 10), lossless=True)
    write_frames(noise(1, 4, 4), tmp_path / "a.npy", OutputVideo(1, 4, 4, 10))


ALL_KINDS = ("a.npy", "folder", "a.y4m", *CONTAINERS)


@pytest.mark.parametrize("name", ALL_KINDS)
def test_frames_that_are_not_what_was_announced(name: str, tmp_path: Path) -> None:
    pixels = noise(4, 16, 16)
    for frames, video, words in (
        (pixels, OutputVideo(5, 16, 16, 10), "4 frames instead of the 5"),
        (pixels, OutputVideo(3, 16, 16, 10), "more frames than the 3"),
        (pixels, OutputVideo(4, 16, 15, 10), r"frame 0 is uint8 \[16, 16, 3\], not uint8 \[16, 15, 3\]"),
        (pixels[..., 0], OutputVideo(4, 16, 16, 10), r"frame 0 is uint8 \[16, 16\]"),
        (pixels / 255, OutputVideo(4, 16, 16, 10), "frame 0 is float64"),
        (pixels, OutputVideo(4, 16, 16, 10, (0.0, 0.1, 0.2)), "3 timestamps of 4 frames"),
    ):
        with pytest.raises(ValueError, match=words):
            write_frames(frames, tmp_path / name, video)
    assert list(tmp_path.iterdir()) == []


def children() -> set[int]:
    """Processes that this one started and that have not been waited for."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(status.parent.name))
    return found


@pytest.mark.parametrize("error", [BitstreamError("x.bnv is damaged"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.parametrize("good", [0, 30])
def test_an_interrupted_video_leaves_nothing(name: str, good: int, error: BaseException, tmp_path: Path) -> None:
    before = children()
    during = set()

    def frames() -> Iterator[Pixels]:
        yield from noise(good, 64, 64)
        during.update(children() - before)
        raise error

    with pytest.raises(type(error)) as caught:
        write_frames(frames(), tmp_path / name, OutputVideo(60, 64, 64, 10, tuple(np.arange(60.0) ** 2)))
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []
    assert len(during) == (0 if name in ("a.npy", "folder") else 1)
    assert children() <= before


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    pixels = noise(2, 16, 16)
    for name in ("a.mp4", "a.npy"):
        (tmp_path / name).write_text("old")
        with pytest.raises(ValueError, match="2 frames instead of the 3"):
            write_frames(pixels, tmp_path / name, OutputVideo(3, 16, 16, 10))
        assert (tmp_path / name).read_text() == "old"
        write_frames(pixels, tmp_path / name, video_of(pixels))
        assert len(read(tmp_path / name)) == 2


@pytest.mark.parametrize("name", [*CONTAINERS, "a.y4m"])
def test_an_ffmpeg_that_dies_on_the_way(name: str, tmp_path: Path) -> None:
    before = children()

    def frames() -> Iterator[Pixels]:
        for index, frame in enumerate(noise(40, 64, 64)):
            if index == 5:
                for process in children() - before:
                    os.kill(process, signal.SIGKILL)
            yield frame

    with pytest.raises(
        UserError, match=rf"ffmpeg could not write .*{name} \(it was ended by SIGKILL\); choose another"
    ):
        write_frames(frames(), tmp_path / name, OutputVideo(40, 64, 64, 10))
    assert list(tmp_path.iterdir()) == []
    assert children() <= before


def test_an_ffmpeg_that_refuses(tmp_path: Path) -> None:
    pixels = noise(40, 64, 64)
    with pytest.raises(
        UserError, match=r"ffmpeg could not write .*a\.mp4 \(.*\); choose another format, e\.g\. \.npy"
    ) as caught:
        write_frames(pixels, tmp_path / "a.mp4", video_of(pixels, 1e-9))
    assert "\n" not in str(caught.value)
    assert "@ 0x" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_full_disk_is_a_sentence(name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_check_room", lambda *_: None)
    sentence = rf"no space left on the disk of .* while writing {name}: free some space there"
    with full_disk(tmp_path / "disk") as disk:
        with pytest.raises(UserError, match=sentence):
            write_frames(noise(count, 16, 16), disk / name, OutputVideo(count, 16, 16, 10))
        assert [path.name for path in disk.iterdir()] == ["rest"]
