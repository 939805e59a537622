"""Selecting the frames of a source.

A video is a source or a range of it. If the preparation lowers the frame rate, the frames for that rate are kept; the
preparation's own range is then taken of the kept frames. All indices count from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from boostnerv.config import Preparation
from boostnerv.errors import UserError
from boostnerv.video.info import Timing


@dataclass(frozen=True)
class Part:
    """The range of a source that is the video: `frames` frames from frame `first` on, or all if `frames` is None."""

    first: int = 0
    frames: int | None = None

    @property
    def end(self) -> int | None:
        """Index after the last frame, None for the end of the source."""
        return None if self.frames is None else self.first + self.frames

    def named(self, path: str | Path) -> str:
        """The video as error messages name it: the file, or the range of its frames."""
        if self == WHOLE:
            return str(path)
        last = "the last" if self.end is None else self.end - 1
        return f"the video in {path}, from frame {self.first} to {last},"


WHOLE = Part()


@dataclass(frozen=True)
class Selection:
    """Frames of a source: from `first` up to, not including, `end` (None: all), or of those only `kept`, in order."""

    first: int
    end: int | None
    kept: tuple[int, ...] | None = None

    @property
    def count(self) -> int | None:
        """Number of selected frames, None if it is only known after reading."""
        if self.kept is not None:
            return len(self.kept)
        return None if self.end is None else self.end - self.first

    def indices(self) -> Iterator[int]:
        """Indices of the frames; one that fills a gap of the source is repeated."""
        if self.kept is not None:
            return iter(self.kept)
        return itertools.count(self.first) if self.end is None else iter(range(self.first, self.end))


def select(path: Path, preparation: Preparation, part: Part, total: int | None) -> Selection:
    """The frames of `path` that `preparation` uses, at the source's own rate; raises `UserError` if there are too few.

    `total` is the number of frames of the source; with None it is unknown, and not checked.
    """
    _check_part(path, part, total)
    end = part.end if total is None or part.end is not None else total
    length = None if end is None else end - part.first
    first, count = preparation.first_frame, preparation.frame_count
    if length is not None and first + (count or 1) > length:
        raise _too_few(part.named(path), preparation, length)
    start = part.first + first
    return Selection(start, end if count is None else start + count)


def select_at_rate(path: Path, preparation: Preparation, part: Part, total: int, clock: Timing) -> Selection:
    """The frames of `path` that `preparation` uses, at the rate `preparation.fps`; raises `UserError` as `select`, and
    if the source has fewer frames per second.

    `clock` has the presentation times of the frames of `part`; `total` counts the frames of the source up to its end.
    """
    assert preparation.fps is not None
    _check_part(path, part, total)
    if clock.fps < preparation.fps:
        raise UserError(
            f"{path} has {clock.fps:g} frames per second, fewer than the {preparation.fps:g} that are asked for: "
            "lower preparation.fps, or leave it out to use every frame"
        )
    at_rate = kept_frames(total - part.first, clock, preparation.fps)
    first, count = preparation.first_frame, preparation.frame_count
    if first + (count or 1) > len(at_rate):
        raise _too_few(f"{part.named(path)} at {preparation.fps:g} frames per second", preparation, len(at_rate))
    used = at_rate[first : None if count is None else first + count]
    kept = tuple(part.first + index for index in used)
    return Selection(kept[0], kept[-1] + 1, kept)


def kept_frames(count: int, clock: Timing, fps: float) -> tuple[int, ...]:
    """Indices of the frames, of `count` with the presentation times `clock`, that form a video at `fps`.

    Frame ``k`` of that video is the first one shown at ``k / fps`` or later, less half a frame interval of the source:
    at a constant rate the nearest one, on a tie the earlier. The video ends with the source.
    """
    rate, target_rate = Fraction(clock.fps), Fraction(fps)
    kept: list[int] = []
    for index in range(count):
        time = index / rate if clock.timestamps_s is None else Fraction(clock.timestamps_s[index])
        while time >= len(kept) / target_rate - 1 / (2 * rate):
            kept.append(index)
    return tuple(kept)


def no_frames(path: Path) -> UserError:
    """The error for a source without frames."""
    return UserError(f"{path} holds no frame that can be decoded; check that it plays")


def _check_part(path: Path, part: Part, total: int | None) -> None:
    if total == 0:
        raise no_frames(path)
    if total is not None and (part.end or part.first + 1) > total:
        raise UserError(
            f"{path} has {total} frames, but the data set says that the video goes from frame {part.first} to "
            f"{'the last' if part.end is None else part.end - 1} of it (the first is 0): correct first_frame and "
            "frames there, or get the right file"
        )


def _too_few(name: str, preparation: Preparation, length: int) -> UserError:
    first, count = preparation.first_frame, preparation.frame_count
    requested = f"{count} frames from frame {first} on" if count else f"frames from frame {first} on"
    return UserError(
        f"{name} has {length} frames, but {requested} are asked for (the first is 0): lower "
        "preparation.first_frame or preparation.frame_count"
    )
