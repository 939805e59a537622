"""Many tiny videos at once: every pixel's three bytes say which pixel of which frame of all videos it is."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np

from boostnerv.video.frames import Manifest, Pixels


def numbered(first: int, frames: int, height: int, width: int) -> Pixels:
    """Frames ``[T, H, W, 3]``, of which the first is number `first` of all."""
    size = height * width
    pixels = np.arange(first * size, (first + frames) * size, dtype=">u4")
    assert first + frames <= (1 << 24) // size
    return pixels.view(np.uint8).reshape(frames, height, width, 4)[..., 1:]


def write_many(folder: Path, lengths: list[int], height: int, width: int) -> list[Path]:
    """Frames files of videos that stand one after the other; the paths of their manifests."""
    template = Manifest(
        dataset="many", video="VIDEO", frames=1, height=height, width=width, fps=25, pixels_sha256=64 * "0"
    ).model_dump_json()
    everything = numbered(0, sum(lengths), height, width).tobytes()
    paths, start = [], 0
    for number, length in enumerate(lengths):
        data = everything[start : start + length * height * width * 3]
        start += len(data)
        header = BytesIO()
        shape = {"descr": "|u1", "fortran_order": False, "shape": (length, height, width, 3)}
        np.lib.format.write_array_header_1_0(header, shape)
        (folder / f"{number}.npy").write_bytes(header.getvalue() + data)
        text = template.replace("VIDEO", f"v{number}").replace('"frames":1,', f'"frames":{length},')
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(text.replace(64 * "0", hashlib.sha256(data).hexdigest()))
    return paths
