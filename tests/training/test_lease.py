"""Real processes that hold a folder, wait for it, are killed and are suspended."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pytest

from boostnerv.errors import UserError
from boostnerv.training import lease as lease_module
from boostnerv.training.lease import Holder, hold

BEAT_S = 0.1
SLOW_S = 0.2  # of a holder that is to be heard on a busy machine
NEVER_S = 1e5  # a beat that nobody waits six of

# SIGINT is ignored by what a shell without job control starts in the background, tests among it.
HOLD = """
import signal, sys
from pathlib import Path
from boostnerv.training.lease import hold
signal.signal(signal.SIGINT, signal.default_int_handler)
with hold(Path(sys.argv[1]), float(sys.argv[2])) as lease:
    print("held", flush=True)
    sys.stdin.readline()
    print(lease.holds(), flush=True)
"""

SAVE = """
import sys
from pathlib import Path
from boostnerv.errors import UserError
from boostnerv.training.state import StateFolder
state = StateFolder(Path(sys.argv[1]), "a", float(sys.argv[2]))
with state.locked():
    state.save({"step": 1})
    print("held", flush=True)
    sys.stdin.readline()
    for act in (lambda: state.save({"step": 2}), lambda: state.finish(Path("model"), Path("log"))):
        try:
            act()
        except UserError as error:
            print(error, flush=True)
"""

ROUNDS = """
import os, sys
from pathlib import Path
from boostnerv.training.lease import hold
folder = Path(sys.argv[1])
for _ in range(10):
    with hold(folder / "held", float(sys.argv[2])):
        os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
        os.unlink(folder / "inside")
"""


@dataclass(frozen=True)
class Process:
    """A process that holds the folder, or waits for it."""

    popen: subprocess.Popen[str]

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    def says(self) -> str:
        """The next line that it prints; waits for it."""
        return self._pipe(self.popen.stdout).readline().rstrip("\n")

    def tells(self) -> str:
        """The next line on stderr; waits for it."""
        return self._pipe(self.popen.stderr).readline().rstrip("\n")

    def go_on(self) -> None:
        print(file=self._pipe(self.popen.stdin), flush=True)

    def end(self) -> str:
        """Let it end; returns what it printed."""
        out, errors = self.popen.communicate("\n", timeout=60)
        assert self.popen.returncode == 0, errors
        return out.strip()


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process on the folder ``held``."""
    with contextlib.ExitStack() as stack:

        def run(beat_s: float = BEAT_S, script: str = HOLD, **variables: str) -> Process:
            popen = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(tmp_path / "held"), str(beat_s)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **variables},
                )
            )
            stack.callback(popen.kill)
            return Process(popen)

        yield run


def holder(folder: Path) -> Holder:
    return Holder(**json.loads((folder / "lock").read_text()))


def elsewhere(beat_s: float = BEAT_S, **changes: object) -> bytes:
    """What another machine's process would write."""
    found = Holder("node7", "another-boot", 123, "4711", "2026-11-23T21:00:00+00:00", "0f", beat_s)
    return json.dumps({**asdict(found), **changes}).encode()


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_S / 2):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# --- who holds it -----------------------------------------------------------------------------------------------


def test_the_lock_names_this_process_and_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "held"
    tokens = set()
    for job in (None, "4711"):
        if job is not None:
            monkeypatch.setenv("SLURM_JOB_ID", job)
        with hold(folder, BEAT_S) as lease:
            found = holder(folder)
            assert (found.host, found.pid, found.job) == (socket.gethostname(), os.getpid(), job)
            assert (found.beat_s, found.since[-6:]) == (BEAT_S, "+00:00")
            assert [path.name for path in folder.iterdir()] == ["lock"]
            lease.check()
            tokens.add(found.token)
        assert list(folder.iterdir()) == []
    assert len(tokens) == 2


