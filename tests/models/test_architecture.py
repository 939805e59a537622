from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.config import model_names
from boostnerv.errors import UserError
from boostnerv.models.architecture import (
    architecture,
    architectures_by_wire_id,
    build_model,
    crop_to_video,
    pad_to_grid,
    tensor_shapes,
)
from tests.models.tiny import ALL, PUBLISHED, tiny_model, tiny_spec

sizes = st.integers(1, 40)
strides = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def test_numbers_in_files_never_change() -> None:
    by_number = {number: entry.name for number, entry in architectures_by_wire_id().items()}
    assert {4: "nerv-boost", 6: "hnerv-boost"}.items() <= by_number.items()
    assert sorted(by_number.values()) == list(model_names())


def test_every_model_is_registered_under_its_file_name() -> None:
    for name in model_names():
        assert architecture(name).name == name
        assert architecture(name).decoder.__module__ == f"boostnerv.models.zoo.{name.replace('-', '_')}"


def test_an_unknown_model_error_suggests_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown model 'hnerv_boost': did you mean 'hnerv-boost'\?"):
        architecture("hnerv_boost")


@pytest.mark.parametrize("name", ALL)
@given(height=sizes, width=sizes, strides=strides)
def test_the_grid_covers_any_size(name: str, height: int, width: int, strides: tuple[int, ...]) -> None:
    spec = tiny_spec(name, height=height, width=width, strides=strides)
    step = math.prod(strides)
    for padded, side in zip(spec.padded, (height, width), strict=True):
        assert padded % step == 0
        assert side <= padded < side + step


@given(height=sizes, width=sizes, strides=strides)
def test_padding_repeats_the_last_row_and_column_and_cropping_undoes_it(
    height: int, width: int, strides: tuple[int, ...]
) -> None:
    spec = tiny_spec("nerv-boost", height=height, width=width, strides=strides)
    frames = torch.rand(2, 3, height, width)
    padded = pad_to_grid(frames, spec)
    assert tuple(padded.shape[2:]) == spec.padded
    assert torch.equal(crop_to_video(padded, spec), frames)
    assert torch.equal(padded[:, :, height:, :width], frames[:, :, -1:].expand_as(padded[:, :, height:, :width]))
    assert torch.equal(padded[..., width:], padded[..., width - 1 : width].expand_as(padded[..., width:]))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(1, 1), (17, 31), (8, 8), (1, 40)])
def test_output_has_the_size_of_the_video(name: str, size: tuple[int, int]) -> None:
    model = tiny_model(name, height=size[0], width=size[1])
    with torch.no_grad():
        embedding = model.embed(torch.rand(2, 3, *size))
        decoded = model.decoder(torch.tensor([0.5, 1.0]), embedding)
        output = model(torch.tensor([0.5, 1.0]), torch.rand(2, 3, *size))
    assert tuple(decoded.shape) == (2, 3, *model.spec.padded)
    assert tuple(output.shape) == (2, 3, *size)
    if embedding is not None:
        assert tuple(embedding.shape[1:]) == model.spec.embedding_shape
    assert ((output > 0) & (output < 1)).all()


