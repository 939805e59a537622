"""Snakemake's records of how files were made, kept beside the results so that they travel with them.

Snakemake keeps one file of JSON for each output below ``.snakemake/metadata``, named by the base64 of the output's
path: params, inputs with their checksums, times. Without them it does not see that a setting has changed. `keep`
gathers those of an experiment in one file, a line each, sorted; `restore` puts them back.
"""

from __future__ import annotations

import binascii
import json
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from pathlib import Path
from typing import Any

from boostnerv import files
from boostnerv.errors import UserError

KEPT = "records.jsonl"
"""Name of the file with the records of an experiment, in the folder of its results."""
METADATA = Path(".snakemake/metadata")
"""Where Snakemake has its records, from the folder in which it runs."""

Records = dict[str, dict[str, Any]]
"""Record of each output, by its path."""


def keep(results: Path, metadata: Path = METADATA) -> int:
    """Write the records of all outputs below `results`, and of the files outside that those were made from, to
    `results`/records.jsonl; returns their number.

    Both paths are as Snakemake knows them, from the folder in which it runs. Equal records give equal bytes. Records
    that were kept before stay where Snakemake has lost its own and the output is still here. Raises `UserError` where
    there is no record of `results`.
    """
    before = read(results) if (results / KEPT).exists() else {}
    of_snakemake = _metadata(metadata)
    found = before | of_snakemake
    below = (output for output in found if Path(output).is_relative_to(results))
    wanted = [output for output in below if output in of_snakemake or Path(output).exists()]
    if not wanted or not results.is_dir():
        raise UserError(
            f"there is no record of {results} in {metadata}; run its experiment here first, or check the path"
        )
    kept: Records = {}
    while wanted:
        output = wanted.pop()
        if output in found and output not in kept:
            kept[output] = found[output]
            wanted += found[output]["input"] or []
    lines = (files.canonical_json({"output": output, "record": kept[output]}) for output in sorted(kept))
    files.write_text(results / KEPT, "".join(f"{line}\n" for line in lines))
    return len(kept)


def read(results: Path) -> Records:
    """What `keep` wrote; raises `UserError` where it is missing or damaged, or names files outside the repository."""
    path = results / KEPT
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        entries = [_entry(line) for line in lines]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; whoever made these results has to keep its records first") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); pull it again, or, where it was made, delete it") from error
    return dict(entries)


def restore(results: Path, metadata: Path = METADATA) -> list[str]:
    """Put kept records back to where Snakemake has them, and make `results` look up to date: all outputs, their logs
    and benchmarks of one time, now. Returns the files outside `results` that are here with other bytes than those that
    `results` were made from.

    Where there are any, the time is before theirs, so that Snakemake compares contents and makes again what follows
    from them. The record of a file outside `results` that is here already is left: it says how that file was made.
    `results` themselves are trusted, not compared.
    """
    records = read(results)
    metadata.mkdir(parents=True, exist_ok=True)
    for output, record in records.items():
        path = record_path(output, metadata)
        if Path(output).is_relative_to(results) or not (path.exists() and Path(output).exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not by `files.final`: the name may be as long as one can be. Snakemake passes over a broken record.
            path.write_text(json.dumps(record), encoding="utf-8")
        if Path(output).is_relative_to(results):
            _mark_of(path, metadata).unlink(missing_ok=True)
    differing = _differing(records, results)
    at = min([time.time_ns(), *(Path(path).stat().st_mtime_ns - 10**9 for path in differing)])
    for made in _timed(records, results):
        os.utime(made, ns=(at, at))
    return differing


def record_path(output: str, metadata: Path = METADATA) -> Path:
    """Where Snakemake has the record of `output`: a name longer than a file's may be is cut into folders."""
    name = urlsafe_b64encode(output.encode()).decode()
    # Where there is no limit, Snakemake takes this one.
    longest = (os.pathconf(metadata, "PC_NAME_MAX") or 255) - 1
    *folders, last = (name[start : start + longest] for start in range(0, len(name), longest))
    return metadata.joinpath(*("@" + folder for folder in folders), last)


def is_inside(path: str) -> bool:
    """Whether a path stays below the folder that it starts from."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _entry(line: str) -> tuple[str, dict[str, Any]]:
    """Output and record of a line that `keep` wrote; raises `ValueError` where it is none."""
    entry = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("output"), str) or not _is_whole(entry.get("record")):
        raise ValueError(f"no record of an output: {line[:80]}")
    if not is_inside(entry["output"]):
        raise ValueError(f"{entry['output']} is outside the repository")
    return entry["output"], entry["record"]


def _is_whole(record: Any) -> bool:
    """Whether a record has what is read of it here, as Snakemake writes it."""
    if not isinstance(record, dict) or "input" not in record:
        return False
    checksums = record.get("input_checksums") or {}
    lists = [record["input"], record.get("log"), list(checksums.values()) if isinstance(checksums, dict) else [None]]
    return all(one is None or (isinstance(one, list) and all(isinstance(text, str) for text in one)) for one in lists)


def _mark_of(record: Path, metadata: Path) -> Path:
    """Where Snakemake notes that an output is unfinished, so that it will be made again."""
    return metadata.with_name("incomplete") / record.relative_to(metadata)


def _metadata(metadata: Path) -> Records:
    """All records that Snakemake has of files inside the repository."""
    found: Records = {}
    for folder, _, names in os.walk(metadata):
        before = "".join(part.removeprefix("@") for part in Path(folder).relative_to(metadata).parts)
        for name in names:
            try:
                output = urlsafe_b64decode(before + name).decode()
                record = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
            except (binascii.Error, ValueError):
                continue  # no record, or one that was cut short, which Snakemake passes over as well
            if is_inside(output) and _is_whole(record):
                found[output] = record
    return found


def _differing(records: Records, results: Path) -> list[str]:
    """Files outside `results` that are here with other bytes than those that records say to have been read.

    They may lie anywhere, as videos of one's own do: they are read only. A missing one is asked for when it is needed.
    """
    recorded: defaultdict[str, set[str]] = defaultdict(set)
    for record in records.values():
        for path, checksum in (record.get("input_checksums") or {}).items():
            if not Path(path).is_relative_to(results):
                recorded[path].add(checksum.removeprefix("sha256:"))
    here = (path for path in sorted(recorded) if Path(path).is_file() and os.access(path, os.R_OK))
    return [path for path in here if recorded[path] != {files.sha256_of_file(path)}]


def _timed(records: Records, results: Path) -> list[str]:
    """Outputs below `results`, their logs, and the benchmarks beside these, which Snakemake takes for outputs here."""
    logs = [log for record in records.values() for log in record.get("log") or []]
    paths = {*records, *logs, *(str(Path(log).with_suffix(".benchmark.tsv")) for log in logs)}
    return [path for path in paths if is_inside(path) and Path(path).is_relative_to(results) and os.path.exists(path)]
