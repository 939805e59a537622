"""Small ``.bnv`` files of every version of the format: ``python -m tests.golden.streams`` writes those of this one.

Weights come from integer arithmetic, so that nothing but the format decides the bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from boostnerv.codec.bitstream import VERSION
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized, encode
from boostnerv.models.architecture import architecture
from tests.models.tiny import NAMES, tiny_spec

FOLDER = Path(__file__).parent / "streams"
_SIZE = {"frames": 4, "height": 15, "width": 22, "strides": (3, 2), "fc_dim": 4}
_STEP = 2.0**-7


def made(name: str) -> bytes:
    """A file of the model `name`, the same on every machine."""
    entry, spec = architecture(name), tiny_spec(name, **_SIZE)
    weights = {
        key: _noise(tensor.shape, salt) for salt, (key, tensor) in enumerate(entry.decoder(spec).named_parameters())
    }
    shape = spec.embedding_shape
    embeddings = _noise(torch.Size((spec.frames, *shape)), 1000) * 4 if shape else None
    values = Quantized(weights, [_STEP] * len(weights), embeddings, _STEP, -0.25)
    return encode(entry, spec, values, fps=25.0, colour="ffmpeg-default").data


def _noise(shape: torch.Size, salt: int) -> torch.Tensor:
    """Multiples of 1/256 in [−1, 1), without a pattern."""
    numbers = np.arange(shape.numel(), dtype=np.uint64) + np.uint64(7919 * salt)
    mixed = (numbers * np.uint64(2654435761) % np.uint64(1 << 32)) >> np.uint64(23)
    return torch.from_numpy((mixed.astype(np.float32) - 256) / 256).view(shape)


def paths(name: str, version: int = VERSION) -> tuple[Path, Path]:
    """The file and its decoded frames."""
    return FOLDER / f"v{version}-{name}.bnv", FOLDER / f"v{version}-{name}.npy"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        file, frames = paths(name)
        file.write_bytes(made(name))
        np.save(frames, np.stack(list(VideoFile(file).frames())))


if __name__ == "__main__":
    main()
