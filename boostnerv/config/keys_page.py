"""The page of all keys: ``python -m boostnerv.config.keys_page`` writes `config/README.md`."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from boostnerv.catalogue import LOSS_ALIASES, LOSS_TERMS
from boostnerv.config.base import Closed
from boostnerv.config.cluster_settings import Cluster
from boostnerv.config.experiment import Experiment, ModelEntry
from boostnerv.config.measurements import Anchor, Evaluation
from boostnerv.config.model_settings import model_names
from boostnerv.config.multi_video import ClipSettings, KeyframeSettings, PatchSize
from boostnerv.config.own_videos import OwnVideo
from boostnerv.config.preparation import Preparation
from boostnerv.config.sources import (
    DatasetSpec,
    LocalSource,
    PathSource,
    RawVideo,
    VideoList,
    VideoSpec,
    WheelSource,
    registered_datasets,
)
from boostnerv.config.training_settings import (
    Computing,
    Finetuning,
    LearningRate,
    Memory,
    PostTraining,
    RateDistortion,
    Training,
)


def keys_page() -> str:
    """The text of `config/README.md`: every key of an experiment and of a data set, from the classes above."""
    settings: list[type[Closed]] = [
        Experiment, OwnVideo, RawVideo, Preparation, ModelEntry, Training, Finetuning, RateDistortion, PostTraining,
        LearningRate, Computing, Memory, ClipSettings, PatchSize, KeyframeSettings, Anchor, Evaluation, DatasetSpec,
        VideoSpec, PathSource, WheelSource, LocalSource, VideoList, Cluster,
    ]  # fmt: skip
    lines = [
        "# Every key of an experiment, of a data set and of a cluster",
        "",
        "Generated from `boostnerv/config` by `make docs`; a test keeps it in step. An experiment is one file",
        "in this folder, a data set of yours is `datasets/NAME.yaml`. Unknown keys are refused.",
        "",
    ]
    for kind in settings:
        lines += [f"## {kind.__name__}", "", (kind.__doc__ or "").strip().replace("``", "`"), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in kind.model_fields.items():
            annotation = _type_text(field.annotation)
            default = "required" if field.is_required() else _default_text(field)
            lines.append(f"| `{name}` | {annotation} | {default} | {field.description or ''} |")
        lines.append("")
    lines += [
        "## Data sets",
        "",
        "Built in: " + ", ".join(f"`{name}`" for name in sorted(registered_datasets())) + ".",
        "",
        "## Models",
        "",
        ", ".join(f"`{name}`" for name in model_names()),
        "",
        "## Losses",
        "",
        "Terms: " + "; ".join(f"`{name}` is {text}" for name, text in LOSS_TERMS.items()) + ".",
        "",
        "| published name | terms |",
        "|---|---|",
    ]
    for alias, terms in LOSS_ALIASES.items():
        lines.append(f"| `{alias}` | {' + '.join(f'{weight:g}·{term}' for term, weight in terms.items())} |")
    return "\n".join(lines) + "\n"


def _type_text(annotation: Any) -> str:
    parts = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _type_text(parts[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_text, parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if parts:
        return f"{origin.__name__}[{', '.join(map(_type_text, parts))}]"
    return {type(None): "None", Ellipsis: "...", Any: "Any"}.get(annotation) or annotation.__name__


def _default_text(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Closed):
        changed = default.model_dump(exclude_defaults=True)
        return f"`{changed}`" if changed else "see there"
    return f"`{default!r}`" if not isinstance(default, str) else f"`{default or '(empty)'}`"


if __name__ == "__main__":
    Path("config/README.md").write_text(keys_page(), encoding="utf-8")
