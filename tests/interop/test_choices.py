"""Networks of other shapes than the published ones come in as their program would have written them, and go out."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boostnerv import steps
from boostnerv.errors import UserError
from boostnerv.interop.arguments import Arguments, from_namespace, make_spec
from boostnerv.interop.boosting_nerv import from_original, original_name, our_name, to_original
from boostnerv.models.architecture import VideoModel, architecture, build_model
from boostnerv.training import checkpoint
from tests.examples import example_count
from tests.interop.published import write_arguments, write_training
from tests.models.tiny import OPTIONS, PUBLISHED

Refused = Callable[..., str]
ORIGINAL_MODELS = {
    "nerv": "HNeRV",
    "e-nerv": "ENeRV",
    "hnerv": "HNeRV",
    "nerv-boost": "NeRV_Boost",
    "e-nerv-boost": "ENeRV_Boost",
    "hnerv-boost": "HNeRV_Boost",
}
FRAMES = 5


def written_arguments(model: VideoModel, conv_type: str) -> dict[str, Any]:
    """The namespace of the original program for a network like `model`, as its training writes it."""
    spec: Any = model.spec
    name, encodes = model.architecture.name, model.encoder is not None
    embed = "" if name == "hnerv" else f"pe_{spec.base}_{spec.levels}"
    height, width = spec.padded
    expanded = {"expansion": spec.expansion} if hasattr(spec, "expansion") else {}
    return {
        "model": ORIGINAL_MODELS[name],
        "embed": embed,
        "ks": f"0_{spec.kernel_smallest}_{spec.kernel_largest}",
        "enc_blks": getattr(spec, "encoder_blocks", 1),
        "enc_strds": list(spec.strides) if encodes else [],
        "enc_dim": f"{spec.encoder_width}_{spec.embedding_width}" if encodes else "64_16",
        "fc_dim": spec.fc_dim,
        "fc_hw": "{}_{}".format(*spec.grid),
        "reduce": spec.reduce,
        "lower_width": spec.lower_width,
        "dec_strds": list(spec.strides),
        "dec_blks": list(spec.blocks),
        "conv_type": ["convnext", conv_type],
        "ch_t": getattr(spec, "condition_width", 0) if name.endswith("boost") else 0,
        "block_dim": getattr(spec, "token_width", 128),
        # Frames of an encoder say its grid; those of the others follow from fc_hw.
        "crop_list": f"{height}_{width}" if encodes else "-1",
        "full_data_length": FRAMES,
        **expanded,
    }


@st.composite
def models(draw: st.DrawFn, name: str) -> VideoModel:
    """A network of `name` whose every choice may be another than the published one."""
    strides = tuple(draw(st.lists(st.sampled_from([2, 3]), min_size=1, max_size=3)))
    rows, columns = draw(st.sampled_from([(1, 2), (2, 2)]))
    fields: dict[str, Any] = {
        **OPTIONS[name],
        "stage_blocks": tuple(draw(st.integers(1, 3)) for _ in strides),
        "reduce": draw(st.sampled_from([1.2, 1.5, 2.0])),
        "lower_width": draw(st.integers(1, 4)),
        "kernel_smallest": draw(st.sampled_from([1, 3])),
        "kernel_largest": draw(st.sampled_from([3, 5])),
    }
    kind = architecture(name).spec
    choices = {
        "levels": st.integers(1, 4),
        "condition_width": st.integers(1, 4),
        "token_width": st.sampled_from([3, 6, 64]),
        "stem_width": st.integers(1, 4),
        "encoder_width": st.integers(1, 4),
        "embedding_width": st.integers(1, 3),
        "encoder_blocks": st.integers(1, 3),
        "expansion": st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    }
    fields |= {key: draw(values) for key, values in choices.items() if hasattr(kind, key)}
    if name.endswith("boost"):
        # Either kind of convolution of the originals: at most 3×3, or as the arguments say.
        fields["kernel_limit"] = draw(st.sampled_from([3, max(fields["kernel_largest"], 3)]))
    step = math.prod(strides)
    spec = kind(
        frames=FRAMES,
        height=rows * step,
        width=columns * step,
        strides=strides,
        fc_dim=draw(st.integers(4, 9)),
        **fields,
    )
    model = build_model(name, spec, seed=1)
    if getattr(spec, "token_width", 0) == 64:
        _make_identity(model)
    return model


def _make_identity(model: VideoModel) -> None:
    """As the original, which has no map behind an attention of one head that is all of a token."""
    output = model.decoder.get_submodule("stem.before.attention.output")
    with torch.no_grad():
        output.weight.copy_(torch.eye(64))
        output.bias.zero_()


def pictures(model: VideoModel) -> Tensor:
    frames = torch.rand(2, 3, model.spec.height, model.spec.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(torch.tensor([0.2, 0.6]), frames)


@pytest.mark.parametrize("name", PUBLISHED)
@settings(max_examples=example_count(15), deadline=None)
@given(data=st.data())
def test_any_network_goes_out_and_comes_in_the_same(name: str, data: st.DataObject) -> None:
    model = data.draw(models(name))
    limited = getattr(model.spec, "kernel_limit", 5) == 3
    arguments = written_arguments(model, "pshuffel_3x3" if limited else "pshuffel")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_arguments(folder, arguments)
        output = folder / "b.safetensors"
        steps.import_checkpoint(write_training(folder / "a.pth", to_original(model)), output)
        _, back = checkpoint.restore_any(output)
    assert back.spec == model.spec
    assert torch.equal(pictures(back), pictures(model))


@pytest.mark.parametrize("name", PUBLISHED)
@settings(max_examples=example_count(15), deadline=None)
@given(data=st.data())
def test_tensors_alone_say_blocks_and_widths(name: str, data: st.DataObject) -> None:
    model = data.draw(models(name))
    spec: Any = model.spec
    said = ("reduce", "lower_width", "kernel_smallest", "kernel_largest", "kernel_limit", "expansion", "encoder_width")
    flags = Arguments(
        model=name,
        strides=spec.strides,
        height=spec.height,
        width=spec.width,
        frames=FRAMES,
        options={key: str(getattr(spec, key)) for key in said if hasattr(spec, key)},
    )
    _, found = make_spec(Path("nowhere/a.pth"), flags, to_original(model))
    assert found == spec


@pytest.mark.parametrize("name", PUBLISHED)
@settings(max_examples=example_count(10), deadline=None)
@given(data=st.data())
def test_names_lead_back_whatever_the_blocks(name: str, data: st.DataObject) -> None:
    model = data.draw(models(name))
    state = model.state_dict()
    originals = {ours: original_name(name, ours) for ours in state}
    assert len(set(originals.values())) == len(state)
    assert all(our_name(name, original) == ours for ours, original in originals.items())


@pytest.mark.parametrize(
    ("name", "original", "ours"),
    [
        ("hnerv", "encoder.stages.2.0.dwconv.weight", "encoder.stages.5.depthwise.weight"),
        ("hnerv", "encoder.stages.2.1.pwconv2.bias", "encoder.further.2.0.project.bias"),
        ("hnerv-boost", "encoder.stages.0.2.gamma", "encoder.further.0.1.layer_scale"),
        ("e-nerv", "layers.1.conv1.upconv.0.weight", "decoder.stages.1.block.upsample.conv.weight"),
        ("e-nerv", "layers.0.conv1.weight", "decoder.stages.0.block.narrow.weight"),
        ("e-nerv", "layers.0.conv2.upconv.0.bias", "decoder.stages.0.block.enlarge.conv.bias"),
        ("e-nerv-boost", "layers.0.conv2.upconv.0.bias", "decoder.expand.enlarge.conv.bias"),
        ("e-nerv-boost", "layers.1.conv2.weight", "decoder.stages.0.expand.widen.weight"),
        ("e-nerv-boost", "layers.1.sft_block.conv1.bias", "decoder.stages.0.residual.conv1.bias"),
        ("e-nerv-boost", "layers.3.conv.upconv.0.weight", "decoder.stages.2.upsample.conv.weight"),
    ],
)
def test_names_of_further_blocks(name: str, original: str, ours: str) -> None:
    assert our_name(name, original) == ours
    assert original_name(name, ours) == original


@pytest.mark.parametrize(
    ("model", "given", "options"),
    [
        ("HNeRV_Boost", {"dec_blks": [1, 2, 3]}, {"stage_blocks": (1, 2, 3)}),
        ("HNeRV_Boost", {"dec_blks": [1, 2, 3, 1, 1]}, {"stage_blocks": (1, 2, 3)}),
        ("HNeRV_Boost", {"enc_blks": 2}, {"encoder_blocks": 2}),
        ("HNeRV", {"num_blks": "2_3"}, {"encoder_blocks": 2, "stage_blocks": (3, 3, 3)}),
        ("ENeRV_Boost", {"expansion": 2}, {"expansion": 2.0}),
        (
            "NeRV_Boost",
            {"ks": "0_1_5", "conv_type": ["convnext", "pshuffel"]},
            {"kernel_smallest": 1, "kernel_largest": 5, "kernel_limit": 5},
        ),
        (
            "NeRV_Boost",
            {"ks": "0_1_5", "conv_type": ["convnext", "pshuffel_3x3"]},
            {"kernel_smallest": 1, "kernel_largest": 5},
        ),
        (
            "HNeRV",
            {"ks": "0_5_7", "conv_type": ["convnext", "pshuffel_3x3"]},
            {"kernel_smallest": 3, "kernel_largest": 3},
        ),
    ],
)
def test_arguments_that_shape_a_network(model: str, given: dict[str, Any], options: dict[str, Any]) -> None:
    assert from_namespace({"model": model, "dec_strds": [5, 2, 2], **given}, "args.yaml").options == options


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dec_blks": [1, 1]}, "args.yaml says dec_blks = [1, 1] for 3 dec_strds; give one for each"),
        ({"dec_blks": 2}, "dec_blks = 2 is not understood"),
        ({"num_blks": "1"}, "num_blks = '1' is not understood"),
        ({"conv_type": ["convnext"]}, "conv_type = ['convnext'] is not understood"),
        ({"conv_type": ["conv", "pshuffel"]}, "conv_type has an encoder of 'conv', hnerv-boost has convnext here"),
        ({"conv_type": ["convnext", "interpolate"]}, "conv_type has a decoder of 'interpolate', hnerv-boost has"),
        ({"reduce": -1}, "widths divided by the square root of the stride: that is not supported"),
    ],
)
def test_arguments_that_no_network_here_has(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        from_namespace({"model": "HNeRV_Boost", "dec_strds": [5, 2, 2], **changes}, "args.yaml")
    assert sentence in str(caught.value)


def test_what_is_left_out_at_64_changes_nothing_and_is_left_out_again() -> None:
    entry = architecture("e-nerv")
    choices = OPTIONS["e-nerv"] | {"token_width": 64}
    spec = entry.spec(frames=2, height=4, width=4, strides=(2, 2), fc_dim=4, **choices)
    model = build_model("e-nerv", spec, seed=1)
    key = "decoder.stem.before.attention.output"
    with pytest.raises(UserError, match=r"with tokens of 64 has no trans1\.attn\.to_out\.0\.weight, which was trained"):
        to_original(model)
    _make_identity(model)
    original = to_original(model)
    assert not [name for name in original if name.startswith("trans1.attn.to_out")]
    assert original["trans2.attn.to_out.0.weight"].shape == (64, 512)
    back = from_original(model, original)
    assert torch.equal(back[f"{key}.weight"], torch.eye(64))
    assert torch.equal(back[f"{key}.bias"], torch.zeros(64))


def test_blocks_by_an_option(tmp_path: Path, refused: Refused) -> None:
    entry = architecture("nerv")
    spec = entry.spec(frames=2, height=2, width=2, strides=(2, 1), fc_dim=4, stage_blocks=(1, 2), **OPTIONS["nerv"])
    file = write_training(tmp_path / "a.pth", to_original(build_model("nerv", spec, seed=1)))
    sizes = {"strides": (2, 1), "height": 2, "width": 2, "frames": 2}
    output = tmp_path / "b.safetensors"
    options = {"lower_width": "2", "stage_blocks": "1,2"}
    found = steps.import_checkpoint(file, output, Arguments(model="nerv", options=options, **sizes))
    assert found["spec"]["stage_blocks"] == [1, 2]
    flags = ["--model", "nerv", "--strides", "2,1", "--height", 2, "--width", 2, "--frames", 2]
    for value, sentence in {
        "1,x": "option stage_blocks = '1,x' is not a list of whole numbers like 1,1,2; correct it",
        "1": "stage_blocks = [1] must have a number for each of the strides [2, 1]",
        "0,1": "stage_blocks = (0, 1) must be above zero",
        "1,65": "stage_blocks asks for 65 blocks in a stage, but at most 64 are allowed",
    }.items():
        said = ["--option", "lower_width=2", "--option", f"stage_blocks={value}"]
        assert sentence in refused("import", file, *flags, *said, output=output)
