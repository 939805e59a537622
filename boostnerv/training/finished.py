"""Results of finished trainings, kept in their state folders until the workflow is done. No torch here.

Snakemake deletes the outputs of a job before it runs it again, and runs all jobs of a group again where one of them
failed. A training that was finished is found here, and not made again.
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
    record.unlink(missing_ok=True)  # it is of what is replaced now
    outputs = {_MODEL: model, _LOG: log}
    for kept, output in outputs.items():
        _link(output, folder / kept)
    described = {
        kept: {"name": output.name, "sha256": files.sha256_of_file(folder / kept)} for kept, output in outputs.items()
    }
    files.write_json(record, {"identity": identity, "outputs": described})


def take(folder: Path, identity: str, model: Path, log: Path) -> bool:
    """Give what `folder` keeps of the training `identity` the names `model` and `log`, and say so; False where it keeps
    nothing, or not all of it."""
    record = _record(folder)
    if record is None or record["identity"] != identity:
        return False
    try:
        whole = all(files.sha256_of_file(folder / name) == each["sha256"] for name, each in record["outputs"].items())
    except FileNotFoundError:
        return False
    if not whole:
        return False
    for kept, output in {_MODEL: model, _LOG: log}.items():
        _link(folder / kept, output)
        os.utime(output)  # newer than the inputs, as if it were made now
    print(f"{model}: found finished in {folder}, nothing is trained again", file=sys.stderr, flush=True)
    return True


def forget_finished(results: Path) -> None:
    """Remove the state folders ``VIDEO/RUN/state/STEP`` below the folder of an experiment whose trainings are finished
    and whose outputs are there."""
    for path in results.glob(f"*/*/state/*/{_RECORD}"):
        folder, record = path.parent, _record(path.parent)
        run = folder.parent.parent
        if record is None or not all((run / each["name"]).exists() for each in record["outputs"].values()):
            continue
        if not (folder / "lock").exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another step's state may still be there
                folder.parent.rmdir()


def _record(folder: Path) -> dict[str, Any] | None:
    """What is said of a kept result; it is written last, so that without it there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found


def _link(source: Path, target: Path) -> None:
    with files.final(target) as temporary:
        temporary.unlink()  # a link takes no name that is there
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
