"""The standard streams of the command: closed streams, vanished terminals, finished readers, limited encodings."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import stat
import sys
import traceback

READER_IS_GONE = 128 + signal.SIGPIPE
"""Exit code of a command whose reader is gone, as shells report it for other programs."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def prepare_streams() -> None:
    """Redirect closed standard streams to the null device, and escape characters that a stream cannot encode.

    Otherwise a file opened later would get the descriptor of a closed stream, and the output of child processes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (open as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(sentence: str) -> None:
    """Print a sentence to stderr as one line, control characters escaped; errors of the stream are ignored."""
    with contextlib.suppress(OSError):
        print(f"boostnerv: {sentence.translate(_CONTROLS)}", file=sys.stderr, flush=True)


def output_problem(error: Exception) -> str | None:
    """A sentence if `error` comes from writing standard output, which is discarded from then on; else None."""
    if not any(frame.f_code.co_name == "echo" for frame, _ in traceback.walk_tb(error.__traceback__)):
        return None
    with contextlib.suppress(OSError, ValueError):
        _discard(sys.stdout.fileno())  # flushing its buffer at exit would fail again
    reason = getattr(error, "strerror", None) or error
    return f"the standard output cannot be written ({reason}); free some space, or send it elsewhere"


def leave() -> None:
    """Discard further output to a closed terminal, as writing to it would raise an error."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            # Not `isatty`, which is false for a closed terminal.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                _discard(descriptor)


def _discard(descriptor: int) -> None:
    null_device = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_device, descriptor)
    finally:
        os.close(null_device)
