"""Results that somebody published with DVC, brought here so that Snakemake plans nothing for them.

DVC is called as a command, never imported. Nothing here is needed to run an experiment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import yaml

from boostnerv.errors import UserError, enumeration, nearest
from boostnerv.operations import records

PIPELINES = ("dvc.yaml", "config/dvc.yaml")
"""Files with a stage for each experiment, from the root of the repository."""
_STAGE = "experiment@"


def pull(experiments: Sequence[str] = ()) -> list[str]:
    """Bring the published results of `experiments`, of all where none is named, into the repository that is the current
    folder, with those of their sources that were published as well. Returns what is worth saying, a sentence each.

    Raises `UserError` where the remote is missing or does not give all of the results, where there are other results of
    that name here, and where nothing of that name was published; results that are here are as before then.
    """
    chosen = _chosen(_published(), experiments)
    remote = _remote()
    stages = _with_stage(chosen)
    gone = [name for name in chosen if name not in stages]
    if gone and (experiments or not stages):
        raise UserError(f"{_gone(gone)}; add the name to `foreach` there, or pull in the commit that published it")
    folders = [Path("results") / name for name in stages]
    failure = _failure(_dvc("fetch", *stages.values()))
    absent = _not_in_cache(folders) if failure is None else []
    if failure is not None or absent:
        why = failure or f"files are missing, e.g. {absent[0]}"
        raise UserError(
            f"the DVC remote {remote} does not give {enumeration([str(folder) for folder in folders])} ({why}): "
            "it cannot be reached, or the results were not pushed; nothing has changed here, and snakemake and "
            "dvc repro work without a remote"
        )
    _check_out(stages, folders)
    notes = [f"not pulled: {_gone(gone)}"] if gone else []
    notes += _status_notes(stages)
    for folder in folders:
        notes += _pull_sources(folder)
        notes += [source_note(source, folder) for source in records.restore(folder)]
    return [*notes, f"pulled: {enumeration([str(folder) for folder in folders])}"]


def source_note(source: str, results: Path) -> str:
    """What to say of a source that has changed since `results` were made."""
    return f"{source} is not what {results} were made from; what follows from it will be made again"


def _published() -> dict[str, str]:
    """Name of each experiment with results in a dvc.lock, and the DVC name of its stage."""
    found: dict[str, str] = {}
    for pipeline in PIPELINES:
        lock = Path(pipeline).with_suffix(".lock")
        if lock.is_file():
            prefix = "" if pipeline == "dvc.yaml" else f"{pipeline}:"
            names = [stage.removeprefix(_STAGE) for stage in _stages(lock) if stage.startswith(_STAGE)]
            found |= {name: f"{prefix}{_STAGE}{name}" for name in names}
    return found


def _stages(lock: Path) -> list[str]:
    """Names of the stages in a dvc.lock; raises `UserError` where it cannot be read."""
    try:
        content = yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
        return [str(stage) for stage in dict(content.get("stages") or {})]
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(
            f"{lock} is not what DVC wrote{where} (settle a merge conflict, if there is one): "
            f"take it from a commit that is in order, `git checkout COMMIT -- {lock}`"
        ) from error


def _chosen(published: dict[str, str], experiments: Sequence[str]) -> dict[str, str]:
    if not published:
        raise UserError(
            "no results are published in this commit (there is no dvc.lock): check out one that has them, or make them "
            "with `dvc repro`"
        )
    for name in experiments:
        if name not in published:
            raise UserError(
                f"no results of experiment '{name}' are published in this commit: {nearest(name, published)}"
            )
    return {name: published[name] for name in experiments or published}


def _with_stage(stages: dict[str, str]) -> dict[str, str]:
    """Those of `stages` that a dvc.yaml still has; DVC reaches no others."""
    listed: set[str] = set()
    for pipeline in PIPELINES:
        if Path(pipeline).is_file():
            listed.update(_checked("stage", "list", "--name-only", pipeline).split())
    return {name: stage for name, stage in stages.items() if stage in listed}


def _gone(names: Sequence[str]) -> str:
    return f"results of {enumeration(names)} are in a dvc.lock, but its dvc.yaml has no such stage"


def _remote() -> str:
    """Name and address of the remote that is asked."""
    name = _dvc("config", "core.remote").stdout.strip()
    url = _dvc("config", f"remote.{name}.url").stdout.strip() if name else ""
    if url:
        return f"'{name}' ({url})"
    raise UserError(
        "no DVC remote is chosen, so that there is nothing to pull from: add one with "
        "`dvc remote add --default NAME URL` (docs/data.md says more); snakemake and dvc repro work without one"
    )


def _status_notes(stages: dict[str, str]) -> list[str]:
    """What DVC says of pulled results: that they are whole, and whether anything they depend on has changed since."""
    notes = []
    for stage, changes in json.loads(_checked("status", "--json", *stages.values())).items():
        for change in changes:
            if not isinstance(change, dict):
                continue
            if "changed outs" in change:
                raise UserError(f"the results of {stage} are not those of dvc.lock; run `dvc checkout --force {stage}`")
            changed = enumeration(list(change.get("changed deps", {})))
            notes.append(
                f"changed since the results of {stage} were made: {changed}; see `snakemake -n`, then `dvc repro`"
            )
    return notes


def _pull_sources(results: Path) -> list[str]:
    """Bring the sources of `results` that DVC knows, as far as the remote has them; the others are made when needed."""
    inputs = {path for record in records.read(results).values() for path in record["input"] or []}
    tracked = [Path(path) for path in sorted(filter(records.is_inside, inputs)) if Path(f"{path}.dvc").is_file()]
    missing = [source for source in tracked if not source.exists()]
    if not missing:
        return []
    _dvc("fetch", *(f"{source}.dvc" for source in missing))
    absent = _not_in_cache(missing)
    found = [source for source in missing if str(source) not in absent]
    if found:
        _checked("checkout", *(f"{source}.dvc" for source in found))
    return [f"{source} is not in the remote; it is asked for when it is needed" for source in absent]


def _not_in_cache(paths: Iterable[Path]) -> list[str]:
    """Files that are tracked below `paths` and were not fetched."""
    status = json.loads(_checked("data", "status", "--granular", "--json", *map(str, paths)))
    # It also names what lies beside.
    return [path for path in status.get("not_in_cache", []) if any(Path(path).is_relative_to(one) for one in paths)]


def _check_out(stages: dict[str, str], folders: Iterable[Path]) -> None:
    """Put fetched results into their folders; raises `UserError` where others are in the way."""
    failure = _failure(_dvc("checkout", *stages.values()))
    if failure is None:
        return
    others = _others(folders)
    if not others:
        raise UserError(f"results could not be put into their folders ({failure}); run `dvc checkout` to see more")
    raise UserError(
        f"there are other results here than those to pull ({enumeration(others, 3)}): move them away, then pull again"
    )


def _others(folders: Iterable[Path]) -> list[str]:
    """Files below `folders` that are here and not as dvc.lock has them."""
    status = json.loads(_checked("data", "status", "--granular", "--json", *map(str, folders)))
    changed = status.get("uncommitted", {})
    # Folders that hold such files are named as well.
    paths = sorted(path for kind in ("added", "modified") for path in changed.get(kind, []) if not path.endswith("/"))
    return [path for path in paths if any(Path(path).is_relative_to(folder) for folder in folders)]


def _checked(*arguments: str) -> str:
    done = _dvc(*arguments)
    failure = _failure(done)
    if failure is not None:
        raise UserError(f"`dvc {arguments[0]}` failed ({failure}); run it yourself to see more")
    return done.stdout


def _failure(done: subprocess.CompletedProcess[str]) -> str | None:
    """Why a command failed, in DVC's words; None where it did not."""
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["DVC gave no reason"])[-1].rstrip(".:")


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    if find_spec("dvc") is None:
        raise UserError("DVC is not installed here: run `make setup`, or `pip install 'boostnerv[workflow]'`")
    return subprocess.run(
        [sys.executable, "-P", "-m", "dvc", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
