"""D-NeRV and its baseline: parity with the originals, counts, initialisation, and independence of clips."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from boostnerv.catalogue import MODELS_OF_MANY
from boostnerv.config import ModelSettings, model_names
from boostnerv.errors import UserError
from boostnerv.models.architecture import Spec, architecture, tensor_shapes
from boostnerv.models.budget import decoder_parameters, resolve, total_parameters
from boostnerv.models.work import decoding_work, kmac_per_pixel
from tests.conftest import Golden
from tests.golden.models import recorded_clip_model
from tests.models.tiny import MANY, tiny_clip_spec, tiny_spec

FILES = {"dnerv": "d-nerv", "dnerv_nerv": "d-nerv-baseline"}
SIZED = {"D-NeRV": "d-nerv", "NeRV": "d-nerv-baseline"}
PATCHES = {"lengths": (600, 300), "patch_rows": 4, "patch_columns": 6}


def inputs(spec: Spec, clips: int) -> tuple[Tensor | None, ...]:
    """Random decoder arguments for several clips."""
    templates = spec.decoder_inputs()
    return tuple(None if template is None else torch.rand(clips, *template.shape[1:]) for template in templates)


@pytest.mark.parametrize("file", FILES)
def test_output_equals_the_original(golden: Golden, file: str) -> None:
    tensors, recorded = golden.tensors(file, whole=True), golden.manifest[file]
    model = recorded_clip_model(FILES[file], recorded, tensors)
    assert decoder_parameters(model.architecture, model.spec) == recorded["params"]
    mean, deviation = (torch.tensor(recorded[f"dataset_{name}"]).view(3, 1, 1, 1) for name in ("mean", "std"))
    keyframes = tensors["keyframes"] * deviation + mean  # recorded after normalisation
    with torch.no_grad():
        output = model.decoder(tensors["frame_index"], keyframes, tensors["backward_distance"])
    assert (output.transpose(1, 2) - tensors["output"]).abs().max() <= 1e-5


@pytest.mark.parametrize("model", SIZED)
def test_published_sizes(golden: Golden, model: str) -> None:
    rows = [row for row in golden.clip_sizes if row["model"] == model]
    assert len(rows) >= 3
    for row in rows:
        settings = ModelSettings(name=SIZED[model], strides=(4, 2, 2, 2, 2), fc_dim=row["fc_dim"])
        spec = resolve(settings, 900, 1024, 1920, shape_fields=PATCHES)
        assert spec.padded == (256, 320)
        assert total_parameters(architecture(settings.name), spec) == row["params"], row


@pytest.mark.parametrize("name", MANY)
def test_sizes_are_totals_and_the_formula_is_refused(name: str) -> None:
    entry = architecture(name)
    settings = ModelSettings(name=name, strides=(4, 2, 2, 2, 2), total_m=8.0)
    spec = resolve(settings, 900, 1024, 1920, shape_fields=PATCHES)
    miss = [abs(total_parameters(entry, dataclasses.replace(spec, fc_dim=spec.fc_dim + d)) - 8e6) for d in (-1, 0, 1)]
    assert min(miss) == miss[1]
    settings = ModelSettings(name=name, strides=(4, 2), modelsize_m=8.0)
    with pytest.raises(UserError, match="no published size formula; give fc_dim, or total_m, instead of modelsize_m"):
        resolve(settings, 900, 1024, 1920, shape_fields=PATCHES)
    settings = ModelSettings(name=name, strides=(4, 2), fc_dim=8, options={"lengths": 3})
    with pytest.raises(UserError, match="option lengths = 3 is not of type int|has no option 'lengths'"):
        resolve(settings, 900, 1024, 1920, shape_fields=PATCHES)


def test_frame_models_accept_a_width_as_well() -> None:
    assert resolve(ModelSettings(name="nerv", strides=(5, 2), fc_dim=17), 3, 90, 160).fc_dim == 17


@pytest.mark.parametrize("name", MANY)
def test_tensor_shapes_match_the_decoder_in_order(name: str) -> None:
    spec = tiny_clip_spec(name)
    decoder = architecture(name).decoder(spec)
    real = {key: value.shape for key, value in decoder.named_parameters()}
    assert list(tensor_shapes(architecture(name), spec).items()) == list(real.items())
    assert set(decoder.state_dict()) == set(real)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("size", [(1, 1), (17, 31), (8, 8), (1, 40)])
def test_output_is_a_patch_for_every_frame(name: str, size: tuple[int, int]) -> None:
    spec = tiny_clip_spec(name, height=2 * size[0], width=size[1], patch_rows=2)
    with torch.no_grad():
        output = architecture(name).decoder(spec)(*inputs(spec, 2))
    assert tuple(output.shape) == (2, spec.clip_frames, 3, *spec.padded)
    assert ((output >= 0) & (output <= 1)).all()


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_clip_does_not_depend_on_its_batch(name: str, channels_last: bool) -> None:
    spec = tiny_clip_spec(name, fc_dim=8, strides=(3, 2))
    decoder = architecture(name).decoder(spec)
    if channels_last:
        decoder = decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    arguments = inputs(spec, 3)
    with torch.no_grad():
        together = decoder(*arguments)
        apart = [
            decoder(*(None if argument is None else argument[k : k + 1] for argument in arguments)) for k in range(3)
        ]
    # Convolutions may use another algorithm for another number of images.
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-6)


def test_keyframes_can_be_encoded_once_for_several_calls() -> None:
    spec = tiny_clip_spec("d-nerv")
    decoder = architecture("d-nerv").decoder(spec)
    index, keyframes, distance = inputs(spec, 2)
    with torch.no_grad():
        keys = decoder.encode(keyframes)
        assert [tuple(features.shape) for features in keys] == [
            (2, 2, 3, 2, 2), (2, 2, 3, 4, 4), (2, 2, 3, 8, 8)
        ]  # fmt: skip
        assert torch.equal(decoder.decode(index, keys, distance), decoder(index, keyframes, distance))


def test_an_untrained_model_depends_on_every_keyframe_and_parameter() -> None:
    torch.manual_seed(1)
    spec = tiny_clip_spec("d-nerv", fc_dim=8)
    decoder = architecture("d-nerv").decoder(spec)
    index, keyframes, distance = inputs(spec, 1)
    assert keyframes is not None
    keyframes.requires_grad_()
    decoder(index, keyframes, distance).sum().backward()
    assert keyframes.grad is not None
    assert (keyframes.grad.abs().amax(dim=(0, 1, 3, 4)) > 0).all()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_initialisation_is_xavier_where_published_and_default_elsewhere() -> None:
    torch.manual_seed(0)
    spec = tiny_clip_spec("d-nerv", fc_dim=30, encoder_width=24, stem_width=40)
    decoder = architecture("d-nerv").decoder(spec)
    xavier = {f"stages.{stage}.{part}" for stage in (0, 1) for part in ("upsample.conv", "fusion.conv")}
    for name, module in decoder.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        inputs, outputs = module.weight[0].numel(), module.weight.numel() // module.weight.shape[1]
        if name in xavier:
            bound = math.sqrt(6 / (inputs + outputs))
            assert not module.bias.any()
        else:
            bound = 1 / math.sqrt(inputs)
            assert module.bias.any()
            assert module.bias.abs().max() <= bound
        assert module.weight.abs().max() <= bound
        if module.weight.numel() > 500:
            assert module.weight.abs().max() > 0.97 * bound, name
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1), name


def test_the_baseline_has_the_default_initialisation() -> None:
    decoder = architecture("d-nerv-baseline").decoder(tiny_clip_spec("d-nerv-baseline", fc_dim=30))
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias.any()
            assert module.weight.abs().max() <= 1 / math.sqrt(module.weight[0].numel())


@pytest.mark.parametrize("name", MANY)
def test_work_covers_all_patches_of_a_frame(name: str) -> None:
    entry = architecture(name)
    single_patch = tiny_clip_spec(name, height=8, width=12, clip_frames=4)
    six_patches = tiny_clip_spec(name, height=16, width=36, clip_frames=4, patch_rows=2, patch_columns=3)
    one, six = decoding_work(entry, single_patch), decoding_work(entry, six_patches)
    assert decoder_parameters(entry, single_patch) == decoder_parameters(entry, six_patches)
    assert one.peak_bytes == six.peak_bytes
    assert six.macs == pytest.approx(6 * one.macs, abs=6)
    assert six.moved_bytes == pytest.approx(6 * one.moved_bytes, abs=6)
    assert kmac_per_pixel(entry, six_patches) == pytest.approx(kmac_per_pixel(entry, single_patch), rel=1e-2)
    assert six_patches.calls_per_frame == 6 / 4
    assert tiny_spec("nerv").calls_per_frame == 1


def test_a_hand_count_of_multiplications() -> None:
    # Four frames; grid 2×2, one stage: stride 2, width 6; L = 2, stem 3.
    spec = tiny_clip_spec("d-nerv-baseline", height=4, width=4, strides=(2,), clip_frames=4, lengths=(4,))
    stem = 4 * 3 + 3 * (2 * 2 * 3)
    upsample = 2 * 2 * 9 * 3 * (6 * 4)
    head = 4 * 4 * 9 * 6 * 3
    entry = architecture("d-nerv-baseline")
    assert decoding_work(entry, spec).macs == stem + upsample + head


def test_the_list_of_multi_video_models_matches_their_specs() -> None:
    assert {name for name in model_names() if architecture(name).multi_video} == set(MODELS_OF_MANY)
    assert {name: tiny_clip_spec(name).uses_keyframes for name in MODELS_OF_MANY} == dict(MODELS_OF_MANY)
