"""Small made videos: uint8 RGB [T, H, W, 3]."""

from __future__ import annotations

import numpy as np

from boostnerv.evaluation.metrics import Frames


def moving(frames: int, height: int, width: int, *, noise: float = 4.0) -> Frames:
    """Smooth waves of colour that move, with a little noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    shots = []
    for t in range(frames):
        red = 127 + 100 * np.sin((x + 3 * t) / 15 + y / 40)
        green = 127 + 100 * np.sin(x / 33 - (y + t) / 11 + 1)
        blue = 127 + 90 * np.cos(y / 25 + x / 60 + 2)
        picture = np.stack([red, green, blue], axis=-1)
        shots.append(np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8))
    return np.stack(shots)


def counting(frames: int, height: int, width: int) -> Frames:
    """Frame k is grey of level 20 + 20·k, so that any other order shows."""
    levels = np.arange(20, 20 + 20 * frames, 20, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)))
