"""How the papers count the bits of a model of many videos, as D-NeRV's tables do (`published/dnerv.csv`).

Weights count 8 bits each times what entropy coding leaves of them, keyframes what their own codec took; headers,
ranges of quantisers and code tables are not counted. The digits of the file are those that were printed.
"""

from __future__ import annotations

from boostnerv.codec.slices import published_bits


def published_bpp(
    params: float, efficiency: float, keyframe_bits: float, height: int, width: int, frames: int
) -> float:
    """`published_bits` for each pixel of `frames` frames of `height` by `width`, those of all videos together."""
    return published_bits(params, efficiency, keyframe_bits) / (height * width * frames)
