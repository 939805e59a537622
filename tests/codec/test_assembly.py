"""What a new file says of the videos that its segments are of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from boostnerv.codec.assembly import new_file, video_header
from boostnerv.codec.container.bitstream import OneOfMany, Video, write
from boostnerv.models.architecture import VideoModel, architecture
from boostnerv.video.collections import gather, open_collection
from boostnerv.video.frames import Frames, open_frames, write_frames
from tests.codec.tiny import opened, segment_of
from tests.models.tiny import tiny_clip_spec, tiny_model
from tests.video.conftest import noise


def video_of(folder: Path, frames: int, times_s: tuple[float, ...] | None = None) -> Frames:
    write_frames(noise(frames, 5, 6), folder / "x.npy", dataset="set", video="x", fps=12.5)
    video = open_frames(folder / "x.json")
    return dataclasses.replace(video, manifest=video.manifest.model_copy(update={"timestamps_s": times_s}))


def test_segments_of_one_video(tmp_path: Path) -> None:
    times_s = (0.0, 0.5, 0.75, 1.0, 4.0)
    video = video_of(tmp_path, 5, times_s)
    segments = [segment_of(tiny_model(name, frames=count)) for name, count in (("nerv", 2), ("hnerv", 3))]
    header = Video(5, 5, 6, 12.5, "ffmpeg-default", timestamps_s=times_s)
    assert video_header(video.manifest) == header
    stream = new_file(video, segments, fps=12.5, colour="ffmpeg-default")
    assert (stream.video, stream.segments) == (header, tuple(segments))
    assert opened(write(stream), tmp_path).stream == stream


def test_fps_and_colour_are_those_of_the_training(tmp_path: Path) -> None:
    stream = new_file(video_of(tmp_path, 2), [segment_of(tiny_model("nerv", frames=2))], fps=30.0, colour="bt709-float")
    assert (stream.video.fps, stream.video.colour) == (30.0, "bt709-float")


def test_frames_that_a_training_left_out_are_not_in_the_file(tmp_path: Path) -> None:
    """Interpolation leaves the last of an even number of frames out."""
    segment = segment_of(tiny_model("nerv", frames=3))
    assert new_file(video_of(tmp_path, 4), [segment], fps=1.0, colour="ffmpeg-default").video.frames == 3


def test_a_collection_has_names_and_keyframes(tmp_path: Path) -> None:
    for name, count in (("a", 5), ("b", 3)):
        write_frames(noise(count, 5, 6), tmp_path / f"{name}.npy", dataset="set", video=name, fps=10.0 + count)
    gather([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "set.json")
    videos = open_collection(tmp_path / "set.json")
    spec = tiny_clip_spec("d-nerv", lengths=(5, 3))
    segment = segment_of(VideoModel(architecture("d-nerv"), spec))
    stream = new_file(videos, [segment], fps=15.0, colour="ffmpeg-default", keyframes=b"coded")
    assert stream.video == Video(8, spec.height, spec.width, 15.0, "ffmpeg-default")
    listed = (OneOfMany("a", 5, 15.0), OneOfMany("b", 3, 13.0))
    assert stream.segments == (dataclasses.replace(segment, videos=listed, keyframes=b"coded"),)
    with pytest.raises(ValueError, match="too many values"):
        new_file(videos, [segment, segment], fps=15.0, colour="ffmpeg-default")
