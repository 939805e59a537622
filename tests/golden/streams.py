"""Small ``.bnv`` files of every version of the format: ``python -m tests.golden.streams`` writes those of this one.

Weights come from integer arithmetic, so that nothing but the format decides the bytes. Beside each file lie its frames
(``.npy``), and ``codes.json`` has a digest of what each file's entropy coder gives back.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from boostnerv.codec.container.bitstream import VERSION, OneOfMany, Segment
from boostnerv.codec.decoder import SegmentDecoder, VideoFile
from boostnerv.codec.encoder import Quantized, encode_after_training, encode_segment, encode_slices_after_training, snap
from boostnerv.codec.entropy.payloads import AUTO, Embeddings, Weights
from boostnerv.codec.keyframes.keyframe_section import write_keyframes
from boostnerv.models.architecture import Architecture, Spec, architecture
from tests.codec.tiny import file_of
from tests.models.tiny import PUBLISHED, tiny_clip_spec, tiny_spec

FOLDER = Path(__file__).parent / "streams"
CODES = FOLDER / "codes.json"
_FRAMES = 5
_GROUP = 2
_STEP = 2.0**-7
_LENGTHS = (5, 3)
# Two WebP images of 9×14, whose bytes an encoder of another version might not make again.
_KEYFRAMES = (
    "UklGRj4AAABXRUJQVlA4IDIAAACwAQCdASoOAAkABABoJbACdAEOtQ9gAP7xhA9Ui0qi8eud3E28YOxyyz3KpV/ndtJAAA==",
    "UklGRj4AAABXRUJQVlA4IDIAAADQAQCdASoOAAkABABoJbACdH8AGBRTfAD+7N4KtIemGPdBT3bc9x6rr/ziJV9xuX8AAA==",
)


def one_segment(name: str, entropy_model: str = AUTO) -> bytes:
    """A file of one segment of the model `name`, the same on every machine."""
    return file_of([_segment(name, entropy_model)])


def older_pipeline() -> bytes:
    """A file of min–max quantisers and Huffman codes."""
    entry, spec, values = _trained("hnerv")
    segment, _ = encode_after_training(entry, spec, values.weights, values.embeddings)
    return file_of([segment])


def several_segments() -> bytes:
    """Two segments of models of their own, frames two at a time, shown at times of their own."""
    first, second = _segment("hnerv-boost", AUTO), _segment("nerv", AUTO, frames=3)
    return file_of([first, second], batch=2, timestamps_s=(0.0, 0.04, 0.05, 0.125, 0.125, 0.5, 2.0, 2.5))


def many_videos(name: str, *, slices: bool) -> bytes:
    """Two videos in one model, in two patches, with clips of three frames and one of two."""
    entry = architecture(name)
    sizes = {"height": 9, "width": 14, "strides": (3, 2), "fc_dim": 4, "patch_columns": 2}
    spec = tiny_clip_spec(name, lengths=_LENGTHS, **sizes)
    weights = _weights(entry, spec)
    if slices:
        segment, _ = encode_slices_after_training(entry, spec, weights)
    else:
        segment = encode_segment(entry, spec, snap(Quantized(weights, [_STEP] * len(weights), None, _STEP, 0.0)))
    videos = tuple(OneOfMany(video, length, 12.5) for video, length in zip("ab", _LENGTHS, strict=True))
    images = [base64.b64decode(_KEYFRAMES[number % 2]) for number in range(spec.keyframe_starts[-1])]
    keyframes = write_keyframes("webp", images) if spec.uses_keyframes else b""
    return file_of([dataclasses.replace(segment, videos=videos, keyframes=keyframes)])


# Entropy models that every version of the format has; one that is added needs no file of its own.
RECORDED_MODELS = ("gaussian", "gaussian-channel", "laplace", "temporal")
FILES: dict[str, Callable[[], bytes]] = {
    **{name: lambda name=name: one_segment(name) for name in PUBLISHED},
    **{f"hnerv-boost-{name}": lambda name=name: one_segment("hnerv-boost", name) for name in RECORDED_MODELS},
    "segments": several_segments,
    "min-max": older_pipeline,
    "d-nerv": lambda: many_videos("d-nerv", slices=False),
    "d-nerv-slices": lambda: many_videos("d-nerv", slices=True),
    "d-nerv-baseline": lambda: many_videos("d-nerv-baseline", slices=False),
    "d-nerv-baseline-slices": lambda: many_videos("d-nerv-baseline", slices=True),
}


def _segment(name: str, entropy_model: str, frames: int = _FRAMES) -> Segment:
    entry, spec, values = _trained(name, frames)
    return encode_segment(entry, spec, snap(values), entropy_model=entropy_model, group=_GROUP)


def _trained(name: str, frames: int = _FRAMES) -> tuple[Architecture, Spec, Quantized]:
    entry = architecture(name)
    spec = tiny_spec(name, frames=frames, height=9, width=14, strides=(3, 2), fc_dim=4)
    weights = _weights(entry, spec)
    shape = spec.embedding_shape
    embeddings = _noise(torch.Size((spec.frames, *shape)), 1000) * 4 if shape else None
    return entry, spec, Quantized(weights, [_STEP] * len(weights), embeddings, _STEP, -0.25)


def _weights(entry: Architecture, spec: Spec) -> dict[str, torch.Tensor]:
    named = entry.decoder(spec).named_parameters()
    return {key: _noise(tensor.shape, salt) for salt, (key, tensor) in enumerate(named)}


def _noise(shape: torch.Size, salt: int) -> torch.Tensor:
    """Multiples of 1/256 in [−1, 1), without a pattern."""
    numbers = np.arange(shape.numel(), dtype=np.uint64) + np.uint64(7919 * salt)
    mixed = (numbers * np.uint64(2654435761) % np.uint64(1 << 32)) >> np.uint64(23)
    return torch.from_numpy((mixed.astype(np.float32) - 256) / 256).view(shape)


def digest(video: VideoFile) -> str:
    """SHA-256 of all codes, or of the values where a section holds no codes of its own."""
    found = hashlib.sha256()
    for number in range(len(video.stream.segments)):
        for array in _coded(video.segment(number)):
            found.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


def _coded(segment: SegmentDecoder) -> list[np.ndarray]:
    weights, embeddings = segment.weights, segment.embeddings
    arrays: list[np.ndarray] = list(weights.codes if isinstance(weights, Weights) else weights.values())
    if embeddings is not None:
        groups = range(-(-segment.spec.frames // embeddings.group))
        read = embeddings.codes if isinstance(embeddings, Embeddings) else embeddings.values
        arrays += [read(number) for number in groups]
    return arrays


def paths(name: str, version: int = VERSION) -> tuple[Path, Path]:
    """The file and its decoded frames."""
    return FOLDER / f"v{version}-{name}.bnv", FOLDER / f"v{version}-{name}.npy"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in FILES.items():
        file, frames = paths(name)
        file.write_bytes(make())
        np.save(frames, np.stack(list(VideoFile(file).frames())))
    digests = {file.name: digest(VideoFile(file)) for file in sorted(FOLDER.glob("*.bnv"))}
    CODES.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
