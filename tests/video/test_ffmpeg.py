"""The binary and its log."""

from __future__ import annotations

import errno
import re
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
    with pytest.raises(UserError, match=r"FFMPEG_BINARY names .*absent, which is not a program"):
        ffmpeg.binary()
    monkeypatch.setenv("FFMPEG_BINARY", "true")
    with pytest.raises(UserError, match="does not answer like ffmpeg"):
        ffmpeg.ffmpeg_version()


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("7.0.2-static", (7, 0, 2)),
        ("5.1.6-0+deb12u1", (5, 1, 6)),
        ("4.2.2-static", (4, 2, 2)),
        ("n6.1", (6, 1)),
        ("n9.0.2-17-g2a571b6068-20260930", (9, 0, 2)),
        ("7.1-essentials_build-www.gyan.dev", (7, 1)),
        ("10.0", (10, 0)),
        ("N-109468-gd39b34123d", None),
        ("2024-05-02-git-71669f2ad5-full_build-www.gyan.dev", None),
        ("git-2020-01-01-abcdef0", None),
    ],
)
def test_versions(version: str, numbers: tuple[int, ...] | None) -> None:
    assert ffmpeg.release(version) == numbers


def of_version(path: Path, version: str) -> Path:
    """A program that runs our ffmpeg and says that it is of another version."""
    said = f"ffmpeg version {version} Copyright (c) 2000-2024 the FFmpeg developers"
    path.write_text(f'#!/bin/sh\ncase "$*" in *-version) echo "{said}";; *) exec "{ffmpeg.binary()}" "$@";; esac\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["7.0.2-static", "5.1.9-0+deb12u1", "4.2.2-static", "n7.0-11-gabcdef0"])
def test_an_older_release_is_refused_wherever_it_is_used(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = of_version(tmp_path / "old-ffmpeg", version)
    monkeypatch.setenv("FFMPEG_BINARY", str(program))
    sentence = re.escape(f"ffmpeg {program} has version {version}, and 7.1 or newer is needed; unset FFMPEG_BINARY")
    for use in (ffmpeg.binary, ffmpeg.ffmpeg_version, ffmpeg.list_encoders, lambda: ffmpeg.frame_bytes("gray", 2, 3)):
        with pytest.raises(UserError, match=sentence):
            use()
    # The package may name another program than its own.
    monkeypatch.delenv("FFMPEG_BINARY")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(UserError, match="7.1 or newer is needed; install a newer imageio-ffmpeg, or set"):
        ffmpeg.binary()


@pytest.mark.parametrize("version", ["7.1", "n7.1.5", "8.0", "10.0.1", "N-109468-gd39b34123d", "2026-01-02-git-7166"])
def test_the_oldest_release_newer_ones_and_builds_between_them_will_do(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = of_version(tmp_path / "my-ffmpeg", version)
    monkeypatch.setenv("FFMPEG_BINARY", str(program))
    assert (ffmpeg.binary(), ffmpeg.ffmpeg_version()) == (str(program), version)
    assert ffmpeg.frame_bytes("gray", 2, 3) == 6


def test_the_package_that_is_required_carries_a_version_that_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FFMPEG_BINARY", raising=False)
    numbers = ffmpeg.release(ffmpeg.ffmpeg_version())
    assert numbers is not None
    assert numbers >= ffmpeg.OLDEST


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
