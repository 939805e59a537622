"""Files of every version of the format, as they were written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boostnerv.codec.decoder import VideoFile
from tests.golden.streams import FOLDER, made, paths
from tests.models.tiny import NAMES

FILES = sorted(FOLDER.glob("*.bnv"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_old_files_decode_to_their_frames(file: Path) -> None:
    recorded = np.load(file.with_suffix(".npy"))
    decoded = np.stack(list(VideoFile(file).frames()))
    assert decoded.shape == recorded.shape
    # Codes are exact everywhere; pixels of two machines may differ by a level.
    assert np.abs(decoded.astype(int) - recorded).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_still_writes_these_bytes(name: str) -> None:
    file, _ = paths(name)
    assert made(name) == file.read_bytes(), "the format changed: raise its version, then tests.golden.streams"
