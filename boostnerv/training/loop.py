"""The training loop, common to all models and tasks; it can resume at any step, bit-exactly on a CPU.

No random state is carried between steps: the order of an epoch and the noise of a step depend only on the seed and
their number. The host does not wait for the device within an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from boostnerv.config import Finetuning, Training
from boostnerv.errors import InterruptedBySignal, UserError
from boostnerv.progress import Progress, silent
from boostnerv.training.computing import PLAIN, Computation
from boostnerv.training.distributed import Group
from boostnerv.training.guard import MOST_RETURNS, RATE_CUT, divergence
from boostnerv.training.losses import psnr_db
from boostnerv.training.schedules import learning_rate, steady_rate
from boostnerv.training.setting import Record
from boostnerv.training.state import SaveTimer, StateFolder, StopRequest
from boostnerv.training.tasks import Objective

Recipe = Training | Finetuning

ALONE = Group()
_ADAN_BETAS = (0.98, 0.92, 0.99)
_WIDEST_BASIS = 2000  # longer sides of tensors are not preconditioned by SOAP
_SEED_STRIDE = 1_000_003
_STEPS_TO_AGREE = 50


@dataclass(frozen=True)
class LoopSettings:
    """Settings of a training that do not change what it computes, besides its seed."""

    seed: int
    save_every_s: float = 30.0
    eval_every_epochs: int = 10


def make_optimizer(
    recipe: Recipe, parameters: list[nn.Parameter], computation: Computation = PLAIN
) -> torch.optim.Optimizer:
    """Adan as published (the previous gradient starts as the first one), Adam, AdamW or SOAP; each step sets the rate.

    SOAP: Vyas et al., 2024, Adam in the eigenbases of Shampoo's preconditioner, which are recomputed every ten steps.
    """
    # Half a second of imports that only trainings need.
    from pytorch_optimizer import create_optimizer

    peak, network = recipe.lr.peak, nn.ParameterList(parameters)
    if recipe.optimizer == "adan":
        return create_optimizer(network, "adan", lr=peak, compile=computation.compiled, betas=_ADAN_BETAS, eps=1e-8)
    if recipe.optimizer == "soap":
        return create_optimizer(network, "soap", lr=peak, betas=(0.95, 0.95), max_precondition_dim=_WIDEST_BASIS)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr.peak, betas=(0.9, 0.999), weight_decay=0.0)
    return torch.optim.Adam(parameters, lr=recipe.lr.peak, betas=(0.9, 0.999))


def _optimizer_of(objective: Objective, recipe: Recipe, computation: Computation) -> torch.optim.Optimizer:
    """The optimiser of all parameters; those of quantisers are a second group, with a learning rate of its own."""
    quantizers = objective.quantizer_parameters()
    own = set(map(id, quantizers))
    optimizer = make_optimizer(recipe, [p for p in objective.parameters() if id(p) not in own], computation)
    if quantizers:
        optimizer.add_param_group({"params": quantizers, "steady": True})
    return optimizer


@dataclass(frozen=True)
class Session:
    """The state, device and listeners of a training; `on_record` gets all records so far after every epoch."""

    state: StateFolder
    device: torch.device
    computation: Computation = PLAIN
    group: Group = ALONE
    progress: Progress = silent
    on_record: Callable[[list[Record]], None] = lambda records: None


@dataclass(frozen=True)
class Step:
    """One update: the samples of its batch ``[N]``, the learning rate, its noise, the largest gradient norm, and the
    learning rate of quantisers that have one of their own."""

    indices: Tensor
    rate: float
    noise: torch.Generator
    clip_norm: float | None = None
    steady_rate: float = 0.0


def fit(objective: Objective, recipe: Recipe, settings: LoopSettings, session: Session) -> list[Record]:
    """Train `objective` on its samples; returns a record an epoch, and one for every return to an earlier state.

    Resumes from the state of the `session` where there is one, saves there at intervals, and raises
    `InterruptedBySignal` after saving when a signal asks to stop. An epoch that diverged is rolled back (see
    `boostnerv.training.guard`); raises `UserError` when that has happened too often.
    """
    run = _Training(objective, recipe, settings, session)
    run.restore()
    if run.step:
        session.progress(run.step, "goes on")
    timer = SaveTimer(settings.save_every_s)
    order = None
    with StopRequest() as stop:
        while run.step < run.total:
            epoch, batch = divmod(run.step, run.steps_per_epoch)
            is_last = batch == run.steps_per_epoch - 1
            if batch == 0 or order is None:
                order = run.order_of(epoch, batch)
            run.advance(order, batch)
            session.progress(run.step)
            if is_last and not run.finish_epoch(epoch):
                order = None
                continue
            if run.step == run.total:
                break
            # A single process obeys a signal at once; several agree on it at intervals, since that costs some waiting.
            if session.group.size == 1 or is_last or run.step % _STEPS_TO_AGREE == 0:
                number = session.group.largest(stop.signal_number or 0, session.device)
                if number:
                    run.save()
                    raise InterruptedBySignal(number, f"in epoch {epoch + 1} of {recipe.epochs}")
            if timer.due():
                run.save()
    return run.records


def train_step(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    step: Step,
    computation: Computation = PLAIN,
    group: Group = ALONE,
) -> Tensor:
    """One update; returns the batch's loss and mean PSNR in dB as a device tensor ``[2]``."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = step.steady_rate if parameters.get("steady") else step.rate
    optimizer.zero_grad(set_to_none=True)
    own = group.share(step.indices)
    values = torch.zeros(2, device=step.indices.device)
    if computation.compiled:
        torch.compiler.cudagraph_mark_step_begin()
    for part in computation.parts(own):
        fit = objective.fit(part, step.noise)
        share = objective.share(part, step.indices) if len(part) < len(step.indices) else 1.0
        (share * fit.loss).backward()
        with torch.no_grad():
            values = values + share * torch.stack((fit.loss.detach(), psnr_db(fit.prediction, fit.target).mean()))
    values = group.add_up(objective.parameters(), values)
    if step.clip_norm is not None:
        nn.utils.clip_grad_norm_(objective.parameters(), step.clip_norm)
    optimizer.step()
    objective.after_step()
    return values


