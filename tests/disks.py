"""Disks that are full, or soon are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 KiB, where this user may mount one."""
    folder.mkdir()
    arguments = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(arguments, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """The same, with no room left by the file ``rest`` on it."""
    with small_disk(folder) as disk:
        try:
            with open(disk / "rest", "wb", buffering=0) as rest:
                while True:
                    rest.write(bytes(1024))
        except OSError:
            yield disk
