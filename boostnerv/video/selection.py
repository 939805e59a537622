"""Which frames of a source are used.

A video is a source or a range of it; of its frames those are kept that a lower frame rate needs, and of those a
preparation takes its range. All indices count from 0, those of the preparation within what is kept.
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
    """The range of a source that is the video: from frame `first` on, `frames` of them, or all where that is None."""

    first: int = 0
    frames: int | None = None

    @property
    def end(self) -> int | None:
        """Index after its last frame, None for the end of the source."""
        return None if self.frames is None else self.first + self.frames

    def named(self, path: str | Path) -> str:
        """The video in a sentence: the file, or which frames of it."""
        if self == WHOLE:
            return str(path)
        last = "the last" if self.end is None else self.end - 1
        return f"the video in {path}, from frame {self.first} to {last},"


WHOLE = Part()


@dataclass(frozen=True)
class Selection:
    """Frames of a source: from `first` to before `end` (None: to the last), or only `kept` of those, in order."""

    first: int
    end: int | None
    kept: tuple[int, ...] | None = None

    @property
    def count(self) -> int | None:
        """How many frames come, None where only reading tells."""
        if self.kept is not None:
            return len(self.kept)
        return None if self.end is None else self.end - self.first

    def indices(self) -> Iterator[int]:
        """The frames' indices; one that stands in for a gap of the source comes several times."""
        if self.kept is not None:
            return iter(self.kept)
        return itertools.count(self.first) if self.end is None else iter(range(self.first, self.end))


def select(path: Path, preparation: Preparation, part: Part, total: int | None) -> Selection:
    """The frames of `path` that `preparation` uses at the source's own rate; raises `UserError` where there are none.

    `total` is how many frames the source has, None where that is not known: then nothing is compared with it.
    """
    _check_part(path, part, total)
    end = part.end if total is None or part.end is not None else total
    length = None if end is None else end - part.first
    first, wanted = preparation.first_frame, preparation.frame_count
    if length is not None and first + (wanted or 1) > length:
        raise _too_few(part.named(path), preparation, length)
    start = part.first + first
    return Selection(start, end if wanted is None else start + wanted)


def select_at_rate(path: Path, preparation: Preparation, part: Part, total: int, clock: Timing) -> Selection:
    """The frames of `path` that `preparation` uses at its rate `preparation.fps`; raises `UserError` as `select` does,
    and where the source has fewer frames per second.

    `clock` is when the frames of `part` are shown; `total` is how many frames were found, those before it included.
    """
    assert preparation.fps is not None
    _check_part(path, part, total)
    if clock.fps < preparation.fps:
        raise UserError(
            f"{path} has {clock.fps:g} frames per second, fewer than the {preparation.fps:g} that are asked for: "
            "lower preparation.fps, or leave it out to use every frame"
        )
    found = kept_frames(total - part.first, clock, preparation.fps)
    first, wanted = preparation.first_frame, preparation.frame_count
    if first + (wanted or 1) > len(found):
        raise _too_few(f"{part.named(path)} at {preparation.fps:g} frames per second", preparation, len(found))
    used = found[first : None if wanted is None else first + wanted]
    kept = tuple(part.first + index for index in used)
    return Selection(kept[0], kept[-1] + 1, kept)


def kept_frames(count: int, clock: Timing, fps: float) -> tuple[int, ...]:
    """Indices of those of `count` frames, shown as `clock` says, that make a video of `fps` frames per second.

    Frame ``k`` of it is the first that is shown at ``k / fps`` or later, less half a frame of the source: at a
    constant rate the nearest, the earlier of two. It ends when the source has none for the next one.
    """
    rate, wanted = Fraction(clock.fps), Fraction(fps)
    kept: list[int] = []
    for index in range(count):
        time = index / rate if clock.timestamps_s is None else Fraction(clock.timestamps_s[index])
        while time >= len(kept) / wanted - 1 / (2 * rate):
            kept.append(index)
    return tuple(kept)


def no_frames(path: Path) -> UserError:
    """The sentence for a source without any frame."""
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


def _too_few(what: str, preparation: Preparation, length: int) -> UserError:
    first, wanted = preparation.first_frame, preparation.frame_count
    asked = f"{wanted} frames from frame {first} on" if wanted else f"frames from frame {first} on"
    return UserError(
        f"{what} has {length} frames, but {asked} are asked for (the first is 0): lower "
        "preparation.first_frame or preparation.frame_count"
    )
