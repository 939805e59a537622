"""When a training has gone wrong, and how often it may go back.

Networks of this family drop in quality now and then without warning. A training that does returns to its last good
state and goes on at half the learning rate; what happened stands in its log and in the row of its result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LARGEST_DROP_DB = 3.0
"""How far the PSNR of an epoch may lie under the best one, after the warm-up."""

MOST_RETURNS = 3
"""How often a training goes back before it is given up."""

RATE_CUT = 0.5
"""Factor on the learning rate at every return."""


def divergence(record: dict[str, Any], before: Sequence[dict[str, Any]], *, warmed_up: bool) -> str | None:
    """Why the epoch `record` is not to be gone on from, None where it is good; `before` are earlier records."""
    if not (math.isfinite(record["loss"]) and math.isfinite(record["train_psnr_db"])):
        return "the loss is not finite"
    best_db = max((earlier["train_psnr_db"] for earlier in before if "train_psnr_db" in earlier), default=-math.inf)
    drop_db = best_db - record["train_psnr_db"]
    if warmed_up and drop_db > LARGEST_DROP_DB:
        return f"the PSNR fell {drop_db:.1f} dB under the best epoch's"
    return None
