"""The device that a command computes on: choice, name and memory."""

from __future__ import annotations

import os

import torch

from boostnerv import provenance
from boostnerv.errors import UserError, nearest


def choose_device(name: str) -> torch.device:
    """The device called `name`; ``auto`` is the GPU if there is one. Raises `UserError` for unavailable devices."""
    name = local_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device '{name}' is not available here: {nearest(name, ['auto', 'cpu', 'cuda'])}") from error
    if device.type == "cuda":
        _check_gpu(device)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available here; give --device auto, cpu or cuda") from error
    return device


def _check_gpu(device: torch.device) -> None:
    """Raise `UserError` unless PyTorch can use this GPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        reason = "sees no GPU" if torch.version.cuda else "is a build without CUDA"
        raise UserError(
            f"device '{device}' is not available here: PyTorch {torch.__version__} {reason}; give --device cpu or "
            "auto, or see what `boostnerv doctor` reports about the GPU"
        )
    if device.index is not None and device.index >= count:
        available = "'cuda:0' is the only GPU" if count == 1 else f"the GPUs are 'cuda:0' to 'cuda:{count - 1}'"
        raise UserError(f"device '{device}' is not available here: {available}; give one of these, or --device auto")


def device_name(device: torch.device) -> str:
    """Model name of the GPU or processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else provenance.processor()


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process in MiB: GPU memory if `device` is a GPU, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return provenance.peak_memory_mib()


def local_device(name: str) -> str:
    """The device name for this process: under torchrun, ``auto`` and ``cuda`` become the GPU of its local rank."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    return f"cuda:{int(rank) % torch.cuda.device_count()}"
