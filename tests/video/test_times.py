"""Times that go back are moved, said and rising; frames that a ``.y4m`` lost are said."""

from __future__ import annotations

import itertools
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.errors import UserError
from boostnerv.video.info import Timing, timing
from boostnerv.video.unread import has_unread_recording

from .conftest import LOSSLESS, Extract, Pixels, noise, synthetic, write_clip

RGB_IN_MATROSKA = ("-c:v", "ffv1", "-pix_fmt", "gbrp")


def joint(*frames: int) -> str:
    where = f"frame{'s' if len(frames) > 1 else ''} {', '.join(map(str, frames))}"
    return f"times go back at {where}, as in joined recordings; what follows is shown one frame after what was before"


# --- joined recordings ------------------------------------------------------------------------------------------


def numbered(start: int, stop: int) -> Pixels:
    """Frame k is grey of level 8 k."""
    return np.broadcast_to(np.arange(start, stop, dtype=np.uint8)[:, None, None, None] * 8, (stop - start, 32, 32, 3))


CODECS = {
    ".mkv": ("-c:v", "libx264", "-bf", "2", "-crf", "1", "-pix_fmt", "yuv444p"),
    ".webm": ("-c:v", "libvpx-vp9", "-lossless", "1", "-pix_fmt", "yuv444p"),
    ".flv": ("-c:v", "libx264", "-bf", "2", "-crf", "1", "-pix_fmt", "yuv444p"),
    ".mpg": ("-c:v", "mpeg2video", "-q:v", "1", "-bf", "2"),
    ".avi": ("-c:v", "ffv1", "-pix_fmt", "bgr0"),
}
FLV_HEADER_BYTES = 13  # a stream that was connected to again goes on without another one


def joined(folder: Path, suffix: str, *lengths: int) -> Path:
    """Recordings of so many frames, at 25 frames per second from 0 s on, one after the other in one file."""
    data, starts = [], itertools.accumulate(lengths, initial=0)
    for start, length in zip(starts, lengths, strict=False):
        part = write_clip(folder / f"{start}{suffix}", numbered(start, start + length), *CODECS[suffix], fps=25)
        data.append(part.read_bytes()[FLV_HEADER_BYTES if start and suffix == ".flv" else 0 :])
    path = folder / f"joined{suffix}"
    path.write_bytes(b"".join(data))
    return path


def levels(pixels: Pixels) -> Pixels:
    return np.rint(pixels.mean(axis=(1, 2, 3)) / 8).astype(np.uint8)


@pytest.mark.parametrize("suffix", CODECS)
def test_joined_recordings_go_on_at_their_rate(suffix: str, tmp_path: Path, extract: Extract) -> None:
    frames = extract(joined(tmp_path, suffix, 8, 12))
    np.testing.assert_array_equal(levels(frames.pixels), np.arange(20))
    assert (frames.manifest.fps, frames.manifest.timestamps_s) == (25, None)
    # Of the two others ffmpeg itself mends the times, or their format has none that could go back.
    assert frames.manifest.notes == ((joint(8),) if suffix in (".mkv", ".webm", ".flv") else ())


def test_every_joint_is_named_by_its_frame_in_the_source(tmp_path: Path, extract: Extract) -> None:
    path = joined(tmp_path, ".flv", 3, 4, 5)
    assert extract(path).manifest.notes == (joint(3, 7),)
    part = extract(path, first_frame=5, frame_count=4)
    np.testing.assert_array_equal(levels(part.pixels), np.arange(5, 9))
    assert part.manifest.notes == (joint(7),)
    assert extract(path, first_frame=7).manifest.notes == ()


def test_a_lower_rate_of_joined_recordings(tmp_path: Path, extract: Extract) -> None:
    frames = extract(joined(tmp_path, ".mkv", 10, 15), fps=5)
    np.testing.assert_array_equal(levels(frames.pixels), np.arange(0, 25, 5))
    assert frames.manifest.notes == (joint(10),)


