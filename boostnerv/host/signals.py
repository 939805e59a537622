"""Stop signals: SIGTERM, SIGINT (Ctrl-C), SIGUSR1 (SLURM's warning), SIGHUP (closed terminal).

They raise an exception, so that temporary files are removed on the way out; training records them instead and saves its
state first (`boostnerv.training.state`).
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

# Long enough for exception handling to begin, short enough not to delay the end noticeably.
_AGAIN_S = 1.0
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def obeyed() -> tuple[signal.Signals, ...]:
    """The signals that training obeys: all of `STOPPING`, but SIGHUP only if it is not ignored, as under ``nohup``.

    The others are obeyed even if ignored: shells ignore SIGINT for background jobs, and our workflow ignores SIGUSR1.
    """
    return tuple(number for number in STOPPING if number != signal.SIGHUP or not _is_ignored(number))


def not_ignored() -> tuple[signal.Signals, ...]:
    """The stop signals that this process does not currently ignore."""
    return tuple(number for number in STOPPING if not _is_ignored(number))


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


@contextmanager
def raising(numbers: Sequence[signal.Signals], where: str, *, state_is_saved: bool) -> Iterator[None]:
    """Within this context the first of `numbers` raises `InterruptedBySignal`, whose message says `where`.

    Later ones are ignored while temporary files are removed, except SIGINT, which ends the process. Compiled code may
    discard an exception or convert it to another one: a discarded exception is raised again within a second, and any
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
    """Postpone signals to the end of this context: a process whose start is interrupted could not be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    postponed: list[int] = []
    handled = [number for number in STOPPING if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, lambda number, _: postponed.append(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for arrived in postponed:
        signal.raise_signal(arrived)
