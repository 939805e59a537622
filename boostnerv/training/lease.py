"""One process at a time in a folder, on one machine or on several that share a file system.

The holder's file ``lock`` says who it is, and is touched every few seconds. It gets its name by a link, which one
process can make, on NFS too. Another process waits until the file is gone, or until the holder is: at once where both
run on the same kernel and the holder's flock is free, otherwise after six missed beats by its own clock.

It takes over by linking its own file to a name made of what the silent one says, so that one process can, and is taken
over from in the same way where it dies doing so. The folder is held by who stands at the end of this chain; a process
that was suspended, and taken over from, finds there that it no longer does.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.provenance import boot_id

BEAT_S = 10.0
"""How often a holder touches its file."""

_MISSED_BEATS = 6
_POLL_S = 1.0
_TELL_EVERY_S = 60.0
_LOCK = "lock"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Numbers of the errors that a file system without hard links gives."""


@dataclass(frozen=True)
class Holder:
    """Who holds a folder, as its file says: `boot` names a running kernel and is empty where there is no flock to ask,
    `job` is the number of a SLURM job, `since` in UTC."""

    host: str
    boot: str
    pid: int
    job: str | None
    since: str
    token: str
    beat_s: float


class Lease:
    """A folder that this process held when this was made."""

    def __init__(self, folder: Path, descriptor: int, content: bytes) -> None:
        self._folder, self._descriptor, self._content = folder, descriptor, content

    def holds(self) -> bool:
        """Whether this process still holds the folder."""
        last = _last(self._folder)
        return last is not None and last.content == self._content

    def check(self) -> None:
        """Raise `UserError` where it no longer does; to be called before anything is written."""
        if not self.holds():
            raise UserError(
                f"another process has taken over the training in {self._folder} while this one was silent, or its lock "
                "was deleted; leave it to that process, or stop that one and run the command again"
            )

    def beat(self, every_s: float, stop: threading.Event) -> None:
        """Touch the file until `stop` is set."""
        while not stop.wait(every_s):
            with suppress(OSError):  # the file may be gone with its folder
                os.utime(self._descriptor)

    def release(self) -> None:
        """Let the next process in, unless another one is in already."""
        with suppress(OSError):
            if self.holds():
                # All names of chains that ended here, and files of processes that were killed while they made one.
                left = list(self._folder.glob(f"{_LOCK}-*"))
                (self._folder / _LOCK).unlink(missing_ok=True)
                for path in left:
                    path.unlink(missing_ok=True)
        os.close(self._descriptor)


