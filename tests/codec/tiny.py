"""Small files of models with random weights, hundreds of bytes each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Encoded, Quantized, encode
from boostnerv.models.architecture import VideoModel
from tests.models.tiny import tiny_model


def quantized(model: VideoModel, *, bits: int = 5, **changes: Any) -> Quantized:
    """Weights as initialised and standard normal embeddings, `changes` to the fields applied."""
    shape = model.spec.embedding_shape
    noise = torch.Generator().manual_seed(1)
    embeddings = torch.randn(model.spec.frames, *shape, generator=noise) if shape else None
    found = Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, bits)
    return dataclasses.replace(found, **changes)


def encoded(model: VideoModel, values: Quantized | None = None) -> Encoded:
    return encode(model.architecture, model.spec, values or quantized(model), fps=25.0, colour="ffmpeg-default")


def opened(data: bytes, folder: Path) -> VideoFile:
    path = folder / "video.bnv"
    path.write_bytes(data)
    return VideoFile(path)


def small_file(name: str) -> bytes:
    return encoded(tiny_model(name)).data
