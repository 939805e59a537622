"""From the bytes of a ``.bnv`` file to frames, with nothing but the file.

Frames are computed one at a time in a fixed order of operations, so pixels do not depend on how many frames
are asked for; the encoder measures with the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boostnerv.codec import bitstream
from boostnerv.codec.entropy import decode_segments
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import (
    Architecture,
    Spec,
    crop_to_video,
    frame_time,
    tensor_shapes,
    to_channels_last,
)

# A stream that claims more codes than this a byte is not one that an encoder writes.
_MOST_CODES_PER_BYTE = 256


class VideoFile:
    """An opened ``.bnv`` file: ``len(file)`` frames, ``file[k]`` is frame k as uint8 RGB ``[H, W, 3]``.

    Weights and embeddings are entropy-decoded on first use. Raises `BitstreamError` for a damaged file.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        self.path = Path(path)
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
        self.device = torch.device(device)
        self.stream = bitstream.read(data, str(path))
        self.section_bytes = bitstream.section_bytes(data)
        self.file_bytes = len(data)

    @property
    def spec(self) -> Spec:
        return self.stream.header.spec

    @property
    def fps(self) -> float:
        return self.stream.header.fps

    def __len__(self) -> int:
        return self.spec.frames

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a video of {len(self)} frames")
        return next(self.frames([index % len(self)]))

    def frames(self, indices: Sequence[int] | range | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield frames (all of them by default) in the given order as uint8 ``[H, W, 3]``."""
        wanted = range(len(self)) if indices is None else indices
        yield from render(self.decoder, self.spec, self.embeddings, wanted)

    @cached_property
    def weight_codes(self) -> list[NDArray[np.int32]]:
        """Integer codes of each weight tensor, flat."""
        shapes = tensor_shapes(self.stream.header.architecture, self.spec)
        counts = [math.prod(shape) for shape in shapes.values()]
        return self._codes("weights", self.stream.weights, counts)

    @cached_property
    def embedding_codes(self) -> list[NDArray[np.int32]]:
        """Integer codes of each frame's embedding, flat; empty for models of the index alone."""
        if self.spec.embedding_shape is None:
            return []
        counts = [math.prod(self.spec.embedding_shape)] * self.spec.frames
        return self._codes("embeddings", self.stream.embeddings, counts)

    @cached_property
    def decoder(self) -> nn.Module:
        """The network with its decoded weights."""
        codes = self.weight_codes
        return build_decoder(
            self.stream.header.architecture, self.spec, codes, self.stream.weight_side.steps, self.device
        )

    @cached_property
    def embeddings(self) -> Tensor | None:
        """Decoded embeddings ``[T, e, h, w]`` float32, or None."""
        side = self.stream.embedding_side
        if side is None:
            return None
        assert self.spec.embedding_shape is not None
        values = dequantize_embeddings(np.stack(self.embedding_codes), side)
        return torch.from_numpy(values).view(-1, *self.spec.embedding_shape).to(self.device)

    def _codes(self, section: str, data: bytes, counts: list[int]) -> list[NDArray[np.int32]]:
        if sum(counts) > _MOST_CODES_PER_BYTE * (len(data) + 64):
            raise BitstreamError(
                f"{self.path}: section {section} claims {sum(counts)} codes in {len(data)} bytes; "
                "the file is damaged, get it again"
            )
        side = self.stream.weight_side if section == "weights" else self.stream.embedding_side
        assert side is not None
        try:
            return decode_segments(data, counts, side.grid)
        except BitstreamError as error:
            raise BitstreamError(f"{self.path}: section {section}: {error}") from error


def build_decoder(
    entry: Architecture,
    spec: Spec,
    codes: Sequence[NDArray[np.int32]],
    steps: NDArray[np.float32],
    device: torch.device,
) -> nn.Module:
    """Network whose tensor i holds ``steps[i]·codes[i]`` in float32."""
    decoder = entry.decoder(spec)
    with torch.no_grad():
        for parameter, code, step in zip(decoder.parameters(), codes, steps, strict=True):
            parameter.copy_(torch.from_numpy(code.astype(np.float32) * step).view(parameter.shape))
    return to_channels_last(decoder.requires_grad_(False).eval(), device)


def dequantize_embeddings(codes: NDArray[np.int32], side: bitstream.EmbeddingSide) -> NDArray[np.float32]:
    """Embedding values of codes, any shape: ``δ·code + β`` in float32."""
    values: NDArray[np.float32] = codes.astype(np.float32) * side.step + side.offset
    return values


@torch.no_grad()
def render(
    decoder: nn.Module, spec: Spec, embeddings: Tensor | None, indices: Sequence[int] | range
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a network as uint8 RGB ``[H, W, 3]``, one at a time."""
    device = next(decoder.parameters()).device
    for index in indices:
        t = frame_time(torch.tensor([index]), spec.frames).to(device)
        embedding = None if embeddings is None else embeddings[index : index + 1]
        image = crop_to_video(decoder(t, embedding), spec)
        yield to_uint8(image)[0]


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """RGB ``[N, 3, H, W]`` in [0, 1] → uint8 ``[N, H, W, 3]``, rounded to the nearest level."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
