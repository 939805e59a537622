"""Files coded again: the same codes, never more bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from boostnerv.codec.encoder import encode_segment, snap
from boostnerv.codec.repacking import repack
from tests.codec.tiny import file_of, opened, quantized
from tests.conftest import Outcome
from tests.golden.streams import FILES, FOLDER
from tests.models.tiny import ALL, tiny_model


def frames_of(data: bytes, folder: Path) -> list[np.ndarray]:
    return list(opened(data, folder).frames())


def coded(name: str, entropy_model: str, **choices: int) -> bytes:
    model = tiny_model(name, **choices)
    segment = encode_segment(
        model.architecture, model.spec, snap(quantized(model)), entropy_model=entropy_model, group=2
    )
    return file_of([segment])


@pytest.mark.parametrize("name", ALL)
def test_a_file_of_one_entropy_model_shrinks_and_keeps_its_frames(name: str, tmp_path: Path) -> None:
    data = coded(name, "laplace")
    smaller = repack(opened(data, tmp_path))
    assert len(smaller) < len(data)
    assert len(smaller) == len(coded(name, "auto"))
    for before, after in zip(frames_of(data, tmp_path), frames_of(smaller, tmp_path), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("kind", FILES)
def test_no_file_grows_and_none_changes_its_frames(kind: str, tmp_path: Path) -> None:
    data = FILES[kind]()
    smaller = repack(opened(data, tmp_path))
    assert len(smaller) <= len(data)
    for before, after in zip(frames_of(data, tmp_path), frames_of(smaller, tmp_path), strict=True):
        np.testing.assert_array_equal(after, before)


def test_a_file_that_is_smallest_stays_as_it_is(tmp_path: Path) -> None:
    data = coded("hnerv-boost", "auto")
    assert repack(opened(data, tmp_path)) == data


def test_groups_of_frames_stay(tmp_path: Path) -> None:
    data = coded("hnerv-boost", "laplace", frames=5)
    embeddings = opened(repack(opened(data, tmp_path)), tmp_path).segment(0).embeddings
    assert embeddings is not None
    assert embeddings.group == 2


def test_the_verb_replaces_the_file_or_writes_another(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    data = coded("hnerv-boost", "laplace")
    file, other = tmp_path / "video.bnv", tmp_path / "small.bnv"
    file.write_bytes(data)
    outcome = boost("repack", file, "-o", other)
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record == {"file": str(other), "file_bytes": other.stat().st_size, "bytes_before": len(data)}
    assert file.read_bytes() == data
    assert boost("repack", file).code == 0
    assert file.read_bytes() == other.read_bytes()
    assert json.loads(boost("repack", file).out)["bytes_before"] == len(other.read_bytes())


def test_a_link_stays_a_link(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    file, link = tmp_path / "video.bnv", tmp_path / "link.bnv"
    file.write_bytes(coded("hnerv-boost", "laplace"))
    link.symlink_to(file)
    before = file.stat().st_size
    assert boost("repack", link).code == 0
    assert link.is_symlink()
    assert file.stat().st_size < before


@pytest.mark.parametrize("arguments", [("video.bnv", "-o", "video.bnv"), ("absent.bnv",), ("text.bnv",)])
def test_bad_input_is_a_sentence(
    arguments: tuple[str, ...], tmp_path: Path, boost: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = coded("hnerv-boost", "laplace")
    (tmp_path / "video.bnv").write_bytes(data)
    (tmp_path / "text.bnv").write_text("no video")
    outcome = boost("repack", *arguments)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert (tmp_path / "video.bnv").read_bytes() == data


def test_a_damaged_file_is_left_alone(tmp_path: Path, boost: Callable[..., Outcome]) -> None:
    file = tmp_path / "video.bnv"
    damaged = coded("hnerv-boost", "laplace")[:-3]
    file.write_bytes(damaged)
    outcome = boost("repack", file)
    assert outcome.code == 2
    assert "damaged" in outcome.err
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("path", sorted(FOLDER.glob("v0-*.bnv")), ids=lambda path: path.stem)
def test_files_of_version_0_do_not_grow(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    smaller = repack(opened(data, tmp_path))
    assert len(smaller) <= len(data)
    np.testing.assert_array_equal(np.stack(frames_of(smaller, tmp_path)), np.stack(frames_of(data, tmp_path)))
