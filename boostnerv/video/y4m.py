"""Whether a ``.y4m`` file is whole, which ffmpeg does not say: it takes a frame that is cut off for the end."""

from __future__ import annotations

import os
from pathlib import Path

_SIGNATURE = b"YUV4MPEG2 "
_FRAME = b"FRAME"
_LONGEST_LINE = 4096


def is_cut_y4m(path: Path, frame_bytes: int) -> bool:
    """Whether `path` is a ``.y4m`` file that ends within a frame or its line; frames have `frame_bytes` bytes each.

    What else may be wrong with it is left to ffmpeg, which says so.
    """
    with open(path, "rb") as file:
        if not file.readline(_LONGEST_LINE).startswith(_SIGNATURE):
            return False
        size = os.fstat(file.fileno()).st_size
        while line := file.readline(_LONGEST_LINE):
            whole_line = line.endswith(b"\n")
            if not line.startswith(_FRAME) and (whole_line or not _FRAME.startswith(line)):
                return False
            if not whole_line or file.seek(frame_bytes, os.SEEK_CUR) > size:
                return True
    return False
