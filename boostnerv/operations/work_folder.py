"""The folder a workflow runs in: links of DVC that Snakemake would write through, and locks that a run left.

A run writes ``.snakemake/boostnerv-run-EXPERIMENT.json`` when it begins and removes it at its end, so that a lock of
Snakemake, which is only a list of files, can be told whose it is. Nothing here imports Snakemake or DVC.
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
    """Return a sentence where DVC would put links to its cache into the repository of `folder`, else None.

    Snakemake writes into files in place: through a link that changes the cache itself, as root without any message.
    """
    root = next((path for path in (folder.absolute(), *folder.absolute().parents) if (path / ".dvc").is_dir()), None)
    if root is None:
        return None
    # As DVC does: what is nearer to the repository wins.
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
    """Values of ``cache.type`` in one file of DVC's configuration, where it has any."""
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
    # DVC reads the first of them only.
    return [Path((os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)[0]) / "dvc"]


@dataclass(frozen=True)
class Run:
    """A run of the workflow: who began it, where, when (ISO 8601, UTC) and how."""

    host: str
    pid: int
    user: str
    since: str
    command: str
    executor: str
    boot_id: str
    started_ticks: int | None

    def is_running(self) -> bool | None:
        """Whether its process still runs; None where only another machine can tell."""
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
    """Say in `folder` that this process runs `experiment`; `arguments` are those of its command."""
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
    """A command line as people type it, of the arguments after its name."""
    return shlex.join(["snakemake", *arguments])


@dataclass(frozen=True)
class Lock:
    """What Snakemake holds in a folder: files, since when (ISO 8601, UTC), and the run that took them, if known."""

    files: frozenset[str]
    since: str
    run: Run | None

    def sentence(self, command: str) -> str:
        """What to know and do about it; `command` would run the same again."""
        clear = f"`{command} --unlock`, then run the same command again"
        if self.run is None:
            return (
                f"the files of this run have been locked since {_time(self.since)}, and whose lock it is was not "
                f"written down; wait if another snakemake runs in this folder, else clear the lock with {clear}"
            )
        run = self.run
        holder = f"process {run.pid} of {run.user} on {run.host}, begun {_time(run.since)}"
        running = run.is_running()
        if running:
            return f"the files of this run are locked by {holder}, which still runs; wait until it has ended"
        jobs = "" if run.executor == "local" else " (its jobs may still run: squeue --me, scancel)"
        if running is None:
            return (
                f"the files of this run are locked by {holder}; see there whether it still runs: if so, wait, "
                f"if not{jobs}, clear the lock with {clear}"
            )
        return (
            f"the files of this run are locked by {holder}, which ended without clearing its lock{jobs}; "
            f"clear it with {clear}"
        )


def find_lock(folder: Path, prefixes: Iterable[str] = ("",)) -> Lock | None:
    """The lock in `folder` of files to be made whose path begins with one of `prefixes`, if there is any."""
    begins = tuple(prefixes)
    paths = sorted((folder / _SNAKEMAKE / "locks").glob("*.output.lock"))
    try:
        listed = {line for path in paths for line in path.read_text(encoding="utf-8").splitlines()}
        files = frozenset(line for line in listed if line.startswith(begins))
        if not files:
            return None
        oldest_s = min(path.stat().st_mtime for path in paths)
    except FileNotFoundError:  # it was released in this moment
        return None
    # Where only frames are locked, the run that makes them may be another experiment's.
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
    """A time of this machine's clock, to the minute."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers know numbers without names
        return str(os.getuid())


def _started_ticks(pid: int) -> int | None:
    """When a process began, in the kernel's ticks: tells it from a later one of the same number. None where it is
    dead and only not yet collected, or where there is no such clock."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])
