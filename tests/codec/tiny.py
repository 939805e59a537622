"""Small files of models with random weights, of a few hundred bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from boostnerv.codec.container.bitstream import Bitstream, Segment, Video, write
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized, encode_after_training, encode_segment, snap
from boostnerv.models.architecture import VideoModel
from tests.models.tiny import tiny_model


def quantized(model: VideoModel, *, bits: int = 5, **changes: Any) -> Quantized:
    """Initial weights and standard normal embeddings, with the fields in `changes` replaced."""
    initial = Quantized.after_training(dict(model.decoder.named_parameters()), noise_embeddings(model), bits)
    return dataclasses.replace(initial, **changes)


def noise_embeddings(model: VideoModel) -> torch.Tensor | None:
    """Standard normal embeddings of all frames, or None for models without."""
    shape = model.spec.embedding_shape
    noise = torch.Generator().manual_seed(1)
    return torch.randn(model.spec.frames, *shape, generator=noise) if shape else None


def segment_of(model: VideoModel, values: Quantized | None = None, **choices: Any) -> Segment:
    return encode_segment(model.architecture, model.spec, snap(values or quantized(model)), **choices)


def older_segment(model: VideoModel) -> Segment:
    """A segment with min–max quantisers and Huffman codes."""
    weights = dict(model.decoder.named_parameters())
    return encode_after_training(model.architecture, model.spec, weights, noise_embeddings(model))[0]


def file_of(segments: Sequence[Segment], **changes: Any) -> bytes:
    """A file with these segments; `changes` replace fields of the video."""
    spec = segments[0].spec
    frames = sum(segment.spec.frames for segment in segments)
    video = Video(frames, spec.height, spec.width, 25.0, "ffmpeg-default")
    return write(Bitstream(dataclasses.replace(video, **changes), tuple(segments)))


def encoded(model: VideoModel, values: Quantized | None = None, **choices: Any) -> bytes:
    return file_of([segment_of(model, values, **choices)])


def opened(data: bytes, folder: Path) -> VideoFile:
    path = folder / "video.bnv"
    path.write_bytes(data)
    return VideoFile(path)


def small_file(name: str) -> bytes:
    return encoded(tiny_model(name))
