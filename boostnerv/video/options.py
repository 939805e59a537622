"""Command-line options on how sources are read: ``--prepare KEY=VALUE`` and ``--raw LAYOUT``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from boostnerv.config import Preparation, RawVideo, parse
from boostnerv.errors import UserError

RAW_LAYOUT = "WIDTHxHEIGHT,PIXEL_FORMAT,FPS"
RAW_EXAMPLE = "1920x1080,yuv420p,120"

_NOTHING_SET = Preparation()
_RAW = re.compile(r"(\d{1,9})x(\d{1,9}),(\w+),(\d{1,9}(?:\.\d{1,9}|/0*[1-9]\d{0,8})?)")


def parse_preparation(pairs: Sequence[str], otherwise: Preparation = _NOTHING_SET) -> Preparation:
    """Parse ``KEY=VALUE`` pairs of preparation settings; keys that are not given are taken from `otherwise`.

    Raises `UserError` for a pair without ``=`` and for invalid settings.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--prepare {pair} has no '='; write it as KEY=VALUE, e.g. frame_count=100")
    settings = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    return parse(Preparation, {**otherwise.model_dump(exclude_unset=True), **settings}, "--prepare")


def parse_raw(text: str) -> RawVideo:
    """Parse the layout of a headerless video, ``WIDTHxHEIGHT,PIXEL_FORMAT,FPS``; FPS may be a fraction, 30000/1001.

    Raises `UserError` for anything else.
    """
    match = _RAW.fullmatch(text)
    if match is None:
        raise UserError(f"--raw {text} is not a layout; write it as {RAW_LAYOUT}, e.g. {RAW_EXAMPLE}")
    width, height, pixel_format, fps = match.groups()
    layout = {"width": int(width), "height": int(height), "pixel_format": pixel_format, "fps": float(Fraction(fps))}
    return parse(RawVideo, layout, f"--raw {text}")


def check_layout(sources: Sequence[Path], raw: RawVideo | None) -> None:
    """Raise `UserError` if `sources` contain a headerless video but `raw` is not given, or the other way round."""
    headerless = [source for source in sources if is_headerless(source)]
    if raw is None and headerless:
        raise UserError(f"{headerless[0]} has no header; give its layout with --raw {RAW_LAYOUT}, e.g. {RAW_EXAMPLE}")
    if raw is not None and not headerless:
        raise UserError("--raw is the layout of headerless .yuv files, and none is given; leave it out")


def is_headerless(source: Path) -> bool:
    """Whether a source is a raw video file, which does not store its layout."""
    return source.suffix.lower() == ".yuv" and not source.is_dir()
