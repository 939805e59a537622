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


def divergence(record: dict[str, Any], before: Sequence[dict[str, Any]], *, may_fall: bool) -> str | None:
    """Why the epoch `record` is not to be gone on from, None where it is good; `before` are earlier records.

    `may_fall`: a lower PSNR is no fault, in the warm-up and where a rate is paid for with it.
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
