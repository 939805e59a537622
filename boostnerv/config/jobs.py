"""The settings of single steps, as an experiment expands into them."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from boostnerv.config.base import Closed, Seed, Slug, config_hash
from boostnerv.config.model_settings import ModelSettings
from boostnerv.config.multi_video import KeyframeSettings
from boostnerv.config.preparation import Preparation
from boostnerv.config.sources import VideoSpec
from boostnerv.config.training_settings import Finetuning, PostTraining, Training


class KeyframeJob(KeyframeSettings):
    """All that the step ``code_keyframes`` needs besides the videos."""

    clip_frames: int = Field(default=8, ge=2, le=64, description="Frames of a clip.")

    @property
    def tag(self) -> str:
        """File-name part that tells these settings from every other, e.g. ``avif-q50-d8``."""
        size = f"{self.bpp:g}bpp" if self.bpp is not None else f"q{self.fixed_quality}"
        return f"{self.codec}-{size}-d{self.clip_frames}"


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


def state_name(step: str, job: Closed) -> str:
    """Name of the folder with the unfinished state of a training step, below ``state`` in the folder of its run."""
    return f"{step}-{config_hash(job)[:12]}"