UNREAD = "another recording is joined to the file, whose frames ffmpeg leaves out, all or some; split it"
FRAGMENTS = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof")
SINGLE = {
    "a.mp4": (*LOSSLESS, "-g", "3"),
    "fragments.mp4": (*LOSSLESS, "-g", "3", *FRAGMENTS),
    "a.mov": LOSSLESS,
    "a.flv": ("-c:v", "flv1"),
    "a.wmv": ("-c:v", "wmv2"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_recordings_that_ffmpeg_leaves_out_are_noted(name: str, tmp_path: Path, extract: Extract) -> None:
    path = write_clip(tmp_path / name, noise(6, 16, 16), *SINGLE[name])
    assert extract(path).manifest.notes == ()
    path.write_bytes(path.read_bytes() * 2)
    frames = extract(path)
    assert UNREAD in frames.manifest.notes
    assert frames.manifest.timestamps_s is None
    assert UNREAD not in extract(path, frame_count=6).manifest.notes


@pytest.mark.parametrize(("copies", "frames", "notes"), [(2, 8, (joint(4),)), (3, 8, (UNREAD, joint(4)))])
def test_ffmpeg_reads_two_recordings_of_matroska(
    copies: int, frames: int, notes: tuple[str, ...], tmp_path: Path, extract: Extract
) -> None:
    path = write_clip(tmp_path / "a.mkv", noise(4, 16, 16), *RGB_IN_MATROSKA)
    path.write_bytes(path.read_bytes() * copies)
    manifest = extract(path).manifest
    assert (manifest.frames, manifest.notes) == (frames, notes)


def test_ffmpeg_reads_all_recordings_of_live_webm(tmp_path: Path, extract: Extract) -> None:
    """Whose lengths are not in the file, as browsers record."""
    path = write_clip(tmp_path / "a.webm", noise(4, 16, 16), "-c:v", "libvpx-vp9", "-live", "1")
    path.write_bytes(path.read_bytes() * 3)
    manifest = extract(path).manifest
    assert (manifest.frames, manifest.notes) == (12, (joint(4, 8),))


@pytest.mark.parametrize(
    "start", [b"\x1a\x45\xdf\xa3", b"\0\0\0\x08ftyp", b"FLV", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")]
)
@given(rest=st.binary(max_size=200))
def test_the_walk_through_any_bytes_ends(start: bytes, rest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(start + rest)
        assert isinstance(has_unread_recording(path), bool)


def test_lengths_of_64_bits(tmp_path: Path) -> None:
    short, long = (8).to_bytes(4) + b"moov", (1).to_bytes(4) + b"mdat" + (116).to_bytes(8) + bytes(100)
    path, head = tmp_path / "a.mp4", (16).to_bytes(4) + b"ftypisom" + bytes(4)
    for data, expected in (
        (head + short + long, False),
        (head + short + long + short, True),
        (head + short + long[:-1], False),
    ):
        path.write_bytes(data)
        assert has_unread_recording(path) == expected


# --- the rule itself --------------------------------------------------------------------------------------------

MS = Fraction(1, 1000)


def test_parts_that_are_rounded_each_on_its_own() -> None:
    third = [0, 33, 67, 100]
    assert timing(third * 40, MS, Fraction(30))[0] == Timing(30, None)
    assert timing(third * 40, MS, None)[0] == Timing(30, None)
    # The container's rate is wrong, and the times are right.
    assert timing([0, 20, 40, 0, 20], MS, Fraction(25))[0] == Timing(50, None)


def test_one_frames_distance_is_the_nominal_one_else_the_mean() -> None:
    ticks = [0, 10, 50, 20, 60, 70]
    assert timing(ticks, MS, Fraction(25))[0].timestamps_s == pytest.approx((0, 0.01, 0.05, 0.09, 0.13, 0.14))
    assert timing(ticks, MS, None)[0].timestamps_s == pytest.approx((0, 0.01, 0.05, 0.075, 0.115, 0.125))


def test_equal_times_gaps_and_negative_times_are_kept() -> None:
    assert timing([0, 40, 40, 120], MS, Fraction(25))[0].timestamps_s == pytest.approx((0, 0.04, 0.04, 0.12))
    later = 3_600_000
    far = timing([0, 40, 80, later], MS, Fraction(25))
    assert far[0].timestamps_s == pytest.approx((0, 0.04, 0.08, later / 1000))
    assert far[1] == ["the frame rate is variable; timestamps are kept"]
    assert timing([-80, -40, 0, 40], MS, Fraction(25)) == (Timing(25, None), [])


def test_many_joints_are_counted() -> None:
    notes = timing([1, 0] * 5, MS, Fraction(25), first=100)[1]
    assert notes == [joint(101, 103, 105, 107, 109)]
    assert "101, 103, 105, 107, 109, and 2 more, as" in timing([1, 0] * 7, MS, Fraction(25), first=100)[1][0]


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40), st.sampled_from([None, Fraction(25), Fraction(60)]))
def test_times_never_go_back(ticks: list[int], rate: Fraction | None) -> None:
    clock, notes = timing(ticks, MS, rate)
    back = [index for index in range(1, len(ticks)) if ticks[index] < ticks[index - 1]]
    assert bool(back) == any("times go back" in note for note in notes)
    assert clock.fps > 0
    times = clock.timestamps_s
    if times is None:
        return
    assert len(times) == len(ticks)
    assert times[0] == 0
    for index, (before, after) in enumerate(itertools.pairwise(times), start=1):
        # Distances are the file's, but for those that are mended.
        expected = float((ticks[index] - ticks[index - 1]) * MS)
        assert after > before if index in back else after - before == pytest.approx(expected, abs=1e-9)


# --- y4m --------------------------------------------------------------------------------------------------------

CUT = "the last frame is cut off and left out"


def y4m(path: Path, frames: int = 5, parameters: bytes = b"") -> bytes:
    """The bytes of a file of 4:2:0, whose lines of frames have `parameters`."""
    return (
        synthetic(path, "-pix_fmt", "yuv420p", frames=frames)
        .read_bytes()
        .replace(b"FRAME\n", b"FRAME" + parameters + b"\n")
    )


FRAME_BYTES = 64 * 48 * 3 // 2


@pytest.mark.parametrize("parameters", [b"", b" Ip", b" XLONG=1 Ip"])
@pytest.mark.parametrize(
    "missing",
    [1, 1000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, FRAME_BYTES + 3, FRAME_BYTES + 5],
)
def test_a_frame_that_is_cut_off_is_said(missing: int, parameters: bytes, tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "a.y4m"
    whole = y4m(path, parameters=parameters)
    path.write_bytes(whole)
    pixels = extract(path).pixels.copy()
    assert extract(path).manifest.notes == ()
    path.write_bytes(whole[:-missing])
    frames = extract(path)
    np.testing.assert_array_equal(frames.pixels, pixels[:4])
    assert frames.manifest.notes == (CUT,)
    assert extract(path, frame_count=4).manifest.notes == ()


def test_a_y4m_is_known_by_its_first_bytes(tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "film"
    path.write_bytes(y4m(tmp_path / "a.y4m")[:-1])
    assert extract(path).manifest.notes == (CUT,)


@pytest.mark.parametrize("pixel_format", ["gray", "yuv444p10le", "yuv422p"])
def test_sizes_of_other_y4m_frames(pixel_format: str, tmp_path: Path, extract: Extract) -> None:
    path = synthetic(tmp_path / "a.y4m", "-strict", "-1", "-pix_fmt", pixel_format, size="31x17")
    assert CUT not in extract(path).manifest.notes
    path.write_bytes(path.read_bytes()[:-1])
    assert (extract(path).manifest.frames, CUT in extract(path).manifest.notes) == (5, True)


def test_a_y4m_without_a_whole_frame_has_none(tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(y4m(path, frames=1)[:-1])
    with pytest.raises(UserError, match="holds no frame that can be decoded"):
        extract(path)


def test_other_damage_of_a_y4m_is_refused(tmp_path: Path, extract: Extract) -> None:
    path = tmp_path / "a.y4m"
    whole = y4m(path)
    end = len(whole) - (FRAME_BYTES + len(b"FRAME\n"))
    for data in (
        whole[:end] + b"XXX" + whole[end:],
        whole + b"\n",
        whole[:end] + whole[end:].replace(b"FRAME", b"FRAMF"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match="is damaged"):
            extract(path)
