from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from boostnerv.errors import UserError
from boostnerv.training import checkpoint
from boostnerv.training.checkpoint import About, spec_fields
from tests.models.tiny import ALL, tiny_model
from tests.test_files import small_disk
from tests.training.conftest import train_job


def about(name: str) -> About:
    return About(
        kind="trained",
        architecture=name,
        spec=spec_fields(tiny_model(name).spec),
        frames_sha256="0" * 64,
        fps=25.0,
        colour="ffmpeg-default",
        train=train_job(name),
    )


@pytest.fixture(params=ALL)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, about(request.param), tiny_model(request.param))
    return path


def rewritten(path: Path, **changes: object) -> Path:
    """The same tensors under changed metadata."""
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()["boostnerv"])
    save_file(load_file(path), path, metadata={"boostnerv": json.dumps(described | changes)})
    return path


def test_a_checkpoint_explains_itself(saved: Path) -> None:
    found, model = checkpoint.restore(saved)
    assert found == about(found.architecture)
    assert found.make_spec() == tiny_model(found.architecture).spec
    original = tiny_model(found.architecture).state_dict()
    assert all(torch.equal(value, original[key]) for key, value in model.state_dict().items())


def test_choices_that_files_do_not_store_stand_in_it_where_they_are_made(tmp_path: Path) -> None:
    other = tiny_model("hnerv-boost", stage_blocks=(2, 1), encoder_blocks=2)
    plain = spec_fields(tiny_model("hnerv-boost").spec)
    assert not set(plain) & {"stage_blocks", "encoder_blocks", "kernel_limit"}
    assert spec_fields(other.spec) == plain | {"stage_blocks": [2, 1], "encoder_blocks": 2}
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, about("hnerv-boost").model_copy(update={"spec": spec_fields(other.spec)}), other)
    _, model = checkpoint.restore(path)
    assert model.spec == other.spec
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


def test_nothing_in_it_depends_on_where_and_when(saved: Path, tmp_path: Path) -> None:
    name = checkpoint.load(saved)[0].architecture
    model = tiny_model(name).to(memory_format=torch.channels_last)
    checkpoint.save(tmp_path / "again.safetensors", about(name), model)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_files_that_are_no_checkpoints(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="does not exist; train the model first, or check the path"):
        checkpoint.load(path)
    for data in (b"", b"text", saved.read_bytes()[:-1], saved.read_bytes()[:100]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"cannot be read .*; delete it and train again"):
            checkpoint.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="was not written by boostnerv"):
        checkpoint.load(path)


def test_a_checkpoint_that_is_not_fine_tuned(saved: Path) -> None:
    with pytest.raises(UserError, match="is not fine-tuned; run `boostnerv finetune` on it first"):
        checkpoint.restore_quantized(saved)


def test_metadata_of_another_version(saved: Path) -> None:
    with pytest.raises(UserError, match="unknown key 'extra'"):
        checkpoint.load(rewritten(saved, extra=1))


def test_a_model_of_another_version(saved: Path) -> None:
    name = checkpoint.load(saved)[0].architecture
    wider = spec_fields(tiny_model(name).spec) | {"fc_dim": 9}
    with pytest.raises(UserError, match=f"does not fit this version of {name} .*; train again"):
        checkpoint.restore(rewritten(saved, spec=wider))


@pytest.mark.parametrize("change", [{"heads": 8}, {"strides": None}])
def test_a_spec_of_another_version(saved: Path, change: dict[str, object]) -> None:
    fields = spec_fields(tiny_model(checkpoint.load(saved)[0].architecture).spec) | change
    fields = {key: value for key, value in fields.items() if value is not None}
    with pytest.raises(UserError, match=r"does not fit this version of .*; train again"):
        checkpoint.restore(rewritten(saved, spec=fields))


def test_a_model_that_is_gone(saved: Path) -> None:
    with pytest.raises(UserError, match=r"unknown model 'hnerv-bost': did you mean 'hnerv-boost'\?"):
        checkpoint.restore(rewritten(saved, architecture="hnerv-bost"))


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    path, model = tmp_path / os.fsdecode(b"caf\xe9.safetensors"), tiny_model("nerv")
    checkpoint.save(path, about("nerv"), model)
    assert checkpoint.read_about(path) == about("nerv")
    _, restored = checkpoint.restore(path)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in restored.state_dict().items())
    with pytest.raises(UserError, match="checkpoint .*other.* does not exist"):
        checkpoint.load(path.with_stem("other"))


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        checkpoint.save(disk / "x.safetensors", about("nerv"), tiny_model("nerv"))
        before = (disk / "x.safetensors").read_bytes()
        (disk / "other").write_bytes(bytes(65536 - 4096 * -(-len(before) // 4096)))
        with pytest.raises(UserError, match=r"no space left on the disk of .* while writing x\.safetensors"):
            checkpoint.save(disk / "x.safetensors", about("nerv"), tiny_model("nerv"))
        assert (disk / "x.safetensors").read_bytes() == before
        assert {path.name for path in disk.iterdir()} == {"x.safetensors", "other"}
