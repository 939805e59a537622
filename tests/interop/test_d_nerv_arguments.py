"""Checkpoints of D-NeRV and its baseline, in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boostnerv import steps
from boostnerv.interop.arguments import Arguments
from boostnerv.interop.boosting_nerv import from_original, original_name, our_name, to_original
from boostnerv.interop.d_nerv_arguments import clip_fields
from boostnerv.models.architecture import VideoModel, architecture, tensor_shapes
from boostnerv.models.clips import ClipSpec
from boostnerv.training import checkpoint
from tests.conftest import Golden
from tests.golden.models import with_prefix
from tests.interop.published import write_training
from tests.models.test_clip_models import FILES
from tests.models.tiny import MANY, tiny_clip_spec

Refused = Callable[..., str]
UVG_LENGTHS = (600, 600, 600, 600, 600, 300, 600)  # ShakeNDry is the shorter one


def tiny_original(name: str, **choices: Any) -> tuple[VideoModel, dict[str, Tensor]]:
    model = VideoModel(architecture(name), tiny_clip_spec(name, **choices))
    return model, to_original(model)


def shapes(name: str, fc_dim: int) -> dict[str, torch.Size]:
    """Shapes of a published model."""
    entry = architecture(name)
    spec = entry.spec(frames=8, height=256, width=320, strides=(4, 2, 2, 2, 2), fc_dim=fc_dim, lengths=(8,))
    return {f"decoder.{key}": shape for key, shape in tensor_shapes(entry, spec).items()}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_gives_the_recorded_output(golden: Golden, tmp_path: Path, file: str, prefix: str) -> None:
    tensors, name = golden.tensors(file, whole=True), FILES[file]
    weights = with_prefix(tensors, "param.")
    path, output, back = tmp_path / "D-NeRV.pth", tmp_path / "x.safetensors", tmp_path / "y.pth"
    write_training(path, weights, prefix)
    found = steps.import_checkpoint(
        path, output, Arguments(model=name, height=64, width=80, frames=16, dataset="uvg",
        options={"patch_rows": "1", "patch_columns": "1"},
    ))  # fmt: skip
    assert (found["spec"]["fc_dim"], found["spec"]["strides"], found["spec"]["lengths"]) == (16, [4, 2, 2], [16])
    _, model = checkpoint.restore_any(output)
    assert isinstance(model.spec, ClipSpec)
    keyframes = tensors["keyframes"]
    mean, deviation = (torch.tensor(e4).view(3, 1, 1, 1) / 1e4 for e4 in (model.spec.mean_e4, model.spec.deviation_e4))
    with torch.no_grad():
        made = model.decoder(tensors["frame_index"], keyframes * deviation + mean, tensors["backward_distance"])
    assert (made.transpose(1, 2) - tensors["output"]).abs().max() <= 1e-5

    steps.export_checkpoint(output, back)
    exported = torch.load(back, weights_only=True)["state_dict"]
    assert {key: value.shape for key, value in exported.items()} == {key: v.shape for key, v in weights.items()}
    assert all(torch.equal(exported[key], value) for key, value in weights.items())


@pytest.mark.parametrize("name", MANY)
def test_names_and_tensors_lead_back(name: str) -> None:
    model, original = tiny_original(name)
    for ours in model.state_dict():
        assert our_name(name, original_name(name, ours)) == ours
    back = from_original(model, original)
    assert all(torch.equal(back[key], value) for key, value in model.state_dict().items())


def test_shapes_are_those_of_the_original() -> None:
    _, keyed = tiny_original("d-nerv")
    assert keyed["decoder_list.0.conv.weight"].shape == (24, 6, 1, 3, 3)
    assert keyed["decoder_list.0.tfc.weight"].shape == (18, 3, 1, 1)
    assert keyed["flow_pred_list.2.conv.0.weight"].shape == (1, 3, 1, 1, 1)
    assert keyed["stem.mlp.0.weight"].shape == (3, 4, 1)
    _, plain = tiny_original("d-nerv-baseline")
    assert plain["layers.0.conv.weight"].shape == (24, 3, 3, 3)
    assert plain["stem.mlp.2.weight"].shape == (12, 3, 1)


@pytest.mark.parametrize("name", MANY)
def test_export_then_import_gives_the_same_model(tmp_path: Path, name: str) -> None:
    # Every width is read; the rest is said.
    model, original = tiny_original(name, strides=(3, 2), height=10, width=13, patch_rows=2)
    path, output = write_training(tmp_path / "a.pth", original), tmp_path / "b.safetensors"
    options = {"lower_width": "2", "patch_rows": "2", "patch_columns": "1", "clip_frames": "3"}
    steps.import_checkpoint(
        path, output, Arguments(model=name, height=10, width=13, lengths=(5, 3), dataset="uvg", options=options)
    )
    _, back = checkpoint.restore_any(output)
    colours = {"mean_e4": (4519, 4505, 4519), "deviation_e4": (2434, 2547, 2958)}
    assert back.spec == dataclasses.replace(model.spec, **colours)
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize(
    ("fc_dim", "choices"),
    [
        (3, {"expansion": 7 / 3, "lower_width": 2}),
        (3, {"expansion": 0.7, "lower_width": 4}),
        (9, {"expansion": 1.0, "lower_width": 1}),
        (16, {"expansion": 3.5, "lower_width": 50}),
    ],
)
def test_widths_of_stages_are_read(name: str, fc_dim: int, choices: dict[str, float]) -> None:
    entry = architecture(name)
    spec: Any = tiny_clip_spec(name, fc_dim=fc_dim, strides=(2, 2, 2), **choices)
    read = {f"decoder.{key}": shape for key, shape in tensor_shapes(entry, spec).items()}
    said = {"lengths": (5, 3), "height": 5, "width": 6, "mean_e4": (1, 1, 1), "deviation_e4": (1, 1, 1)}
    found: Any = entry.spec(**clip_fields(Path("a"), name, read, size=None, dataset=None, fields=said))
    assert (found.fc_dim, found.widths) == (spec.fc_dim, spec.widths)
    assert tensor_shapes(entry, found) == tensor_shapes(entry, spec)


def test_a_published_width_says_the_data_set() -> None:
    found = clip_fields(Path("a"), "d-nerv", shapes("d-nerv", 213), size=None, dataset=None, fields={})
    assert (found["lengths"], found["frames"]) == (UVG_LENGTHS, 3900)
    assert (found["height"], found["width"], found["patch_rows"], found["patch_columns"]) == (1024, 1920, 4, 6)
    assert found["mean_e4"] == (4519, 4505, 4519)
    assert found["strides"] == (4, 2, 2, 2, 2)
    spec = architecture("d-nerv").spec(**found)
    assert spec.padded == (256, 320)
    assert [f"decoder.{key}" for key in tensor_shapes(architecture("d-nerv"), spec)] == list(shapes("d-nerv", 213))

    ucf = clip_fields(Path("a"), "d-nerv", shapes("d-nerv", 281), size="M", dataset=None, fields={"lengths": (9, 30)})
    assert (ucf["mean_e4"], ucf["frames"], ucf["height"], ucf["width"]) == ((3986, 3829, 3546), 39, 256, 320)
    plain = clip_fields(
        Path("a"), "d-nerv-baseline", shapes("d-nerv-baseline", 465), size="S", dataset=None, fields={"frames": 7}
    )
    assert (plain["lengths"], plain["height"], plain["levels"]) == ((7,), 256, 240)


def test_every_published_width_is_known(golden: Golden) -> None:
    names = {"D-NeRV": "d-nerv", "NeRV": "d-nerv-baseline"}
    for row in golden.clip_sizes:
        name, dataset = names[row["model"]], {"ucf101": "ucf101-train"}.get(row["dataset"], row["dataset"])
        read = shapes(name, row["fc_dim"])
        for said in (None, dataset):
            found = clip_fields(Path("a"), name, read, size=row["size"], dataset=said, fields={"frames": 9})
            assert found["fc_dim"] == row["fc_dim"]
            assert found["height"] == (1024 if dataset == "uvg" else 256)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--size", "M"], "has width 3, but that of d-nerv at size M is 213 on uvg and 281 on ucf101-train; correct"),
        (["--size", "XS", "--dataset", "ucf101-train"], "has width 3, but that of d-nerv at size XS is not known"),
        (["--dataset", "uvgg"], "unknown data set 'uvgg' of D-NeRV: did you mean 'uvg'?"),
        ([], "give --height, --width, --lengths, --dataset (uvg or ucf101-train), whose colours"),
        (["--dataset", "ucf101-train"], "does not say all of its architecture: give --lengths"),
        (["--dataset", "uvg", "--frames", 7, "--lengths", "3,3"], "lengths adds up to 6 frames, not to 7"),
        (["--lengths", "a"], "--lengths a is no list of whole numbers"),
        (["--dataset", "uvg"], "does not fit d-nerv: decoder.stem.mlp.2.weight has shape [12, 3, 1]"),
        (["--dataset", "uvg", "--option", "mean_e4=3"], "has no option 'mean_e4'"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, refused: Refused, flags: list[object], sentence: str) -> None:
    path = write_training(tmp_path / "a.pth", tiny_original("d-nerv")[1])
    assert sentence in refused("import", path, "--model", "d-nerv", *flags, output=tmp_path / "b.safetensors")


def test_flags_of_d_nerv_are_not_for_other_models(tmp_path: Path, refused: Refused) -> None:
    path = write_training(tmp_path / "a.pth", tiny_original("d-nerv")[1])
    sentence = refused("import", path, "--model", "nerv", "--size", "M", output=tmp_path / "b.safetensors")
    assert "--lengths, --size and --dataset are of models of many videos, not of nerv; leave them out" in sentence


def test_there_are_no_compressed_videos_of_d_nerv(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.pth"
    torch.save({"embed": None, "model": {}}, path)
    flags = ["--dataset", "uvg", "--strides", "4,2"]
    sentence = refused("import", path, "--model", "d-nerv", *flags, output=tmp_path / "b.npy")
    assert "is a compressed video of HNeRV, d-nerv has none" in sentence


def test_a_damaged_checkpoint_has_a_sentence(tmp_path: Path, refused: Refused) -> None:
    _, original = tiny_original("d-nerv")
    original["stem.mlp.0.weight"] = torch.zeros(3)
    original["decoder_list.1.conv.weight"] = torch.zeros(())
    del original["rgb_head_layer.conv.0.weight"]
    path = write_training(tmp_path / "a.pth", original)
    flags = ["--dataset", "uvg", "--height", 5, "--width", 6, "--frames", 8, "--strides", "2,2"]
    options = ["--option", "patch_rows=1", "--option", "patch_columns=1"]
    sentence = refused("import", path, "--model", "d-nerv", *flags, *options, output=tmp_path / "b.safetensors")
    assert "decoder.head.0.weight is missing" in sentence
