"""Golden files of every version of the format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from boostnerv.codec.container.bitstream import VERSION, read
from boostnerv.codec.decoder import VideoFile
from tests.golden.streams import CODES, FILES, FOLDER, RECORDED_MODELS, digest, paths
from tests.models.tiny import MANY, PUBLISHED

OLD = sorted(FOLDER.glob("*.bnv"))


@pytest.mark.parametrize("file", OLD, ids=[file.stem for file in OLD])
def test_old_files_decode_to_their_codes_and_frames(file: Path) -> None:
    video = VideoFile(file)
    assert digest(video) == json.loads(CODES.read_text(encoding="utf-8"))[file.name]
    recorded = np.load(file.with_suffix(".npy"))
    decoded = np.stack(list(video.frames()))
    assert decoded.shape == recorded.shape
    # Codes are exact everywhere; pixels may differ by one level between machines.
    apart = np.abs(decoded.astype(int) - recorded)
    if file.stem.endswith("-e-nerv-boost"):
        # These untrained weights amplify the last bits of the first attention by 10⁵: few pixels differ, by any level.
        assert (apart > 0).mean() < 0.1
    else:
        assert apart.max() <= 1


@pytest.mark.parametrize("name", FILES)
def test_the_encoder_still_writes_these_bytes(name: str) -> None:
    file, _ = paths(name)
    assert FILES[name]() == file.read_bytes(), "the format changed: raise its version, then tests.golden.streams"


def test_every_kind_of_file_is_here() -> None:
    assert {file.name.partition("-")[0] for file in OLD} == {f"v{version}" for version in range(VERSION + 1)}
    streams = {name: read(paths(name)[0].read_bytes()) for name in FILES}
    architectures = {stream.segments[0].architecture.name for stream in streams.values()}
    assert architectures == {*PUBLISHED, *MANY}
    assert {f"hnerv-boost-{name}" for name in RECORDED_MODELS} <= set(FILES)
    assert {name: streams[name].segments[0].quantizer for name in ("min-max", "d-nerv-slices")} == {
        "min-max": "min-max",
        "d-nerv-slices": "slices",
    }
    several = streams["segments"]
    assert len(several.segments) == several.video.batch == 2
    assert several.video.timestamps_s is not None


def test_golden_files_stay_small() -> None:
    folder = FOLDER.parent
    assert sum(path.stat().st_size for path in folder.rglob("*") if "__pycache__" not in path.parts) < 5_000_000
