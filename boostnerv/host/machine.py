"""The machine that a command runs on, as its options say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """Device and threads of a command, the folder `scratch` on a near disk for copies of many videos, and a folder for
    curves of TensorBoard. `device` is auto, cpu, cuda or cuda:N; `threads` are all where it is None."""

    device: str = "auto"
    threads: int | None = None
    scratch: str | None = None
    tensorboard: Path | None = None
