"""From RGB frames to an encoder's planes, and from decoded planes to RGB again: what an anchor loses beside its codec.

An encoder of 4:2:0 gets a quarter of U and V, and what it does not get, it cannot give back. Where the frames are those
of a 4:2:0 source, pixel for pixel, they hold no more than that quarter, and the way to it is the one that undoes how
they were made: the source's matrix, and U and V as means of the pixels that share them (swscale's defaults), or at the
place that the tag says (the float profiles). All other frames, scaled ones above all, have U and V of every pixel. They
go by BT.601, means of 2×2 pixels and bicubic interpolation, which measured best of what swscale has. Numbers are in
docs/design.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from boostnerv.video.colour import is_float, stream_tags
from boostnerv.video.frames import Manifest
from boostnerv.video.info import geometry, is_420

_ACCURATE = "accurate_rnd+full_chroma_int+full_chroma_inp"


@dataclass(frozen=True)
class RoundTrip:
    """A matrix, the place of U and V among their pixels, and swscale's filters that make fewer of them and more."""

    matrix: str
    chroma_location: str
    fewer: str
    more: str

    def to_planes(self, pixel_format: str) -> str:
        """Filters from RGB to planes of limited range."""
        colours = f"in_range=pc:out_range=tv:out_color_matrix={self.matrix}:out_chroma_loc={self.chroma_location}"
        return f"scale={colours}:flags={self.fewer}+{_ACCURATE},format={pixel_format}"

    def to_rgb(self) -> str:
        """Filters from these planes to RGB."""
        colours = f"in_range=tv:out_range=pc:in_color_matrix={self.matrix}:in_chroma_loc={self.chroma_location}"
        return f"scale={colours}:flags={self.more}+{_ACCURATE},format=rgb24"

    def tags(self) -> dict[str, str]:
        """What the stream says of its colours: no more than what is done with them."""
        return stream_tags(self.matrix, "tv")


OF_FULL_CHROMA = RoundTrip("bt601", "center", fewer="area", more="bicubic")
"""Of frames whose U and V differ from pixel to pixel, or of which nothing is known."""


def round_trip(manifest: Manifest) -> RoundTrip:
    """The one that loses least of the frames that `manifest` describes."""
    conversion, preparation = manifest.conversion, manifest.preparation
    if conversion is None or preparation is None or not _has_planes_of_source(manifest):
        return OF_FULL_CHROMA
    if is_float(preparation.colour):
        return RoundTrip(conversion.matrix, conversion.chroma_location, fewer="bicubic", more="bicubic")
    return RoundTrip(conversion.matrix, "center", fewer="area", more="neighbor")


def _has_planes_of_source(manifest: Manifest) -> bool:
    """Whether every 2×2 pixels of a frame are those of one U and V of its source."""
    source, preparation = manifest.source, manifest.preparation
    if source is None or preparation is None or not is_420(source):
        return False
    used = geometry(source, preparation, manifest.source_name)
    cuts = [used.window, *([used.before] if used.before else [])]
    return used.scaled is None and not any(cut.top % 2 or cut.left % 2 for cut in cuts)
