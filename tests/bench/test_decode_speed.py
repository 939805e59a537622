"""What `bench.decode_speed` compares decodes the same frames, from files of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.baseline import decoded, write_codes
from bench.decode_speed import decoder, model_of, table, write_files
from bench.decode_speed import measure as measure_speed
from bench.train_speed import Case
from boostnerv.codec.decoder import VideoFile, to_uint8
from boostnerv.models.architecture import frame_time


@pytest.mark.parametrize(("name", "total_m"), [("hnerv-boost", 0.4), ("e-nerv-boost", 0.55)])
def test_the_baseline_decodes_our_model(name: str, total_m: float, tmp_path: Path) -> None:
    model = model_of(Case(name, total_m, 180))
    shape = model.spec.embedding_shape
    embeddings = torch.randn(model.spec.frames, *shape) if shape else None
    write_codes(model, embeddings, tmp_path / "codes.pt")
    frames = np.stack([*decoded(model, tmp_path / "codes.pt", range(3, 5))])
    with torch.no_grad():
        t = frame_time(torch.arange(3, 5), model.spec.frames)
        plain = to_uint8(model.decoder(t, None if embeddings is None else embeddings[3:5]))
    assert frames.shape == plain.shape == (2, 180, 320, 3)
    # Codes of a byte are not the weights.
    assert np.abs(frames.astype(int) - plain).mean() < 3 < plain.std()


def test_files_hold_one_model(tmp_path: Path) -> None:
    case = Case("e-nerv-boost", 0.55, 180)
    write_files(case, tmp_path)
    assert len(VideoFile(tmp_path / "video.bnv")) == model_of(case).spec.frames
    for way in ("ours", "baseline"):
        assert decoder(way, case, tmp_path, torch.get_num_threads())(range(1)) > 0


@pytest.mark.slow
def test_a_measurement() -> None:
    found = measure_speed(Case("e-nerv-boost", 0.55, 180), frames=2, repeats=2, threads=1)
    assert len(found.baseline) == len(found.ours) == len(found.first_frame) == len(found.far_frame) == 2
    assert "e-nerv-boost 0.55 M" in table([found])[1]
