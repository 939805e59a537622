"""Data-parallel training on several processes: ``boostnerv train --processes N …``, which runs
``torchrun --standalone --nproc-per-node N --no-python -- python -P -m boostnerv train …``.

All processes hold the same weights and make the same decisions; only the first writes files. The gradient equals that
of one process with the whole batch, up to the order of its sums.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from boostnerv.errors import InterruptedBySignal, UserError
from boostnerv.host import signals

_LONGEST_WAIT = timedelta(days=7)
"""The first process joins only once no other training holds the state; torchrun ends all processes if one dies."""


@dataclass(frozen=True)
class Group:
    """The processes of one training."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, indices: Tensor) -> Tensor:
        """This process's share of a batch; may be empty."""
        return indices[self.rank :: self.size]

    def add_up(self, parameters: Iterable[nn.Parameter], values: Tensor) -> Tensor:
        """Sum gradients over all processes in place, and return the sum of `values`, in one exchange."""
        if self.size == 1:
            return values
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), values.to(gradients[0].dtype)])
        dist.all_reduce(flat)
        *parts, total = flat.split([*(gradient.numel() for gradient in gradients), values.numel()])
        for parameter, gradient, part in zip(parameters, gradients, parts, strict=True):
            # In the memory layout of the parameter, as the optimiser's own tensors are.
            parameter.grad = torch.empty_like(gradient).copy_(part.view(gradient.shape))
        return total

    def largest(self, value: int, device: torch.device) -> int:
        """The largest of the processes' values."""
        if self.size == 1:
            return value
        maximum = torch.tensor([value], device=device)
        dist.all_reduce(maximum, dist.ReduceOp.MAX)
        return int(maximum)


def check_shared(batch_size: int) -> None:
    """Raise `UserError` if a batch has fewer frames than torchrun started processes."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size < size:
        raise UserError(
            f"training.batch_size = {batch_size} cannot be shared by {size} processes; "
            "raise it, or start fewer processes"
        )


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """Within this context, the group in which torchrun started this process, once all joined; or this process alone.

    A process that exits inside a group may abort during teardown, so all leave it together. After a failure they do
    not: the others wait or fail in an exchange, and torchrun ends them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    except InterruptedBySignal as stop:
        if stop.state_is_saved:  # all processes have agreed on it
            _leave()
        raise
    _leave()


def _leave() -> None:
    dist.barrier()
    dist.destroy_process_group()


def is_started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "WORLD_SIZE" in os.environ


def run_by_torchrun(processes: int, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by torchrun, which starts `processes` processes of ``boostnerv`` with these arguments."""
    # SIGUSR1 asks a training to save and stop; torchrun itself would die before the training has saved.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # torchrun would handle a SIGHUP that nohup makes it ignore.
    handled = [number.name for number in (*signals.obeyed(), signal.SIGQUIT) if number != signal.SIGUSR1]
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    torchrun += ["--signals-to-handle", ",".join(handled)]
    # The command, not a module, so that torchrun's processes do not import from the current folder.
    os.execv(sys.executable, [*torchrun, "--no-python", "--", sys.executable, "-P", "-m", "boostnerv", *arguments])


def leads() -> bool:
    """Whether this process shows progress: torchrun's first, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def only_alone(step: str) -> None:
    """Raise `UserError` if torchrun started several processes of a single-process step."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{step} runs in one process; start it without torchrun")
