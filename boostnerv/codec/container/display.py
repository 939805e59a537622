"""How to display frames that were coded as they are in the source: interlaced, HDR or with non-square pixels.

Decoding does not depend on it, so that files carry it as a remark (`bitstream.Display`), and whoever writes or decodes
such a file is told what players will get wrong.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from boostnerv.codec.container.bitstream import PRIMARIES, Display

if TYPE_CHECKING:
    from boostnerv.config import Preparation
    from boostnerv.video.info import SourceInfo
    from boostnerv.video.videos import VideosManifest

_LARGEST_TERM = 1 << 15


def display_of(manifest: VideosManifest) -> Display | None:
    """How to display the frames of a manifest; None for progressive SDR with square pixels."""
    source, preparation = manifest.source, manifest.preparation
    if source is None or preparation is None:
        return None
    display = Display(
        sample_aspect=_aspect(source, preparation),
        field_order=source.field_order if preparation.interlaced == "keep" else "progressive",
        transfer=source.transfer if source.is_hdr else "unknown",
        primaries=source.primaries if source.is_hdr and source.primaries in PRIMARIES.values() else "unknown",
    )
    return None if display == Display() else display


def display_notes(display: Display | None, height: int, width: int) -> list[str]:
    """What the metadata of decoded videos gets wrong and how to correct it, one sentence per property.

    Frames have `height` × `width` pixels.
    """
    if display is None:
        return []
    notes = []
    aspect = Fraction(*map(int, display.sample_aspect.split(":")))
    if aspect != 1:
        shape = aspect * width / height
        notes.append(
            f"the pixel aspect is {display.sample_aspect}, but decoded videos claim square pixels; "
            + _corrected(f"-aspect {shape.numerator}:{shape.denominator}")
        )
    if display.transfer != "unknown":
        options = f"-color_trc {display.transfer}"
        if display.primaries != "unknown":
            options = f"-color_primaries {display.primaries} {options}"
        notes.append(
            f"values are HDR (transfer {display.transfer}, primaries {display.primaries}), but decoded videos claim "
            f"BT.709; {_corrected(options)}"
        )
    if display.field_order != "progressive":
        notes.append(f"frames are interlaced ({display.field_order}), but decoded videos claim progressive")
    return notes


def _corrected(options: str) -> str:
    return f"`ffmpeg -i DECODED -c copy {options} CORRECTED` corrects that"


def _aspect(source: SourceInfo, preparation: Preparation) -> str:
    """Pixel aspect ratio (width to height) of the prepared frames, exact unless they are scaled."""
    from boostnerv.video.info import geometry

    aspect = source.aspect
    if aspect == 1 or preparation.sample_aspect == "square":
        return "1:1"
    sizes = geometry(source, preparation, "the source")
    if sizes.scaled is not None:
        height, width = sizes.scaled
        cut = sizes.before
        cut_height, cut_width = (cut.height, cut.width) if cut else (source.display_height, source.display_width)
        aspect *= Fraction(cut_width * height, cut_height * width)
        aspect = min(max(aspect, Fraction(1, _LARGEST_TERM)), Fraction(_LARGEST_TERM))
        aspect = aspect.limit_denominator(_LARGEST_TERM)
    return f"{aspect.numerator}:{aspect.denominator}"