def test_an_error_lets_it_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path, BEAT_S):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_holder_beats(tmp_path: Path) -> None:
    with hold(tmp_path, 0.01):
        touched_ns = {(tmp_path / "lock").stat().st_mtime_ns}
        until = time.monotonic() + 60
        while len(touched_ns) < 4:
            assert time.monotonic() < until
            touched_ns.add((tmp_path / "lock").stat().st_mtime_ns)
    assert not [thread for thread in threading.enumerate() if thread.name == "beat"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with (
        pytest.raises(UserError, match=r"cannot write .*lock: .*; choose a writable output folder"),
        hold(tmp_path / "file" / "held"),
    ):
        pass


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path, start: Start) -> None:
    first = start(SLOW_S, SLURM_JOB_ID="4711")
    assert first.says() == "held"
    found = holder(tmp_path / "held")
    second = start()
    assert second.tells() == (
        f"{tmp_path / 'held'}: being trained by process {first.popen.pid} on {socket.gethostname()} (job 4711) since "
        f"{found.since}; waiting for it to end or go silent"
    )
    # Longer than it takes a silent holder's place.
    with pytest.raises(subprocess.TimeoutExpired):
        second.popen.wait(2)
    assert holder(tmp_path / "held") == found
    assert first.end() == "True"
    assert second.says() == "held"
    assert holder(tmp_path / "held").pid == second.popen.pid
    assert second.end() == "True"
    assert list((tmp_path / "held").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_wait_ends_with_a_signal_and_leaves_nothing(number: signal.Signals, tmp_path: Path, start: Start) -> None:
    with hold(tmp_path / "held", BEAT_S) as lease:
        waiting = start()
        assert "being trained by" in waiting.tells()
        waiting.popen.send_signal(number)
        assert waiting.popen.wait(60) == -number
        assert [path.name for path in (tmp_path / "held").iterdir()] == ["lock"]
        lease.check()


def test_a_process_that_was_killed_is_followed_at_once(tmp_path: Path, start: Start) -> None:
    """Six beats of it would be a week."""
    for _ in range(3):
        killed = start(NEVER_S)
        assert killed.says() == "held"
        killed.popen.kill()
        killed.popen.wait()
    last = start(NEVER_S)
    assert last.says() == "held"
    assert holder(tmp_path / "held").pid == last.popen.pid
    assert last.end() == "True"
    assert list((tmp_path / "held").iterdir()) == []  # the traces of the killed ones went, too


def test_many_processes_are_inside_one_after_the_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ROUNDS, str(tmp_path), "0.5"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


# --- other machines ---------------------------------------------------------------------------------------------


def test_another_machine_is_respected_and_followed_by_one_when_it_falls_silent(tmp_path: Path, start: Start) -> None:
    folder, lock = tmp_path / "held", tmp_path / "held" / "lock"
    folder.mkdir()
    lock.write_bytes(elsewhere(SLOW_S))
    with beating(lock):
        waiting = [start() for _ in range(3)]
        for process in waiting:
            assert process.tells() == (
                f"{folder}: being trained by process 123 on node7 (job 4711) since 2026-11-23T21:00:00+00:00; "
                "waiting for it to end or go silent"
            )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting[0].popen.wait(2)
        assert lock.read_bytes() == elsewhere(SLOW_S)
    followers = []
    while waiting:
        until = time.monotonic() + 60
        while (found := holder(folder)).pid in {123, *followers}:
            assert time.monotonic() < until
            time.sleep(0.01)
        (first,) = (process for process in waiting if process.popen.pid == found.pid)
        assert first.says() == "held"
        waiting.remove(first)
        # Twice the time in which another one would have taken it, too.
        assert not select.select([process.popen.stdout for process in waiting], [], [], 1.2)[0]
        assert holder(folder).pid == found.pid
        followers.append(found.pid)
        assert first.end() == "True"
        if waiting:
            until = time.monotonic() + 60
            while not lock.exists():
                assert time.monotonic() < until
                time.sleep(0.01)
    assert len(followers) == 3
    assert list(folder.iterdir()) == []


def test_a_claim_whose_owner_died_is_given_up(tmp_path: Path) -> None:
    dead, claim = elsewhere(token="1"), elsewhere(token="2")
    (tmp_path / "lock").write_bytes(dead)
    with hold(tmp_path, BEAT_S):
        (name,) = (path.name for path in tmp_path.glob("lock-after-*"))
    # Another process claims it, and dies before it is done.
    (tmp_path / "lock").write_bytes(dead)
    (tmp_path / name).write_bytes(claim)
    (tmp_path / "lock-3.tmp").write_bytes(b"")
    with hold(tmp_path, BEAT_S) as lease:
        assert holder(tmp_path).pid == os.getpid()
        assert (tmp_path / name).read_bytes() == claim
        lease.check()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_came_too_late_holds_nothing(tmp_path: Path) -> None:
    """Between its look at a silent holder and its claim, that holder woke and ended, and another process came."""
    with hold(tmp_path, BEAT_S) as lease:
        assert lease_module._take(tmp_path, tmp_path / "lock-after-it", BEAT_S) is None
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        lease.check()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"host": "node7", "pid": 123}'),
        *(elsewhere(beat_s=0.0), elsewhere(beat_s=float("nan")), json.dumps({"beat_s": "long"}).encode()),
    ],
)
def test_a_lock_that_says_nothing_is_silent_after_the_default(
    content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lock").write_bytes(content)
    with hold(tmp_path, BEAT_S) as lease:
        assert holder(tmp_path).pid == os.getpid()
        lease.check()
    said = f"{tmp_path}: its file lock does not say who trains it; waiting for lock to go or stay silent\n"
    assert capfd.readouterr().err == said
    assert list(tmp_path.iterdir()) == []


def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    folder = tmp_path / "held"
    folder.mkdir()
    (folder / "lock").write_bytes(elsewhere())
    monkeypatch.setattr(os, "link", refuse)
    with hold(folder, BEAT_S) as lease:
        lease.check()
        waiting = start()
        assert f"process {os.getpid()} on" in waiting.tells()
    assert waiting.says() == "held"
    assert waiting.end() == "True"
    with hold(folder, BEAT_S):
        assert holder(folder).pid == os.getpid()
    assert list(folder.iterdir()) == []


# --- suspended processes ----------------------------------------------------------------------------------------


def test_a_suspended_holder_is_followed_and_does_not_save(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "held"
    suspended = start(script=SAVE)
    assert suspended.says() == "held"
    before = (folder / "state.pt").read_bytes()
    suspended.popen.send_signal(signal.SIGSTOP)
    follower = start()
    assert f"being trained by process {suspended.popen.pid}" in follower.tells()
    assert follower.says() == "held"
    suspended.go_on()
    suspended.popen.send_signal(signal.SIGCONT)
    refused = suspended.end().splitlines()
    sentence = f"another process has taken over the training in {folder} while this one was silent"
    assert len(refused) == 2
    assert all(line.startswith(sentence) for line in refused)
    assert (folder / "state.pt").read_bytes() == before
    # It took nothing with it.
    assert holder(folder).pid == follower.popen.pid
    assert follower.end() == "True"
    assert [path.name for path in folder.iterdir()] == ["state.pt"]


def test_a_suspended_waiter_did_not_see_silence(tmp_path: Path, start: Start) -> None:
    folder, lock = tmp_path / "held", tmp_path / "held" / "lock"
    folder.mkdir()
    lock.write_bytes(elsewhere(SLOW_S))
    with beating(lock):
        waiting = start()
        assert "process 123 on node7" in waiting.tells()
        waiting.popen.send_signal(signal.SIGSTOP)
    # All of a machine was suspended, longer than six beats.
    time.sleep(2)
    waiting.popen.send_signal(signal.SIGCONT)
    with beating(lock):
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.popen.wait(1)
        assert lock.read_bytes() == elsewhere(SLOW_S)
        lock.unlink()
    assert waiting.says() == "held"
    assert waiting.end() == "True"
