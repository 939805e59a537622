"""Any video to a ``.bnv`` file of a wanted size: `boostnerv compress`.

`request` is what is asked for, `segment_planning` which models that makes, `chain` extracts, trains and codes, and
`verification` decodes the file again.
"""

from boostnerv.compression.chain import compress, plan, result_text, work_folder
from boostnerv.compression.request import PRESETS, Preset, Request, check_request, parse_size
from boostnerv.compression.segment_planning import SegmentPlan, plan_segments
from boostnerv.compression.verification import verify

__all__ = [
    "PRESETS",
    "Preset",
    "Request",
    "SegmentPlan",
    "check_request",
    "compress",
    "parse_size",
    "plan",
    "plan_segments",
    "result_text",
    "verify",
    "work_folder",
]
