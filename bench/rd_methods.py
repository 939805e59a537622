"""How each method of `bench.rate_distortion` plans a file of a wanted size: its network, training and fine-tuning.

``published`` and ``today`` are frozen: they are what later work is measured against, and never follow the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from boostnerv.catalogue import LOSS_ALIASES
from boostnerv.config import FinetuneJob, Finetuning, ModelSettings, OptionValue, Training, TrainJob
from boostnerv.errors import UserError
from boostnerv.models.architecture import Spec, architecture
from boostnerv.models.budget import natural_strides, resolve, total_parameters
from boostnerv.training.losses import MS_SSIM_SMALLEST_SIDE

MODEL = "hnerv-boost"
EPOCHS = 50  # of `today` and `published`, 40 + 10
_SIDE_BITS = 8 * 160
_FROZEN_BITS = (4.0, 3.0, 2.2)  # per parameter
_FROZEN_WIDTHS = (16, 8, 4, 2)  # of embeddings
_LARGEST_EMBEDDING_SHARE = 0.45


@dataclass(frozen=True)
class Video:
    """Number and size of the frames of a clip."""

    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Plan:
    """The network of a file, and how it is trained."""

    spec: Spec
    train: TrainJob
    finetune: FinetuneJob

    @property
    def parameters(self) -> int:
        """Numbers that the file stores."""
        return total_parameters(architecture(self.train.model.name), self.spec)


Method = Callable[[Video, float], Plan]
"""Plans a file of so many bits; raises `UserError` where that is too few."""


def published_loss(video: Video) -> dict[str, float]:
    """The papers' loss, without MS-SSIM where frames are too small for it."""
    large = min(video.height, video.width) >= MS_SSIM_SMALLEST_SIDE
    return dict(LOSS_ALIASES[f"boosting-nerv/{'fusion10_freq' if large else 'l1_ssim_freq'}"])


def today(video: Video, bits: float) -> Plan:
    """`boostnerv compress --preset fast` of version 0.1: SOAP, then CEM by Adan at four bits a parameter."""
    loss = published_loss(video)
    spec, model = _frozen_network(video, bits)
    training = Training(epochs=EPOCHS - 10, optimizer="soap", lr={"peak": 1e-2}, loss=loss, eval_every_epochs=5)
    finetuning = Finetuning(epochs=10, loss=loss, target_bits=_target_bits(spec, bits), embedding_rate="temporal")
    return _plan(spec, model, training, finetuning)


def published(video: Video, bits: float) -> Plan:
    """The papers' recipe for as many epochs: Adan throughout, and the network of `today`."""
    loss = published_loss(video)
    spec, model = _frozen_network(video, bits)
    training = Training(epochs=EPOCHS - 10, loss=loss, eval_every_epochs=5)
    finetuning = Finetuning(epochs=10, loss=loss, target_bits=_target_bits(spec, bits))
    return _plan(spec, model, training, finetuning)


@dataclass(frozen=True)
class Joint:
    """Training for rate and distortion together; each field is one ingredient."""

    epochs: int = EPOCHS
    warmup: float = 0.45  # share of the epochs without rate
    parameter_bits: float = 2.4
    strides: tuple[int, ...] | None = None
    options: Mapping[str, OptionValue] = field(default_factory=lambda: {"embedding_width": 4})
    loss: Mapping[str, float] | None = None  # None for the published one
    rate_distortion: Mapping[str, Any] | None = None

    def __call__(self, video: Video, bits: float) -> Plan:
        loss = dict(self.loss or published_loss(video))
        spec, model = self._network(video, bits)
        first = max(1, round(self.warmup * self.epochs))
        # The first half of a cosine, which the fine-tuning goes on with.
        warm = {"peak": 1e-2, "shape": "hybrid", "warmup": 0.2, "decay_power": 2, "end": 0.6}
        training = Training(epochs=first, optimizer="soap", lr=warm, loss=loss)
        finetuning = Finetuning(
            epochs=self.epochs - first,
            loss=loss,
            target_bits=_target_bits(spec, bits),
            rate_distortion=dict(self.rate_distortion or {}),
        )
        return _plan(spec, model, training, finetuning)

    def _network(self, video: Video, bits: float) -> tuple[Spec, ModelSettings]:
        total = (bits - _SIDE_BITS) / self.parameter_bits
        strides = self.strides or natural_strides(video.height, video.width)
        settings = _settings(strides, total, self.options)
        return resolve(settings, video.frames, video.height, video.width), settings


METHODS: dict[str, Method] = {
    "published": published,
    "today": today,
    "joint": Joint(),
    "joint-mse": Joint(loss={"l2": 600.0, "l1": 10.0}),
}


def _plan(spec: Spec, model: ModelSettings, training: Training, finetuning: Finetuning) -> Plan:
    return Plan(spec, TrainJob(model=model, training=training, seed=1), FinetuneJob(finetuning=finetuning, seed=1))


def _settings(strides: tuple[int, ...], total: float, options: Mapping[str, OptionValue]) -> ModelSettings:
    return ModelSettings(name=MODEL, strides=strides, total_m=total / 1e6, options=dict(options))


def _target_bits(spec: Spec, bits: float) -> float:
    return bits / total_parameters(architecture(MODEL), spec)


def _frozen_network(video: Video, bits: float) -> tuple[Spec, ModelSettings]:
    """The planner of version 0.1: four bits a parameter if a network is that small, narrower embeddings first."""
    strides = natural_strides(video.height, video.width)
    for parameter_bits, width in itertools.product(_FROZEN_BITS, _FROZEN_WIDTHS):
        total = (bits - _SIDE_BITS) / parameter_bits
        narrow = resolve(
            ModelSettings(name=MODEL, strides=strides, fc_dim=1, options={"embedding_width": width}),
            video.frames,
            video.height,
            video.width,
        )
        smallest = total_parameters(architecture(MODEL), narrow)
        if max(smallest, narrow.embedding_parameters / _LARGEST_EMBEDDING_SHARE) <= total:
            settings = _settings(strides, total, {"embedding_width": width})
            return resolve(settings, video.frames, video.height, video.width), settings
    raise UserError(f"{bits / 8:,.0f} bytes are too few for {video.frames} frames; ask for more")
