"""The errors a user can cause: one sentence that says what, where and what to do.

The command line prints the sentence and exits with code 2; the library raises it as it is. Everything
else that is raised is a defect of this package.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class UserError(Exception):
    """Something outside this package is wrong; ``str(error)`` is the whole sentence for the user."""


class BitstreamError(UserError):
    """A ``.bnv`` file cannot be decoded: truncated, damaged, of a newer version, or no such file at all."""


class InterruptedBySignal(Exception):  # noqa: N818  (nothing is wrong)
    """A signal asked a training to stop, and its state is saved."""

    def __init__(self, signal_number: int, where: str) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name} {where}; the state is saved, run the same command to go on")
        self.signal_number = signal_number


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the nearest valid name, else a list of all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + ", ".join(names) if names else "nothing is valid here"
