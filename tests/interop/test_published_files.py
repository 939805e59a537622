"""Checkpoints and compressed videos of the published programs, in and out."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from boostnerv import steps
from boostnerv.codec.decoder import to_uint8
from boostnerv.config import FinetuneJob, Finetuning, PostTraining
from boostnerv.errors import UserError
from boostnerv.host.machine import Host
from boostnerv.interop.arguments import Arguments
from boostnerv.interop.boosting_nerv import from_original, to_original
from boostnerv.interop.published_files import read_file
from boostnerv.models.architecture import VideoModel, crop_to_video, frame_time
from boostnerv.training import checkpoint
from boostnerv.video.frames import manifest_path, write_frames
from tests.conftest import Golden
from tests.golden.models import images
from tests.golden.subset import reduce_output
from tests.interop.published import (
    FILES,
    FRAMES,
    HEIGHT,
    WIDTH,
    namespace,
    quantized,
    recorded,
    value_of,
    write_arguments,
    write_training,
)
from tests.models.tiny import PUBLISHED, tiny_model
from tests.training.test_checkpoint import about

Refused = Callable[..., str]
TINY: dict[str, Any] = {"strides": (2, 2), "height": 5, "width": 6, "frames": 3, "options": {"lower_width": "2"}}
TINY_FLAGS = ["--strides", "2,2", "--height", 5, "--width", 6, "--frames", 3, "--option", "lower_width=2"]
FLAGS = ["--strides", "5,2,2", "--height", HEIGHT, "--width", WIDTH, "--frames", FRAMES]


# --- training checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_gives_the_recorded_output(golden: Golden, tmp_path: Path, name: str, prefix: str) -> None:
    tensors, weights = recorded(golden, name)
    write_arguments(tmp_path, namespace(golden, name))
    file, output = write_training(tmp_path / "model_latest.pth", weights, prefix), tmp_path / "x.safetensors"
    found = steps.import_checkpoint(file, output)
    assert (found["model"], found["epoch"], found["quantiser_tensors_left_out"]) == (name, 300, 0)

    described, model = checkpoint.restore_any(output)
    assert isinstance(described, checkpoint.Imported)
    assert described.epoch == 300
    assert (model.spec.frames, model.spec.height, model.spec.width) == (FRAMES, HEIGHT, WIDTH)
    with torch.no_grad():
        made = model(tensors["norm_idx"], images(tensors["frames"]) if model.encoder else None)
    compared = reduce_output(made) if golden.reduced else made
    assert (compared - tensors["output"]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", FILES)
def test_import_then_export_gives_the_same_tensors(golden: Golden, tmp_path: Path, name: str) -> None:
    _, weights = recorded(golden, name)
    file, imported, output = (tmp_path / each for each in ("a.pth", "b.safetensors", "c.pth"))
    # Without arguments beside it: the width and all other sizes of layers come from the tensors.
    steps.import_checkpoint(
        write_training(file, weights),
        imported,
        Arguments(model=name, strides=(5, 2, 2), height=HEIGHT, width=WIDTH, frames=2),
    )
    assert steps.export_checkpoint(imported, output)["epoch"] == 300
    content = torch.load(output, weights_only=True)
    assert content["epoch"] == 300
    assert {key: value.shape for key, value in content["state_dict"].items()} == {
        key: value.shape for key, value in weights.items()
    }
    assert all(torch.equal(content["state_dict"][key], value) for key, value in weights.items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_export_then_import_gives_the_same_checkpoint(tmp_path: Path, name: str) -> None:
    mine, file, back = (tmp_path / each for each in ("a.safetensors", "b.pth", "c.safetensors"))
    checkpoint.save(mine, about(name), tiny_model(name))
    exported = steps.export_checkpoint(mine, file)
    steps.import_checkpoint(file, back, Arguments(model=name, **TINY))
    described, _ = checkpoint.load_any(back)
    assert described.make_spec() == about(name).make_spec()
    assert exported["epoch"] == about(name).train.training.epochs
    first, second = load_file(mine), load_file(back)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_equal_checkpoints_are_exported_as_equal_bytes(tmp_path: Path) -> None:
    mine = tmp_path / "a.safetensors"
    checkpoint.save(mine, about("nerv"), tiny_model("nerv"))
    for name in ("b.pth", "other.pth"):
        steps.export_checkpoint(mine, tmp_path / name)
    assert (tmp_path / "b.pth").read_bytes() == (tmp_path / "other.pth").read_bytes()


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"module.module.{name}",
        # A part of the network that was compiled by itself.
        lambda name: name.replace("decoder.", "decoder._orig_mod.", 1),
    ],
)
def test_prefixes_in_any_order(tmp_path: Path, renamed: Callable[[str], str]) -> None:
    weights = to_original(tiny_model("hnerv-boost"))
    file = write_training(tmp_path / "a.pth", {renamed(name): value for name, value in weights.items()})
    found = read_file(file)
    assert found.tensors.keys() == weights.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("wrapped", "epoch"),
    [
        (lambda weights: weights, None),
        (OrderedDict, None),
        (lambda weights: {"model": weights}, None),
        (lambda weights: {"model_state_dict": weights, "epoch": 7, "optimizer": {"state": {}}}, 7),
        (lambda weights: {"net": weights, "args": {"lr": 0.1}, "epoch": "last"}, None),
        (lambda weights: {"state_dict": weights, "ema": weights, "epoch": 3}, 3),
    ],
)
def test_weights_in_any_wrapping(
    tmp_path: Path, wrapped: Callable[[dict[str, Tensor]], dict[str, Any]], epoch: int | None
) -> None:
    weights, file, output = to_original(tiny_model("nerv")), tmp_path / "a.pth", tmp_path / "b.safetensors"
    torch.save(wrapped(weights), file)
    assert steps.import_checkpoint(file, output, Arguments(model="nerv", **TINY))["epoch"] == epoch
    _, model = checkpoint.restore_any(output)
    assert all(torch.equal(to_original(model)[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"model": {"x": torch.zeros(1)}, "ema": {"x": torch.zeros(1)}},
            "holds weights under 'model', 'ema', and does not say which are meant; save one of them",
        ),
        (
            {"module.x": torch.zeros(1), "x": torch.zeros(1)},
            "has two tensors called x, with and without a prefix; leave one out",
        ),
        ({"model": {}}, "is neither a checkpoint (with a state_dict) nor a compressed video"),
        ({"epoch": 3, "optimizer": {"lr": 0.1}}, "is neither a checkpoint (with a state_dict) nor a compressed video"),
    ],
)
def test_weights_that_could_be_others(tmp_path: Path, refused: Refused, content: dict[str, Any], sentence: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert sentence in refused(
        "import", tmp_path / "a.pth", "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.safetensors"
    )


@pytest.mark.parametrize("choice", [{"stage_blocks": (1, 2)}, {"kernel_limit": 5}])
def test_what_no_file_can_hold_is_said_before_it_is_fine_tuned_or_coded(tmp_path: Path, choice: dict[str, Any]) -> None:
    imported, model = tmp_path / "b.safetensors", tiny_model("hnerv-boost", **choice)
    spec = checkpoint.spec_fields(model.spec)
    checkpoint.save(imported, about("hnerv-boost").model_copy(update={"spec": spec}), model)
    pixels = np.zeros((3, 5, 6, 3), dtype=np.uint8)
    write_frames(pixels, tmp_path / "f.npy", dataset="own", video="clip", fps=25)
    frames, out = manifest_path(tmp_path / "f.npy"), tmp_path / "out"
    job = FinetuneJob(finetuning=Finetuning(epochs=1, loss={"l1": 1.0}))
    sentence = f"has {next(iter(choice))} = .* which format version 1 of .bnv files does not store"
    with pytest.raises(UserError, match=sentence):
        written = {"model": out, "log": tmp_path / "log", "state": tmp_path / "state"}
        steps.finetune(steps.TrainFiles(frames=frames, trained=imported, **written), job, Host("cpu", threads=1))
    with pytest.raises(UserError, match=sentence):
        coding = steps.CodingFiles(frames=frames, model=imported, output=out, report=tmp_path / "report")
        steps.encode_after_training(coding, PostTraining(), threads=1)
    assert not out.exists()
    # Its pictures, its export and its way back are those of the model.
    steps.export_checkpoint(imported, tmp_path / "c.pth")
    assert torch.load(tmp_path / "c.pth", weights_only=True)["state_dict"].keys() == to_original(model).keys()


def test_quantisers_of_a_fine_tuned_checkpoint_are_left_out(tmp_path: Path) -> None:
    weights = to_original(tiny_model("hnerv-boost"))
    learned = {"head_layer.weight_quantizer.scale": torch.ones(1), "embed_quantizer.beta": torch.ones(1)}
    file = write_training(tmp_path / "a.pth", weights | learned)
    found = steps.import_checkpoint(file, tmp_path / "b.safetensors", Arguments(model="hnerv-boost", **TINY))
    assert found["quantiser_tensors_left_out"] == 2


def test_other_steps_say_that_they_need_a_training_of_ours(tmp_path: Path) -> None:
    file, output = write_training(tmp_path / "a.pth", to_original(tiny_model("nerv"))), tmp_path / "b.safetensors"
    steps.import_checkpoint(file, output, Arguments(model="nerv", **TINY))
    for use in (checkpoint.load, checkpoint.restore, checkpoint.restore_quantized):
        with pytest.raises(UserError, match="is imported: its frames and training are not known"):
            use(output)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_imported_checkpoint_becomes_a_file(tmp_path: Path, name: str) -> None:
    imported = tmp_path / "b.safetensors"
    steps.import_checkpoint(
        write_training(tmp_path / "a.pth", to_original(tiny_model(name))), imported, Arguments(model=name, **TINY)
    )
    spec = tiny_model(name).spec
    noise = np.random.default_rng(0)

    def frames(count: int) -> Path:
        pixels = noise.integers(0, 256, (count, spec.height, spec.width, 3), dtype=np.uint8)
        write_frames(pixels, tmp_path / f"{count}.npy", dataset="own", video="clip", fps=25)
        return manifest_path(tmp_path / f"{count}.npy")

    def finetune(manifest: Path) -> Path:
        job = FinetuneJob(finetuning=Finetuning(epochs=1, loss={"l1": 1.0}))
        output, log = tmp_path / "c.safetensors", tmp_path / "c.jsonl"
        written = {"model": output, "log": log, "state": tmp_path / "state"}
        steps.finetune(steps.TrainFiles(frames=manifest, trained=imported, **written), job, Host("cpu", threads=1))
        return output

    with pytest.raises(UserError, match=rf"is of {spec.frames} frames of .* has {spec.frames + 1} of"):
        finetune(frames(spec.frames + 1))
    manifest = frames(spec.frames)
    report = steps.encode(
        steps.CodingFiles(
            frames=manifest, model=finetune(manifest), output=tmp_path / "x.bnv", report=tmp_path / "x.json"
        ),
        threads=1,
    )
    decoded = steps.decode(
        steps.DecodingFiles(file=tmp_path / "x.bnv", output=tmp_path / "x.npy"),
        steps.DecodingChoice(),
        Host("cpu", threads=1),
    )
    assert decoded["decoded_sha256"] == report["decoded_sha256"]
    assert np.load(tmp_path / "x.npy").shape == (spec.frames, spec.height, spec.width, 3)


# --- compressed videos ------------------------------------------------------------------------------------------


def compressed(
    path: Path, weights: dict[str, Tensor], embeddings: Tensor | None, axis: int | None, kind: torch.dtype
) -> dict[str, Any]:
    """Write a compressed video of decoder weights (original names); returns its content."""
    named = {name: value for name, value in weights.items() if not name.startswith("encoder.")}
    content = {
        "embed": None if embeddings is None else quantized(embeddings, None if axis is None else 0, kind),
        "model": {name: quantized(value, axis, kind) for name, value in named.items()},
    }
    torch.save(content, path)
    return content


@torch.no_grad()
def direct(model: VideoModel, content: dict[str, Any], embeddings: Tensor | None) -> np.ndarray:
    """Frames of `model` with the dequantised weights, one at a time."""
    decoder = {name: value_of(entry) for name, entry in content["model"].items()}
    kept = {name: value for name, value in to_original(model).items() if name.startswith("encoder.")}
    model.load_state_dict(from_original(model, decoder | kept))
    frames = []
    for index in range(model.spec.frames):
        embedding = None if embeddings is None else embeddings[index : index + 1]
        made = model.decoder(frame_time(torch.tensor([index]), model.spec.frames), embedding)
        frames.append(to_uint8(crop_to_video(made, model.spec))[0])
    return np.stack(frames)


RANGES = pytest.mark.parametrize(
    ("axis", "kind"), [(None, torch.float32), (None, torch.float16), (0, torch.float16), (1, torch.float16)]
)


@RANGES
@pytest.mark.parametrize("name", ["hnerv", "hnerv-boost"])
def test_a_compressed_video_gives_the_frames_of_its_values(
    golden: Golden, tmp_path: Path, name: str, axis: int | None, kind: torch.dtype
) -> None:
    tensors, weights = recorded(golden, name)
    file, output, plain = tmp_path / "quant_vid.pth", tmp_path / "x.npy", tmp_path / "plain.safetensors"
    write_arguments(tmp_path, namespace(golden, name, full_data_length=1))
    steps.import_checkpoint(write_training(tmp_path / "a.pth", weights), plain)
    _, model = checkpoint.restore_any(plain)
    with torch.no_grad():
        embeddings = model.embed(images(tensors["frames"][:1]))
    assert embeddings is not None
    content = compressed(file, weights, torch.cat([embeddings]), axis, kind)
    steps.import_checkpoint(file, output)
    found = np.load(output)
    assert found.shape == (1, HEIGHT, WIDTH, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, direct(model, content, value_of(content["embed"])))


@RANGES
@pytest.mark.parametrize("name", PUBLISHED)
def test_compressed_videos_of_every_model(tmp_path: Path, name: str, axis: int | None, kind: torch.dtype) -> None:
    model = tiny_model(name)
    shape = model.spec.embedding_shape
    embeddings = None if shape is None else torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    content = compressed(tmp_path / "a.pth", to_original(model), embeddings, axis, kind)
    found = steps.import_checkpoint(tmp_path / "a.pth", tmp_path / "b.npy", Arguments(model=name, **TINY))
    assert found["spec"]["fc_dim"] == model.spec.fc_dim
    stored = None if shape is None else value_of(content["embed"])
    assert np.array_equal(np.load(tmp_path / "b.npy"), direct(model, content, stored))


def test_stored_positional_encodings_are_used(tmp_path: Path) -> None:
    model = tiny_model("nerv")
    encoded = torch.randn(3, 4, 1, 1, generator=torch.Generator().manual_seed(1))
    content = compressed(tmp_path / "a.pth", to_original(model), encoded, None, torch.float32)
    steps.import_checkpoint(tmp_path / "a.pth", tmp_path / "b.npy", Arguments(model="nerv", **TINY))
    stored = iter(value_of(content["embed"]).flatten(1))
    model.decoder.get_submodule("encoding").register_forward_hook(lambda *_: next(stored)[None])
    assert np.array_equal(np.load(tmp_path / "b.npy"), direct(model, content, None))


def test_embeddings_say_frames_and_size(tmp_path: Path) -> None:
    model = tiny_model("hnerv", height=8, width=12)
    compressed(tmp_path / "a.pth", to_original(model), torch.randn(3, 2, 2, 3), None, torch.float32)
    steps.import_checkpoint(
        tmp_path / "a.pth", tmp_path / "b.npy", Arguments(model="hnerv", strides=(2, 2), options={"lower_width": "2"})
    )
    assert np.load(tmp_path / "b.npy").shape == (3, 8, 12, 3)


# --- what is refused --------------------------------------------------------------------------------------------


class Hostile:
    """Runs a command where a pickle of it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["archive", "legacy", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, refused: Refused, how: str) -> None:
    marker, file = tmp_path / "ran", tmp_path / "a.pth"
    content = {"state_dict": {}, "epoch": Hostile(marker)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        file.write_bytes(saved(content, _use_new_zipfile_serialization=how == "archive"))
    sentence = refused("import", file, "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.safetensors")
    assert "could run code, and was not loaded" in sentence or how == "pickle"
    assert not marker.exists()
    # The test is one: loaded without care it does run.
    torch.load(file, weights_only=False) if how != "pickle" else pickle.loads(file.read_bytes())
    assert marker.exists()


def good() -> bytes:
    return saved({"epoch": 1, "state_dict": to_original(tiny_model("nerv"))})


@pytest.mark.parametrize("kept", [0, 1, 10, 200, 0.5, 0.999])
def test_a_file_that_is_cut_off(tmp_path: Path, refused: Refused, kept: float) -> None:
    data = good()
    (tmp_path / "a.pth").write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    sentence = refused("import", tmp_path / "a.pth", "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.safetensors")
    assert "is damaged, cut off or no PyTorch file; get it again" in sentence


@pytest.mark.parametrize("data", [b"no such thing", b"\x93NUMPY" + bytes(99), b"PK\x03\x04" + bytes(99), b"\x80\x02"])
def test_a_file_of_another_kind(tmp_path: Path, refused: Refused, data: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(data)
    sentence = refused("import", tmp_path / "a.pth", "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.safetensors")
    assert "no PyTorch file" in sentence


def test_damaged_files_never_end_in_another_error(tmp_path: Path) -> None:
    data, file = good(), tmp_path / "a.pth"
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] ^= 1 << int(random.integers(8))
        file.write_bytes(damaged)
        with contextlib.suppress(UserError):
            steps.import_checkpoint(file, tmp_path / "b.safetensors", Arguments(model="nerv", **TINY))


def test_no_file(tmp_path: Path, refused: Refused) -> None:
    assert "does not exist" in refused("import", tmp_path / "none.pth", output=tmp_path / "b.safetensors")
    assert "cannot be read: Is a directory" in refused("import", tmp_path, output=tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "neither a checkpoint"),
        ({"weights": {}}, "neither a checkpoint"),
        ({"state_dict": {"x": 1}}, "x is no plain tensor"),
        ({"state_dict": {3: torch.zeros(1)}}, "a tensor called 3"),
        ({"state_dict": {"x": torch.zeros(1).expand(1 << 40)}}, "x claims more numbers than the file has"),
        ({"state_dict": {"x": torch.tensor([torch.nan])}}, "x has numbers that are not finite"),
        ({"state_dict": {"x": torch.zeros(2).to_sparse()}}, "x is no plain tensor"),
        ({"embed": None, "model": {"x": torch.zeros(1)}}, "x is no plain tensor"),
        (
            {"embed": None, "model": {"x": {key: torch.zeros(1) for key in ("quant", "min", "scale")}}},
            "x is not quantised as HNeRV does it",
        ),
        (
            {"embed": {"quant": torch.zeros(2, dtype=torch.uint8), "min": torch.zeros(3), "scale": torch.zeros(())},
             "model": {}},
            "embed is not quantised as HNeRV does it",
        ),
    ],
)  # fmt: skip
def test_contents_that_are_no_weights(tmp_path: Path, refused: Refused, content: Any, sentence: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert sentence in refused(
        "import", tmp_path / "a.pth", "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.safetensors"
    )


def test_another_architecture_shows_three_tensors(golden: Golden, tmp_path: Path, refused: Refused) -> None:
    file = write_training(tmp_path / "a.pth", recorded(golden, "nerv-boost")[1])
    output = tmp_path / "b.safetensors"
    sentence = refused("import", file, "--model", "hnerv-boost", *FLAGS, output=output)
    assert "does not fit hnerv-boost: decoder.condition" in sentence or "is missing; " in sentence
    assert sentence.count(";") == 3
    wider = refused("import", file, "--model", "nerv-boost", "--fc-dim", 9, *FLAGS, output=output)
    assert "decoder.stem.2.weight has shape [1152, 256, 1, 1], the model [1296, 256]" in wider
    other = ["--strides", "5,2,2", "--height", 90, "--width", WIDTH, "--frames", 1]
    assert "check the model, the strides and the sizes" in refused(
        "import", file, "--model", "nerv-boost", *other, output=output
    )
    huge = refused("import", file, "--model", "nerv-boost", "--fc-dim", 1 << 40, *FLAGS, output=output)
    assert "is larger than any network" in huge


def test_missing_arguments_are_named(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.pth").write_bytes(good())
    output = tmp_path / "b.safetensors"
    assert "give --model, or put the args.yaml" in refused("import", tmp_path / "a.pth", output=output)
    sentence = refused("import", tmp_path / "a.pth", "--model", "nerv", "--height", 5, output=output)
    assert "give --strides, --frames, --width, or put the args.yaml of its training beside it" in sentence


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model", "nervv"], "unknown model 'nervv'"),
        (["--model", "nerv", "--option", "lowerwidth=2"], r"did you mean 'lower_width'?"),
        (["--model", "nerv", "--option", "height=2"], "has no option 'height'"),
        (["--model", "nerv", "--option", "lower_width=x"], "lower_width = 'x' is not of type int"),
        (["--model", "nerv", "--option", "lower_width"], "has no '='; write it as KEY=VALUE"),
        (["--model", "nerv", "--strides", "5x2"], "--strides 5x2 is no list of whole numbers"),
        (["--model", "nerv", "--strides", "0"], "must be above zero"),
    ],
)
def test_wrong_flags(tmp_path: Path, refused: Refused, flags: list[str], sentence: str) -> None:
    (tmp_path / "a.pth").write_bytes(good())
    assert sentence in refused("import", tmp_path / "a.pth", *TINY_FLAGS, *flags, output=tmp_path / "b.safetensors")


