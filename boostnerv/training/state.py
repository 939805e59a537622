"""The state of an unfinished training, saved in its own folder under a lock, for one configuration.

The state is never a declared output of a workflow step, so it survives a killed job. It is written under a temporary
name and renamed; a finished training leaves its result in its place.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import torch

from boostnerv.errors import UserError
from boostnerv.files import final
from boostnerv.host import signals, terminal
from boostnerv.training import finished
from boostnerv.training.lease import BEAT_S, Lease, hold

_FORMAT = 2
_UNFINISHED = ("state.pt", "good.pt", "log.jsonl")


class StateFolder:
    """The folder of a training's state; `identity` is the hash of everything that defines the training."""

    def __init__(self, folder: Path, identity: str, beat_s: float = BEAT_S) -> None:
        self._folder = folder
        self._identity = identity
        self._beat_s = beat_s
        self._lease: Lease | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder once no other process does (see `boostnerv.training.lease`)."""
        with hold(self._folder, self._beat_s) as self._lease:
            try:
                yield
            finally:
                self._lease = None

    def check(self) -> None:
        """Raise `UserError` if another process has taken over the folder; call before writing."""
        assert self._lease is not None, "only the holder of the folder writes"
        self._lease.check()

    def take_finished(self, model: Path, log: Path) -> bool:
        """Restore the result of this training as `model` and `log` if it is finished; else return False."""
        self.check()
        is_finished = finished.take(self._folder, self._identity, model, log)
        if is_finished:
            self._drop_unfinished()
        return is_finished

    def finish(self, model: Path, log: Path) -> None:
        """Replace the state of this training by its result."""
        self.check()
        finished.keep(self._folder, self._identity, model, log)
        self._drop_unfinished()

    def load(self, *, good: bool = False) -> dict[str, Any] | None:
        """The saved state, or the last `good` one to roll back to; None if there is none.

        Raises `UserError` for a state that is unreadable or belongs to another training.
        """
        file = self._file(good)
        if not file.exists():
            return None
        try:
            # Tensors and plain values only: nothing in the file is executed.
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"saved state {file} cannot be read ({type(error).__name__}); delete {self._folder} to start again"
            ) from error
        if state.get("format") != _FORMAT or state.get("identity") != self._identity:
            raise UserError(
                f"saved state {file} belongs to another configuration, another video or another version of this step; "
                f"restore what it was made with, or delete {self._folder} to start again"
            )
        return state

    def save(self, state: dict[str, Any], *, good: bool = False) -> None:
        """Replace the saved state, or the last `good` one; raises `UserError` as `check` does."""
        self.check()
        with final(self._file(good)) as temporary:
            with open(temporary, "wb") as file:
                _save({**state, "format": _FORMAT, "identity": self._identity}, file)
            self.check()  # the process may have been suspended while writing

    def _file(self, good: bool) -> Path:
        return self._folder / ("good.pt" if good else "state.pt")

    def _drop_unfinished(self) -> None:
        for name in _UNFINISHED:
            (self._folder / name).unlink(missing_ok=True)


def _save(state: dict[str, Any], file: BinaryIO) -> None:
    """`torch.save`, which hides a disk error: closing its archive afterwards raises another error."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


class StopRequest:
    """Records the signals of `boostnerv.host.signals` while active; a second signal of the same kind acts as usual.

    SIGHUP is recorded repeatedly: a shell and the system each send one when a terminal is closed.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in signals.obeyed():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal_number = number
        if number == signal.SIGHUP:
            terminal.leave()
        else:
            signal.signal(number, self._before[number])


class SaveTimer:
    """Due at most once in `every_s` seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._every_s:
            return False
        self._last = now
        return True
