"""One network: its name, its strides, its size."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from boostnerv.config.base import Closed
from boostnerv.errors import nearest

_PACKAGE = Path(__file__).parents[1]


def _known_model(name: str) -> str:
    if name not in model_names():
        raise ValueError(f"unknown model '{name}': {nearest(name, model_names())}")
    return name


def _positive(strides: tuple[int, ...]) -> tuple[int, ...]:
    if min(strides) < 1:
        raise ValueError("every stride is at least 1")
    return strides


ModelName = Annotated[str, AfterValidator(_known_model)]

Strides = Annotated[tuple[int, ...], Field(min_length=1, max_length=8), AfterValidator(_positive)]

OptionValue = int | float | str | list[int]
"""A field of a model's spec as an experiment says it."""


class ModelSettings(Closed):
    """One network: its name, its strides and exactly one way of saying how large it is."""

    name: ModelName = Field(description="Name of a file in boostnerv/models/zoo, with hyphens.")
    strides: Strides = Field(description="Upsampling of each decoder stage.")
    total_m: float | None = Field(
        default=None, gt=0, description="Million parameters, embeddings included; the width is solved."
    )
    modelsize_m: float | None = Field(
        default=None, gt=0, description="The papers' size argument; the width follows their formula."
    )
    fc_dim: int | None = Field(default=None, gt=0, description="The width itself, as D-NeRV's sizes are given.")
    options: dict[str, OptionValue] = Field(
        default_factory=dict, description="Other choices of the model's spec, by field name."
    )

    @model_validator(mode="after")
    def _one_size(self) -> ModelSettings:
        if [self.total_m, self.modelsize_m, self.fc_dim].count(None) != 2:
            raise ValueError("give exactly one of total_m, modelsize_m and fc_dim")
        return self


@cache
def model_names() -> tuple[str, ...]:
    """Names of all models: the file names in ``models/zoo``, underscores as hyphens."""
    files = (_PACKAGE / "models" / "zoo").glob("[a-z]*.py")
    return tuple(sorted(file.stem.replace("_", "-") for file in files))