def test_the_output_says_what_it_will_be(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.pth").write_bytes(good())
    sentence = refused("import", tmp_path / "a.pth", "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.npy")
    assert "the output must end in .safetensors, not '.npy'" in sentence
    compressed(tmp_path / "c.pth", to_original(tiny_model("nerv")), None, None, torch.float32)
    sentence = refused("import", tmp_path / "c.pth", "--model", "nerv", *TINY_FLAGS, output=tmp_path / "b.pth")
    assert "the output must end in .npy, not '.pth'" in sentence


@pytest.mark.parametrize(
    ("name", "shape", "shown"),
    [
        ("hnerv", None, "has no embeddings, hnerv takes [3, 2, 2, 2]"),
        ("hnerv", (4, 2, 2, 2), "has embeddings of shape [4, 2, 2, 2]"),
        ("nerv", (3, 6, 1, 1), "has embeddings of shape [3, 6], nerv takes [3, 4]"),
    ],
)
def test_embeddings_that_do_not_fit(
    tmp_path: Path, refused: Refused, name: str, shape: tuple[int, ...] | None, shown: str
) -> None:
    embeddings = None if shape is None else torch.randn(shape)
    compressed(tmp_path / "a.pth", to_original(tiny_model(name)), embeddings, None, torch.float32)
    assert shown in refused("import", tmp_path / "a.pth", "--model", name, *TINY_FLAGS, output=tmp_path / "b.npy")


def test_exporting_what_is_no_checkpoint(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"text")
    assert "cannot be read" in refused("export", tmp_path / "a.safetensors", output=tmp_path / "b.pth")
    assert "does not exist" in refused("export", tmp_path / "c.safetensors", output=tmp_path / "b.pth")


def test_reading_says_what_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(good())
    assert read_file(tmp_path / "a.pth").tensors.keys() == to_original(tiny_model("nerv")).keys()
