"""Copies of many videos on a near disk: equal, made once, and no condition."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from boostnerv.errors import UserError
from boostnerv.video.collections import gather, open_collection
from boostnerv.video.staging import staged

from .conftest import noise
from .test_collections import video


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    frames = [video(tmp_path / "frames", name, noise(4, 4, 6, seed=seed)) for seed, name in enumerate("abc")]
    gather(frames, tmp_path / "sets" / "d.json")
    return tmp_path / "sets" / "d.json"


def test_copies_are_equal_and_made_once(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEAR", str(tmp_path / "near disk"))
    seen: list[int] = []
    copy = staged(collection, "$NEAR", lambda done, note="": seen.append(done))
    assert seen == [1, 2, 3]
    assert (tmp_path / "near disk") in copy.parents
    far, near = open_collection(collection), open_collection(copy)
    assert near.manifest.pixels_sha256 == far.manifest.pixels_sha256
    assert near.members == far.members

    # What is read is the copy: the originals may go.
    expected = [np.array(far.patch(number, 0)) for number in range(3)]
    made = {path: path.stat().st_ino for path in copy.parent.glob("*.npy")}
    assert staged(collection, "$NEAR") == copy
    assert {path: path.stat().st_ino for path in copy.parent.glob("*.npy")} == made
    shutil.rmtree(tmp_path / "frames")
    for number, pixels in enumerate(expected):
        np.testing.assert_array_equal(open_collection(copy).patch(number, 0), pixels)


def test_a_copy_that_was_cut_off_is_made_again(collection: Path, tmp_path: Path) -> None:
    copy = staged(collection, str(tmp_path / "near"))
    damaged = next(copy.parent.glob("*.npy"))
    os.truncate(damaged, 10)
    assert open_collection(staged(collection, str(tmp_path / "near"))).patch(2, 0).shape == (4, 4, 6, 3)
    assert damaged.stat().st_size > 10


def test_without_room_the_originals_are_read(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder can be made below this")
    assert staged(collection, str(tmp_path / "file")) == collection
    assert "frames are read where they are: cannot write" in capsys.readouterr().err


def test_a_variable_that_is_not_set(collection: Path) -> None:
    with pytest.raises(UserError, match=r"scratch folder \$NO_SUCH_DISK/x names a variable that is not set here"):
        staged(collection, "$NO_SUCH_DISK/x")