@contextmanager
def hold(folder: Path, beat_s: float = BEAT_S) -> Iterator[Lease]:
    """Hold the folder, which is made, and wait for it where another process does: a line on stderr says for whom.

    Raises `UserError` where the folder cannot be written.
    """
    lease = _acquire(folder, beat_s)
    stop = threading.Event()
    beating = threading.Thread(target=lease.beat, args=(beat_s, stop), name="beat", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        stop.set()
        beating.join()
        lease.release()


def seen(folder: Path) -> Holder | None:
    """Who holds the folder, at a look and without waiting: None where nobody does, the holder is known to be dead, or
    its file is six beats old by this machine's clock."""
    last = _last(folder)
    if last is None or last.holder is None or _is_dead(last):
        return None
    silent_s = time.time() - last.touched_ns / 1e9
    return None if silent_s > _MISSED_BEATS * last.holder.beat_s else last.holder


# --- the chain ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Link:
    """A file of the chain, and when it was touched."""

    path: Path
    content: bytes
    touched_ns: int

    @property
    def holder(self) -> Holder | None:
        """Who wrote it; None where that cannot be read."""
        try:
            found = json.loads(self.content)
            holder = Holder(**{field.name: found[field.name] for field in fields(Holder)})
            return holder if 0 < holder.beat_s < math.inf else None
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def next(self) -> Path:
        """The name by which this link is taken over."""
        return self.path.with_name(f"{_LOCK}-after-{hashlib.sha256(self.content).hexdigest()[:16]}")


def _last(folder: Path) -> _Link | None:
    """The end of the chain, which is the holder's; None where nobody holds the folder."""
    last, path = None, folder / _LOCK
    while (found := _read(path)) is not None:
        last, path = found, found.next
    return last


def _read(path: Path) -> _Link | None:
    # Opening asks a file server anew, where names and times alone may be remembered.
    try:
        with open(path, "rb") as file:
            return _Link(path, file.read(), os.fstat(file.fileno()).st_mtime_ns)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise


def _acquire(folder: Path, beat_s: float) -> Lease:
    watch = _Watch(folder, beat_s)
    while True:
        with files.in_sentences(folder / _LOCK):
            folder.mkdir(parents=True, exist_ok=True)
            last = _last(folder)
            if last is None or watch.is_over(last):
                lease = _take(folder, folder / _LOCK if last is None else last.next, beat_s)
                if lease is not None:
                    return lease
        time.sleep(watch.poll_s)


def _take(folder: Path, name: Path, beat_s: float) -> Lease | None:
    """Link a file of this process to `name`; None where another process was faster."""
    token = secrets.token_hex(8)
    temporary = folder / f"{_LOCK}-{token}.tmp"
    try:
        descriptor, content = _write(temporary, token, beat_s)
        try:
            os.link(temporary, name)
        except FileExistsError:
            pass  # perhaps our own: a file server may do what it is asked for, and its answer be lost
        except OSError as error:
            if error.errno not in _NO_LINKS:
                os.close(descriptor)
                raise
            os.close(descriptor)
            descriptor, content = _write(name, token, beat_s)
            temporary.unlink()
        lease = Lease(folder, descriptor, content)
        if lease.holds():
            if name.name != _LOCK:
                # So that `lock` names the holder. The name in the chain stays: nobody else may have it.
                with suppress(FileNotFoundError):
                    os.replace(temporary, folder / _LOCK)
            return lease
        os.close(descriptor)
        found = _read(name)
        if found is not None and found.content == content:
            name.unlink(missing_ok=True)  # the chain that it was to prolong is gone
    except (FileExistsError, FileNotFoundError):
        pass  # the folder was removed meanwhile, or another process was faster
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _write(path: Path, token: str, beat_s: float) -> tuple[int, bytes]:
    """Make a file that tells of this process; returns its descriptor, under an flock, and its content."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        boot = boot_id()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            boot = ""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        job = os.environ.get("SLURM_JOB_ID")
        holder = Holder(socket.gethostname(), boot, os.getpid(), job, since, token, beat_s)
        content = json.dumps(asdict(holder)).encode()
        os.write(descriptor, content)
        os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, content


# --- waiting --------------------------------------------------------------------------------------------------


class _Watch:
    """What a waiting process has seen of the holder."""

    def __init__(self, folder: Path, beat_s: float) -> None:
        self.poll_s = min(_POLL_S, beat_s)
        self._folder, self._beat_s = folder, beat_s
        self._seen: _Link | None = None
        self._silent_s = 0.0
        self._looked_s = time.monotonic()
        self._told_s = -math.inf

    def is_over(self, last: _Link) -> bool:
        """Whether the holder `last` is dead or silent; says who it is where it is neither."""
        now_s = time.monotonic()
        # Capped: a process that was suspended itself has not seen that nothing happened.
        passed_s = min(now_s - self._looked_s, 2 * self.poll_s)
        self._silent_s = self._silent_s + passed_s if last == self._seen else 0.0
        self._seen, self._looked_s = last, now_s
        beat_s = last.holder.beat_s if last.holder else self._beat_s
        if _is_dead(last) or self._silent_s > _MISSED_BEATS * beat_s:
            return True
        if now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            print(f"{self._folder}: {_held_by(last.holder)}", file=sys.stderr, flush=True)
        return False


def _is_dead(last: _Link) -> bool:
    """Whether the holder ran on this kernel, and runs no longer."""
    if last.holder is None or not last.holder.boot or last.holder.boot != boot_id():
        return False
    try:
        with open(last.path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file.read() == last.content  # the name may be another's by now
    except OSError:
        return False


def _held_by(holder: Holder | None) -> str:
    if holder is None:
        return f"its file {_LOCK} does not say who trains it; waiting for {_LOCK} to go or stay silent"
    job = f" (job {holder.job})" if holder.job else ""
    return (
        f"being trained by process {holder.pid} on {holder.host}{job} since {holder.since}; "
        "waiting for it to end or go silent"
    )
