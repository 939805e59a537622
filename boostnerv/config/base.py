"""What all settings share: closed, frozen classes, their types and their identity."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from boostnerv.files import sha256_of_value

SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Slug = Annotated[str, Field(pattern=SLUG)]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Seed = Annotated[int, Field(ge=0, lt=1 << 32)]

Unit = Annotated[float, Field(gt=0, le=1)]


class Closed(BaseModel):
    """Base of every settings class: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def config_hash(settings: Closed) -> str:
    """Identity of settings: equal values, equal hash, whatever their order in the file."""
    return sha256_of_value(settings.model_dump(mode="json"))
