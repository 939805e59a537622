"""Conversion of RGB frames to an encoder's planes and back, which adds a loss to that of an anchor codec.

With 4:2:0 an encoder only receives a quarter of the chroma samples. Unscaled frames of a 4:2:0 source contain no more
than that, so the conversion inverts how they were made: by the source's matrix, with U and V as means of the pixels
that share them (swscale's defaults), or at the tagged location (float profiles). All other frames, scaled ones above
all, have distinct U and V for every pixel. They are converted by BT.601, means of 2×2 pixels and bicubic interpolation,
which measured best among swscale's options. Figures are in docs/design.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from boostnerv.video.colour import is_float, stream_tags
from boostnerv.video.frames import Manifest
from boostnerv.video.info import geometry, is_420

_ACCURATE = "accurate_rnd+full_chroma_int+full_chroma_inp"


@dataclass(frozen=True)
class RoundTrip:
    """A matrix, the chroma location, and swscale's filters for chroma subsampling (`fewer`) and upsampling (`more`)."""

    matrix: str
    chroma_location: str
    fewer: str
    more: str

    def to_planes(self, pixel_format: str) -> str:
        """Filters from RGB to limited-range planes of `pixel_format`."""
        colours = f"in_range=pc:out_range=tv:out_color_matrix={self.matrix}:out_chroma_loc={self.chroma_location}"
        return f"scale={colours}:flags={self.fewer}+{_ACCURATE},format={pixel_format}"

    def to_rgb(self) -> str:
        """Filters from these planes to RGB."""
        colours = f"in_range=tv:out_range=pc:in_color_matrix={self.matrix}:in_chroma_loc={self.chroma_location}"
        return f"scale={colours}:flags={self.more}+{_ACCURATE},format=rgb24"

    def tags(self) -> dict[str, str]:
        """Colour tags of the coded stream: only matrix and range."""
        return stream_tags(self.matrix, "tv")


OF_FULL_CHROMA = RoundTrip("bt601", "center", fewer="area", more="bicubic")
"""For frames with distinct U and V for every pixel, or of unknown origin."""


def round_trip(manifest: Manifest) -> RoundTrip:
    """The conversion that loses least for the frames described by `manifest`."""
    conversion, preparation = manifest.conversion, manifest.preparation
    if conversion is None or preparation is None or not _has_planes_of_source(manifest):
        return OF_FULL_CHROMA
    if is_float(preparation.colour):
        return RoundTrip(conversion.matrix, conversion.chroma_location, fewer="bicubic", more="bicubic")
    return RoundTrip(conversion.matrix, "center", fewer="area", more="neighbor")


def _has_planes_of_source(manifest: Manifest) -> bool:
    """Whether every 2×2 pixels of a frame share one U and V sample of its source."""
    source, preparation = manifest.source, manifest.preparation
    if source is None or preparation is None or not is_420(source):
        return False
    applied = geometry(source, preparation, manifest.source_name)
    crops = [applied.window, *([applied.before] if applied.before else [])]
    return applied.scaled is None and not any(crop.top % 2 or crop.left % 2 for crop in crops)
