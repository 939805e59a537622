"""Files that are crafted for the bench are read, and are as large as the limits allow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.crafted_files import as_large_as_allowed, crafted, first_frame
from boostnerv.codec.container.bitstream import read
from boostnerv.codec.container.limits import ANY_SEGMENT_BYTES, ANY_SEGMENT_S, check_proportion, demand
from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import architecture
from tests.models.tiny import tiny_spec


@pytest.mark.parametrize("name", ["hnerv", "hnerv-boost"])
def test_frames_are_as_large_as_the_limits_allow(name: str) -> None:
    entry = architecture(name)
    largest = as_large_as_allowed(entry, tiny_spec(name, frames=1), 1)
    assert largest is not None
    sized, wanted = largest
    assert max(wanted.nominal_s / ANY_SEGMENT_S, wanted.memory_bytes / ANY_SEGMENT_BYTES) == pytest.approx(1, abs=0.1)
    assert read(crafted(entry, sized)).segments[0].coded_bytes < 1000
    larger = dataclasses.replace(sized, height=2 * sized.height, width=2 * sized.width)
    with pytest.raises(BitstreamError, match="its first frame needs"):
        check_proportion(demand(entry, larger), 0)


def test_a_first_frame_is_measured_beyond_imports(tmp_path: Path) -> None:
    (tmp_path / "x.bnv").write_bytes(crafted(architecture("hnerv"), tiny_spec("hnerv")))
    taken = first_frame(tmp_path / "x.bnv")
    assert taken.outcome == f"{tiny_spec('hnerv').height}x{tiny_spec('hnerv').width}"
    assert taken.seconds > 0
    (tmp_path / "y.bnv").write_bytes(b"BNV\x01")
    assert "section video is missing" in first_frame(tmp_path / "y.bnv").outcome
