"""What inpainting hides, against the ranges recorded from the original."""

from __future__ import annotations

import re

import numpy as np
import pytest

from boostnerv.errors import UserError
from boostnerv.video.masks import Mask, hidden_pixels
from tests.conftest import Golden

ORIGINAL: dict[str, Mask] = {"inpanting_center": "center", "inpanting_fixed_50": "disperse"}


def runs(hidden: np.ndarray) -> list[list[int]]:
    """Half-open ranges of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hidden.astype(int), [0]))))
    return edges.reshape(-1, 2).tolist()


def test_hidden_pixels_are_those_of_the_original(golden: Golden) -> None:
    assert len(golden.manifest["masks"]) == 6
    for name, recorded in golden.manifest["masks"].items():
        original, size = name.split(" ")
        height, width = map(int, size.split("x"))
        hidden = hidden_pixels(ORIGINAL[original], height, width)
        assert hidden.shape == (height, width)
        assert int(hidden.sum()) == recorded["hidden_pixels"]
        assert runs(hidden.any(axis=1)) == recorded["row_ranges"], name
        assert runs(hidden.any(axis=0)) == recorded["col_ranges"], name


@pytest.mark.parametrize(("mask", "smallest"), [("center", 8), ("disperse", 100)])
def test_a_mask_larger_than_the_frame(mask: Mask, smallest: int) -> None:
    assert hidden_pixels(mask, smallest, smallest).any()
    sentence = f"mask {mask} needs frames of {smallest} pixels a side or more, these have {smallest - 1}×400; "
    with pytest.raises(UserError, match=re.escape(sentence)):
        hidden_pixels(mask, smallest - 1, 400)
