"""What a model is compared with, and what is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from boostnerv.catalogue import anchor_qualities
from boostnerv.config.base import Closed
from boostnerv.config.catalogue_names import AnchorName, AnchorPixelFormat


class Anchor(Closed):
    """A classical codec measured on the same frames."""

    codec: AnchorName = Field(description="Encoder.")
    qualities: tuple[int, ...] = Field(min_length=1, description=f"{anchor_qualities()}.")
    preset: str = Field(default="", description="The encoder's preset; empty for the slowest useful one.")
    pixel_format: AnchorPixelFormat = Field(default="yuv420p", description="What the encoder is given.")
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
