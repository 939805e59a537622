"""The authors' own code of Boosting-NeRV, from a folder that is a clone of it, as `bench` trains with it.

https://github.com/Xinjie-Q/Boosting-NeRV. Here is only what their command line would set, and stand-ins for packages
that they import and that do not go with this project's PyTorch: their model, loss, data set and optimiser run as they
are. ``pip install einops`` first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.baseline import Parts
from boostnerv.errors import UserError
from boostnerv.interop.boosting_nerv import to_original
from boostnerv.models.architecture import VideoModel

_MODELS = {"hnerv-boost": ("model_hnerv", "HNeRV_Boost"), "e-nerv-boost": ("model_enerv", "ENeRV_Boost")}
_LOSS = "Fusion10_freq"
_REPOSITORY = "https://github.com/Xinjie-Q/Boosting-NeRV"


def check_original(folder: Path) -> None:
    """Raise `UserError` where `folder` is no clone of their code, or a package that it imports is not installed."""
    if not all((folder / f"{module}.py").is_file() for module, _ in _MODELS.values()):
        raise UserError(f"{folder} is no clone of the authors' code: git clone {_REPOSITORY}, and give that folder")
    if importlib.util.find_spec("einops") is None:
        raise UserError("the authors' code imports einops, which is not installed: pip install einops")


def original_parts(folder: Path, model: VideoModel, pngs: Path) -> Parts:
    """Their code in `folder`, with the weights of `model`, on the PNG files of another folder."""
    _stand_in()
    sys.path.insert(0, str(folder.resolve()))
    settings = _settings(model, pngs)
    module, name = _MODELS[model.architecture.name]
    utilities, optimizer = importlib.import_module("hnerv_utils"), importlib.import_module("optimizer")
    network = getattr(importlib.import_module(module), name)(args=settings)
    network.load_state_dict(to_original(model))
    return Parts(
        network=_Network(network, indexed=model.spec.embedding_shape is None),
        frames=_Frames(utilities.VideoDataSet(settings)),
        loss=_masked_loss(utilities, settings),
        optimizer=lambda parameters, rate: optimizer.Adan(parameters, lr=rate),
    )


class _Network(nn.Module):
    """Their network, called as their training calls it."""

    def __init__(self, network: nn.Module, *, indexed: bool) -> None:
        super().__init__()
        self.network, self._indexed = network, indexed

    def forward(self, frames: Tensor, t: Tensor) -> Tensor:
        made: Tensor = self.network(t if self._indexed else frames, norm_idx=t)[0]
        return made


class _Frames(Dataset[tuple[Tensor, int]]):
    """Their data set."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        found = self._frames[index]
        return found["img"], found["idx"]


def _masked_loss(utilities: ModuleType, settings: Namespace) -> Callable[[Tensor, Tensor], Tensor]:
    """Their loss; they multiply both by a mask, which is one where nothing is inpainted."""
    masked = utilities.TransformInput(settings)

    def loss(made: Tensor, wanted: Tensor) -> Tensor:
        _, frames, mask = masked(wanted, None)
        found: Tensor = utilities.loss_fn(made * mask, frames * mask, _LOSS)
        return found

    return loss


def _settings(model: VideoModel, pngs: Path) -> Namespace:
    """What their command line would say."""
    spec: Any = model.spec
    encoder = spec.embedding_shape is not None
    return Namespace(
        data_path=str(pngs),
        crop_list=f"{spec.height}_{spec.width}",
        interpolation=False,
        embed_inter=False,
        inpanting="none",
        embed=f"pe_{spec.base}_{spec.levels}",
        lfreq="pi",
        ks="_".join(map(str, (0, spec.kernel_smallest, spec.kernel_largest))),
        enc_blks=getattr(spec, "encoder_blocks", 1),
        enc_strds=list(spec.strides) if encoder else [],
        enc_dim=f"{spec.encoder_width}_{spec.embedding_width}" if encoder else "64_16",
        fc_dim=spec.fc_dim,
        fc_hw="_".join(map(str, spec.grid)),
        reduce=spec.reduce,
        lower_width=spec.lower_width,
        dec_strds=list(spec.strides),
        dec_blks=list(spec.blocks),
        conv_type=["convnext", "pshuffel_3x3"],
        norm="none",
        act="sin",
        sft_block="res_sft",
        ch_t=spec.condition_width,
        block_dim=getattr(spec, "token_width", 128),
        out_bias="tanh",
        outf="",
        quant=False,
    )


def _stand_in() -> None:
    """Put small modules in the places of missing packages."""

    class DropPath(nn.Identity):
        """They build it for a rate of zero."""

        def __init__(self, rate: float = 0.0) -> None:
            assert rate == 0
            super().__init__()

    class ToTensor:
        """Pixels ``[H, W, 3]`` of an image to ``[3, H, W]`` in [0, 1]."""

        def __call__(self, image: Image.Image) -> Tensor:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)

    def center_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        height, width = size
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    _missing("timm.models.layers", trunc_normal_=nn.init.trunc_normal_, DropPath=DropPath)
    _missing("decord", bridge=Namespace(set_bridge=lambda name: None))
    _missing("torchvision.transforms.functional", center_crop=center_crop, resize=None)
    if "torchvision" in sys.modules and not hasattr(sys.modules["torchvision"].transforms, "ToTensor"):
        sys.modules["torchvision"].transforms.ToTensor = ToTensor


def _missing(name: str, **contents: Any) -> None:
    """A module of this name with these contents, and the packages around it, where its package is not installed."""
    parts = name.split(".")
    if parts[0] in sys.modules or importlib.util.find_spec(parts[0]) is not None:
        return
    for end in range(1, len(parts) + 1):
        module = sys.modules[".".join(parts[:end])] = ModuleType(".".join(parts[:end]))
        if end > 1:
            setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], module)
    vars(module).update(contents)