@pytest.mark.parametrize("name", ALL)
def test_a_frame_does_not_depend_on_its_batch(name: str) -> None:
    model = tiny_model(name)
    t, frames = torch.tensor([1 / 3, 2 / 3, 1.0]), torch.rand(3, 3, 5, 6)
    with torch.no_grad():
        together = model(t, frames)
        apart = torch.cat([model(t[k : k + 1], frames[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_tensor_shapes_match_the_decoder_in_order(name: str) -> None:
    model = tiny_model(name)
    real = {key: value.shape for key, value in model.decoder.named_parameters()}
    assert list(tensor_shapes(model.architecture, model.spec).items()) == list(real.items())
    # A decoder's state consists of parameters only; files store nothing else.
    assert set(model.decoder.state_dict()) == set(real)


@pytest.mark.parametrize("name", ALL)
def test_the_seed_alone_determines_the_weights(name: str) -> None:
    torch.manual_seed(5)
    first = build_model(name, tiny_spec(name), 1).state_dict()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)  # the caller's generator is unchanged
    again, other = (build_model(name, tiny_spec(name), seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("choice", [{"strides": ()}, {"strides": (2, 0)}, {"fc_dim": 0}, {"frames": 0}, {"height": -1}])
def test_impossible_choices_are_refused(choice: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"model setting {next(iter(choice))}"):
        tiny_spec("hnerv-boost", **choice)


# --- blocks of stages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("stages", [1, 2, 3, 5, 7])
def test_blocks_of_the_published_models(name: str, stages: int) -> None:
    published = (1, 1, 2, 2, 2, 2, 2)[:stages] if name.endswith("boost") else (1,) * stages
    spec = tiny_spec(name, strides=(2,) * stages)
    assert spec.blocks == published
    # Explicit or not, it is the same spec.
    assert tiny_spec(name, strides=(2,) * stages, stage_blocks=published) == spec
    assert spec.unstored_choices() == {}


@pytest.mark.parametrize("name", PUBLISHED)
def test_further_blocks_keep_the_size_and_have_the_width_of_their_stage(name: str) -> None:
    once, often = (tiny_model(name, fc_dim=4, stage_blocks=blocks) for blocks in ((1, 1), (3, 2)))
    more = len(often.state_dict()) - len(once.state_dict())
    assert more == 3 * _tensors_of_a_block(name) + (2 * 2 if name.startswith("e-nerv") else 0)
    with torch.no_grad():
        output = often(torch.tensor([0.5]), torch.rand(1, 3, 5, 6))
    assert tuple(output.shape) == (1, 3, 5, 6)
    assert not torch.equal(output, once(torch.tensor([0.5]), torch.rand(1, 3, 5, 6)))


def _tensors_of_a_block(name: str) -> int:
    """Convolution and, for boosted models, two affine transforms of four linear maps and two convolutions."""
    return 2 * {"nerv": 1, "hnerv": 1, "e-nerv": 2}.get(name, 1 + 2 * 4 + 2)


@pytest.mark.parametrize("name", ["hnerv", "hnerv-boost"])
def test_encoder_blocks_do_not_change_the_decoder(name: str) -> None:
    one, three = tiny_model(name), tiny_model(name, encoder_blocks=3)
    assert one.encoder is not None
    assert three.encoder is not None
    assert three.decoder.state_dict().keys() == one.decoder.state_dict().keys()
    assert len(three.encoder.state_dict()) == len(one.encoder.state_dict()) + 2 * 2 * 9
    assert three.spec.unstored_choices() == {"encoder_blocks": 3}
    assert three.spec.unstored_choices(of_encoder=False) == {}
    embedding = three.embed(torch.rand(1, 3, 5, 6))
    assert embedding is not None
    assert tuple(embedding.shape[1:]) == three.spec.embedding_shape


@pytest.mark.parametrize(
    ("name", "expansion", "first"),
    [
        ("nerv-boost", 1.0, 7),
        ("nerv-boost", 2.5, 17),
        ("e-nerv", 3.0, 21),
        ("e-nerv", 0.5, 3),
        ("e-nerv-boost", 1.0, 7),
    ],
)
def test_expansion_applies_to_the_first_stage(name: str, expansion: float, first: int) -> None:
    spec = tiny_spec(name, fc_dim=7, expansion=expansion)
    assert spec.widths[0] == first  # type: ignore[attr-defined]
    assert tensor_shapes(architecture(name), spec)["head.weight"][1] == spec.widths[-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("limit", "kernels"), [(3, [1, 3, 3]), (5, [1, 3, 5])])
def test_the_kernel_limit_caps_the_convolutions(limit: int, kernels: list[int]) -> None:
    choices = {"kernel_smallest": 1, "kernel_largest": 5, "kernel_limit": limit, "stage_blocks": (1, 1, 1)}
    shapes = tensor_shapes(architecture("hnerv-boost"), tiny_spec("hnerv-boost", strides=(2, 2, 2), **choices))
    assert [shapes[f"stages.{stage}.upsample.conv.weight"][2] for stage in range(3)] == kernels


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        ((1,), "stage_blocks = [1] must have a number for each of the strides [2, 2]; correct it in options"),
        ((1, 2, 1), "stage_blocks = [1, 2, 1] must have a number for each of the strides [2, 2]; correct"),
        ((1, 0), "stage_blocks = (1, 0) must be above zero"),
        ((1, 65), "stage_blocks asks for 65 blocks in a stage, but at most 64 are allowed; correct it in options"),
    ],
)
def test_impossible_numbers_of_blocks(name: str, blocks: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        tiny_spec(name, stage_blocks=blocks)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["hnerv", "hnerv-boost"])
@pytest.mark.parametrize(("blocks", "word"), [(0, "must be above zero"), (65, "at most 64 are allowed")])
def test_impossible_numbers_of_encoder_blocks(name: str, blocks: int, word: str) -> None:
    with pytest.raises(UserError, match=f"encoder_blocks.*{word}"):
        tiny_spec(name, encoder_blocks=blocks)
