"""All bits of a file are accounted for exactly once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.entropy import huffman
from boostnerv.codec.shares import file_shares
from tests.codec.tiny import encoded, opened
from tests.golden.streams import FILES
from tests.models.tiny import ALL, tiny_model


def totals(video: VideoFile) -> dict[str, int]:
    bits: dict[str, int] = {}
    for share in file_shares(video.path):
        assert share.bits >= 0, share
        bits[share.kind] = bits.get(share.kind, 0) + share.bits
    return bits


@pytest.mark.parametrize("name", ALL)
def test_shares_of_every_model_add_up_to_the_file(name: str, tmp_path: Path) -> None:
    video = opened(encoded(tiny_model(name, frames=5, height=9, width=11)), tmp_path)
    bits = totals(video)
    assert sum(bits.values()) == 8 * video.file_bytes
    segment = video.segment(0)
    named = [share.name for share in file_shares(video.path) if share.kind == "weights"]
    assert named == list(segment.shapes)
    assert (bits["embeddings"] > 0) == (segment.embeddings is not None)
    assert bits["weights"] > 0


@pytest.mark.parametrize("name", FILES)
def test_shares_of_every_kind_of_file_add_up_to_it(name: str, tmp_path: Path) -> None:
    video = opened(FILES[name](), tmp_path)
    bits = totals(video)
    assert sum(bits.values()) == 8 * video.file_bytes
    parts = 8 * (video.section_bytes["weights"] + video.section_bytes.get("embeddings", 0))
    assert bits["weights"] + bits["embeddings"] + bits["side"] < parts  # section heads are not side information


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), min_size=1, max_size=6))
def test_words_of_runs_are_those_of_all(runs: list[list[int]]) -> None:
    codes = np.array([code for run in runs for code in run], dtype=np.int32)
    data = huffman.encode(codes)
    bits = huffman.run_bits(data, [len(run) for run in runs])
    assert [count == 0 for count in bits] == [not run for run in runs]
    lengths = huffman.code_lengths(np.bincount(codes)) if len(codes) else np.zeros(1)
    assert bits == [int(sum(int(lengths[code]) for code in run)) for run in runs]
