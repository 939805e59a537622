"""Splitting frames into a row-major grid of equal patches, and merging them again.

Legend: T frames; frame size H, W; patch size h, w in pixels; P = rows · columns patches. Pixels are uint8 RGB.
"""

from __future__ import annotations

from pathlib import Path

from boostnerv.errors import UserError
from boostnerv.progress import Progress, silent
from boostnerv.video.frames import Frames, Manifest, PatchGrid, Pixels, Written, check_space, counted, write_described


def split(frames: Pixels, rows: int, columns: int) -> Pixels:
    """Split frames ``[T, H, W, 3]`` into patches ``[P, T, h, w, 3]``: a view for one column, a copy for more."""
    height, width = _patch_size(frames, rows, columns)
    grid = frames.reshape(len(frames), rows, height, columns, width, 3)
    return grid.transpose(1, 3, 0, 2, 4, 5).reshape(rows * columns, len(frames), height, width, 3)


def merge(patches: Pixels, rows: int, columns: int) -> Pixels:
    """Merge patches ``[P, T, h, w, 3]`` into frames ``[T, H, W, 3]``; the inverse of `split`."""
    number, count, height, width = patches.shape[:4]
    if number != rows * columns:
        raise ValueError(f"{number} patches do not form a grid of {rows}×{columns}")
    grid = patches.reshape(rows, columns, count, height, width, 3)
    return grid.transpose(2, 0, 3, 1, 4, 5).reshape(count, rows * height, columns * width, 3)


def patch_view(frames: Pixels, rows: int, columns: int, patch: int) -> Pixels:
    """One patch ``[T, h, w, 3]`` of frames ``[T, H, W, 3]``, always a view."""
    height, width = _patch_size(frames, rows, columns)
    row, column = divmod(patch, columns)
    return frames[:, row * height : (row + 1) * height, column * width : (column + 1) * width]


def _patch_size(frames: Pixels, rows: int, columns: int) -> tuple[int, int]:
    height, width = frames.shape[1:3]
    if height % rows or width % columns:
        raise ValueError(f"{rows}×{columns} patches do not divide frames of {height}×{width}")
    return height // rows, width // columns


def check_patches(height: int, width: int, patch_height: int, patch_width: int) -> tuple[int, int]:
    """Rows and columns of the grid; raises `UserError` if patches of this size do not divide the frame."""
    problems = [
        f"{size} does not divide its {name} {total} (the nearest that do are {_nearest(size, total)})"
        for name, total, size in (("height", height, patch_height), ("width", width, patch_width))
        if size < 1 or total % size
    ]
    if problems:
        raise UserError(
            f"patches of {patch_height}×{patch_width} cannot fill a frame of {height}×{width}: "
            f"{' and '.join(problems)}; choose such a size, or crop the frames"
        )
    return height // patch_height, width // patch_width


def _nearest(size: int, total: int) -> str:
    divisors = [number for number in range(1, total + 1) if total % number == 0]
    below = [divisor for divisor in divisors if divisor < size]
    above = [divisor for divisor in divisors if divisor > size]
    return " and ".join(map(str, (*below[-1:], *above[:1])))


def split_patches(
    frames: Frames, patch_height: int, patch_width: int, output: Path, progress: Progress = silent
) -> Manifest:
    """Write the patches of `frames` as a frames file ``[P · T, h, w, 3]``, all T frames of one patch after another.

    `progress` receives the number of frames written, of P · T. Raises `UserError` if the patch size does not divide
    the frames, if they are patches already, or if the disk has no room.
    """
    manifest = frames.manifest
    if manifest.patches:
        raise UserError(f"{frames.path} holds patches already; split the frames that they were made from")
    rows, columns = check_patches(manifest.height, manifest.width, patch_height, patch_width)
    check_space(output, rows * columns * manifest.frames, (patch_height, patch_width))
    grid = PatchGrid(rows=rows, columns=columns, frames=manifest.frames, whole_sha256=manifest.pixels_sha256)

    def describe(written: Written) -> Manifest:
        changes = {
            "frames": written.count,
            "height": patch_height,
            "width": patch_width,
            "pixels_sha256": written.sha256,
            "patches": grid,
        }
        return manifest.model_copy(update=changes)

    views = (frame for patch in range(rows * columns) for frame in patch_view(frames.pixels, rows, columns, patch))
    return write_described(counted(views, progress), (patch_height, patch_width), Path(output), describe)
