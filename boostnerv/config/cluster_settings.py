"""What a profile says of its cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from boostnerv.config.base import Closed


class Cluster(Closed):
    """What a profile says of its cluster, as ``config: ["cluster={…}"]``; it changes no result, so it is no part of an
    experiment."""

    gpu_style: Literal["gpus", "gres", "none"] = Field(
        default="gpus", description="How a job asks for GPUs: --gpus=1, --gres=gpu:1, or not at all."
    )
    gpu_model: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_.]+$", description="Type of GPU as the cluster calls it, e.g. a100."
    )
    max_runtime_min: int | None = Field(
        default=None, gt=0, description="Longest time of a job in minutes; longer trainings go on in the next attempt."
    )
    max_mem_mb: int | None = Field(
        default=None, gt=0, description="Most memory of a job in MB; without it every attempt asks for more."
    )
    scratch: str | None = Field(
        default=None,
        min_length=1,
        description="Folder on the node's own disk, e.g. $TMPDIR: models of many videos read copies from there.",
    )
