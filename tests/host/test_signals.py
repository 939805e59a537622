"""Signals end a command without anything half-written; the state of trainings is tested beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boostnerv.errors import InterruptedBySignal
from boostnerv.host import signals
from tests.codec.tiny import encoded
from tests.models.tiny import tiny_model

# What a child inherits of ignored signals depends on the shell that the tests run in.
START = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
del sys.argv[1]
from boostnerv.cli import main
main()
"""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes most of a minute to decode."""
    path = tmp_path_factory.mktemp("stream") / "long.bnv"
    path.write_bytes(encoded(tiny_model("nerv-boost", frames=20_000, height=60, width=60)))
    return path


def interrupted(stream: Path, output: Path, number: signal.Signals, how: str = "") -> tuple[int, str]:
    """Decode, and send a signal when something temporary is there; exit code and stderr."""
    command = [sys.executable, "-P", "-c", START, how, "decode", str(stream), "-o", str(output), "--threads", "1"]
    command += ["--frames", ":200"] if how == "nohup" else []  # to the end
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 120
            while not any(output.parent.glob(".*.tmp*")):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(number)
            _, errors = process.communicate(timeout=240)
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "x.npy"), (signal.SIGHUP, "x"), (signal.SIGINT, "x.y4m"), (signal.SIGUSR1, "x.mkv")],
)
def test_a_signal_leaves_nothing_temporary(number: signal.Signals, name: str, stream: Path, tmp_path: Path) -> None:
    code, errors = interrupted(stream, tmp_path / name, number)
    assert code == 128 + number
    assert (
        errors.splitlines()[-1] == f"boostnerv: stopped by {number.name} before it was done; run the same command again"
    )
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_hangup_that_is_ignored_stays_ignored(stream: Path, tmp_path: Path) -> None:
    code, errors = interrupted(stream, tmp_path / "x.npy", signal.SIGHUP, "nohup")
    assert code == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_signals_wait_while_a_process_is_started() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append("handled"))
    seen: list[str] = []
    try:
        with signals.delayed():
            os.kill(os.getpid(), signal.SIGUSR1)
            seen.append("started")
        assert seen == ["started", "handled"]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_discarded_interruption_comes_again() -> None:
    class Discarding:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    until = time.monotonic() + 60
    with (
        pytest.raises(InterruptedBySignal, match="^stopped by SIGTERM here"),
        signals.raising([signal.SIGTERM], "here", state_is_saved=False),
    ):
        Discarding()
        while time.monotonic() < until:
            time.sleep(0.01)


def test_cleaning_up_is_not_interrupted_again() -> None:
    cleaned = False
    with (
        pytest.raises(InterruptedBySignal),
        signals.raising([signal.SIGTERM], "here", state_is_saved=False),
    ):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            time.sleep(2.5 * signals._AGAIN_S)
            cleaned = True
    assert cleaned
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_interruption_that_became_another_error_is_still_one() -> None:
    with (
        pytest.raises(InterruptedBySignal, match="^stopped by SIGTERM here") as caught,
        signals.raising([signal.SIGTERM], "here", state_is_saved=False),
    ):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except InterruptedBySignal as stop:
            raise RuntimeError("as compiled code reports it") from stop
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_later_signals_do_not_disturb_the_first() -> None:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in signals.STOPPING}
    try:
        seen = []
        with (
            pytest.raises(InterruptedBySignal, match=r"^stopped by SIGHUP here; the state is saved, run the same"),
            signals.raising(signals.STOPPING, "here", state_is_saved=True),
        ):
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            finally:
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
                    os.kill(os.getpid(), number)
                    seen.append(number)
        assert len(seen) == 3
        assert all(signal.getsignal(number) == signal.SIG_DFL for number in signals.STOPPING)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signals.obeyed() == (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signals.obeyed() == (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        assert signals.not_ignored() == (signal.SIGTERM, signal.SIGUSR1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
