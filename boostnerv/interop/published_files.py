"""Files of the published implementations: training checkpoints, and the compressed videos of HNeRV.

    checkpoint (.pth)        {epoch, state_dict: {name: tensor}, optimizer, …}, of D-NeRV as well; or {name: tensor},
                             by itself or under another key
    compressed (quant_vid)   {embed: Q, model: {name: Q}},  Q = {quant uint8, min, scale}: value = min + scale·quant

`min` and `scale` are float16 or float32, one number or one along some axes of the tensor. Files are read without
running any code in them: anything but plain data is rejected.
"""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boostnerv.codec.decoder import render
from boostnerv.errors import UserError
from boostnerv.interop.arguments import Arguments, make_spec
from boostnerv.interop.boosting_nerv import from_original, to_original
from boostnerv.models.architecture import Architecture, Spec, VideoModel

_QUANTIZER = "_quantizer."  # in the names of learned quantisers, which are not part of the network


@dataclass(frozen=True)
class TrainingCheckpoint:
    """Weights of a published training, under their original names."""

    path: Path
    epoch: int | None
    tensors: Mapping[str, Tensor]
    left_out: tuple[str, ...]  # names of tensors of quantisers

    def restore(self, flags: Arguments) -> VideoModel:
        """The model with these weights; raises `UserError` with the first three tensors that do not fit."""
        entry, spec = make_spec(self.path, flags, self.tensors)
        return _restored(self.path, entry, spec, self.tensors)


@dataclass(frozen=True)
class CompressedVideo:
    """A decoder and the embeddings of all frames ``[T, …]``, dequantised to float32."""

    path: Path
    tensors: Mapping[str, Tensor]
    embeddings: Tensor | None

    def open(self, flags: Arguments) -> CompressedFrames:
        """Prepare decoding; raises `UserError` with the first three tensors that do not fit."""
        shape = None if self.embeddings is None else self.embeddings.shape
        entry, spec = make_spec(self.path, flags, self.tensors, shape)
        if entry.multi_video:
            raise UserError(f"{self.path} is a compressed video of HNeRV, {entry.name} has none; give another --model")
        decoder_only = dataclasses.replace(entry, encoder=None)
        decoder = _restored(self.path, decoder_only, spec, self.tensors).decoder.requires_grad_(False).eval()
        return CompressedFrames(entry, spec, decoder, self._fitting_embeddings(entry, spec, decoder))

    def _fitting_embeddings(self, entry: Architecture, spec: Spec, decoder: nn.Module) -> Tensor | None:
        embeddings, shape = self.embeddings, [spec.frames]
        if spec.embedding_shape is not None:
            shape += spec.embedding_shape
        elif embeddings is None:
            return None
        else:
            embeddings = embeddings.flatten(1)
            shape.append(2 * decoder.get_buffer("encoding.frequencies").numel())
        if embeddings is None or list(embeddings.shape) != shape:
            actual = "no embeddings" if embeddings is None else f"embeddings of shape {list(embeddings.shape)}"
            raise UserError(
                f"{self.path} has {actual}, {entry.name} takes {shape}; "
                "check the model, the strides, the sizes and the number of frames"
            )
        return embeddings


