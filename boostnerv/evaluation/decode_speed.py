"""Steady decoding speed of ffmpeg, without its start-up time.

ffmpeg takes some 40 ms to start, as long as decoding a small clip. So the stream is also decoded in many concatenated
copies, which form a valid stream as each begins with an intra frame; their extra time over one copy is decoding alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boostnerv.video.ffmpeg import run

_LONG_S = 2.0  # fifty times the start-up time
_ENOUGH_S = 0.4  # ten times the start-up time
_MORE_COPIES = 8
_MOST_BYTES = 2**28


def steady_fps(stream: Path, frames: int, graph_of: Callable[[Path], Any]) -> float:
    """Frames per second at which ffmpeg decodes `stream`, which has `frames` frames.

    `graph_of` returns the decoding graph of a file. Raises `FfmpegError` if ffmpeg fails.
    """
    one_s = min(_wall_s(graph_of(stream)) for _ in range(2))
    if one_s > _LONG_S:
        return frames / one_s
    data, copies = stream.read_bytes(), 1
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".copies-") as folder:
        many = Path(folder) / "copies"
        many_s = 0.0
        while many_s < _ENOUGH_S and copies * _MORE_COPIES * len(data) < _MOST_BYTES:
            copies *= _MORE_COPIES
            many.write_bytes(data * copies)
            many_s = _wall_s(graph_of(many))
    beyond_s = many_s - one_s
    # Streams of a few huge frames are too large to be copied.
    return frames * (copies - 1) / beyond_s if beyond_s > 0 else frames / one_s


def _wall_s(graph: Any) -> float:
    start = time.perf_counter()
    run(graph)
    return time.perf_counter() - start
