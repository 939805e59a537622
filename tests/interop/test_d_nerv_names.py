"""Checkpoints of Boosting-NeRV under our names."""

from __future__ import annotations

import pytest
import torch

from boostnerv.errors import UserError
from boostnerv.interop.boosting_nerv import from_original, original_name, our_name, to_original
from boostnerv.models.architecture import VideoModel
from tests.conftest import Golden
from tests.golden.models import recorded_model, with_prefix
from tests.interop.published import FILES
from tests.models.tiny import PUBLISHED, tiny_model


@pytest.fixture(params=FILES)
def original(request: pytest.FixtureRequest, golden: Golden) -> tuple[VideoModel, dict[str, torch.Tensor]]:
    file = FILES[request.param]
    tensors = golden.tensors(file)
    model = recorded_model(request.param, golden.manifest[file]["reference_args"], tensors, frames=2)
    return model, with_prefix(tensors, "param.")


def test_names_map_one_to_one(original: tuple[VideoModel, dict[str, torch.Tensor]]) -> None:
    model, tensors = original
    ours = [our_name(model.architecture.name, name) for name in tensors]
    assert sorted(ours) == sorted(model.state_dict())


@pytest.mark.parametrize(
    ("model", "original", "ours"),
    [
        ("nerv-boost", "head_layer.weight", "decoder.head.weight"),
        ("nerv-boost", "stem.0.weight", "decoder.stem.0.weight"),
        ("nerv-boost", "stem_t.2.bias", "decoder.condition.2.bias"),
        ("nerv-boost", "layers.3.conv.upconv.0.weight", "decoder.stages.3.upsample.conv.weight"),
        ("hnerv-boost", "encoder.stages.2.0.dwconv.weight", "encoder.stages.5.depthwise.weight"),
        ("hnerv-boost", "encoder.downsample_layers.1.0.bias", "encoder.stages.2.0.bias"),
        ("hnerv-boost", "decoder.0.conv.downconv.weight", "decoder.stem.0.weight"),
        ("hnerv-boost", "decoder.0.sft_block.conv1.bias", "decoder.stem_residual.conv1.bias"),
        (
            "hnerv-boost",
            "decoder.4.sft_block.sft1.SFT_shift_conv1.weight",
            "decoder.stages.3.residual.affine1.shift.2.weight",
        ),
    ],
)
def test_names(model: str, original: str, ours: str) -> None:
    assert our_name(model, original) == ours
    assert original_name(model, ours) == original


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_lead_back(name: str) -> None:
    for ours in tiny_model(name).state_dict():
        assert our_name(name, original_name(name, ours)) == ours


@pytest.mark.parametrize("name", PUBLISHED)
def test_tensors_lead_back(name: str) -> None:
    model = tiny_model(name)
    original = to_original(model)
    assert not {id(value) for value in original.values()} & {id(value) for value in model.state_dict().values()}
    back = from_original(model, original)
    assert all(torch.equal(back[key], value) for key, value in model.state_dict().items())


def test_the_original_shapes_come_back(original: tuple[VideoModel, dict[str, torch.Tensor]]) -> None:
    model, tensors = original
    found = to_original(model)
    assert {name: value.shape for name, value in found.items()} == {name: v.shape for name, v in tensors.items()}
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_values_and_shapes(original: tuple[VideoModel, dict[str, torch.Tensor]]) -> None:
    model, tensors = original
    loaded = from_original(model, tensors)
    assert {key: value.shape for key, value in loaded.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert torch.equal(loaded["decoder.head.weight"], tensors["head_layer.weight"])


def test_the_first_three_mismatches_are_named() -> None:
    model = tiny_model("nerv-boost")
    with pytest.raises(UserError) as caught:
        from_original(model, {"head_layer.weight": torch.zeros(3, 2, 1, 1)})
    sentence = str(caught.value)
    assert sentence.startswith("the checkpoint does not fit nerv-boost: decoder.stem.0.weight is missing; ")
    assert sentence.count(";") == 2


def test_a_tensor_too_many_and_a_wrong_shape(golden: Golden) -> None:
    tensors = golden.tensors("nerv_boost")
    arguments = golden.manifest["nerv_boost"]["reference_args"]
    model = recorded_model("nerv-boost", arguments, tensors, frames=2)
    named = with_prefix(tensors, "param.")
    named["head_layer.weight"] = torch.zeros(3, 5, 1, 1)
    named["tail.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        from_original(model, named)
    assert str(caught.value) == (
        "the checkpoint does not fit nerv-boost: tail.weight is not in the model; "
        "decoder.head.weight has shape [3, 5, 1, 1], the model [3, 12, 1, 1]"
    )


def test_as_many_numbers_in_another_shape_are_refused(golden: Golden) -> None:
    tensors = golden.tensors("nerv_boost")
    model = recorded_model("nerv-boost", golden.manifest["nerv_boost"]["reference_args"], tensors, frames=2)
    named = with_prefix(tensors, "param.")
    named["stem.0.weight"] = named["stem.0.weight"].transpose(0, 1).contiguous()
    with pytest.raises(UserError, match=r"decoder\.stem\.0\.weight has shape"):
        from_original(model, named)
