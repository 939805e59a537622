"""A training as `boostnerv train` makes it, step by step, for measurements."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from boostnerv.config import Training
from boostnerv.host.allocator import keep_freed_memory
from boostnerv.models.architecture import VideoModel, to_device
from boostnerv.training.computing import prepare
from boostnerv.training.loop import Step, make_optimizer, train_step
from boostnerv.training.tasks import Regression, ResidentVideo


class OurTrainer:
    """Trains `model` on frames in the given order, ``[steps]`` or ``[steps, batch]``, at these rates.

    Losses are fetched at the end of each call of `steps`.
    """

    def __init__(
        self,
        model: VideoModel,
        video: ResidentVideo,
        recipe: Training,
        order: Sequence[int] | Sequence[Sequence[int]],
        rates: Sequence[float],
    ) -> None:
        device = video.device
        if device.type == "cpu":
            keep_freed_memory()
        model = to_device(model, device, model.architecture.name)
        objective = Regression(model, video, recipe.loss).to(device)
        self._computation = prepare(objective, recipe, device)
        self._objective = objective
        self._optimizer = make_optimizer(recipe, list(objective.parameters()), self._computation)
        batches = torch.tensor(order).view(len(order), -1).to(device)
        self._coming = iter(zip(batches, rates, strict=True))
        self._noise = torch.Generator(device)
        self.losses: list[float] = []

    def steps(self, count: int) -> None:
        """Go on by so many steps."""
        values = []
        for _ in range(count):
            step = Step(*next(self._coming), self._noise)
            values.append(train_step(self._objective, self._optimizer, step, self._computation))
        self.losses += torch.stack(values)[:, 0].tolist()
