"""The log of a training: one JSON line per epoch, and a summary at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from boostnerv import files, provenance
from boostnerv.config import Closed, config_hash
from boostnerv.errors import UserError
from boostnerv.host.devices import device_name, peak_memory_mib
from boostnerv.training.computing import Computation
from boostnerv.training.setting import Record


def last_record(log_path: Path) -> dict[str, Any]:
    """The summary that ends the log of a finished training; raises `UserError` if there is none."""
    try:
        record: dict[str, Any] = json.loads(log_path.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, IndexError, json.JSONDecodeError) as error:
        raise UserError(f"log {log_path} cannot be read; run the training step again") from error
    if not record.get("finished"):
        raise UserError(f"log {log_path} is of an unfinished training; run the training step again")
    return record


def write_log(
    path: Path, log: list[Record], job: Closed, device: torch.device, computation: Computation, *, processes: int = 1
) -> None:
    """Write the records and the summary of a finished training."""
    last = log[-1]
    summary = {
        "finished": True,
        "psnr_db": last["psnr_db"],
        "psnr_rounded_db": last["psnr_rounded_db"],
        **{key: value for key, value in last.items() if key.startswith("estimated_")},
        "wall_s": last["wall_s"],
        "config_sha256": config_hash(job),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "returns": sum("event" in record for record in log),
        "deterministic": computation.deterministic,
        "computing": computation.label,
        "memory": computation.memory_label,
        "peak_memory_mib": round(peak_memory_mib(device), 1),
        "version": provenance.package_version(),
        "commit": provenance.commit(),
        "torch": torch.__version__,
    }
    files.write_text(path, "".join(json.dumps(record) + "\n" for record in [*log, summary]))


class LiveLog:
    """Records of a running training as JSON lines, for monitoring."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0
        path.unlink(missing_ok=True)

    def __call__(self, records: list[Record]) -> None:
        # A training that rolled back has fewer records than before.
        rewrite = self._written == 0 or len(records) <= self._written
        with open(self._path, "w" if rewrite else "a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records[0 if rewrite else self._written :])
        self._written = len(records)
