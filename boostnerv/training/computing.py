"""How a training computes: precision, compilation, kernels, and what is kept in memory.

`prepare` sets a training up once, before its first step, as its settings say and its device can; what came of it is
told, so that every result says how it was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from boostnerv.config import Computing, Finetuning, Memory, Training
from boostnerv.errors import UserError
from boostnerv.models.convolution import fuse
from boostnerv.training.losses import frame_losses, fused_frame_losses
from boostnerv.training.tasks import Objective


@dataclass(frozen=True)
class Computation:
    """How a training computes on its device."""

    precision: str = "float32"
    compiled: bool = False
    kernels: str = "plain"
    deterministic: bool = True
    frames_at_once: int | None = None
    checkpointing: bool = False

    @property
    def label(self) -> str:
        """For tables, e.g. ``float32 fused``."""
        return " ".join([self.precision, self.kernels, *(["compiled"] if self.compiled else [])])

    @property
    def memory_label(self) -> str:
        """For tables, e.g. ``2 at once, checkpointing``; empty where nothing is said."""
        parts = [f"{self.frames_at_once} at once"] if self.frames_at_once else []
        return ", ".join([*parts, *(["checkpointing"] if self.checkpointing else [])])

    def parts(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The samples of a batch, those together that go through the network together; nothing of none."""
        return indices.split(self.frames_at_once or len(indices)) if len(indices) else ()


PLAIN = Computation()


def computation_of(computing: Computing, memory: Memory, device: torch.device) -> Computation:
    """What the settings come to on a device: a CPU computes in float32, and a GPU has no kernels of ours."""
    on_gpu = device.type == "cuda"
    return Computation(
        precision=computing.precision if on_gpu else "float32",
        compiled=computing.compile,
        # A compiler fuses for itself.
        kernels="plain" if on_gpu or computing.compile else computing.kernels,
        deterministic=not on_gpu or computing.deterministic,
        frames_at_once=memory.frames_at_once,
        checkpointing=memory.checkpointing,
    )


def prepare(objective: Objective, recipe: Training | Finetuning, device: torch.device) -> Computation:
    """Set the objective and PyTorch up to compute as `recipe` says; flags of PyTorch are those of the whole process."""
    computation = computation_of(recipe.computing, recipe.memory, device)
    model = objective.model
    if device.type == "cuda":
        _set_flags(computation)
    if computation.kernels == "fused":
        fuse(model)
        objective.frame_losses = fused_frame_losses
    if computation.checkpointing:
        recompute(model.decoder)
    if computation.precision == "bf16":
        _autocast(model.decoder, device)
        if model.encoder is not None and isinstance(recipe, Training):
            # Of a fine-tuning the embeddings are what is stored.
            _autocast(model.encoder, device)
    if computation.compiled:
        _compile(objective, device)
    return computation


def _set_flags(computation: Computation) -> None:
    # Matrix products stay in float32: they are a small part, and PyTorch's own default.
    torch.backends.cudnn.allow_tf32 = computation.precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = not computation.deterministic
    if computation.deterministic:
        # What cuBLAS asks for; read when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(computation.deterministic)


def _compile(objective: Objective, device: torch.device) -> None:
    """Compile networks and loss. Graphs of a GPU are replayed as a whole: no launch of a kernel waits for the host."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    try:
        torch.compile(lambda x: x + 1, mode=mode)(torch.zeros(1, device=device))
    except Exception as error:  # whatever a compiler that is missing or broken makes of it
        raise UserError(
            f"computing.compile: torch.compile does not work here ({type(error).__name__}); it needs a C++ compiler on "
            "a CPU and Triton on a GPU: install it, or set compile: false"
        ) from error
    for network in (objective.model.encoder, objective.model.decoder):
        if network is not None:
            network.compile(mode=mode)
    objective.frame_losses = torch.compile(frame_losses, mode=mode)


def _autocast(network: nn.Module, device: torch.device) -> None:
    """Compute convolutions and matrix products of a network in bfloat16 while it is trained; results are float32."""
    exact = network.forward

    def forward(*inputs: Any) -> Tensor:
        if not torch.is_grad_enabled():
            result: Tensor = exact(*inputs)
            return result
        with torch.autocast(device.type, torch.bfloat16):
            made: Tensor = exact(*inputs)
        return made.float()

    network.forward = forward


def recompute(decoder: nn.Module) -> None:
    """Let each block of a decoder keep its inputs alone, and be computed again when its gradients are."""
    for block in getattr(decoder, "stages", ()):
        block.forward = _Recomputed(block)


class _Recomputed:
    """The forward pass of a block, computed again for its gradients.

    Its parameters are inputs of what is computed again: fine-tuning calls the decoder with other weights
    (`torch.func.functional_call`), which are gone by then.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._forward: Callable[..., Tensor] = block.forward
        self._inside = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self._inside or not torch.is_grad_enabled():
            return self._forward(*inputs)
        made: Tensor = checkpoint(self._with, dict(self._block.named_parameters()), *inputs, use_reentrant=False)
        return made

    def _with(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        self._inside = True
        try:
            made: Tensor = functional_call(self._block, parameters, inputs)
            return made
        finally:
            self._inside = False
