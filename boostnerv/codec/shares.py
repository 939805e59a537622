"""Breakdown of the bits of a ``.bnv`` file: decoder tensors, embeddings, keyframes, side information, header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boostnerv.codec.container import version0
from boostnerv.codec.container.bitstream import Segment
from boostnerv.codec.decoder import SegmentDecoder, VideoFile
from boostnerv.codec.entropy.payloads import Embeddings, Weights
from boostnerv.codec.quantizers import post_training, slices

Kind = Literal["weights", "embeddings", "keyframes", "side", "header"]
_CODE_BITS = {"min-max": post_training.code_bits, "slices": slices.code_bits}


@dataclass(frozen=True)
class Share:
    """Bits of one part of a file: the codes of decoder tensor `name` if `kind` is weights, else all of that kind."""

    kind: Kind
    name: str
    bits: int


def file_shares(path: str | Path) -> list[Share]:
    """The parts of a file, tensors in decoder order and then the other kinds; their bits add up to the file size.

    Codes of weights and embeddings are counted as the entropy decoder consumes them: Huffman code words, or the whole
    bits by which the state of the ANS coder shrinks. ``side`` is the rest of these two sections: steps, parameters of
    entropy models, tables, and padding of streams to words. ``header`` is the rest of the file. A tensor that occurs in
    several segments is listed once, with the sum of its bits.

    In a file of format version 0 all weights are one part. Raises `BitstreamError` for a damaged file.
    """
    video = VideoFile(path)
    if video.version == version0.VERSION:
        return _sections(video)
    tensors: dict[str, int] = {}
    embeddings = coded = keyframes = 0
    for number, segment in enumerate(video.stream.segments):
        decoder = video.segment(number)
        for name, bits in zip(decoder.shapes, _weight_bits(segment, decoder), strict=True):
            tensors[name] = tensors.get(name, 0) + bits
        embeddings += _embedding_bits(segment, decoder)
        coded += 8 * (len(segment.weights) + len(segment.embeddings))
        keyframes += 8 * len(segment.keyframes)
    others: dict[Kind, int] = {
        "embeddings": embeddings,
        "keyframes": keyframes,
        "side": coded - sum(tensors.values()) - embeddings,
        "header": 8 * video.file_bytes - coded - keyframes,
    }
    return [
        *(Share("weights", name, bits) for name, bits in tensors.items()),
        *(Share(kind, "", bits) for kind, bits in others.items()),
    ]


def _sections(video: VideoFile) -> list[Share]:
    """The parts of a file of format version 0, by section."""
    bits = {name: 8 * size for name, size in video.section_bytes.items()}
    weights, embeddings, side = (bits.get(name, 0) for name in ("weights", "embeddings", "side"))
    return [
        Share("weights", "weights", weights),
        Share("embeddings", "", embeddings),
        Share("keyframes", "", 0),
        Share("side", "", side),
        Share("header", "", 8 * video.file_bytes - weights - embeddings - side),
    ]


def _weight_bits(segment: Segment, decoder: SegmentDecoder) -> Sequence[int]:
    weights = decoder.weights
    if isinstance(weights, Weights):
        return weights.tensor_bits
    return _CODE_BITS[segment.quantizer](segment.weights, [tuple(shape) for shape in decoder.shapes.values()])


def _embedding_bits(segment: Segment, decoder: SegmentDecoder) -> int:
    coded = decoder.embeddings
    if coded is None:
        return 0
    if isinstance(coded, Embeddings):
        return coded.code_bits
    assert segment.spec.embedding_shape is not None
    return sum(
        _CODE_BITS[segment.quantizer](segment.embeddings, [(segment.spec.frames, *segment.spec.embedding_shape)])
    )
