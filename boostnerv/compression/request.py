"""The request of `boostnerv compress`, and its presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from boostnerv.config import Preparation, RawVideo
from boostnerv.errors import UserError, nearest
from boostnerv.models.architecture import architecture
from boostnerv.video.videos import VideosManifest


@dataclass(frozen=True)
class Preset:
    """Epochs of training and fine-tuning."""

    epochs: int
    finetuning_epochs: int


PRESETS = {"fast": Preset(40, 10), "balanced": Preset(150, 30), "best": Preset(600, 60)}


@dataclass(frozen=True)
class Request:
    """A request for a file of `bpp` or `size_bytes`, the other being None. `gop` is the maximum of frames per model.

    `fps` is the frame rate of a folder of images, None for videos. `raw` is the layout of a headerless video.
    """

    bpp: float | None
    size_bytes: int | None
    preset: str = "balanced"
    model: str = "hnerv-boost"
    gop: int = 600
    cut_scenes: bool = True
    preparation: Preparation = field(default_factory=Preparation)
    fps: float | None = None
    raw: RawVideo | None = None
    seed: int = 1
    device: str = "auto"

    def wanted_bits(self, manifest: VideosManifest) -> float:
        """The maximum number of bits of the file of these frames."""
        if self.size_bytes:
            return 8.0 * self.size_bytes
        return (self.bpp or 0) * manifest.frames * manifest.height * manifest.width


def check_request(request: Request, output: Path) -> None:
    """Raise `UserError` for invalid settings."""
    if output.suffix != ".bnv":
        raise UserError(f"the output must end in .bnv, not '{output.suffix}'; correct it")
    if (request.bpp is None) == (request.size_bytes is None):
        raise UserError("give either --bpp, e.g. 0.05, or --size, e.g. 1.5M")
    if not 0 < (request.bpp or request.size_bytes or 0) < math.inf or request.gop < 1:
        raise UserError("--bpp, --size and --gop must be above zero; correct them")
    if request.preset not in PRESETS:
        raise UserError(f"unknown preset '{request.preset}': {nearest(request.preset, PRESETS)}")
    if architecture(request.model).multi_video:
        raise UserError(
            f"{request.model} is a model of many videos, and compress makes one of each; choose another --model, or "
            "write an experiment that has them all"
        )


def parse_size(text: str) -> int:
    """Bytes of ``1.5M``, ``800k`` or ``120000``; raises `UserError`."""
    units = {"k": 1e3, "m": 1e6, "g": 1e9}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1.0)
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError) as error:
        raise UserError(f"--size {text} is no size; write it as 1.5M, 800k or a number of bytes") from error
    if size <= 0:
        raise UserError(f"--size {text} must be above zero; correct it")
    return size
