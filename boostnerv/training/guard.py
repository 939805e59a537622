"""Divergence detection, and the limits of rolling back.

Networks of this family occasionally collapse in quality without warning. Such a training rolls back to its last good
state and resumes at half the learning rate; its log and the row of its result record it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LARGEST_DROP_DB = 3.0
"""Largest drop of an epoch's PSNR below the best one, after warm-up."""

MOST_RETURNS = 3
"""Number of roll-backs before a training is given up."""

RATE_CUT = 0.5
"""Factor on the learning rate at each roll-back."""


def divergence(record: dict[str, Any], before: Sequence[dict[str, Any]], *, may_fall: bool) -> str | None:
    """Why this epoch must be rolled back, or None; `before` are earlier records.

    `may_fall`: a lower PSNR is acceptable, during warm-up and where it pays for a lower rate.
    """
    if not math.isfinite(record["loss"]):
        return "the loss is not finite"
    for name in ("train_psnr_db", "psnr_db"):
        if name not in record:
            continue
        if not math.isfinite(record[name]):
            return "the PSNR is not finite"
        drop_db = max((earlier[name] for earlier in before if name in earlier), default=-math.inf) - record[name]
        if drop_db > LARGEST_DROP_DB and not may_fall:
            return f"the PSNR fell {drop_db:.1f} dB under the best epoch's"
    return None
