"""Results of finished trainings, kept in their state folders until the workflow is done. No torch here.

Snakemake deletes a job's outputs before rerunning it, and reruns a whole group of jobs if one fails. A finished
training is restored from here instead of being repeated.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from boostnerv import files

_RECORD = "finished.json"
_MODEL = "finished.safetensors"
_LOG = "finished.jsonl"


def keep(folder: Path, identity: str, model: Path, log: Path) -> None:
    """Keep the outputs of the training `identity` in `folder`, as links where the file system can."""
    record = folder / _RECORD
    record.unlink(missing_ok=True)  # it describes the results that are replaced now
    outputs = {_MODEL: model, _LOG: log}
    for kept, output in outputs.items():
        _link(output, folder / kept)
    described = {
        kept: {"name": output.name, "sha256": files.sha256_of_file(folder / kept)} for kept, output in outputs.items()
    }
    files.write_json(record, {"identity": identity, "outputs": described})


def take(folder: Path, identity: str, model: Path, log: Path) -> bool:
    """Restore the kept results of the training `identity` as `model` and `log`, and report it; False if `folder` has
    none, or they are incomplete."""
    record = _record(folder)
    if record is None or record["identity"] != identity:
        return False
    try:
        is_complete = all(
            files.sha256_of_file(folder / name) == output["sha256"] for name, output in record["outputs"].items()
        )
    except FileNotFoundError:
        return False
    if not is_complete:
        return False
    for kept, output in {_MODEL: model, _LOG: log}.items():
        _link(folder / kept, output)
        os.utime(output)  # newer than the inputs, as a fresh result would be
    print(f"{model}: found finished in {folder}, nothing is trained again", file=sys.stderr, flush=True)
    return True


def forget_finished(results: Path) -> None:
    """Remove the state folders ``VIDEO/RUN/state/STEP`` of an experiment whose trainings are finished and whose outputs
    exist."""
    for path in results.glob(f"*/*/state/*/{_RECORD}"):
        folder, record = path.parent, _record(path.parent)
        run = folder.parent.parent
        if record is None or not all((run / output["name"]).exists() for output in record["outputs"].values()):
            continue
        if not (folder / "lock").exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another step may still have its state there
                folder.parent.rmdir()


def _record(folder: Path) -> dict[str, Any] | None:
    """The description of a kept result; it is written last, so without it there is no result."""
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record


def _link(source: Path, target: Path) -> None:
    with files.final(target) as temporary:
        temporary.unlink()  # a hard link needs a free name
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
