"""The interface of a model: a frozen spec, a decoder, optionally an encoder, and a number in files.

A model is one file in `boostnerv/models/zoo`; its name is the file name with hyphens. The file ends with
``ARCHITECTURE = Architecture(...)``. No other file has to change to add one.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boostnerv.config import model_names
from boostnerv.errors import UserError, nearest

_STORED, _OF_ENCODER = "stored", "of_encoder"
MOST_BLOCKS = 64  # per stage


def not_stored(default: Any, *, of_encoder: bool = False) -> Any:
    """A field of a `Spec` that files of format version 1 do not store; decoded models have its default.

    A field of the encoder (`of_encoder`) does not affect decoding, as files do not contain the encoder.
    """
    return dataclasses.field(default=default, metadata={_STORED: False, _OF_ENCODER: of_encoder})


def is_stored(field: dataclasses.Field[Any]) -> bool:
    """Whether files store this field of a spec; see `not_stored`."""
    return field.metadata.get(_STORED, True)


def is_of_encoder(field: dataclasses.Field[Any]) -> bool:
    """Whether this field of a spec, which files do not store, affects only the encoder; see `not_stored`."""
    return field.metadata.get(_OF_ENCODER, False)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The settings that define a decoder; everything else is derived. Bitstreams store it field by field.

    Field types are ``int``, ``float`` and ``tuple[int, ...]`` only. Raises `UserError` for impossible values.
    """

    multi_video: ClassVar[bool] = False  # whether it is of several videos, in clips and patches: a `ClipSpec`

    frames: int  # T, frames of the video
    height: int  # H of the video in pixels, any value
    width: int  # W of the video in pixels, any value
    strides: tuple[int, ...]  # upsampling of each decoder stage
    fc_dim: int  # width of the first feature map; determines the size of the model

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            numbers = value if isinstance(value, tuple) else (value,)
            if not numbers or not all(0 < number < math.inf for number in numbers):
                raise UserError(
                    f"model setting {field.name} = {value} must be above zero and finite; correct it in options"
                )
            if field.name.startswith("kernel_") and value % 2 == 0:
                raise UserError(
                    f"model setting {field.name} = {value} must be odd, or sizes change; correct it in options"
                )

    def unstored_choices(self, *, of_encoder: bool = True) -> dict[str, Any]:
        """Non-default values of fields that files do not store, by name; with or without those of the encoder."""
        fields = [field for field in dataclasses.fields(self) if not is_stored(field)]
        return {
            field.name: getattr(self, field.name)
            for field in fields
            if getattr(self, field.name) != field.default and (of_encoder or not is_of_encoder(field))
        }

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Height and width of the decoder's output without padding: the frame."""
        return self.height, self.width

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the first feature map."""
        step, (height, width) = math.prod(self.strides), self.decoded_size
        return -(-height // step), -(-width // step)

    @property
    def padded(self) -> tuple[int, int]:
        """Size of the decoder's output: the decoded height and width rounded up to the product of the strides."""
        step = math.prod(self.strides)
        return self.grid[0] * step, self.grid[1] * step

    @property
    def embedding_shape(self) -> tuple[int, int, int] | None:
        """Shape ``(e, h, w)`` of a frame's stored embedding; None for models without embeddings."""
        return None

    @property
    def embedding_parameters(self) -> int:
        """Number of entries in the embeddings of all frames."""
        return self.frames * math.prod(self.embedding_shape) if self.embedding_shape else 0

    @property
    def samples(self) -> int:
        """What training goes through in an epoch: frames here, clips of patches of a multi-video model."""
        return self.frames

    @property
    def uses_keyframes(self) -> bool:
        """Whether the decoder needs keyframe images, which the file stores."""
        return False

    def frames_at_once(self, batch: int) -> int:
        """The most frames that the exact decoder computes together, where a file says `batch`."""
        return batch

    def inputs_at_once(self, batch: int) -> int:
        """How many inputs of the decoder these are, which makes a frame of each here."""
        return batch

    @property
    def calls_per_frame(self) -> Fraction:
        """Calls of the decoder for each frame of a video."""
        return Fraction(1)

    def decoder_inputs(self) -> tuple[Tensor | None, ...]:
        """Arguments of one call of the decoder, of the right shapes and of no particular values: t ``[1]`` and the
        embedding of a frame, None for a model without."""
        return torch.empty(1), torch.empty(1, *self.embedding_shape) if self.embedding_shape else None

    def computed_with(self, frame: int, batch: int) -> range:
        """The frames that the exact decoder computes together with `frame`, for the `batch` of a file."""
        start = frame - frame % batch
        return range(start, min(start + batch, self.frames))

    @property
    def stack(self) -> StackBudget:
        """The terms of the published size formula."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class StagedSpec(Spec):
    """The settings of a decoder whose stages have one or more blocks; the first block of each stage upsamples."""

    stage_blocks: tuple[int, ...] = not_stored(())  # blocks per stage; empty for the published numbers

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage_blocks == self.published_blocks(len(self.strides)):
            object.__setattr__(self, "stage_blocks", ())  # equal models have equal specs
        if len(self.blocks) != len(self.strides):
            raise UserError(
                f"model setting stage_blocks = {list(self.stage_blocks)} must have a number for each of the strides "
                f"{list(self.strides)}; correct it in options"
            )
        check_blocks("stage_blocks", max(self.blocks))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        return self.stage_blocks or self.published_blocks(len(self.strides))

    @staticmethod
    def published_blocks(stages: int) -> tuple[int, ...]:
        """Blocks per stage in the published model with this number of stages."""
        return (1,) * stages


def check_blocks(name: str, blocks: int) -> None:
    """Raise `UserError` if the model setting `name` asks for more than `MOST_BLOCKS` blocks in a stage."""
    if blocks > MOST_BLOCKS:
        raise UserError(
            f"model setting {name} asks for {blocks} blocks in a stage, but at most {MOST_BLOCKS} are allowed; "
            "correct it in options"
        )


@dataclass(frozen=True)
class StackBudget:
    """Terms of the published width formula; see `boostnerv.models.budget.published_width`."""

    kernels: tuple[int, ...]  # one per stage, not capped at 3
    strides: tuple[int, ...]
    reduce: float  # ratio between the widths of consecutive stages
    embedding_parameters: float
    linear_factor: int  # parameters of the stem per unit of width


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A registered model. `wire_id` is its number in bitstreams and never changes."""

    name: str
    wire_id: int
    spec: type[Spec]
    decoder: Callable[[Any], nn.Module]  # called with an instance of `spec`
    encoder: Callable[[Any], nn.Module] | None = None
    channels_last: bool = True  # whether channels-last is the fastest memory layout

    @property
    def multi_video(self) -> bool:
        """Whether a model is of several videos, with clips, patches and perhaps keyframes."""
        return self.spec.multi_video


