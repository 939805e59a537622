"""Random damage to ``.bnv`` files, guided by coverage: any bytes are refused in a sentence or become frames.

Run ``python -m bench.fuzz.decode FOLDER [options of libFuzzer]`` from the root of the repository; see ``README.md``.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["boostnerv.codec", "boostnerv.models.architecture"]):
    from boostnerv.codec import decoder
    from boostnerv.errors import BitstreamError

import numpy as np
import torch
import torch._dynamo  # PyTorch imports it with the first model, which takes seconds

from tests.codec.sections import Sections, join, split

_FILE = Path(tempfile.mkdtemp()) / "video.bnv"
_LARGEST_SHOWN = 1 << 16  # pixels of a frame that is rendered in full; larger ones cost time and show nothing new


def decode(data: bytes) -> None:
    """Everything that a file holds: all codes, and the first and the last frame."""
    _FILE.write_bytes(data)
    try:
        video = decoder.VideoFile(_FILE)
        shape = (video.height, video.width, 3)
        for number in range(len(video.stream.segments)):
            segment = video.segment(number)
            _ = segment.weights, segment.embeddings, segment.keyframes
        if video.height * video.width <= _LARGEST_SHOWN:
            for frame in video.frames([0, len(video) - 1]):
                assert frame.shape == shape
                assert frame.dtype == np.uint8
    except BitstreamError:
        return


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time the bytes themselves, else sections whose CRCs are made right again."""
    draw = random.Random(seed)
    sections = _sections(data)
    if sections is None or draw.random() < 0.5:
        return atheris.Mutate(data, max_size)
    index = draw.randrange(len(sections))
    number, payload = sections[index]
    kind = draw.random()
    if kind < 0.7:
        sections[index] = number, atheris.Mutate(payload, max(max_size - len(data) + len(payload), 1))
    elif kind < 0.8:
        sections.insert(draw.randrange(len(sections) + 1), (number, payload))
    elif kind < 0.9:
        del sections[index]
    else:
        other = draw.randrange(len(sections))
        sections[index], sections[other] = sections[other], sections[index]
    return join(sections, version=data[3])[:max_size]


def _sections(data: bytes) -> Sections | None:
    try:
        return split(data) or None
    except (AssertionError, IndexError, struct.error):
        return None


def main() -> None:
    """Fuzz with the arguments of the command line."""
    torch.set_num_threads(1)
    atheris.Setup(sys.argv, decode, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
