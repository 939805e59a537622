"""Choices as plain data: published loss mixtures, the fast recipe, and which models are of many videos. No torch here.

A loss is a sum of named terms; the terms are implemented in `boostnerv.training.losses`. Both source papers
use the names ``FusionN`` for different mixtures, so an alias carries its paper.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

LOSS_TERMS = MappingProxyType(
    {
        "l1": "mean absolute error",
        "l2": "mean squared error",
        "ssim": "1 - SSIM (11-tap Gaussian window, data range 1)",
        "ms_ssim": "1 - MS-SSIM (five scales; frames must have more than 160 pixels a side)",
        "frequency": "mean absolute difference of the unnormalised 2-D FFT, real and imaginary parts stacked",
    }
)


FAST: MappingProxyType[str, Any] = MappingProxyType({"optimizer": "soap", "lr": {"peak": 1e-2}})
"""What ``recipe: fast`` changes of a training. Ours; docs/performance.md has what it gains, and what did not help."""


def _fusion10(scale: float) -> dict[str, float]:
    return {"l1": 0.7 * scale, "ms_ssim": 0.3 * scale}


# Weights as published, nested factors multiplied out.
_PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    # CVPR 2024, the released training code.
    "boosting-nerv": {
        "l1": {"l1": 1.0},
        "l2": {"l2": 1.0},
        "ssim": {"ssim": 1.0},
        "fusion1": {"l2": 0.3, "ssim": 0.7},
        "fusion2": {"l1": 0.3, "ssim": 0.7},
        "fusion3": {"l2": 0.5, "ssim": 0.5},
        "fusion4": {"l1": 0.5, "ssim": 0.5},
        "fusion5": {"l2": 0.7, "ssim": 0.3},
        "fusion6": {"l1": 0.7, "ssim": 0.3},
        "fusion7": {"l1": 0.3, "l2": 0.7},
        "fusion8": {"l1": 0.5, "l2": 0.5},
        "fusion9": {"l1": 0.9, "ssim": 0.1},
        "fusion10": _fusion10(1.0),
        "fusion11": {"l1": 0.9, "ms_ssim": 0.1},
        "fusion12": {"l1": 0.8, "ms_ssim": 0.2},
        "fusion10_freq": {**_fusion10(60.0), "frequency": 1.0},
        "l1_freq": {"l1": 60.0, "frequency": 1.0},
        "l1_ssim_freq": {"l1": 42.0, "ssim": 18.0, "frequency": 1.0},
    },
    # CVPR 2023, the losses of its two trainings: UVG, and UCF101.
    "d-nerv": {
        "fusion6": {"l1": 0.7, "ssim": 0.3},
        "fusion19": {"l2": 1.0, "ssim": 0.03},
    },
}
LOSS_ALIASES: MappingProxyType[str, MappingProxyType[str, float]] = MappingProxyType(
    {
        f"{paper}/{name}": MappingProxyType(terms)
        for paper, losses in _PUBLISHED.items()
        for name, terms in losses.items()
    }
)

# Models of many videos: whether they need keyframes. A test compares this with their specs.
MODELS_OF_MANY = MappingProxyType({"d-nerv": True, "d-nerv-baseline": False})
