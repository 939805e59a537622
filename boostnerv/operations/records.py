"""Snakemake's provenance records, kept beside the results so that they travel with them.

For every output Snakemake keeps a JSON file in ``.snakemake/metadata``, named by the base64 of the output's path, with
params, inputs with checksums, and times. Without it, it cannot see that a setting has changed. `keep` collects the
records of an experiment in one file, sorted, one per line; `restore` puts them back.
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
"""Snakemake's folder of records, relative to the folder in which it runs."""

Records = dict[str, dict[str, Any]]
"""Path of an output -> its record."""


def keep(results: Path, metadata: Path = METADATA) -> int:
    """Write the records of all outputs in `results`, and of the files outside that they were made from, to
    `results`/records.jsonl; returns their number.

    Both paths are relative to the folder in which Snakemake runs. Equal records give equal bytes. Records kept before
    are retained if Snakemake has lost its own and the output still exists. Raises `UserError` if there is no record of
    `results`.
    """
    earlier = read(results) if (results / KEPT).exists() else {}
    current = _metadata(metadata)
    known = earlier | current
    below = (output for output in known if Path(output).is_relative_to(results))
    pending = [output for output in below if output in current or Path(output).exists()]
    if not pending or not results.is_dir():
        raise UserError(
            f"there is no record of {results} in {metadata}; run its experiment here first, or check the path"
        )
    kept: Records = {}
    while pending:
        output = pending.pop()
        if output in known and output not in kept:
            kept[output] = known[output]
            pending += known[output]["input"] or []
    lines = (files.canonical_json({"output": output, "record": kept[output]}) for output in sorted(kept))
    files.write_text(results / KEPT, "".join(f"{line}\n" for line in lines))
    return len(kept)


def read(results: Path) -> Records:
    """Read the file written by `keep`; raises `UserError` if it is missing, damaged, or names files outside the
    repository."""
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
    """Restore kept records to Snakemake's folder and mark `results` as up to date, by setting the modification time of
    all outputs, logs and benchmarks to now. Returns the files outside `results` whose contents here differ from those
    that `results` were made from.

    If there are any, the time is set before theirs, so that Snakemake compares contents and remakes what depends on
    them. If a file outside `results` exists and has a record, that record is left, as it describes the file here. The
    contents of `results` are trusted, not compared.
    """
    records = read(results)
    metadata.mkdir(parents=True, exist_ok=True)
    for output, record in records.items():
        path = record_path(output, metadata)
        if Path(output).is_relative_to(results) or not (path.exists() and Path(output).exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not by `files.final`, as the name may have the maximal length. Snakemake ignores a truncated record.
            path.write_text(json.dumps(record), encoding="utf-8")
        if Path(output).is_relative_to(results):
            _mark_of(path, metadata).unlink(missing_ok=True)
    differing = _differing(records, results)
    time_ns = min([time.time_ns(), *(Path(path).stat().st_mtime_ns - 10**9 for path in differing)])
    for output in _timed(records, results):
        os.utime(output, ns=(time_ns, time_ns))
    return differing


def record_path(output: str, metadata: Path = METADATA) -> Path:
    """Path of Snakemake's record of `output`; a name too long for a file is split into folders."""
    name = urlsafe_b64encode(output.encode()).decode()
    # Snakemake's own default if the file system has no limit.
    longest = (os.pathconf(metadata, "PC_NAME_MAX") or 255) - 1
    *folders, last = (name[start : start + longest] for start in range(0, len(name), longest))
    return metadata.joinpath(*("@" + folder for folder in folders), last)


def is_inside(path: str) -> bool:
    """Whether a relative path stays inside the folder it starts from."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _entry(line: str) -> tuple[str, dict[str, Any]]:
    """Parse a line written by `keep` into output and record; raises `ValueError` if it is invalid."""
    entry = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("output"), str) or not _is_complete(entry.get("record")):
        raise ValueError(f"no record of an output: {line[:80]}")
    if not is_inside(entry["output"]):
        raise ValueError(f"{entry['output']} is outside the repository")
    return entry["output"], entry["record"]


def _is_complete(record: Any) -> bool:
    """Whether a record has the fields that this module reads, with the types that Snakemake writes."""
    if not isinstance(record, dict) or "input" not in record:
        return False
    checksums = record.get("input_checksums") or {}
    lists = [record["input"], record.get("log"), list(checksums.values()) if isinstance(checksums, dict) else [None]]
    return all(one is None or (isinstance(one, list) and all(isinstance(text, str) for text in one)) for one in lists)


def _mark_of(record: Path, metadata: Path) -> Path:
    """Path of Snakemake's mark that an output is incomplete and has to be remade."""
    return metadata.with_name("incomplete") / record.relative_to(metadata)


def _metadata(metadata: Path) -> Records:
    """All of Snakemake's records of files inside the repository."""
    records: Records = {}
    for folder, _, names in os.walk(metadata):
        prefix = "".join(part.removeprefix("@") for part in Path(folder).relative_to(metadata).parts)
        for name in names:
            try:
                output = urlsafe_b64decode(prefix + name).decode()
                record = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
            except (binascii.Error, ValueError):
                continue  # not a record, or a truncated one, which Snakemake ignores as well
            if is_inside(output) and _is_complete(record):
                records[output] = record
    return records


def _differing(records: Records, results: Path) -> list[str]:
    """Files outside `results` whose contents differ from the checksums in the records.

    They may be anywhere, as own videos are, and are only read. A missing file is reported when it is needed.
    """
    recorded: defaultdict[str, set[str]] = defaultdict(set)
    for record in records.values():
        for path, checksum in (record.get("input_checksums") or {}).items():
            if not Path(path).is_relative_to(results):
                recorded[path].add(checksum.removeprefix("sha256:"))
    existing = (path for path in sorted(recorded) if Path(path).is_file() and os.access(path, os.R_OK))
    return [path for path in existing if recorded[path] != {files.sha256_of_file(path)}]


def _timed(records: Records, results: Path) -> list[str]:
    """Outputs in `results`, their logs, and the benchmarks beside the logs, which are outputs for Snakemake too."""
    logs = [log for record in records.values() for log in record.get("log") or []]
    paths = {*records, *logs, *(str(Path(log).with_suffix(".benchmark.tsv")) for log in logs)}
    return [path for path in paths if is_inside(path) and Path(path).is_relative_to(results) and os.path.exists(path)]
