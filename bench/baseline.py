"""The published way to train and to decode, written plainly from the papers' equations: what `bench` compares with.

PNG files come through a data loader, one frame a step; everything is eager float32 in PyTorch's default layout; the
host waits for every forward pass and fetches every step's loss and PSNR. Tensors have the published names, so that a
model starts from the weights of ours (`boostnerv.interop`). Zhang et al., CVPR 2024; HNeRV: Chen et al., CVPR 2023;
E-NeRV: Li et al., ECCV 2022.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_msssim import ms_ssim
from pytorch_optimizer import Adan
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from boostnerv.interop.boosting_nerv import to_original
from boostnerv.models.architecture import VideoModel

Activation = Callable[[Tensor], Tensor]


class Sine(nn.Module):
    """The activation of boosted blocks."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


def encoded(t: Tensor, base: float, levels: int) -> Tensor:
    """Positional encoding of times ``[N]``: ``[N, 2L]``, all sines, then all cosines."""
    bases = torch.tensor(base) ** torch.arange(levels) * torch.pi
    angles = t[:, None] * bases.to(t.device)
    return torch.cat([torch.sin(angles), torch.cos(angles)], 1)


def mlp(*widths: int) -> nn.Sequential:
    """1×1 convolutions, each followed by a sine."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 1), Sine()]
    return nn.Sequential(*layers)


class Affine(nn.Module):
    """Temporal-aware affine transform: 1×1 convolutions on a 1×1 map."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.SFT_scale_conv0 = nn.Conv2d(condition, condition, 1)
        self.SFT_scale_conv1 = nn.Conv2d(condition, width, 1)
        self.SFT_shift_conv0 = nn.Conv2d(condition, condition, 1)
        self.SFT_shift_conv1 = nn.Conv2d(condition, width, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        scale = self.SFT_scale_conv1(F.relu(self.SFT_scale_conv0(c)))
        shift = self.SFT_shift_conv1(F.relu(self.SFT_shift_conv0(c)))
        return x * (scale + 1) + shift


class Residual(nn.Module):
    """Residual block of two affine transforms and convolutions."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.sft0, self.sft1 = Affine(width, condition), Affine(width, condition)
        self.conv0 = nn.Conv2d(width, width, 3, 1, 1)
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        y = F.gelu(self.conv0(self.sft0(x, c)))
        result: Tensor = x + self.conv1(self.sft1(y, c))
        return result


class Upsample(nn.Module):
    """Convolution, then PixelShuffle."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        shuffle = nn.PixelShuffle(stride) if stride > 1 else nn.Identity()
        self.upconv = nn.Sequential(nn.Conv2d(inputs, outputs * stride**2, kernel, 1, kernel // 2), shuffle)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.upconv(x)
        return result


class Block(nn.Module):
    """Conditional block: upsampling, sine, residual block."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, condition: int) -> None:
        super().__init__()
        self.conv = Upsample(inputs, outputs, kernel, stride)
        self.sft_block = Residual(outputs, condition)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        result: Tensor = self.sft_block(torch.sin(self.conv(x)), c)
        return result


def blocks(
    inputs: int, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int], first: int, condition: int
) -> Iterator[Block]:
    """Stages from number `first` on: one block in the first two, two in the others."""
    for stage, (width, kernel, stride) in enumerate(zip(widths, kernels, strides, strict=True), first):
        for step in (stride,) if stage < 2 else (stride, 1):
            yield Block(inputs, width, kernel, step, condition)
            inputs = width


class ChannelsFirstNorm(nn.Module):
    """Layer normalisation over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class EncoderBlock(nn.Module):
    """A ConvNeXt block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """The ConvNeXt encoder."""

    def __init__(self, strides: Sequence[int], hidden: int, outputs: int) -> None:
        super().__init__()
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        widths = [hidden] * (len(strides) - 1) + [outputs]
        inputs = 3
        for index, (stride, width) in enumerate(zip(strides, widths, strict=True)):
            convolution = nn.Conv2d(inputs, width, stride, stride)
            order = [convolution, ChannelsFirstNorm(width)] if index == 0 else [ChannelsFirstNorm(inputs), convolution]
            self.downsample_layers.append(nn.Sequential(*order))
            self.stages.append(nn.Sequential(EncoderBlock(width)))
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        return x


class Stem(nn.Module):
    """First map of HNeRV-Boost."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.conv = nn.Module()
        self.conv.downconv = nn.Conv2d(inputs, outputs, 1)
        self.sft_block = Residual(outputs, condition)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        result: Tensor = self.sft_block(torch.sin(self.conv.downconv(x)), c)  # type: ignore[operator]
        return result


class HNeRVBoost(nn.Module):
    """Frames ``[N, 3, H, W]`` and times ``[N]`` to frames; `spec` is that of our model."""

    def __init__(self, spec: Any) -> None:
        super().__init__()
        condition = spec.condition_width
        self.base, self.levels = spec.base, spec.levels
        self.encoder = Encoder(spec.strides, spec.encoder_width, spec.embedding_width)
        self.stem_t = mlp(2 * spec.levels, 2 * condition, condition)
        kernels = [min(kernel, 3) for kernel in spec.stack.kernels]
        stages = blocks(spec.fc_dim, spec.widths, kernels, spec.strides, 0, condition)
        self.decoder = nn.ModuleList([Stem(spec.embedding_width, spec.fc_dim, condition), *stages])
        self.head_layer = nn.Conv2d(spec.widths[-1], 3, 3, 1, 1)

    def forward(self, frames: Tensor | None, t: Tensor, embedding: Tensor | None = None) -> Tensor:
        c = self.stem_t(encoded(t, self.base, self.levels)[:, :, None, None])
        x = self.encoder(frames) if embedding is None else embedding
        for block in self.decoder:
            x = block(x, c)
        return torch.tanh(self.head_layer(x)) * 0.5 + 0.5


class FirstStage(nn.Module):
    """First stage of E-NeRV-Boost."""

    def __init__(self, inputs: int, outputs: int, stride: int, condition: int) -> None:
        super().__init__()
        self.conv1 = Upsample(inputs, inputs // 4, 3, stride)
        self.conv2 = nn.Conv2d(inputs // 4, outputs, 3, 1, 1)
        self.sft_block = Residual(outputs, condition)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        result: Tensor = self.sft_block(torch.sin(self.conv2(self.conv1(x))), c)
        return result


class SelfAttention(nn.Module):
    """Attention over positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * 64 * heads, bias=False)
        self.to_out = nn.Sequential(nn.Linear(64 * heads, width))

    def forward(self, x: Tensor) -> Tensor:
        count, positions = x.shape[:2]
        q, k, v = (
            part.view(count, positions, self.heads, 64).transpose(1, 2) for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        weights = (q @ k.transpose(-1, -2) * 64**-0.5).softmax(-1)
        result: Tensor = self.to_out((weights @ v).transpose(1, 2).reshape(count, positions, -1))
        return result


class FeedForward(nn.Module):
    """Two linear maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Places 2 and 4 hold dropout there, which is off.
        idle = nn.Identity()
        self.net = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), idle, nn.Linear(width // 2, width), idle)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result


class Transformer(nn.Module):
    """Attention and linear maps, without normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.ffn = SelfAttention(width, heads), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        result: Tensor = x + self.ffn(x)
        return result


class ENeRVBoost(nn.Module):
    """Times ``[N]`` to frames; `spec` is that of our model."""

    positions: Tensor

    def __init__(self, spec: Any) -> None:
        super().__init__()
        width, condition = spec.token_width, spec.condition_width
        self.base, self.levels, self.grid = spec.base, spec.levels, spec.grid
        rows, columns = (
            encoded(torch.arange(count, dtype=torch.float32) / count, spec.base, spec.levels) for count in spec.grid
        )
        places = [torch.cat([row, column]) for row in rows for column in columns]
        self.register_buffer("positions", torch.stack(places)[:, :, None, None], persistent=False)
        self.stem_t = mlp(2 * spec.levels, 2 * width, width)
        self.stem_xy = mlp(4 * spec.levels, width)
        self.trans1, self.trans2 = Transformer(width, 1), Transformer(width, 8)
        self.toconv = mlp(width, spec.fc_dim) if width != spec.fc_dim else nn.Identity()
        self.t_branch = mlp(2 * spec.levels, 2 * condition, condition)
        first, *widths = spec.widths
        stages = blocks(first, widths, [3] * len(widths), spec.strides[1:], 1, condition)
        self.layers = nn.ModuleList([FirstStage(spec.fc_dim, first, spec.strides[0], condition), *stages])
        self.head_layer = nn.Conv2d(spec.widths[-1], 3, 1)

    def forward(self, frames: Tensor | None, t: Tensor, embedding: Tensor | None = None) -> Tensor:
        time_map = encoded(t, self.base, self.levels)[:, :, None, None]
        c, at = self.t_branch(time_map), self.stem_t(time_map)
        tokens = self.trans1(self.stem_xy(self.positions).flatten(1)[None])
        tokens = self.trans2(tokens * at.flatten(2).transpose(1, 2))
        # In memory as theirs: all convolutions then have channels last.
        x = self.toconv(tokens.reshape(len(t), *self.grid, -1).permute(0, 3, 1, 2))
        for block in self.layers:
            x = block(x, c)
        return torch.tanh(self.head_layer(x)) * 0.5 + 0.5


MODELS: dict[str, type[HNeRVBoost] | type[ENeRVBoost]] = {"hnerv-boost": HNeRVBoost, "e-nerv-boost": ENeRVBoost}


def baseline_of(model: VideoModel) -> nn.Module:
    """The published way to compute what `model` does, with equal weights."""
    found = MODELS[model.architecture.name](model.spec)
    found.load_state_dict(to_original(model))
    return found


def fusion10_freq(made: Tensor, wanted: Tensor) -> Tensor:
    """``60·(0.7·L1 + 0.3·(1 − MS-SSIM))`` and the mean difference of both whole spectra."""
    pixels = 0.7 * F.l1_loss(made, wanted) + 0.3 * (1 - ms_ssim(made, wanted, data_range=1, size_average=True))
    spectra = (torch.fft.fft2(image, dim=(-2, -1)) for image in (made, wanted))
    of_made, of_wanted = (torch.stack([spectrum.real, spectrum.imag], -1) for spectrum in spectra)
    return 60 * pixels + F.l1_loss(of_made, of_wanted)


class PngFrames(Dataset[tuple[Tensor, int]]):
    """The PNG files of a folder, in the order of their names: ``[3, H, W]`` in [0, 1], and the number."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            pixels = np.asarray(image.convert("RGB"))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, index


def write_pngs(pixels: NDArray[np.uint8], folder: Path) -> None:
    """Frames ``[T, H, W, 3]`` as the files that `PngFrames` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(pixels):
        Image.fromarray(frame).save(folder / f"{number:05}.png")


@dataclass(frozen=True)
class Parts:
    """What a training is made of: `network` maps frames and times to frames, `frames` has ``[3, H, W]`` and numbers,
    `loss` compares what is made with what is wanted."""

    network: nn.Module
    frames: Dataset[tuple[Tensor, int]]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]


def published_parts(model: VideoModel, pngs: Path) -> Parts:
    """The published way to train `model`, from equal weights, on the PNG files of a folder."""

    def adan(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return Adan(parameters, lr=rate, betas=(0.98, 0.92, 0.99), eps=1e-8, foreach=True)

    return Parts(baseline_of(model), PngFrames(pngs), fusion10_freq, adan)


class Trainer:
    """Trains the published way, in the given order of frames, at these rates."""

    def __init__(self, parts: Parts, device: torch.device, order: Sequence[int], rates: Sequence[float]) -> None:
        self._parts, self._device = parts, device
        self._network = parts.network.to(device)
        self._count = len(parts.frames)  # type: ignore[arg-type]
        self._steps = iter(zip(order, rates, strict=True))
        self._optimizer = parts.optimizer(self._network.parameters(), rates[0])
        self.losses: list[float] = []
        self.psnr_db: list[float] = []
        self.forward_s: list[float] = []

    def steps(self, count: int) -> None:
        """Go on by so many steps."""
        coming = list(itertools.islice(self._steps, count))
        loader = DataLoader(self._parts.frames, batch_size=1, sampler=[index for index, _ in coming])
        for (frames, index), (_, rate) in zip(loader, coming, strict=True):
            self._step(frames.to(self._device), index.to(self._device), rate)

    def _step(self, frames: Tensor, index: Tensor, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        begin = time.perf_counter()
        made = self._network(frames, ((index.double() + 1) / self._count).float())
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.forward_s.append(time.perf_counter() - begin)
        loss = self._parts.loss(made, frames)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.losses.append(loss.item())
        self.psnr_db.append(float(-10 * torch.log10(F.mse_loss(made.detach(), frames) + 1e-9).cpu()))


def write_codes(model: VideoModel, embeddings: Tensor | None, path: Path) -> None:
    """Weights and embeddings ``[T, e, h, w]`` as the published way keeps them: min–max codes of a byte, pickled; those
    who publish them count the bits of an entropy coder, and do not write any."""
    tensors = dict(to_original(model)) | ({"embeddings": embeddings} if embeddings is not None else {})
    codes = {}
    for name, values in tensors.items():
        least, step = values.min(), (values.max() - values.min()).clamp(min=1e-12) / 255
        codes[name] = ((values - least).div(step).round().to(torch.uint8), least, step)
    torch.save(codes, path)


@torch.no_grad()
def decoded(model: VideoModel, path: Path, frames: range) -> Iterator[NDArray[np.uint8]]:
    """These frames ``[H, W, 3]`` of a file of `write_codes`: all codes to floats, then one frame after the other."""
    values = {name: least + step * codes for name, (codes, least, step) in torch.load(path).items()}
    embeddings = values.pop("embeddings", None)
    network = MODELS[model.architecture.name](model.spec).eval()
    network.load_state_dict(values)
    for index in frames:
        t = torch.tensor([(index + 1) / model.spec.frames])
        made = network(None, t, None if embeddings is None else embeddings[index : index + 1])
        yield (made[0] * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
