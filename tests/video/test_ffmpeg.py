"""The binary and its log."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from boostnerv.errors import UserError
from boostnerv.video import ffmpeg


def test_the_binary_has_the_encoders_of_the_anchors() -> None:
    encoders = ffmpeg.list_encoders()
    assert {"libx264", "libx265", "libsvtav1", "ffv1"} <= encoders
    assert "=" not in encoders
    assert ffmpeg.ffmpeg_version()


def test_the_environment_chooses_the_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual = ffmpeg.binary()
    link = tmp_path / "my-ffmpeg"
    link.symlink_to(usual)
    monkeypatch.setenv("FFMPEG_BINARY", str(link))
    assert ffmpeg.binary() == str(link)
    monkeypatch.setenv("FFMPEG_BINARY", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"FFMPEG_BINARY names .*absent, which is no program"):
        ffmpeg.binary()
    monkeypatch.setenv("FFMPEG_BINARY", "true")
    with pytest.raises(UserError, match="does not answer like ffmpeg"):
        ffmpeg.ffmpeg_version()


def test_pixel_formats() -> None:
    formats = ffmpeg.pixel_formats()
    assert (formats["yuv420p"], formats["yuv420p10le"], formats["rgb24"], formats["gray16le"]) == (
        8,
        10,
        8,
        16,
    )
    assert "vaapi" not in formats


@pytest.mark.parametrize(
    ("pixel_format", "height", "width", "expected"),
    [("yuv420p", 17, 31, 17 * 31 + 2 * 9 * 16), ("yuv420p10le", 16, 32, 16 * 32 * 3), ("rgb24", 3, 5, 45)],
)
def test_frame_bytes(pixel_format: str, height: int, width: int, expected: int) -> None:
    assert ffmpeg.frame_bytes(pixel_format, height, width) == expected


def test_reasons() -> None:
    lines = [
        "[info] Input #0",
        "[mov,mp4 @ 0x55aa] [error] moov atom not found",
        "[in#0 @ 0x55aa] [error] Error opening input: Invalid data.",
    ]
    assert ffmpeg.reason(lines[1:]) == "moov atom not found"
    assert ffmpeg.reason(["[error] Conversion failed!"]) == "Conversion failed"
    assert ffmpeg.reason([]) == "no reason given"


def test_failures_carry_the_reason() -> None:
    with pytest.raises(ffmpeg.FfmpegError, match="No such file"):
        ffmpeg.run(ffmpeg.local_input("no-such-file.mp4").output("pipe:1", format="null"))
    graph = ffmpeg.input_from_pipe(format="rawvideo", pixel_format="gray", video_size=(2, 2))
    done = ffmpeg.run(graph.output("pipe:1", format="rawvideo", pix_fmt="rgb24"), b"\0\1\2\3")
    assert len(done.stdout) == 12


def grey_input() -> ffmpeg.Graph:
    return ffmpeg.input_from_pipe(format="rawvideo", pixel_format="gray", video_size=(64, 64))


def test_a_running_graph_is_fed_bit_by_bit(tmp_path: Path) -> None:
    data = bytes(range(256)) * 16 * 50
    graph = grey_input().output(f"file:{tmp_path / 'out.raw'}", format="rawvideo", pix_fmt="gray")
    with ffmpeg.running(graph, fed=True) as process:
        for start in range(0, len(data), 5000):
            process.feed(data[start : start + 5000])
        process.finish()
    assert (tmp_path / "out.raw").read_bytes() == data


def test_feeding_an_ffmpeg_that_ended() -> None:
    def feed(graph: ffmpeg.Graph) -> None:
        with ffmpeg.running(graph, fed=True) as process:
            for _ in range(10_000):
                process.feed(bytes(4096))

    with pytest.raises(ffmpeg.FfmpegError, match="it ended before it had read everything"):
        feed(grey_input().output("pipe:1", format="null", vframes=1))
    with pytest.raises(ffmpeg.FfmpegError, match="no-such-format"):
        feed(grey_input().output("pipe:1", format="no-such-format"))


def test_leaving_the_block_stops_a_graph_that_waits_for_input(tmp_path: Path) -> None:
    graph = grey_input().output(f"file:{tmp_path / 'out.mkv'}")
    with pytest.raises(KeyError), ffmpeg.running(graph, fed=True) as process:
        process.feed(bytes(4096 * 40))
        raise KeyError
    assert process.popen.returncode is not None


def test_a_full_disk_is_not_a_reason_of_ffmpeg() -> None:
    graph = grey_input().output("file:/dev/full", format="rawvideo").overwrite_output()
    with pytest.raises(OSError, match="No space left on device") as caught:
        ffmpeg.run(graph, bytes(4096))
    assert caught.value.errno == errno.ENOSPC
