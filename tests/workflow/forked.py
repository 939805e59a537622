"""Snakemake in processes that begin with Snakemake imported; to import it is most of what a dry run takes.

A server, one for each process of the tests, imports it once and forks a process for each command. From there on that
process does what ``python -m snakemake`` does, with an environment, output and exit code of its own.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(["snakemake.cli", "snakemake.report.html_reporter", "smart_open", "boostnerv.config"])


def run_snakemake(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What ``python -m snakemake`` with `arguments` ends with, in `environment` (default: that of this process)."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = (Path(folder, name) for name in ("output", "errors"))
        process = _SERVER.Process(
            target=_main, args=(list(arguments), dict(environment or os.environ), Path.cwd(), output, errors)
        )
        process.start()
        process.join()
        return subprocess.CompletedProcess(
            ["snakemake", *arguments], process.exitcode or 0, output.read_text("utf-8"), errors.read_text("utf-8")
        )


def _main(arguments: list[str], environment: dict[str, str], folder: Path, output: Path, errors: Path) -> None:
    """In the new process; ends with `SystemExit`."""
    for path, descriptor in ((output, 1), (errors, 2)):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    import snakemake
    from snakemake.cli import main

    sys.argv = [str(Path(snakemake.__file__).with_name("__main__.py")), *arguments]
    try:
        main()
    finally:
        # A process of multiprocessing ends without them.
        atexit._run_exitfuncs()