@torch.no_grad()
def mean_psnr_db(objective: Objective, device: torch.device) -> dict[str, float]:
    """Mean PSNR in dB over all frames, unrounded and rounded to 8 bits, and over the frames that training does not see;
    computed one sample at a time."""
    values, rounded = [], []
    for index in objective.evaluated_samples:
        indices = torch.tensor([index], device=device)
        frames, target = objective.reconstruct(indices), objective.target(indices)
        values.append(psnr_db(frames, target))
        rounded.append(psnr_db((frames * 255).round().clamp(0, 255) / 255, target))
    all_psnr_db, unseen = torch.cat(values), list(objective.unseen_frames)
    means = {"psnr_db": float(all_psnr_db.mean()), "psnr_rounded_db": float(torch.cat(rounded).mean())}
    return means | ({"psnr_unseen_db": float(all_psnr_db[unseen].mean())} if unseen else {})


def epoch_order(samples: int, seed: int, epoch: int) -> Tensor:
    """Order of the samples in an epoch; the same for the same seed and epoch, on any device."""
    generator = torch.Generator().manual_seed(seed * _SEED_STRIDE + epoch)
    return torch.randperm(samples, generator=generator)


def _noise(settings: LoopSettings, step: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(settings.seed * _SEED_STRIDE + step)


class _Training:
    """The state of a running training: its step, the sums of the current epoch, its records, and all that is saved."""

    def __init__(self, objective: Objective, recipe: Recipe, settings: LoopSettings, session: Session) -> None:
        self.step = 0
        self.rate_factor = 1.0
        self.records: list[Record] = []
        self._samples = torch.tensor(objective.trained_samples)
        self.steps_per_epoch = math.ceil(len(self._samples) / recipe.batch_size)
        self.total = recipe.epochs * self.steps_per_epoch
        self._sums = torch.zeros(2)  # of loss and PSNR over the current epoch
        self._rate = 0.0
        self._wall_s = 0.0
        self._started = time.monotonic()
        self._returns = 0
        self._objective, self._recipe, self._settings, self._session = objective, recipe, settings, session
        self._optimizer = _optimizer_of(objective, recipe, session.computation)
        self._state = session.state
        self._leads = session.group.leads
        self._decay = recipe.ema_decay
        self._kept = False  # whether the averages have replaced the parameters for good
        self._average = None if self._decay is None else [p.detach().clone() for p in objective.parameters()]

    @property
    def wall_s(self) -> float:
        return self._wall_s + time.monotonic() - self._started

    def order_of(self, epoch: int, batch: int) -> Tensor:
        """The samples of an epoch in order, on the device; the objective prefetches those from `batch` on."""
        order = self._samples[epoch_order(len(self._samples), self._settings.seed, epoch)]
        coming = order[batch * self._recipe.batch_size :].split(self._recipe.batch_size)
        self._objective.expect([self._session.group.share(indices) for indices in coming])
        return order.to(self._session.device)

    def advance(self, order: Tensor, batch: int) -> None:
        """Make the step of a batch and add up its loss and PSNR."""
        size = self._recipe.batch_size
        self._rate = self.rate_factor * learning_rate(self._recipe.lr, self.step / self.total)
        self._objective.begin_step(self.step / self.total, 1 / self.total)
        noise = _noise(self._settings, self.step, self._session.device)
        steady = self.rate_factor * steady_rate(self._recipe.lr, self.step / self.total)
        step = Step(order[batch * size : (batch + 1) * size], self._rate, noise, self._recipe.clip_norm, steady)
        values = train_step(self._objective, self._optimizer, step, self._session.computation, self._session.group)
        self.step += 1
        self._sums = self._sums.to(values.device) + values
        if self._average is not None and self._decay is not None:
            with torch.no_grad():
                torch._foreach_lerp_(self._average, list(self._objective.parameters()), 1 - self._decay)

    def finish_epoch(self, epoch: int) -> bool:
        """Record the epoch that just ended, evaluated where that is due; False where it was rolled back."""
        objective, epochs = self._objective, self._recipe.epochs
        record = self._close_epoch(epoch)
        if self.step == self.total:
            self.keep_average()
        if objective.after_epoch(epoch + 1, epochs):
            self.begin_average()
        evaluated = (epoch + 1) % self._settings.eval_every_epochs == 0 or self.step == self.total
        if evaluated:
            with self.averaged():
                record |= {**mean_psnr_db(objective, self._session.device), **objective.summary()}
        warming_up = (epoch + 1) / epochs <= self._recipe.lr.warmup
        reason = divergence(record, self.records, may_fall=warming_up or objective.pays_with_quality)
        if reason is not None:
            self.roll_back(reason, epoch + 1)
            self._session.on_record(self.records)
            return False
        self.records.append(record)
        if evaluated:
            self.save_good()
        self._session.on_record(self.records)
        self._session.progress(self.step, f"{record['train_psnr_db']:.2f} dB, loss {record['loss']:.3f}")
        return True

    def _close_epoch(self, epoch: int) -> Record:
        loss, psnr = (self._sums / self.steps_per_epoch).tolist()
        self._sums = torch.zeros(2)
        return {
            "epoch": epoch + 1,
            "step": self.step,
            "lr": self._rate,
            "loss": loss,
            "train_psnr_db": psnr,
            "wall_s": round(self.wall_s, 3),
        }

    def restore(self) -> None:
        """Resume where an earlier process stopped; a new training marks its beginning as good."""
        saved = [state for state in (self._state.load(), self._state.load(good=True)) if state is not None]
        if not saved:
            self.save_good()
            return
        newest = max(saved, key=lambda state: int(state["step"]))
        self._load(newest)
        self.rate_factor, self._returns = newest["rate_factor"], newest["returns"]
        self.records, self._wall_s = newest["records"], newest["wall_s"]

    def roll_back(self, reason: str, epoch: int) -> None:
        """Roll back to the last good state at half the learning rate; raises `UserError` after too many roll-backs."""
        if self._returns == MOST_RETURNS:
            step = "training" if isinstance(self._recipe, Training) else "finetuning"
            raise UserError(
                f"{reason} in epoch {epoch}, after {MOST_RETURNS} returns to an earlier state: the training diverged; "
                f"run it again with a lower {step}.lr.peak"
            )
        good = self._state.load(good=True)
        assert good is not None, "a training begins with a good state"
        self._load(good)
        self._returns += 1
        self.rate_factor *= RATE_CUT
        kept = [record for record in self.records if "event" in record or record["step"] <= self.step]
        event = {"event": "return", "reason": reason, "from_epoch": epoch, "to_step": self.step}
        self.records = [*kept, {**event, "rate_factor": self.rate_factor}]
        self.save()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within this context the parameters are their moving averages, if these are kept."""
        if self._average is None or self._kept:
            yield
            return
        trained = [p.detach().clone() for p in self._objective.parameters()]
        self._set(self._average)
        try:
            yield
        finally:
            self._set(trained)

    def keep_average(self) -> None:
        """Replace the parameters by their moving averages for good, if these are kept."""
        if self._average is not None:
            self._set(self._average)
            self._kept = True

    def begin_average(self) -> None:
        """Restart the moving averages from the current parameters."""
        if self._average is not None and not self._kept:
            torch._foreach_copy_(self._average, [p.detach() for p in self._objective.parameters()])

    def save(self) -> None:
        """Write the state from which another process resumes."""
        if self._leads:
            self._state.save(self._saved())

    def save_good(self) -> None:
        """Write the state to roll back to."""
        if self._leads:
            self._state.save(self._saved(), good=True)

    def _saved(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "rate_factor": self.rate_factor,
            "returns": self._returns,
            "records": self.records,
            "sums": self._sums.cpu(),
            "wall_s": self.wall_s,
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average,
        }

    def _load(self, saved: dict[str, Any]) -> None:
        self.step, self._sums, self._kept = saved["step"], saved["sums"], False
        self._objective.load_state_dict(saved["objective"])
        self._optimizer.load_state_dict(saved["optimizer"])
        if self._average is not None:
            for mean, value in zip(self._average, saved["average"], strict=True):
                mean.copy_(value)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._objective.parameters(), values, strict=True):
            parameter.copy_(value)
