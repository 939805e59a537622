"""Decoding work is counted as PyTorch counts it, without loading its compiler for most models."""

from __future__ import annotations

import functools
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from boostnerv.models import work
from boostnerv.models.architecture import Spec, architecture
from boostnerv.models.work import decoding_work, kmac_per_pixel
from tests.models.tiny import ALL, MANY, tiny_clip_spec, tiny_spec


def test_a_hand_count_of_multiplications() -> None:
    # Grid 2×2, one stage: stride 2, width 3, one block; L = 2, stem 3, condition 2.
    spec = tiny_spec("nerv-boost", height=4, width=4, strides=(2,), fc_dim=3)
    stem = 4 * 3 + 3 * (2 * 2 * 3)
    condition = 4 * 4 + 4 * 2
    upsample = 2 * 2 * 9 * 3 * (3 * 4)
    affine = 2 * 2 * (2 * 2 + 2 * 3)  # two transforms, each scale and shift
    residual = 2 * (4 * 4 * 9 * 3 * 3)
    head = 4 * 4 * 3 * 3
    expected = stem + condition + upsample + affine + residual + head
    assert kmac_per_pixel(architecture("nerv-boost"), spec) == pytest.approx(expected / (4 * 4) / 1000, rel=1e-12)


def test_multiplications_are_per_pixel_of_the_video_not_of_the_padded_frame() -> None:
    unpadded, cropped = (tiny_spec("hnerv-boost", height=height, width=8) for height in (8, 5))
    entry = architecture("hnerv-boost")
    assert kmac_per_pixel(entry, cropped) == pytest.approx(kmac_per_pixel(entry, unpadded) * 8 / 5)


@pytest.mark.parametrize("strides", [(2, 2), (3, 1, 2)])
@pytest.mark.parametrize("name", ALL)
def test_work_of_a_frame(name: str, strides: tuple[int, ...]) -> None:
    entry, spec = architecture(name), tiny_spec(name, height=13, width=9, strides=strides)
    work = decoding_work(entry, spec)
    assert work.macs == round(kmac_per_pixel(entry, spec) * 1000 * 13 * 9)
    rows, columns = spec.padded
    assert work.peak_bytes >= 2 * 4 * 3 * rows * columns  # the last operation reads and writes an image
    assert work.moved_bytes > work.peak_bytes
    assert work.nominal_s > max(work.moved_bytes / 1e9, work.macs / 8e9)


def every_spec() -> list[tuple[str, Spec]]:
    frames = [(name, tiny_spec(name, height=13, width=9, strides=(3, 1, 2))) for name in ALL]
    clips = [(name, tiny_clip_spec(name, height=16, width=36, patch_rows=2, patch_columns=3)) for name in MANY]
    return frames + clips


@pytest.mark.parametrize(("name", "spec"), every_spec())
def test_multiplications_match_the_count_of_pytorch(name: str, spec: Spec) -> None:
    entry = architecture(name)
    with torch.device("meta"):
        decoder = entry.decoder(spec)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            decoder(*spec.decoder_inputs())
    calls = spec.calls_per_frame
    assert decoding_work(entry, spec).macs == pytest.approx(calls * counter.get_total_flops() / 2, abs=1)


@pytest.mark.parametrize(("name", "spec"), every_spec())
def test_results_have_the_shapes_and_types_of_pytorch(name: str, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def beside(func: Any, ours: Any) -> Any:
        @functools.wraps(ours)
        def compare(*args: Any, **kwargs: Any) -> Any:
            mine, theirs = ours(*args, **kwargs), func(*args, **kwargs)
            if mine is None:
                return None
            result, _ = mine
            for one, other in zip(tree_leaves(result), tree_leaves(theirs), strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype), func
            compared.append(func)
            return result, 0

        return compare

    monkeypatch.setattr(work, "_USUAL", {func: beside(func, ours) for func, ours in work._USUAL.items()})
    decoding_work.__wrapped__(architecture(name), spec)
    assert len(compared) > 10


class Calls(nn.Module):
    """A model with a single operation, such as users may add."""

    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.call = spec.call

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.call(x)
        return result


@pytest.mark.parametrize(
    ("call", "macs"),
    [
        (lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.1), 2 * 2 * 3 * 4 * 4 * 5),
        (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), 2 * 2 * 3 * 4 * 4 * 5),
        (lambda x: torch.add(x, x, alpha=2), 0),
        (lambda x: torch.sub(x, 1, alpha=2), 0),
        (lambda x: F.conv2d(x[0], x.new_empty(7, 3, 3, 3), padding=1), 7 * 4 * 5 * 27),
        (lambda x: x.long() / 2, 0),
        (lambda x: torch.cat([x, x.double()], dim=-1), 0),
        (lambda x: torch.stack([x, x], dim=-1), 0),
        (lambda x: torch.var_mean(x, dim=(1,), correction=0)[0], 0),
    ],
)
def test_operations_in_every_form_are_counted(call: Any, macs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []

    def called(x: Tensor) -> Tensor:
        results.append(call(x))
        return results[-1]

    entry: Any = SimpleNamespace(decoder=Calls)
    template = (torch.empty(2, 3, 4, 5, device="meta"),)
    spec: Any = SimpleNamespace(call=called, decoder_inputs=lambda: template, calls_per_frame=1)
    work_of_call = decoding_work.__wrapped__(entry, spec)
    expected = call(torch.empty(2, 3, 4, 5))
    assert work_of_call.macs == macs
    assert (results[0].shape, results[0].dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("shape", [(7, 3, 9, 9), (7, 2, 3, 3)])
def test_impossible_convolutions_are_not_counted(shape: tuple[int, ...]) -> None:
    with torch.device("meta"), pytest.raises(RuntimeError), work._Count():
        F.conv2d(torch.empty(2, 3, 4, 5), torch.empty(shape))


def test_counting_does_not_load_the_compiler() -> None:
    """In a process that has counted nothing before; what one model loads stays for those behind it."""
    names = [*ALL, *MANY]
    code = (
        "import sys; from boostnerv.models.architecture import architecture\n"
        "from boostnerv.models.work import decoding_work; from tests.models.tiny import tiny_clip_spec, tiny_spec\n"
        f"for name in {names!r}:\n"
        f"    make = tiny_clip_spec if name in {MANY!r} else tiny_spec\n"
        "    assert decoding_work(architecture(name), make(name)).macs\n"
        "    print(name, {'torch._dynamo', 'sympy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{name} set()" for name in names]
