"""The smallest file of the same codes: entropy coding done again, nothing else changed.

Files written under one entropy model shrink; a file coded with ``auto`` stays as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from boostnerv.codec.container.bitstream import Segment, write
from boostnerv.codec.decoder import SegmentDecoder, VideoFile
from boostnerv.codec.entropy.entropy_models import Codes
from boostnerv.codec.entropy.payloads import Embeddings, Weights, read_weights, write_embeddings, write_weights


def repack(video: VideoFile) -> bytes:
    """The bytes of the smallest file with the codes, and so the frames, of `video`: its own where it is the smallest.

    Groups of frames stay as they are. Raises `BitstreamError` for a damaged file.
    """
    coded = enumerate(video.stream.segments)
    segments = tuple(_repacked(segment, video.segment(number)) for number, segment in coded)
    written = write(dataclasses.replace(video.stream, segments=segments))
    return min(video.path.read_bytes(), written, key=len)


def _repacked(segment: Segment, decoder: SegmentDecoder) -> Segment:
    """The segment with its smallest payloads; the older pipelines have one way of coding only."""
    weights, embeddings = decoder.weights, decoder.embeddings
    if isinstance(weights, Weights):
        segment = dataclasses.replace(segment, weights=_weights(segment.weights, weights))
    if isinstance(embeddings, Embeddings):
        segment = dataclasses.replace(segment, embeddings=_embeddings(segment, embeddings))
    return segment


def _weights(coded: bytes, weights: Weights) -> bytes:
    written = write_weights(weights.codes, weights.step_index)
    again = read_weights(written, [codes.shape for codes in weights.codes])
    assert all(map(np.array_equal, again.codes, weights.codes)), "coding is lossless"
    return min(coded, written, key=len)


def _embeddings(segment: Segment, embeddings: Embeddings) -> bytes:
    codes = _all_codes(embeddings)
    written = write_embeddings(codes, embeddings.step_index, embeddings.offset_index, embeddings.group)
    assert np.array_equal(_all_codes(Embeddings(written, codes.shape)), codes), "coding is lossless"
    return min(segment.embeddings, written, key=len)


def _all_codes(embeddings: Embeddings) -> Codes:
    """Codes of all frames ``[T, e, h, w]``."""
    return np.concatenate([embeddings.codes(number) for number in range(embeddings.groups)])
