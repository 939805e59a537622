"""The standard streams of the command: closed ones, terminals that go away, readers that have enough, odd encodings."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import stat
import sys
import traceback

READER_IS_GONE = 128 + signal.SIGPIPE
"""Exit code of a command that nobody reads any more, as shells know it of other programs."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def prepare_streams() -> None:
    """Give streams that are closed a place to go, and names of files that their encoding does not have as escapes.

    A file opened later would take the number of a closed stream, and get what children say.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(sentence: str) -> None:
    """Print a sentence on stderr, as one line whatever the names in it have, where anybody can read it."""
    with contextlib.suppress(OSError):
        print(f"boostnerv: {sentence.translate(_CONTROLS)}", file=sys.stderr, flush=True)


def output_problem(error: Exception) -> str | None:
    """A sentence where `error` is of writing the standard output, which goes nowhere from now on; else None."""
    if not any(frame.f_code.co_name == "echo" for frame, _ in traceback.walk_tb(error.__traceback__)):
        return None
    with contextlib.suppress(OSError, ValueError):
        _let_go(sys.stdout.fileno())  # what is still in its buffer would fail once more at the end
    reason = getattr(error, "strerror", None) or error
    return f"the standard output cannot be written ({reason}); free some space, or send it elsewhere"


def leave() -> None:
    """Let standard streams that are a terminal go nowhere: it is closed, and writing to it would be an error."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            # Not `isatty`, which is false of a terminal that was closed.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                _let_go(descriptor)


def _let_go(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
    finally:
        os.close(nowhere)
