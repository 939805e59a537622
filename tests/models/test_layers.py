from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from boostnerv.models.architecture import frame_time
from boostnerv.models.conditional import TemporalAffine
from boostnerv.models.convnext import ConvNeXtEncoder
from boostnerv.models.layers import PositionalEncoding, Sine, UpsampleBlock, stage_kernels, to_image
from tests.conftest import Golden


@pytest.mark.parametrize("base", [1.25, 1.05])
def test_frequencies_equal_the_original_to_the_last_bit(golden: Golden, base: float) -> None:
    recorded = golden.tensors("positional_bases")[f"pe_{base}_80.bases"]
    assert torch.equal(PositionalEncoding(base, 80).frequencies, recorded)


def test_frequencies_do_not_depend_on_the_instructions_of_the_processor() -> None:
    program = (
        "import hashlib, torch; from boostnerv.models.layers import PositionalEncoding as P;"
        "frequencies = b''.join(P(base, 80).frequencies.numpy().tobytes() for base in (1.05, 1.25, 1.3, 1.4));"
        "print(torch.backends.cpu.get_cpu_capability(), hashlib.sha256(frequencies).hexdigest())"
    )

    def printed(**environment: str) -> list[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, env=os.environ | environment, check=True, capture_output=True, text=True
        ).stdout.split()

    plain, best = printed(ATEN_CPU_CAPABILITY="default"), printed()
    assert plain[0] == "DEFAULT"
    assert plain[-1] == best[-1]


def test_positional_encoding_is_all_sines_then_all_cosines() -> None:
    encoding = PositionalEncoding(2.0, 3)
    t = torch.tensor([0.25, 1.0])
    angles = torch.pi * t[:, None] * torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(encoding(t), torch.cat([angles.sin(), angles.cos()], dim=1))


def test_time_counts_frames_from_one() -> None:
    assert torch.equal(frame_time(torch.arange(4), 4), torch.tensor([0.25, 0.5, 0.75, 1.0]))
    # One rounding to float32, not two.
    assert frame_time(torch.tensor([32]), 132).item() == torch.tensor(33 / 132, dtype=torch.float64).float().item()


def test_an_affine_transform_with_zero_weights_is_the_identity() -> None:
    affine = TemporalAffine(5, 4)
    for parameter in affine.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 5, 3, 3)
    assert torch.equal(affine(x, torch.randn(2, 4)), x)


def test_upsampling_shuffles_channels_into_space() -> None:
    block = UpsampleBlock(1, 1, 1, 2, torch.nn.Identity)
    with torch.no_grad():
        block.conv.weight.copy_(torch.arange(1.0, 5.0).view(4, 1, 1, 1))
        block.conv.bias.zero_()  # type: ignore[union-attr]
        out = block(torch.ones(1, 1, 1, 2))
    assert out.squeeze().tolist() == [[1, 2, 1, 2], [3, 4, 3, 4]]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_an_upsampling_block_multiplies_the_size_by_its_stride(kernel: int, stride: int) -> None:
    block = UpsampleBlock(2, 3, kernel, stride, Sine)
    assert block(torch.zeros(1, 2, 3, 4)).shape == (1, 3, 3 * stride, 4 * stride)


def test_kernels_grow_by_two_up_to_the_largest() -> None:
    assert stage_kernels(5, 1, 5) == (1, 3, 5, 5, 5)


def test_images_lie_between_zero_and_one() -> None:
    assert to_image(torch.tensor([-50.0, 0.0, 50.0])).tolist() == [0.0, 0.5, 1.0]


def test_encoder_initialisation() -> None:
    torch.manual_seed(0)
    encoder = ConvNeXtEncoder((5, 2, 2), 64, 16)
    for name, parameter in encoder.named_parameters():
        if name.endswith("layer_scale"):
            assert torch.equal(parameter, torch.full_like(parameter, 1e-6))
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
    assert encoder(torch.zeros(2, 3, 40, 60)).shape == (2, 16, 2, 3)
