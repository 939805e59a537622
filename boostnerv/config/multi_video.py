"""How multi-video models see their videos: clips, patches and keyframes."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from boostnerv.catalogue import IMAGE_CODECS
from boostnerv.config.base import Closed
from boostnerv.config.catalogue_names import ImageCodecName


class PatchSize(Closed):
    """Size of a patch; it divides the frame."""

    height: int = Field(gt=0, description="Height in pixels.")
    width: int = Field(gt=0, description="Width in pixels.")


class KeyframeSettings(Closed):
    """How keyframes are coded: as images, whole frames each, at one quality for all."""

    codec: ImageCodecName = Field(default="avif", description="Image codec.")
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
        default = IMAGE_CODECS[self.codec].default_quality
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
