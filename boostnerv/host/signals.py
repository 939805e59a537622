"""Signals that ask to stop: SIGTERM, SIGINT (Ctrl-C), SIGUSR1 (SLURM's warning), SIGHUP (a terminal that is closed).

They become an exception, so that what is temporary is removed on the way out; trainings note them instead, and save
their state first (`boostnerv.training.state`).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from boostnerv.errors import InterruptedBySignal
from boostnerv.host import terminal

# Long enough for what handles the exception to begin, short enough not to be waited for.
_AGAIN_S = 1.0
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def obeyed() -> tuple[signal.Signals, ...]:
    """The signals that a training obeys: SIGHUP only where it was not ignored from the start, as by ``nohup``.

    The others are obeyed in any case: shells ignore SIGINT in the background, and our workflow ignores SIGUSR1.
    """
    return tuple(number for number in STOPPING if number != signal.SIGHUP or not _is_ignored(number))


def not_ignored() -> tuple[signal.Signals, ...]:
    """The signals that end this process now."""
    return tuple(number for number in STOPPING if not _is_ignored(number))


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


@contextmanager
def raising(numbers: Sequence[signal.Signals], where: str, *, state_is_saved: bool) -> Iterator[None]:
    """Within this context the first of `numbers` raises `InterruptedBySignal`, which says `where` it arrived.

    Later ones are ignored while temporary files are removed, except SIGINT, which ends the process. Compiled code may
    discard an exception or turn it into another one: a discarded exception is raised again within a second, and any
    other exception that leaves the context after a signal becomes `InterruptedBySignal`.
    """
    received: list[InterruptedBySignal] = []

    def stop(number: int, _: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_DFL if other == signal.SIGINT else signal.SIG_IGN)
        if number == signal.SIGHUP:
            terminal.leave()
        received.append(InterruptedBySignal(number, where, state_is_saved=state_is_saved))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        raise received[0]

    def stop_again(_number: int, _frame: FrameType | None) -> None:
        if received and not _is_handling(received[0]):
            raise received[0]

    before = {number: signal.signal(number, stop) for number in numbers}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, stop_again)
    try:
        yield
    except Exception as error:
        if received:
            raise received[0] from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_handling(exception: BaseException) -> bool:
    """Whether the interrupted code is cleaning up after `exception`."""
    current = sys.exception()
    while current is not None and current is not exception:
        current = current.__cause__ or current.__context__
    return current is exception


@contextmanager
def delayed() -> Iterator[None]:
    """Inside, signals wait. For the start of a process, which nobody could end if it were interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    handled = [number for number in STOPPING if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, lambda number, _: waiting.append(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for came in waiting:
        signal.raise_signal(came)