@dataclass(frozen=True)
class CompressedFrames:
    """A compressed video ready for decoding.

    `embeddings` are ``[T, e, h, w]``; for models of the frame index the stored positional encodings ``[T, 2L]``, or
    None if the model computes its own.
    """

    architecture: Architecture
    spec: Spec
    decoder: nn.Module
    embeddings: Tensor | None

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all frames in order as uint8 RGB ``[H, W, 3]``."""
        if self.embeddings is None or self.spec.embedding_shape is not None:
            for index in range(self.spec.frames):
                embedding = None if self.embeddings is None else self.embeddings[index : index + 1]
                yield from render(self.decoder, self.spec, range(index, index + 1), embedding)
            return
        for index in range(self.spec.frames):
            self.decoder.encoding = _Stored(self.embeddings[index : index + 1])
            yield from render(self.decoder, self.spec, range(index, index + 1), None)


class _Stored(nn.Module):
    """Replaces a positional encoding by the stored one of a frame, ``[1, 2L]``."""

    def __init__(self, encoded: Tensor) -> None:
        super().__init__()
        self._encoded = encoded

    def forward(self, t: Tensor) -> Tensor:
        return self._encoded


def read_file(path: Path) -> TrainingCheckpoint | CompressedVideo:
    """Read a ``.pth`` file of either kind; raises `UserError` for damaged, hostile and other files."""
    content = _load(path)
    if isinstance(content, dict) and "state_dict" not in content and _is_compressed(content):
        return _compressed_video(path, content)
    state = _state_dict(path, content) if isinstance(content, dict) else None
    if state is not None:
        epoch = content.get("epoch")
        return _training_checkpoint(path, state, epoch if isinstance(epoch, int) and epoch >= 0 else None)
    raise UserError(
        f"{path} is neither a checkpoint (with a state_dict) nor a compressed video (with embed and model); "
        "give model_latest.pth or quant_vid.pth of a training"
    )


def write_checkpoint(model: VideoModel, epoch: int) -> bytes:
    """The bytes of a ``.pth`` file with the weights of `model`, named and shaped as in its original program."""
    # Not to a path, since its temporary name would become part of the file.
    buffer = io.BytesIO()
    torch.save({"epoch": epoch, "state_dict": to_original(model)}, buffer)
    return buffer.getvalue()


def _load(path: Path) -> Any:
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed below; only here is an OSError about the path)
    except FileNotFoundError as error:
        raise UserError(f"file {path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"file {path} cannot be read: {error.strerror}; check the path") from error
    try:
        with file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged pickle can raise nearly everything
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named:
            raise UserError(
                f"{path} holds more than numbers ({named[1]}), which could run code, and was not loaded; "
                "get a file with nothing but tensors from whoever made it"
            ) from error
        raise UserError(
            f"{path} is damaged, cut off or no PyTorch file; get it again, or give the .pth that the training wrote"
        ) from error


def _is_compressed(content: Mapping[Any, Any]) -> bool:
    return isinstance(content.get("model"), dict) and "embed" in content


def _state_dict(path: Path, content: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    """The weights by name: ``state_dict``, `content` itself, or its only entry with weights; None if there are none.

    Raises `UserError` if several entries have weights.
    """
    named = content.get("state_dict")
    if isinstance(named, dict):
        return named
    if _has_weights(content):
        return content
    parts = {key: part for key, part in content.items() if _has_weights(part)}
    if len(parts) > 1:
        raise UserError(
            f"{path} holds weights under {', '.join(map(repr, parts))}, and does not say which are meant; save one of "
            "them in a file of its own"
        )
    return next(iter(parts.values()), None)


def _has_weights(part: Any) -> bool:
    return isinstance(part, dict) and bool(part) and all(isinstance(value, Tensor) for value in part.values())


def _training_checkpoint(path: Path, state: Mapping[Any, Any], epoch: int | None) -> TrainingCheckpoint:
    named = {name: _checked_tensor(path, name, value) for name, value in _with_plain_names(path, state.items()).items()}
    return TrainingCheckpoint(
        path,
        epoch,
        {name: value for name, value in named.items() if _QUANTIZER not in name},
        tuple(name for name in named if _QUANTIZER in name),
    )


def _compressed_video(path: Path, content: Mapping[str, Any]) -> CompressedVideo:
    named = _with_plain_names(path, content["model"].items())
    tensors = {name: _dequantized(path, name, value) for name, value in named.items()}
    embed = content["embed"]
    embeddings = _dequantized(path, "embed", embed) if isinstance(embed, dict) else None
    return CompressedVideo(path, tensors, embeddings)


def _with_plain_names(path: Path, items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Values by plain name; raises `UserError` for invalid and duplicate names."""
    named: dict[str, Any] = {}
    for name, value in items:
        if not isinstance(name, str) or not name.isprintable():
            raise UserError(f"{path} has a tensor called {name!r}, which is no name; get the file again")
        plain = _plain_name(name)
        if plain in named:
            raise UserError(f"{path} has two tensors called {plain}, with and without a prefix; leave one out")
        named[plain] = value
    return named


def _plain_name(name: str) -> str:
    """The name without the prefixes of data parallelism and, at any place, of torch.compile."""
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _checked_tensor(path: Path, name: str, value: Any) -> Tensor:
    """Reject anything but a plain tensor, tensors that claim more numbers than the file has, and non-finite ones."""
    if (
        not isinstance(value, Tensor)
        or value.device.type != "cpu"
        or value.layout != torch.strided
        or value.is_quantized
        or value.is_complex()
    ):
        raise UserError(f"{path}: {name} is no plain tensor; get the file again")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(f"{path}: {name} claims more numbers than the file has; it is damaged, get it again")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise UserError(f"{path}: {name} has numbers that are not finite; the training failed, give another checkpoint")
    return value


def _dequantized(path: Path, name: str, value: Any) -> Tensor:
    """``min + scale·quant`` in float32, the shape of `quant`."""
    parts: dict[str, Any] = value if isinstance(value, dict) else {}
    codes, lowest, scale = (_checked_tensor(path, name, parts.get(key)) for key in ("quant", "min", "scale"))
    if codes.dtype != torch.uint8 or not _broadcastable(lowest, codes) or not _broadcastable(scale, codes):
        raise UserError(
            f"{path}: {name} is not quantised as HNeRV does it (uint8, with min and scale that fit); get the file again"
        )
    dequantized: Tensor = lowest.to(torch.float32) + scale.to(torch.float32) * codes
    return dequantized


def _broadcastable(small: Tensor, large: Tensor) -> bool:
    try:
        return torch.broadcast_shapes(small.shape, large.shape) == large.shape
    except RuntimeError:
        return False


def _restored(path: Path, entry: Architecture, spec: Spec, tensors: Mapping[str, Tensor]) -> VideoModel:
    # Nothing is allocated before the shapes are known to agree.
    try:
        with torch.device("meta"):
            planned = VideoModel(entry, spec)
        weights = from_original(planned, tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}; check the model, the strides and the sizes") from error
    except RuntimeError as error:
        raise UserError(f"{path}: {spec} is larger than any network; check the sizes") from error
    model = VideoModel(entry, spec)
    model.load_state_dict(weights)
    return model
