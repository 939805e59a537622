"""The smallest specs that still contain every part of their model: a few hundred parameters."""

from __future__ import annotations

from typing import Any

from boostnerv.catalogue import MODELS_OF_MANY
from boostnerv.config import model_names
from boostnerv.models.architecture import Spec, VideoModel, architecture, build_model
from boostnerv.models.clips import ClipSpec

_FIRST_UNPUBLISHED_NUMBER = 200

MANY = tuple(name for name in model_names() if name in MODELS_OF_MANY)
ALL = tuple(name for name in model_names() if name not in MODELS_OF_MANY)
"""Models of one video: every test of what all models do runs for these, whatever is added to the zoo."""

PUBLISHED = tuple(name for name in ALL if architecture(name).wire_id < _FIRST_UNPUBLISHED_NUMBER)
"""Those with published code, checkpoints and golden files."""

IN_VERSION_0 = ("nerv", "e-nerv", "hnerv", "nerv-boost", "e-nerv-boost", "hnerv-boost")
"""Those of which files of version 0 exist; no other model will ever have one."""

# What makes them smaller than their defaults; a model that is not named here is tested with these.
OPTIONS = {
    "nerv": {"lower_width": 2, "levels": 2},
    "e-nerv": {"lower_width": 2, "levels": 2, "token_width": 4, "condition_width": 2},
    "hnerv": {"lower_width": 2, "embedding_width": 2, "encoder_width": 3},
    "e-nerv-boost": {"lower_width": 2, "levels": 2, "token_width": 4, "condition_width": 2},
    "nerv-boost": {"lower_width": 2, "levels": 2, "stem_width": 3, "condition_width": 2},
    "hnerv-boost": {"lower_width": 2, "levels": 2, "embedding_width": 2, "encoder_width": 3, "condition_width": 2},
}


CLIP_OPTIONS = {
    "d-nerv": {"lower_width": 2, "levels": 2, "stem_width": 3, "encoder_width": 3},
    "d-nerv-baseline": {"lower_width": 2, "levels": 2, "stem_width": 3},
}


def tiny_spec(
    name: str,
    *,
    frames: int = 3,
    height: int = 5,
    width: int = 6,
    strides: tuple[int, ...] = (2, 2),
    fc_dim: int = 3,
    **choices: Any,
) -> Spec:
    """`choices` are further fields of the spec."""
    return architecture(name).spec(
        frames=frames,
        height=height,
        width=width,
        strides=strides,
        fc_dim=fc_dim,
        **{**OPTIONS.get(name, {}), **choices},
    )


def tiny_model(name: str, *, seed: int = 1, **choices: Any) -> VideoModel:
    return build_model(name, tiny_spec(name, **choices), seed)


def tiny_clip_spec(
    name: str,
    *,
    lengths: tuple[int, ...] = (5, 3),
    height: int = 5,
    width: int = 6,
    strides: tuple[int, ...] = (2, 2),
    fc_dim: int = 3,
    clip_frames: int = 3,
    **choices: Any,
) -> ClipSpec:
    """By default two videos, of two clips and one; `choices` are further fields of the spec."""
    spec = architecture(name).spec(
        frames=sum(lengths),
        height=height,
        width=width,
        strides=strides,
        fc_dim=fc_dim,
        **{"lengths": lengths, "clip_frames": clip_frames, **CLIP_OPTIONS[name], **choices},
    )
    assert isinstance(spec, ClipSpec)
    return spec
