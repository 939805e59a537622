"""Origin of a result: package version, commit, machine, memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

UNKNOWN = "unknown"


@cache
def package_version() -> str:
    """Version of the installed package, or ``unknown``."""
    try:
        return version("boostnerv")
    except PackageNotFoundError:
        return UNKNOWN


@cache
def commit() -> str:
    """Commit of the checkout that this package runs from, with ``-dirty`` if it has local changes; else ``unknown``."""
    folder = Path(__file__).parent
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", "errors.py")
        head = _git(folder, "rev-parse", "HEAD") if tracked is not None else None
        if head is None:
            return UNKNOWN
        return head + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else "")
    except OSError:
        return UNKNOWN


def peak_memory_mib() -> float:
    """Peak resident memory of this process so far in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**20 if sys.platform == "darwin" else 2**10)


def boot_id() -> str:
    """Identifier of the current boot of this machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def processor() -> str:
    """Name of the CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or UNKNOWN


def _git(folder: Path, *arguments: str) -> str | None:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None
