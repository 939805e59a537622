"""Checkpoints as self-describing safetensors files.

Nothing in them depends on time or machine: equal trainings give equal bytes. The cost of a training is in its log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from boostnerv.codec.encoder import Quantized
from boostnerv.config import Closed, FinetuneJob, Sha256, TrainJob, parse
from boostnerv.errors import UserError
from boostnerv.files import canonical_json, write_bytes
from boostnerv.models.architecture import Spec, VideoModel, architecture, is_stored, tensor_shapes

_KEY = "boostnerv"
_MODEL, _QUANTIZED = "model.", "quantized."


class Described(Closed):
    """Metadata common to all checkpoints, stored as JSON."""

    format: Literal[1] = 1
    architecture: str = Field(description="Name of the model.")
    spec: dict[str, Any] = Field(description="Fields of its spec.")

    def make_spec(self) -> Spec:
        """The spec with its class and types restored."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.spec.items()
        }
        try:
            return architecture(self.architecture).spec(**fields)
        except TypeError as error:
            raise UserError(
                f"the checkpoint does not fit this version of {self.architecture} ({error}); train again"
            ) from error


class About(Described):
    """Metadata of a checkpoint that `boostnerv` trained."""

    kind: Literal["trained", "finetuned"] = Field(description="Which step wrote it.")
    frames_sha256: Sha256 = Field(description="Identity of the frames it was trained on.")
    fps: float = Field(description="Frames per second of the video.")
    colour: str = Field(description="Profile by which the source became RGB.")
    keyframes_sha256: Sha256 | None = Field(default=None, description="Identity of its keyframes, where it needs any.")
    train: TrainJob | None = Field(description="Settings of the training; None where the weights were imported.")
    finetune: FinetuneJob | None = Field(default=None, description="Settings of the fine-tuning.")

    @property
    def trained_epochs(self) -> int:
        """Epochs of training; 0 if unknown."""
        return self.train.training.epochs if self.train else 0


class Imported(Described):
    """Metadata of a checkpoint imported from a published implementation, whose frames and training are unknown."""

    kind: Literal["imported"] = Field(default="imported", description="Which step wrote it.")
    source_sha256: Sha256 = Field(description="Identity of the file it was read from.")
    epoch: int | None = Field(default=None, ge=0, description="Epochs of its training, where the file says so.")

    @property
    def trained_epochs(self) -> int:
        """Epochs of training; 0 if unknown."""
        return self.epoch or 0


def spec_fields(spec: Spec) -> dict[str, Any]:
    """Fields of a spec as JSON; fields that `.bnv` files do not store appear only if they differ from their default."""
    choices = spec.unstored_choices()
    values = {field.name: getattr(spec, field.name) for field in fields(spec) if is_stored(field)} | choices
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def save(path: Path, about: About | Imported, model: VideoModel, quantized: Quantized | None = None) -> None:
    """Write a checkpoint; a fine-tuned one includes `quantized`."""
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    if quantized is not None:
        tensors |= {f"{_MODEL}decoder.{name}": value for name, value in quantized.weights.items()}
        tensors[_QUANTIZED + "steps"] = torch.tensor(quantized.steps, dtype=torch.float32)
        if quantized.embeddings is not None:
            scalars = [quantized.embedding_step, quantized.embedding_offset]
            tensors[_QUANTIZED + "embeddings"] = quantized.embeddings
            tensors[_QUANTIZED + "embedding_step_offset"] = torch.tensor(scalars, dtype=torch.float32)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # Not `save_file`, whose error on a full disk is no OSError.
    write_bytes(path, serialize(plain, metadata={_KEY: canonical_json(about.model_dump(mode="json"))}))


def load(path: Path) -> tuple[About, dict[str, Tensor]]:
    """Read a trained or fine-tuned checkpoint; raises `UserError` for an imported one and for any other file."""
    about, tensors = load_any(path)
    if isinstance(about, Imported):
        raise UserError(
            f"checkpoint {path} is imported: its frames and training are not known, which this step needs; "
            "give one that `boostnerv train` or `boostnerv finetune` wrote"
        )
    return about, tensors


def read_about(path: Path) -> About | Imported:
    """Metadata of a checkpoint of any kind, without reading its tensors; raises `UserError` for any other file."""
    with _read(path):
        return _about(path, _metadata(path))


def load_any(path: Path) -> tuple[About | Imported, dict[str, Tensor]]:
    """Read a checkpoint of any kind; raises `UserError` for any other file."""
    with _read(path):
        tensors = deserialize(path.read_bytes())
        return _about(path, _metadata(path)), tensors


def _metadata(path: Path) -> Mapping[str, str]:
    # Not framework="pt", which cannot open files whose names are not UTF-8.
    with safe_open(path, framework="np") as file:
        return file.metadata() or {}


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Within this context errors of reading the file become a `UserError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist; train the model first, or check the path") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it and train again") from error


def _about(path: Path, metadata: Mapping[str, str]) -> About | Imported:
    if _KEY not in metadata:
        raise UserError(f"checkpoint {path} was not written by boostnerv; give one that `boostnerv train` wrote")
    fields = json.loads(metadata[_KEY])
    if fields.get("kind") == "imported":
        return parse(Imported, fields, f"checkpoint {path}")
    return parse(About, fields, f"checkpoint {path}")


def restore(path: Path) -> tuple[About, VideoModel]:
    """Build the model of a trained or fine-tuned checkpoint, with its weights."""
    about, tensors = load(path)
    return about, _model(path, about, tensors)


def restore_any(path: Path) -> tuple[About | Imported, VideoModel]:
    """Build the model of a checkpoint of any kind, with its weights."""
    about, tensors = load_any(path)
    return about, _model(path, about, tensors)


def _model(path: Path, about: Described, tensors: Mapping[str, Tensor]) -> VideoModel:
    model = VideoModel(architecture(about.architecture), about.make_spec())
    weights = {name.removeprefix(_MODEL): value for name, value in tensors.items() if name.startswith(_MODEL)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(
            f"checkpoint {path} does not fit this version of {about.architecture} ({reason}); train again"
        ) from error
    return model


def restore_quantized(path: Path) -> tuple[About, Quantized]:
    """Weights and quantisers of a fine-tuned checkpoint, ready for the encoder."""
    about, tensors = load(path)
    if about.kind != "finetuned":
        raise UserError(f"checkpoint {path} is not fine-tuned; run `boostnerv finetune` on it first")
    prefix = _MODEL + "decoder."
    names = tensor_shapes(architecture(about.architecture), about.make_spec())
    step, offset = tensors.get(_QUANTIZED + "embedding_step_offset", torch.tensor([1.0, 0.0])).tolist()
    return about, Quantized(
        weights={name: tensors[prefix + name] for name in names},
        steps=tensors[_QUANTIZED + "steps"].tolist(),
        embeddings=tensors.get(_QUANTIZED + "embeddings"),
        embedding_step=step,
        embedding_offset=offset,
    )
