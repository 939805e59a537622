"""The errors a user can cause: one sentence that says what, where and what to do.

The command line prints the sentence and exits with code 2; the library raises it as it is. Everything
else that is raised is a defect of this package.
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
    """A ``.bnv`` file cannot be decoded: truncated, damaged, of a newer version, or no such file at all."""


class InterruptedBySignal(BaseException):
    """A signal asked the command to stop; `state_is_saved` where a training can go on from there.

    No `Exception`, as little as `KeyboardInterrupt`: nothing that handles errors may take it for one.
    """

    def __init__(self, signal_number: int, where: str, *, state_is_saved: bool = True) -> None:
        name = signal.Signals(signal_number).name
        then = "the state is saved, run the same command to go on" if state_is_saved else "run the same command again"
        super().__init__(f"stopped by {name} {where}; {then}")
        self.signal_number = signal_number
        self.state_is_saved = state_is_saved


def system_sentence(error: OSError | UnicodeError) -> str:
    """What to say of an error of the system, or of a text's encoding, for which nothing nearer to it has a sentence."""
    where = "".join(f" {note}" for note in getattr(error, "__notes__", [])[:1])
    if isinstance(error, UnicodeError):
        text = f"{error.object!r:.200} " if isinstance(error, UnicodeEncodeError) else "a file name or a text "
        return f"{text}is not in the encoding that is needed{where} ({error}); rename the file, or correct the text"
    reason = error.strerror or str(error) or type(error).__name__
    paths = [os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, str | bytes)]
    if paths:
        return f"{' and '.join(paths)} cannot be used{where} ({reason}); check the path, and what may be done there"
    return f"the system refused something{where} ({reason}); see to that, and run the command again"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the nearest valid name, else an enumeration of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + enumeration(names) if names else "nothing is valid here"


def one_letter_apart(one: str, other: str) -> bool:
    """Whether two names differ in one letter: another one, one more or one less."""
    shared = sum(
        1 for _ in itertools.takewhile(lambda letters: letters[0] == letters[1], zip(one, other, strict=False))
    )
    one, other = one[shared:], other[shared:]
    return one != other and (one[1:] == other[1:] or one[1:] == other or one == other[1:])


def enumeration(names: Sequence[str], at_most: int = 20) -> str:
    """`names` in a sentence; of more than `at_most` the first ones and how many more there are."""
    more = len(names) - at_most
    return ", ".join([*names[:at_most], *([f"and {more} more"] if more > 0 else [])])
