"""The training loop: one for every model and task, resumable at any step, bit for bit on a CPU.

Nothing random is carried between steps: the order of an epoch and the noise of a step follow from the seed and
their number alone. The host does not wait for the device inside an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_optimizer import Adan
from torch import Tensor, nn

from boostnerv.config import Finetuning, Training
from boostnerv.errors import InterruptedBySignal
from boostnerv.progress import Progress
from boostnerv.training.schedules import learning_rate
from boostnerv.training.state import SaveTimer, StateFolder, StopRequest
from boostnerv.training.tasks import Objective

Recipe = Training | Finetuning
Record = dict[str, Any]

_ADAN_BETAS = (0.98, 0.92, 0.99)
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class LoopSettings:
    """How a training runs, apart from what it computes."""

    seed: int
    save_every_s: float = 30.0
    eval_every_epochs: int = 10


def make_optimizer(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adan as published (previous gradient starts as the first one) or Adam; the rate is set every step."""
    if recipe.optimizer == "adan":
        return Adan(parameters, lr=recipe.lr.peak, betas=_ADAN_BETAS, eps=1e-8, weight_decay=0.0)
    return torch.optim.Adam(parameters, lr=recipe.lr.peak, betas=(0.9, 0.999))


def fit(
    objective: Objective,
    recipe: Recipe,
    settings: LoopSettings,
    state: StateFolder,
    on_record: Callable[[list[Record]], None],
    progress: Progress,
    device: torch.device,
) -> list[Record]:
    """Train `objective` on its frames; returns a record an epoch.

    Goes on from `state` where it holds one, saves there at intervals, and raises `InterruptedBySignal` after saving
    when a signal asks to stop. `on_record` gets all records so far after every epoch.
    """
    optimizer = make_optimizer(recipe, list(objective.parameters()))
    trained = torch.tensor(objective.trained_frames)
    steps_per_epoch = math.ceil(len(trained) / recipe.batch_size)
    total = recipe.epochs * steps_per_epoch
    position = _Position.restore(state, objective, optimizer)
    timer = SaveTimer(settings.save_every_s)
    first = position.step
    with StopRequest() as stop:
        for step in range(first, total):
            epoch, batch = divmod(step, steps_per_epoch)
            if batch == 0 or step == first:
                order = trained[epoch_order(len(trained), settings.seed, epoch)].to(device)
            rate = learning_rate(recipe.lr, step / total)
            indices = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            loss, psnr = train_step(
                objective, optimizer, indices, rate, recipe.clip_norm, _noise(settings, step, device)
            )
            position.advance(loss, psnr)
            progress(step + 1)
            if batch == steps_per_epoch - 1:
                evaluate = (epoch + 1) % settings.eval_every_epochs == 0 or epoch + 1 == recipe.epochs
                record = position.close_epoch(epoch, rate, steps_per_epoch)
                if evaluate:
                    record |= {**mean_psnr_db(objective, device), **objective.summary()}
                on_record(position.records)
                progress(step + 1, f"{record['train_psnr_db']:.2f} dB, loss {record['loss']:.3f}")
            if stop.signal_number is not None and step + 1 < total:
                position.save(state, objective, optimizer)
                raise InterruptedBySignal(stop.signal_number, f"in epoch {epoch + 1} of {recipe.epochs}")
            if timer.due() and step + 1 < total:
                position.save(state, objective, optimizer)
    return position.records


def train_step(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    indices: Tensor,
    rate: float,
    clip_norm: float | None,
    noise: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One update; returns the loss and the batch's mean PSNR in dB as device scalars."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss, prediction = objective.loss(indices, noise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(objective.parameters(), clip_norm)
    optimizer.step()
    objective.after_step()
    with torch.no_grad():
        return loss.detach(), psnr_db(prediction, objective.target(indices)).mean()


def psnr_db(prediction: Tensor, target: Tensor) -> Tensor:
    """PSNR of each frame in dB: ``−10·log10(mse + 1e-9)`` for values in [0, 1]."""
    mse = (prediction - target).square().flatten(1).mean(1)
    return -10 * torch.log10(mse + 1e-9)


@torch.no_grad()
def mean_psnr_db(objective: Objective, device: torch.device) -> dict[str, float]:
    """Mean PSNR in dB, one frame at a time: over all frames, and over those that training does not see."""
    values, seen = [], set(objective.trained_frames)
    for index in objective.evaluated_frames:
        indices = torch.tensor([index], device=device)
        values.append(psnr_db(objective.reconstruct(indices), objective.target(indices)))
    found = torch.cat(values)
    unseen = [place for place, index in enumerate(objective.evaluated_frames) if index not in seen]
    means = {"psnr_db": float(found.mean())}
    return means | ({"psnr_unseen_db": float(found[unseen].mean())} if unseen else {})


def epoch_order(frames: int, seed: int, epoch: int) -> Tensor:
    """Order of the frames in an epoch ``[T]``; the same for the same seed and epoch, on any device."""
    generator = torch.Generator().manual_seed(seed * _SEED_STRIDE + epoch)
    return torch.randperm(frames, generator=generator)


def _noise(settings: LoopSettings, step: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(settings.seed * _SEED_STRIDE + step)


class _Position:
    """Where a training is: step, running sums of the epoch, records, wall time of this and earlier processes."""

    def __init__(self, saved: dict[str, Any]) -> None:
        self.step: int = saved["step"]
        self.records: list[Record] = saved["records"]
        self._loss: Tensor = saved["loss"]
        self._psnr: Tensor = saved["psnr"]
        self._wall_s: float = saved["wall_s"]
        self._started = time.monotonic()

    @classmethod
    def restore(cls, state: StateFolder, objective: Objective, optimizer: torch.optim.Optimizer) -> _Position:
        saved = state.load()
        if saved is None:
            zero = torch.zeros(())
            return cls({"step": 0, "records": [], "loss": zero, "psnr": zero, "wall_s": 0.0})
        objective.load_state_dict(saved["objective"])
        optimizer.load_state_dict(saved["optimizer"])
        return cls(saved)

    @property
    def wall_s(self) -> float:
        return self._wall_s + time.monotonic() - self._started

    def advance(self, loss: Tensor, psnr: Tensor) -> None:
        self.step += 1
        self._loss = self._loss.to(loss.device) + loss
        self._psnr = self._psnr.to(psnr.device) + psnr

    def close_epoch(self, epoch: int, rate: float, steps: int) -> Record:
        record = {
            "epoch": epoch + 1,
            "step": self.step,
            "lr": rate,
            "loss": float(self._loss) / steps,
            "train_psnr_db": float(self._psnr) / steps,
            "wall_s": round(self.wall_s, 3),
        }
        self.records.append(record)
        self._loss = self._psnr = torch.zeros(())
        return record

    def save(self, state: StateFolder, objective: Objective, optimizer: torch.optim.Optimizer) -> None:
        state.save(
            {
                "step": self.step,
                "records": self.records,
                "loss": self._loss.cpu(),
                "psnr": self._psnr.cpu(),
                "wall_s": self.wall_s,
                "objective": objective.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
        )
