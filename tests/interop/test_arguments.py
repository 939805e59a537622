"""What is known of an architecture: flags, then args.yaml, then tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boostnerv.errors import UserError
from boostnerv.interop.arguments import Arguments, from_namespace, make_spec, read_arguments
from boostnerv.interop.boosting_nerv import to_original
from tests.conftest import Golden
from tests.interop.published import FILES, namespace, write_arguments
from tests.models.tiny import tiny_model


@pytest.mark.parametrize("name", FILES)
def test_recorded_arguments_are_understood(golden: Golden, name: str) -> None:
    found = from_namespace(namespace(golden, name), "args.yaml")
    given = golden.manifest[FILES[name]]["reference_args"]
    assert (found.model, found.strides, found.fc_dim) == (name, (5, 2, 2), given["fc_dim"])
    assert (found.height, found.width, found.frames) == (180, 320, 132)
    assert found.grid == (None if name.startswith("hnerv") else (9, 16))
    assert (found.options["reduce"], found.options["lower_width"]) == (given["reduce"], 12)
    assert ("base" in found.options) == bool(given["embed"])


def test_the_arguments_of_hnerv_have_no_model() -> None:
    """Its program knows one network, and NeRV as that network with a positional encoding."""
    assert from_namespace({"embed": ""}, "x").model == "hnerv"
    assert from_namespace({"embed": "pe_1.25_80"}, "x").model == "nerv"
    assert from_namespace({"lr": 1}, "x").model is None


@pytest.mark.parametrize(
    ("crop", "resize", "size"),
    [
        ("640_1280", "-1", (640, 1280)),
        ("720_1280_last", "360_640", (720, 1280)),
        ("720_1280", "360_640", (360, 640)),
        ("-1", "360_640", (360, 640)),
        ("-1", "-1", (None, None)),
        ("-1", "360", (None, None)),
    ],
)
def test_frame_size(crop: str, resize: str, size: tuple[int, int]) -> None:
    found = from_namespace({"crop_list": crop, "resize_list": resize}, "x")
    assert (found.height, found.width) == size


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "DNeRV"}, "model = 'DNeRV' is not understood"),
        ({"ks": "0_3"}, "ks = '0_3' is not understood"),
        ({"dec_strds": "5,2", "enc_strds": []}, "dec_strds = '5,2' is not understood"),
        ({"crop_list": "big"}, "crop_list = 'big' is not understood"),
        ({"embed": "pe"}, "embed = 'pe' is not understood"),
        ({"act": "relu"}, "act = 'relu' is not what hnerv-boost does here (sin)"),
        ({"norm": "in"}, "norm = 'in' is not what"),
        ({"out_bias": "0.5"}, "out_bias = '0.5' is not what"),
        ({"lfreq": "2"}, "lfreq = '2' is not what"),
        ({"enc_strds": [5, 4]}, "enc_strds = [5, 4] differ from dec_strds = [5, 2, 2]"),
    ],
)
def test_arguments_that_cannot_be_followed(golden: Golden, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        from_namespace(namespace(golden, "hnerv-boost", **changes), "here/args.yaml")
    assert str(caught.value).startswith("here/args.yaml: ")
    assert sentence in str(caught.value)


def test_flags_win_over_the_file_and_the_file_over_tensors(tmp_path: Path) -> None:
    file, tensors = tmp_path / "a.pth", to_original(tiny_model("nerv-boost"))
    given = {"model": "NeRV_Boost", "dec_strds": [2, 2], "crop_list": "5_6", "full_data_length": 3, "lower_width": 2}
    write_arguments(tmp_path, given)
    assert make_spec(file, Arguments(), tensors)[1] == tiny_model("nerv-boost").spec
    write_arguments(tmp_path, given | {"fc_dim": 7, "fc_hw": "9_9"})
    assert make_spec(file, Arguments(), tensors)[1].fc_dim == 7
    flags = Arguments(fc_dim=8, height=9, options={"stem_width": "5", "lower_width": "4"})
    _, spec = make_spec(file, flags, tensors)
    assert (spec.fc_dim, spec.height, spec.width) == (8, 9, 6)
    assert (getattr(spec, "stem_width"), getattr(spec, "lower_width")) == (5, 4)  # noqa: B009  (of its class)


def test_the_grid_stands_in_for_the_size(tmp_path: Path) -> None:
    write_arguments(tmp_path, {"model": "NeRV_Boost", "dec_strds": [2, 2], "fc_hw": "2_3", "full_data_length": 3})
    _, spec = make_spec(tmp_path / "a.pth", Arguments(), to_original(tiny_model("nerv-boost")))
    assert (spec.height, spec.width) == (8, 12)


def test_a_file_of_arguments_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(UserError, match=r"args\.yaml is not valid YAML"):
        read_arguments(tmp_path / "a.pth")
    assert read_arguments(tmp_path / "other" / "a.pth") == Arguments()
