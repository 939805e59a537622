"""Exclusive access to a folder, on one machine or on several that share a file system.

The holder's file ``lock`` identifies it and is touched every few seconds. It is created as a hard link, which only one
process can do, also on NFS. Another process waits until the file is gone or the holder is dead: immediately if both run
on the same kernel and the holder's flock is free, otherwise after six missed beats by its own clock.

It takes over by linking its own file to a name derived from the content of the silent holder's file, so that only one
process can; if it dies while doing so, it is taken over in the same way. The last file of this chain holds the folder.
A suspended process notices, before its next write, that another took over.
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
"""Seconds between two beats of a holder."""

_MISSED_BEATS = 6
_POLL_S = 1.0
_REPORT_EVERY_S = 60.0
_LOCK = "lock"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Error numbers of file systems without hard links."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder: `boot` identifies its kernel, empty where flock is unavailable; `job` is its
    SLURM job, `since` is UTC."""

    host: str
    boot: str
    pid: int
    job: str | None
    since: str
    token: str
    beat_s: float


class Lease:
    """A folder that this process acquired."""

    def __init__(self, folder: Path, descriptor: int, content: bytes) -> None:
        self._folder, self._descriptor, self._content = folder, descriptor, content

    def holds(self) -> bool:
        """Whether this process still holds the folder."""
        last = _last(self._folder)
        return last is not None and last.content == self._content

    def check(self) -> None:
        """Raise `UserError` if it no longer does; call before writing."""
        if not self.holds():
            raise UserError(
                f"another process has taken over the training in {self._folder} while this one was silent, or its lock "
                "was deleted; leave it to that process, or stop that one and run the command again"
            )

    def beat(self, every_s: float, stop: threading.Event) -> None:
        """Touch the file until `stop` is set."""
        while not stop.wait(every_s):
            with suppress(OSError):  # the file may be gone together with its folder
                os.utime(self._descriptor)

    def release(self) -> None:
        """Release the folder, unless another process already took over."""
        with suppress(OSError):
            if self.holds():
                # All names of the chain that ends here, and files of processes killed while creating one.
                left = list(self._folder.glob(f"{_LOCK}-*"))
                (self._folder / _LOCK).unlink(missing_ok=True)
                for path in left:
                    path.unlink(missing_ok=True)
        os.close(self._descriptor)


@contextmanager
def hold(folder: Path, beat_s: float = BEAT_S) -> Iterator[Lease]:
    """Create and hold the folder, waiting while another process holds it; a line on stderr names that process.

    Raises `UserError` if the folder cannot be written.
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
    """The current holder of the folder, without waiting; None if there is none, it is known to be dead, or its file is
    six beats old by this machine's clock."""
    last = _last(folder)
    if last is None or last.holder is None or _is_dead(last):
        return None
    silent_s = time.time() - last.touched_ns / 1e9
    return None if silent_s > _MISSED_BEATS * last.holder.beat_s else last.holder


# --- the chain ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Link:
    """A file of the chain and the time it was last touched."""

    path: Path
    content: bytes
    touched_ns: int

    @property
    def holder(self) -> Holder | None:
        """The process that wrote it; None if unreadable."""
        try:
            values = json.loads(self.content)
            holder = Holder(**{field.name: values[field.name] for field in fields(Holder)})
            return holder if 0 < holder.beat_s < math.inf else None
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def next(self) -> Path:
        """The file name under which another process takes over from this one."""
        return self.path.with_name(f"{_LOCK}-after-{hashlib.sha256(self.content).hexdigest()[:16]}")


def _last(folder: Path) -> _Link | None:
    """The end of the chain, which belongs to the holder; None if nobody holds the folder."""
    last, path = None, folder / _LOCK
    while (link := _read(path)) is not None:
        last, path = link, link.next
    return last


def _read(path: Path) -> _Link | None:
    # Opening a file makes an NFS client ask the server; names and times alone may be cached.
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
    """Link this process's file to `name`; None if another process was faster."""
    token = secrets.token_hex(8)
    temporary = folder / f"{_LOCK}-{token}.tmp"
    try:
        descriptor, content = _write(temporary, token, beat_s)
        try:
            os.link(temporary, name)
        except FileExistsError:
            pass  # possibly our own: a file server may have done it although its answer was lost
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
                # So that `lock` names the holder. The name in the chain stays, so nobody else can take it.
                with suppress(FileNotFoundError):
                    os.replace(temporary, folder / _LOCK)
            return lease
        os.close(descriptor)
        link = _read(name)
        if link is not None and link.content == content:
            name.unlink(missing_ok=True)  # the chain it should extend is gone
    except (FileExistsError, FileNotFoundError):
        pass  # the folder was removed meanwhile, or another process was faster
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _write(path: Path, token: str, beat_s: float) -> tuple[int, bytes]:
    """Create a file that identifies this process; returns its descriptor, with an flock, and its content."""
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
    """What a waiting process has observed of the holder."""

    def __init__(self, folder: Path, beat_s: float) -> None:
        self.poll_s = min(_POLL_S, beat_s)
        self._folder, self._beat_s = folder, beat_s
        self._seen: _Link | None = None
        self._silent_s = 0.0
        self._looked_s = time.monotonic()
        self._reported_s = -math.inf

    def is_over(self, last: _Link) -> bool:
        """Whether the holder `last` is dead or silent; otherwise reports it now and then."""
        now_s = time.monotonic()
        # Capped: while this process was suspended it observed nothing.
        passed_s = min(now_s - self._looked_s, 2 * self.poll_s)
        self._silent_s = self._silent_s + passed_s if last == self._seen else 0.0
        self._seen, self._looked_s = last, now_s
        beat_s = last.holder.beat_s if last.holder else self._beat_s
        if _is_dead(last) or self._silent_s > _MISSED_BEATS * beat_s:
            return True
        if now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            print(f"{self._folder}: {_held_by(last.holder)}", file=sys.stderr, flush=True)
        return False


def _is_dead(last: _Link) -> bool:
    """Whether the holder ran on this kernel and has ended."""
    if last.holder is None or not last.holder.boot or last.holder.boot != boot_id():
        return False
    try:
        with open(last.path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file.read() == last.content  # the name may belong to another process by now
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