@cache
def architecture(name: str) -> Architecture:
    """The model with this name; raises `UserError` with the nearest valid name."""
    if name not in model_names():
        raise UserError(f"unknown model '{name}': {nearest(name, model_names())}")
    module = importlib.import_module(f"boostnerv.models.zoo.{name.replace('-', '_')}")
    entry: Architecture = module.ARCHITECTURE
    if entry.name != name:
        raise AssertionError(f"{module.__file__} registers '{entry.name}'; name and file name must agree")
    return entry


@cache
def architectures_by_wire_id() -> dict[int, Architecture]:
    """All models by their number in bitstreams; raises `AssertionError` for a number used twice."""
    entries: dict[int, Architecture] = {}
    for name in model_names():
        entry = architecture(name)
        if entry.wire_id in entries:
            raise AssertionError(f"wire id {entry.wire_id}: both {entries[entry.wire_id].name} and {name}")
        entries[entry.wire_id] = entry
    return entries


def frame_time(index: Tensor, frames: int) -> Tensor:
    """Normalised time ``(k + 1) / T`` of frame indices k (0-based), float32 ``[N]``.

    Boosting-NeRV counts frames from one: the first frame is 1/T, the last is 1.
    """
    return ((index.to(torch.float64) + 1) / frames).to(torch.float32)


def tensor_shapes(entry: Architecture, spec: Spec) -> dict[str, torch.Size]:
    """Names and shapes of a decoder's tensors in coding order, without allocating them."""
    with torch.device("meta"):
        return {name: parameter.shape for name, parameter in entry.decoder(spec).named_parameters()}


class VideoModel(nn.Module):
    """Decoder and, if the architecture has one, encoder for one video. Only the decoder is stored.

    Frames are RGB in [0, 1], ``[N, 3, H, W]`` at the size of the video: padding to the product of the strides by
    replication and cropping back happen here and in `crop_to_video`, nowhere else.
    """

    def __init__(self, entry: Architecture, spec: Spec) -> None:
        super().__init__()
        self.architecture = entry
        self.spec = spec
        self.decoder = entry.decoder(spec)
        self.encoder = entry.encoder(spec) if entry.encoder else None

    def embed(self, frames: Tensor) -> Tensor | None:
        """Embedding ``[N, e, h, w]`` of frames ``[N, 3, H, W]``; None for models without embeddings."""
        if self.encoder is None:
            return None
        embedding: Tensor = self.encoder(pad_to_grid(frames, self.spec))
        return embedding

    def forward(self, t: Tensor, frames: Tensor) -> Tensor:
        """Reconstruct frames ``[N, 3, H, W]`` from their times ``[N]`` and, for embeddings, the frames themselves."""
        return crop_to_video(self.decoder(t, self.embed(frames)), self.spec)


def pad_to_grid(frames: Tensor, spec: Spec) -> Tensor:
    """Repeat the last row and column up to the size `spec.padded`: ``[N, 3, H, W] → [N, 3, H', W']``."""
    (height, width), (padded_height, padded_width) = spec.decoded_size, spec.padded
    return F.pad(frames, (0, padded_width - width, 0, padded_height - height), mode="replicate")


def crop_to_video(frames: Tensor, spec: Spec) -> Tensor:
    """Undo `pad_to_grid`: ``[…, H', W'] → […, H, W]``."""
    height, width = spec.decoded_size
    return frames[..., :height, :width]


def build_model(name: str, spec: Spec, seed: int) -> VideoModel:
    """Build a newly initialised model; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoModel(architecture(name), spec)


def to_device(module: nn.Module, device: torch.device, name: str) -> Any:
    """Move a module of the model called `name` to a device, with convolution weights in its fastest memory layout."""
    moved = module.to(device)
    return moved.to(memory_format=torch.channels_last) if architecture(name).channels_last else moved  # type: ignore[call-overload]
