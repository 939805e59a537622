"""Measuring the time and peak memory of a command alone.

The peak memory of a process includes what it used before `exec`: the `ru_maxrss` of a command is at least the memory of
the Python that starts it, several hundred MiB with torch. So a minimal Python (some 10 MiB) starts the command and
reports its usage.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from boostnerv.host import signals

# SIGTERM kills the command; the exit code of a killed command is its negated signal.
_LAUNCHER = """
import os, signal, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
signal.signal(signal.SIGTERM, lambda *_: child.kill())
_, status, used = os.wait4(child.pid, 0)
wall_s = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
os.write(int(sys.argv[1]), f"{os.waitstatus_to_exitcode(status)} {wall_s!r} {used.ru_maxrss * unit}".encode())
os._exit(0)
"""


@dataclass(frozen=True)
class Used:
    """Result of a command: exit code (negated signal if it was killed), wall time and peak resident memory."""

    code: int
    wall_s: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Launched:
    """A running command."""

    popen: subprocess.Popen[bytes]
    report: IO[bytes]

    @property
    def stdin(self) -> IO[bytes]:
        """Standard input of the command; it has to be closed before `wait`."""
        assert self.popen.stdin is not None
        return self.popen.stdin

    def wait(self) -> Used:
        """Wait for the end of the command; may be called once."""
        self.popen.wait()
        fields = self.report.read().split()
        if not fields:  # the launcher itself was killed
            return Used(self.popen.returncode, 0.0, 0)
        return Used(int(fields[0]), float(fields[1]), int(fields[2]))


@contextmanager
def launched(
    command: Sequence[str], *, stderr: IO[bytes], env: Mapping[str, str], stdout: IO[bytes] | None = None
) -> Iterator[Launched]:
    """Start `command`, which reads a pipe; its output is discarded unless `stdout` is given. Leaving the block ends it
    if still running."""
    read, write = os.pipe()
    popen = None
    with os.fdopen(read, "rb") as report:
        try:
            try:
                with signals.delayed():
                    popen = subprocess.Popen(
                        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(write), *command],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL if stdout is None else stdout,
                        stderr=stderr,
                        env=env,
                        pass_fds=(write,),
                    )
            finally:
                os.close(write)
            yield Launched(popen, report)
        finally:
            if popen is not None:
                _end(popen)


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.terminate()
    assert popen.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        popen.stdin.close()
    popen.wait()
