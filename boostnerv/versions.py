"""Declared versions of the workflow steps."""

from __future__ import annotations

from types import MappingProxyType

STEP_VERSIONS = MappingProxyType(
    {
        "fetch_source": 1,
        "extract_frames": 2,
        "extract_planes": 2,
        "split_patches": 1,
        "gather_videos": 1,
        "code_keyframes": 1,
        "train": 5,
        "finetune": 6,
        "encode": 5,
        "encode_after_training": 3,
        "decode": 5,
        "evaluate": 4,
        "evaluate_model": 4,
        "encode_anchor": 5,
        "collect": 1,
        "preview_source": 1,
        "tabulate": 7,
        "plot": 4,
        "plot_runs": 2,
        "page": 3,
    }
)
"""Increment a version if the output of the step changes for the same input; everything that depends on it is rerun."""
