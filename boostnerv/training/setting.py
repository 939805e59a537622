"""What a training is given besides its settings: data, outputs, and the machine it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostnerv.progress import Progress, silent

if TYPE_CHECKING:
    import torch

    from boostnerv.codec.keyframes.keyframe_files import KeyframeFile
    from boostnerv.video.videos import Videos

Record = dict[str, Any]
"""An epoch of a log, or a return to an earlier state."""


@dataclass(frozen=True)
class TrainingData:
    """Opened videos, and the keyframes of models that need them."""

    videos: Videos
    keyframes: KeyframeFile | None = None


@dataclass(frozen=True)
class TrainingOutputs:
    """The checkpoint `model` and the `log` (JSON lines) that a training writes, and the folder of its unfinished
    `state`, where it also leaves a finished result."""

    model: Path
    log: Path
    state: Path


@dataclass(frozen=True)
class TrainingMachine:
    """Where a training computes, how often it saves its state, and who watches it.

    `tensorboard` is a folder for curves; each training writes to a folder of its own below it.
    """

    device: torch.device
    save_every_s: float = 30.0
    progress: Progress = silent
    tensorboard: Path | None = None
