"""Errors that a user can cause: one sentence that says what is wrong, where, and what to do.

The command line prints the sentence and exits with code 2; the library raises the exception. Any other exception is a
defect of this package.
"""

from __future__ import annotations

import difflib
import itertools
import os
import signal
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Something outside this package is wrong; ``str(error)`` is the whole sentence for the user."""


class BitstreamError(UserError):
    """A ``.bnv`` file cannot be decoded: truncated, damaged, of a newer version, or not a ``.bnv`` file."""


class InterruptedBySignal(BaseException):
    """A signal stopped the command; with `state_is_saved`, training can resume.

    Like `KeyboardInterrupt` not an `Exception`, so that error handlers do not catch it.
    """

    def __init__(self, signal_number: int, where: str, *, state_is_saved: bool = True) -> None:
        name = signal.Signals(signal_number).name
        remedy = (
            "the state is saved, run the same command to resume" if state_is_saved else "run the same command again"
        )
        super().__init__(f"stopped by {name} {where}; {remedy}")
        self.signal_number = signal_number
        self.state_is_saved = state_is_saved


def system_sentence(error: OSError | UnicodeError) -> str:
    """A generic sentence for a system or encoding error for which no other code has a specific one."""
    where = "".join(f" {note}" for note in getattr(error, "__notes__", [])[:1])
    if isinstance(error, UnicodeError):
        text = f"{error.object!r:.200} " if isinstance(error, UnicodeEncodeError) else "a file name or a text "
        return f"{text}is not valid in the required encoding{where} ({error}); rename the file, or correct the text"
    reason = error.strerror or str(error) or type(error).__name__
    paths = [os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, str | bytes)]
    if paths:
        return f"{' and '.join(paths)} cannot be used{where} ({reason}); check the path and its permissions"
    return f"a system call failed{where} ({reason}); remove the cause, and run the command again"


def nearest(name: str, valid: Iterable[str]) -> str:
    """``"did you mean 'x'?"`` for the nearest valid name, else an enumeration of the valid names."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + enumeration(names) if names else "nothing is valid here"


def one_letter_apart(one: str, other: str) -> bool:
    """Whether two names differ by one letter substituted, inserted or deleted."""
    shared = sum(
        1 for _ in itertools.takewhile(lambda letters: letters[0] == letters[1], zip(one, other, strict=False))
    )
    one, other = one[shared:], other[shared:]
    return one != other and (one[1:] == other[1:] or one[1:] == other or one == other[1:])


def enumeration(names: Sequence[str], at_most: int = 20) -> str:
    """`names` separated by commas; beyond `at_most`, the number of omitted names."""
    more = len(names) - at_most
    return ", ".join([*names[:at_most], *([f"and {more} more"] if more > 0 else [])])
