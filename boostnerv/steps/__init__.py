"""The steps of the workflow as functions of files: one rule = one verb = one function here.

Each reads its inputs, calls the package that does the work, and writes its outputs under their final names when they
are complete. Heavy packages are imported where they are used, so that a verb pays only for its own. A rule of
``workflow/rules/codec.smk`` is a function of `boostnerv.steps.coding`, and so on.
"""

from boostnerv.steps.checking import check, is_checked, planned, planned_shape
from boostnerv.steps.coding import DecodingChoice, decode, encode, encode_after_training, repack
from boostnerv.steps.common import prepare_cpu
from boostnerv.steps.comparing import ComparisonChoice, check_published, compare
from boostnerv.steps.evaluating import collect, encode_anchor, evaluate, evaluate_model
from boostnerv.steps.exchanging import export_checkpoint, import_checkpoint
from boostnerv.steps.fitting import SMALL_FRAME_PIXELS, finetune, in_processes, train
from boostnerv.steps.job_files import (
    AnchorFiles,
    CodingFiles,
    ComparisonFiles,
    DecodingFiles,
    EvaluationFiles,
    ModelEvaluationFiles,
    TableFiles,
    TrainFiles,
)
from boostnerv.steps.preparing import (
    code_keyframes,
    extract_frames,
    extract_planes,
    fetch_source,
    gather_videos,
    split_patches,
)
from boostnerv.steps.reporting import page, plot, plot_runs, preview_source, tabulate

__all__ = [
    "SMALL_FRAME_PIXELS",
    "AnchorFiles",
    "CodingFiles",
    "ComparisonChoice",
    "ComparisonFiles",
    "DecodingChoice",
    "DecodingFiles",
    "EvaluationFiles",
    "ModelEvaluationFiles",
    "TableFiles",
    "TrainFiles",
    "check",
    "check_published",
    "code_keyframes",
    "collect",
    "compare",
    "decode",
    "encode",
    "encode_after_training",
    "encode_anchor",
    "evaluate",
    "evaluate_model",
    "export_checkpoint",
    "extract_frames",
    "extract_planes",
    "fetch_source",
    "finetune",
    "gather_videos",
    "import_checkpoint",
    "in_processes",
    "is_checked",
    "page",
    "planned",
    "planned_shape",
    "plot",
    "plot_runs",
    "prepare_cpu",
    "preview_source",
    "repack",
    "split_patches",
    "tabulate",
    "train",
]
