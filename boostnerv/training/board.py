"""TensorBoard curves of a running training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boostnerv.errors import UserError

_PLOTTED = ("loss", "lr", "train_psnr_db", "psnr_db", "psnr_unseen_db", "rate_factor")


class Board:
    """Writes the numbers of each new record to `folder`, at the step of that record."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("TensorBoard is not installed: run pip install 'boostnerv[tensorboard]'") from error
        try:
            self._writer = SummaryWriter(str(folder))
        except OSError as error:
            raise UserError(
                f"cannot write TensorBoard's files to {folder}: {error.strerror}; choose another folder"
            ) from error
        self._last: dict[str, Any] | None = None

    def __call__(self, records: list[dict[str, Any]]) -> None:
        """Write the newest record; records are added one at a time."""
        newest = records[-1]
        if newest is self._last:
            return
        self._last = newest
        step = newest.get("step", newest.get("to_step"))
        for name in _PLOTTED:
            if name in newest:
                self._writer.add_scalar(name, newest[name], step)
        self._writer.flush()
