"""How a training computes: precision, compilation, kernels, and what is kept in memory.

`prepare` configures a training once, before its first step, from its settings and the abilities of its device. The
outcome is logged, so that every result states how it was computed.
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
        """For tables, e.g. ``2 at once, checkpointing``; empty for the default."""
        parts = [f"{self.frames_at_once} at once"] if self.frames_at_once else []
        return ", ".join([*parts, *(["checkpointing"] if self.checkpointing else [])])

    def parts(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The samples of a batch, split into the parts of one forward pass each; empty for an empty batch."""
        return indices.split(self.frames_at_once or len(indices)) if len(indices) else ()


PLAIN = Computation()


def computation_of(computing: Computing, memory: Memory, device: torch.device) -> Computation:
    """The effect of the settings on a device: a CPU computes in float32, and a GPU has no fused kernels."""
    on_gpu = device.type == "cuda"
    return Computation(
        precision=computing.precision if on_gpu else "float32",
        compiled=computing.compile,
        # The compiler does its own fusing.
        kernels="plain" if on_gpu or computing.compile else computing.kernels,
        deterministic=not on_gpu or computing.deterministic,
        frames_at_once=memory.frames_at_once,
        checkpointing=memory.checkpointing,
    )


def prepare(objective: Objective, recipe: Training | Finetuning, device: torch.device) -> Computation:
    """Configure the objective and PyTorch as `recipe` says; PyTorch's flags apply to the whole process."""
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
            # In fine-tuning the embeddings are stored, so they stay in float32.
            _autocast(model.encoder, device)
    if computation.compiled:
        _compile(objective, device)
    return computation


def _set_flags(computation: Computation) -> None:
    # Matrix products stay in float32, PyTorch's default; they are a small part.
    torch.backends.cudnn.allow_tf32 = computation.precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = not computation.deterministic
    if computation.deterministic:
        # Required by cuBLAS, which reads it when it creates its first handle.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(computation.deterministic)


def _compile(objective: Objective, device: torch.device) -> None:
    """Compile networks and loss. On a GPU, CUDA graphs are replayed whole: no kernel launch waits for the host."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    try:
        torch.compile(lambda x: x + 1, mode=mode)(torch.zeros(1, device=device))
    except Exception as error:  # a missing or broken compiler raises almost anything
        raise UserError(
            f"computing.compile: torch.compile does not work here ({type(error).__name__}); it needs a C++ compiler on "
            "a CPU and Triton on a GPU: install it, or set compile: false"
        ) from error
    for network in (objective.model.encoder, objective.model.decoder):
        if network is not None:
            network.compile(mode=mode)
    objective.frame_losses = torch.compile(frame_losses, mode=mode)


def _autocast(network: nn.Module, device: torch.device) -> None:
    """Compute a network's convolutions and matrix products in bfloat16 during training; results are float32."""
    exact = network.forward

    def forward(*inputs: Any) -> Tensor:
        if not torch.is_grad_enabled():
            result: Tensor = exact(*inputs)
            return result
        with torch.autocast(device.type, torch.bfloat16):
            output: Tensor = exact(*inputs)
        return output.float()

    network.forward = forward


def recompute(decoder: nn.Module) -> None:
    """Gradient checkpointing: each block of a decoder keeps only its inputs and is recomputed for its gradients."""
    for block in getattr(decoder, "stages", ()):
        block.forward = _Recomputed(block)


class _Recomputed:
    """A block's forward pass, recomputed for its gradients.

    The parameters are inputs of the recomputation: fine-tuning calls the decoder with other weights
    (`torch.func.functional_call`), which no longer exist by then.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self._forward: Callable[..., Tensor] = block.forward
        self._inside = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self._inside or not torch.is_grad_enabled():
            return self._forward(*inputs)
        output: Tensor = checkpoint(self._with, dict(self._block.named_parameters()), *inputs, use_reentrant=False)
        return output

    def _with(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        self._inside = True
        try:
            output: Tensor = functional_call(self._block, parameters, inputs)
            return output
        finally:
            self._inside = False
