"""From a decoded video to the frames a model sees."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import (
    Field,
    model_validator,
)

from boostnerv.config.base import Closed


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
