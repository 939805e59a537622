"""The folder in which a workflow runs: DVC links that Snakemake would write through, and locks left by a run.

A run writes ``.snakemake/boostnerv-run-EXPERIMENT.json`` when it begins and removes it at its end, which identifies the
owner of a lock of Snakemake, itself only a list of files. Nothing here imports Snakemake or DVC.
"""

from __future__ import annotations

import configparser
import dataclasses
import getpass
import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from boostnerv.files import write_json
from boostnerv.provenance import boot_id

_SNAKEMAKE = Path(".snakemake")
_LINKS = ("hardlink", "symlink")


def dvc_link_problem(folder: Path) -> str | None:
    """Return a message if DVC would put links to its cache into the repository of `folder`, else None.

    Snakemake modifies files in place: through a link that changes the cache itself, for root without any error.
    """
    root = next((path for path in (folder.absolute(), *folder.absolute().parents) if (path / ".dvc").is_dir()), None)
    if root is None:
        return None
    # In DVC's order of precedence.
    for path, option in (
        (root / ".dvc" / "config.local", " --local"),
        (root / ".dvc" / "config", ""),
        (_user_folder() / "config", " --global"),
        *((folder / "config", " --system") for folder in _system_folders()),
    ):
        kinds = _cache_type(path)
        if kinds is None:
            continue
        links = [kind for kind in kinds if kind in _LINKS]
        if not links:
            return None
        return (
            f"DVC links files to its cache (cache.type {','.join(kinds)} in {path}), and Snakemake would write through "
            f"these links and damage the cache; run: dvc config{option} --unset cache.type && dvc checkout --relink"
        )
    return None


def _cache_type(path: Path) -> list[str] | None:
    """Values of ``cache.type`` in one of DVC's configuration files, None if it is not set there."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        text = parser.get("cache", "type")
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    return re.findall(r"[a-z]+", text)


def _user_folder() -> Path:
    named = os.environ.get("DVC_GLOBAL_CONFIG_DIR")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/dvc"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dvc"


def _system_folders() -> list[Path]:
    named = os.environ.get("DVC_SYSTEM_CONFIG_DIR")
    if named:
        return [Path(named)]
    if sys.platform == "darwin":
        return [Path("/Library/Application Support/dvc")]
    # DVC only reads the first of them.
    return [Path((os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)[0]) / "dvc"]


@dataclass(frozen=True)
class Run:
    """A run of the workflow: who started it, where, when (ISO 8601, UTC) and how."""

    host: str
    pid: int
    user: str
    since: str
    command: str
    executor: str
    boot_id: str
    started_ticks: int | None

    def is_running(self) -> bool | None:
        """Whether its process is still running; None if it is on another machine."""
        if self.host != socket.gethostname():
            return None
        if self.boot_id != boot_id():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.started_ticks == _started_ticks(self.pid)


def begin_run(folder: Path, experiment: str, arguments: Sequence[str], executor: str) -> None:
    """Record in `folder` that this process runs `experiment`; `arguments` are those of its command."""
    run = Run(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=_user(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        command=snakemake_command(arguments),
        executor=executor,
        boot_id=boot_id(),
        started_ticks=_started_ticks(os.getpid()),
    )
    write_json(_run_file(folder, experiment), dataclasses.asdict(run))


def end_run(folder: Path, experiment: str) -> None:
    """Remove what `begin_run` wrote."""
    _run_file(folder, experiment).unlink(missing_ok=True)


def snakemake_command(arguments: Sequence[str]) -> str:
    """The snakemake command line with these arguments, quoted for a shell."""
    return shlex.join(["snakemake", *arguments])


@dataclass(frozen=True)
class Lock:
    """Snakemake's lock in a folder: the locked files, since when (ISO 8601, UTC), and the run holding it, if known."""

    files: frozenset[str]
    since: str
    run: Run | None

    def sentence(self, command: str) -> str:
        """A message on the lock and how to clear it; `command` would run the same again."""
        clear = f"`{command} --unlock`, then run the same command again"
        if self.run is None:
            return (
                f"the files of this run have been locked since {_time(self.since)}, and the owner of the lock is not "
                f"recorded; wait if another snakemake runs in this folder, else clear the lock with {clear}"
            )
        run = self.run
        holder = f"process {run.pid} of {run.user} on {run.host}, begun {_time(run.since)}"
        running = run.is_running()
        if running:
            return f"the files of this run are locked by {holder}, which is still running; wait until it has ended"
        jobs = "" if run.executor == "local" else " (its jobs may still run: squeue --me, scancel)"
        if running is None:
            return (
                f"the files of this run are locked by {holder}; check there whether it is still running: if so, wait, "
                f"if not{jobs}, clear the lock with {clear}"
            )
        return (
            f"the files of this run are locked by {holder}, which ended without clearing its lock{jobs}; "
            f"clear it with {clear}"
        )


def find_lock(folder: Path, prefixes: Iterable[str] = ("",)) -> Lock | None:
    """The lock in `folder` on output files whose path begins with one of `prefixes`, if there is any."""
    beginnings = tuple(prefixes)
    paths = sorted((folder / _SNAKEMAKE / "locks").glob("*.output.lock"))
    try:
        listed = {line for path in paths for line in path.read_text(encoding="utf-8").splitlines()}
        files = frozenset(line for line in listed if line.startswith(beginnings))
        if not files:
            return None
        oldest_s = min(path.stat().st_mtime for path in paths)
    except FileNotFoundError:  # it has just been released
        return None
    # If only frames are locked, the run that makes them may belong to another experiment.
    experiments = [*_experiments(files), *_experiments(listed)]
    runs = [run for name in experiments if (run := _read_run(_run_file(folder, name))) is not None]
    return Lock(files, datetime.fromtimestamp(oldest_s, UTC).isoformat(timespec="seconds"), runs[0] if runs else None)


def _experiments(files: Iterable[str]) -> list[str]:
    return sorted({match[1] for file in files if (match := re.match(r"results/([^/]+)/", file))})


def _run_file(folder: Path, experiment: str) -> Path:
    return folder / _SNAKEMAKE / f"boostnerv-run-{experiment}.json"


def _read_run(path: Path) -> Run | None:
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _time(iso: str) -> str:
    """A time in this machine's time zone, to the minute."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in containers user ids may have no name
        return str(os.getuid())


def _started_ticks(pid: int) -> int | None:
    """Start time of a process in the kernel's ticks, which distinguishes it from a later one with the same number. None
    for a zombie, or if there is no such clock."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])
