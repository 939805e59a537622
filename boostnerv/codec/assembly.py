"""The `Bitstream` of a new file: coded segments, and what the file says of the videos that they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from boostnerv.codec.container.bitstream import Bitstream, OneOfMany, Segment, Video
from boostnerv.codec.container.display import display_of
from boostnerv.video.videos import Videos, VideosManifest


def video_header(manifest: VideosManifest) -> Video:
    """What a file says of the whole video that `manifest` describes, or of all videos of a collection."""
    return Video(
        manifest.frames,
        manifest.height,
        manifest.width,
        manifest.fps,
        manifest.colour,
        timestamps_s=manifest.timestamps_s,
        display=display_of(manifest),
    )


def new_file(
    videos: Videos, segments: Sequence[Segment], *, fps: float, colour: str, keyframes: bytes = b""
) -> Bitstream:
    """The file of coded `segments` of `videos`, not yet serialised.

    `fps` (frames per second) and `colour` (a profile) are those of the frames that the models were trained on. A
    collection has one segment, which gets the names and lengths of its videos, and its coded `keyframes`.
    """
    if videos.members:
        (segment,) = segments
        listed = tuple(OneOfMany(member.name, len(member.frames), member.fps) for member in videos.members)
        segments = [dataclasses.replace(segment, videos=listed, keyframes=keyframes)]
    frames = sum(segment.spec.frames for segment in segments)  # a training may have left some out
    header = dataclasses.replace(video_header(videos.manifest), frames=frames, fps=fps, colour=colour)
    return Bitstream(header, tuple(segments))
