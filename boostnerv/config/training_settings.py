"""How models are trained, fine-tuned, and quantised after training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from boostnerv.catalogue import FAST, LOSS_ALIASES, LOSS_TERMS, RATE_DISTORTION
from boostnerv.config.base import Closed
from boostnerv.config.catalogue_names import (
    EmbeddingQuantizerName,
    EmbeddingRateName,
    EntropyModelName,
    PostTrainingQuantizerName,
    WeightQuantizerName,
)
from boostnerv.errors import nearest


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


class RateDistortion(Closed):
    """How values stand in for rounded ones while rate and distortion are trained together."""

    rounding: Literal["soft", "noise", "straight-through"] = Field(
        default="soft",
        description="Codes in the forward pass: softly rounded with noise, with uniform noise, or rounded.",
    )
    temperature: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.5, 0.3), description="First and last temperature of soft rounding; lower is closer to rounding."
    )
    shape: tuple[float, float] = Field(
        default=(2.0, 1.0),
        description="First and last shape, 1 or more, of the Kumaraswamy noise of soft rounding; 1 is uniform.",
    )
    descent: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Share of the epochs in which the wanted rate falls from that of the first step to the target.",
    )
    hard_share: float = Field(
        default=0.2, ge=0, le=1, description="Share of the epochs, at the end, in which codes are rounded."
    )

    @field_validator("shape")
    @classmethod
    def _shapes_of_noise(cls, shape: tuple[float, float]) -> tuple[float, float]:
        if min(shape) < 1:
            raise ValueError("the shapes of the noise are 1 or more")
        return shape


class Finetuning(_Optimisation):
    """From the regression checkpoint to a quantised model: consistent entropy minimisation (CEM), as published, or
    training for rate and distortion together."""

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
    entropy_model: EntropyModelName = Field(
        default="auto", description="Entropy model of the file; auto takes what is smallest, tensor by tensor."
    )
    embedding_rate: EmbeddingRateName = Field(
        default="gaussian",
        description="Frame embeddings in the rate: a Gaussian a frame as published, or their temporal prediction.",
    )
    weight_quantizer: WeightQuantizerName = Field(
        default="scale", description="How weights become codes; lsq clamps them to weight_bits."
    )
    embedding_quantizer: EmbeddingQuantizerName = Field(
        default="scalebeta", description="How frame embeddings become codes; lsqv2 clamps them to embedding_bits."
    )
    quantizer_steps: Literal["grid", "free"] = Field(
        default="grid",
        description="Fine-tune with steps and offsets as a file says them; or with any, as published, which it rounds.",
    )

    rate_distortion: RateDistortion | None = Field(
        default=None,
        description="Train for rate and distortion together in place of CEM, after a short training as warm-up. Keys "
        f"that are not given are then {', '.join(f'{key}: {value}' for key, value in RATE_DISTORTION.items())}.",
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: Any) -> Any:
        joint = isinstance(given, dict) and given.get("rate_distortion") is not None
        return {**RATE_DISTORTION, **given} if joint else given

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Settings of CEM, and so their hashes, are those of versions that knew nothing else."""
        fields: dict[str, Any] = serialized(self)
        return {name: value for name, value in fields.items() if name != "rate_distortion" or value is not None}

    @model_validator(mode="after")
    def _quantisers_fit(self) -> Finetuning:
        if self.rate_distortion is not None and (self.weight_quantizer, self.embedding_quantizer) != (
            "scale",
            "scalebeta",
        ):
            raise ValueError("rate_distortion trains the quantisers scale and scalebeta; leave the others out")
        return self

    @model_validator(mode="after")
    def _batches_stay_whole(self) -> Finetuning:
        if self.memory.frames_at_once is not None:
            raise ValueError("memory.frames_at_once is for training: the noise of a fine-tuning is of whole batches")
        return self


class PostTraining(Closed):
    """A pipeline without fine-tuning: trained weights quantised between their least and largest, Huffman codes."""

    quantizer: PostTrainingQuantizerName = Field(
        default="min-max", description="That of HNeRV's pipeline, or of D-NeRV's, a range for each slice of a tensor."
    )
    weight_bits: int = Field(default=8, ge=2, le=16, description="Bits of a weight.")
    embedding_bits: int = Field(default=6, ge=2, le=16, description="Bits of a number in a frame embedding.")

    @model_validator(mode="after")
    def _bits_fit(self) -> PostTraining:
        if self.quantizer == "slices" and self.weight_bits > 14:
            raise ValueError("the quantiser slices has at most 14 weight_bits")
        return self
