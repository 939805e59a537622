"""State of an unfinished training: saved in a folder of its own, under a lock, for one configuration.

The state is never a declared output of a workflow step, so a killed job finds it again. It is written under a
temporary name and renamed; a finished training removes the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from boostnerv.errors import UserError
from boostnerv.files import final

_FORMAT = 2


class StateFolder:
    """The folder of one training's state; `identity` is the hash of all that defines the training."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raises `UserError` naming the holder where another process has it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise UserError(
                    f"{self._folder} is in use by another process ({file.read().strip()}); "
                    "wait for it to end or stop it, then run the command again"
                ) from error
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}))
            file.flush()
            yield

    def load(self, *, good: bool = False) -> dict[str, Any] | None:
        """The saved state, or the last `good` one to return to; None where there is none.

        Raises `UserError` for a state that cannot be read or belongs to another configuration.
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
                f"saved state {file} belongs to another configuration or another video; restore the settings "
                f"it was made with, or delete {self._folder} to start again"
            )
        return state

    def save(self, state: dict[str, Any], *, good: bool = False) -> None:
        """Replace the saved state, or the last `good` one."""
        with final(self._file(good)) as temporary:
            torch.save({**state, "format": _FORMAT, "identity": self._identity}, temporary)

    def _file(self, good: bool) -> Path:
        return self._folder / ("good.pt" if good else "state.pt")

    def remove(self) -> None:
        """Forget the state of a finished training, and the parent folder when it is empty."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):  # another step's state may still be there
            self._folder.parent.rmdir()


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGUSR1 while active; a second signal of a kind acts as it normally does."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal_number = number
        signal.signal(number, self._before[number])


class SaveTimer:
    """True at most once every so many seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._every_s:
            return False
        self._last = now
        return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
