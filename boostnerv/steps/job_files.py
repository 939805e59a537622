"""The files of a step's job: what it reads and what it writes, named once by the verb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AnchorFiles:
    """Files of ``encode-anchor``.

    It reads the manifests of the `frames`, and of the source's `planes` where Y, U and V are measured. It writes the
    elementary `stream`, the JSON `output`, a CSV of all frames, and a small video of what was measured.
    """

    frames: Path
    stream: Path
    output: Path
    planes: Path | None = None
    frames_csv: Path | None = None
    preview: Path | None = None
