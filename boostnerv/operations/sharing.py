"""Pulling results that were published with DVC, so that Snakemake plans nothing for them.

DVC is run as a command, never imported. Running an experiment does not need this module.
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
"""Files with one stage per experiment, relative to the root of the repository."""
_STAGE = "experiment@"


def pull(experiments: Sequence[str] = ()) -> list[str]:
    """Pull the published results of `experiments`, by default of all, and their published sources into the repository
    in the current folder. Returns notes for the user, one sentence each.

    Raises `UserError` if the remote is missing or lacks some of the results, if different results of that name exist
    here, or if nothing of that name was published; existing results are unchanged then.
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
    """A note on a source that has changed since `results` were made."""
    return f"{source} is not what {results} were made from; what depends on it will be made again"


def _published() -> dict[str, str]:
    """Name of each experiment with results in a dvc.lock -> DVC's name of its stage."""
    stages: dict[str, str] = {}
    for pipeline in PIPELINES:
        lock = Path(pipeline).with_suffix(".lock")
        if lock.is_file():
            prefix = "" if pipeline == "dvc.yaml" else f"{pipeline}:"
            names = [stage.removeprefix(_STAGE) for stage in _stages(lock) if stage.startswith(_STAGE)]
            stages |= {name: f"{prefix}{_STAGE}{name}" for name in names}
    return stages


def _stages(lock: Path) -> list[str]:
    """Names of the stages in a dvc.lock; raises `UserError` if it is invalid."""
    try:
        content = yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
        return [str(stage) for stage in dict(content.get("stages") or {})]
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(
            f"{lock} is not what DVC wrote{where} (resolve any merge conflict): "
            f"restore it from an intact commit, `git checkout COMMIT -- {lock}`"
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
    """The `stages` that still are in a dvc.yaml, as DVC can only pull these."""
    listed: set[str] = set()
    for pipeline in PIPELINES:
        if Path(pipeline).is_file():
            listed.update(_checked("stage", "list", "--name-only", pipeline).split())
    return {name: stage for name, stage in stages.items() if stage in listed}


def _gone(names: Sequence[str]) -> str:
    return f"results of {enumeration(names)} are in a dvc.lock, but its dvc.yaml has no such stage"


def _remote() -> str:
    """Name and URL of the remote to pull from."""
    name = _dvc("config", "core.remote").stdout.strip()
    url = _dvc("config", f"remote.{name}.url").stdout.strip() if name else ""
    if url:
        return f"'{name}' ({url})"
    raise UserError(
        "no DVC remote is configured, so there is nothing to pull from: add one with "
        "`dvc remote add --default NAME URL` (see docs/data.md); snakemake and dvc repro work without one"
    )


def _status_notes(stages: dict[str, str]) -> list[str]:
    """Notes on dependencies of pulled results that have changed since; raises `UserError` if results are incomplete."""
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
    """Pull the sources of `results` that DVC tracks, as far as the remote has them; returns notes on the others."""
    inputs = {path for record in records.read(results).values() for path in record["input"] or []}
    tracked = [Path(path) for path in sorted(filter(records.is_inside, inputs)) if Path(f"{path}.dvc").is_file()]
    missing = [source for source in tracked if not source.exists()]
    if not missing:
        return []
    _dvc("fetch", *(f"{source}.dvc" for source in missing))
    absent = _not_in_cache(missing)
    fetched = [source for source in missing if str(source) not in absent]
    if fetched:
        _checked("checkout", *(f"{source}.dvc" for source in fetched))
    return [f"{source} is not in the remote; it is asked for when it is needed" for source in absent]


def _not_in_cache(paths: Iterable[Path]) -> list[str]:
    """Tracked files in `paths` that were not fetched."""
    status = json.loads(_checked("data", "status", "--granular", "--json", *map(str, paths)))
    # DVC also lists files outside `paths`.
    return [path for path in status.get("not_in_cache", []) if any(Path(path).is_relative_to(one) for one in paths)]


def _check_out(stages: dict[str, str], folders: Iterable[Path]) -> None:
    """Put fetched results into their folders; raises `UserError` if different ones are in the way."""
    failure = _failure(_dvc("checkout", *stages.values()))
    if failure is None:
        return
    others = _others(folders)
    if not others:
        raise UserError(f"results could not be put into their folders ({failure}); run `dvc checkout` for details")
    raise UserError(
        f"there are other results here than those to pull ({enumeration(others, 3)}): move them away, then pull again"
    )


def _others(folders: Iterable[Path]) -> list[str]:
    """Files in `folders` that differ from dvc.lock."""
    status = json.loads(_checked("data", "status", "--granular", "--json", *map(str, folders)))
    changed = status.get("uncommitted", {})
    # DVC also lists the folders of such files.
    paths = sorted(path for kind in ("added", "modified") for path in changed.get(kind, []) if not path.endswith("/"))
    return [path for path in paths if any(Path(path).is_relative_to(folder) for folder in folders)]


def _checked(*arguments: str) -> str:
    completed = _dvc(*arguments)
    failure = _failure(completed)
    if failure is not None:
        raise UserError(f"`dvc {arguments[0]}` failed ({failure}); run it yourself for details")
    return completed.stdout


def _failure(completed: subprocess.CompletedProcess[str]) -> str | None:
    """DVC's reason why a command failed; None if it succeeded."""
    if completed.returncode == 0:
        return None
    lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
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
