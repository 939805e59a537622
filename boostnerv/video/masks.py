"""Inpainting masks of a frame, True for the pixels hidden from the model.

The two masks of Boosting-NeRV (section 4.4): a box in the centre, and five boxes of 50×50 pixels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from boostnerv.errors import UserError

Mask = Literal["center", "disperse"]

_REACH = 25  # pixels from the centre of a small box to its border
_SMALLEST_SIDE = {"center": 8, "disperse": 4 * _REACH}
# Centres of the five boxes as fractions of height and width.
_CENTRES = ((1 / 2, 1 / 2), (1 / 4, 1 / 4), (1 / 4, 3 / 4), (3 / 4, 1 / 4), (3 / 4, 3 / 4))


def hidden_pixels(mask: Mask, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Mask ``[H, W]``, True for hidden pixels; raises `UserError` if the boxes do not fit into the frame.

    The centre box covers rows and columns from ``⌊n/2⌋ − n//8`` up to, not including, ``⌊n/2⌋ + n//8``.
    """
    check_mask(mask, height, width)
    hidden = np.zeros((height, width), dtype=bool)
    if mask == "center":
        hidden[_around(height // 2, height // 8), _around(width // 2, width // 8)] = True
        return hidden
    for row, column in _CENTRES:
        hidden[_around(int(height * row), _REACH), _around(int(width * column), _REACH)] = True
    return hidden


def check_mask(mask: Mask, height: int, width: int) -> None:
    """Raise `UserError` if the boxes of `mask` do not fit into frames of this size."""
    smallest = _SMALLEST_SIDE[mask]
    if min(height, width) < smallest:
        raise UserError(
            f"mask {mask} needs frames of {smallest} pixels a side or more, these have {height}×{width}; "
            "choose another mask or larger frames"
        )


def _around(middle: int, reach: int) -> slice:
    return slice(middle - reach, middle + reach)
