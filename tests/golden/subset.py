"""Make the golden files of this folder from the full set: ``python -m tests.golden.subset FULL_FOLDER``.

Small files are copied, of `losses` the first frame. Of a model's file the first frame stays, and of its output every
third row and column: three divides none of the strides, so every phase of every upsampling is still looked at. Tensor
names, weights and the manifest stay as they are. `reduce_output` is what a test applies to its own output before it
compares.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

HERE = Path(__file__).parent
COPIED = (
    "manifest.json",
    "sizes.json",
    "dnerv_sizes.json",
    "dnerv_quantize.safetensors",
    "positional_bases.safetensors",
    "entropy_const.safetensors",
    "entropy_narrow.safetensors",
    "entropy_wide.safetensors",
)
MODELS = ("nerv_boost", "hnerv_boost")
PARTS = {
    "quantizers": ("scale.", "scalebeta."),
    "ptq": ("0.", "1."),
    "dnerv": ("warp.", "frame_index", "embedding"),
}
PIXEL_STEP = 3


def reduce_output(output: Tensor) -> Tensor:
    """Images ``[N, 3, H, W]`` → ``[N, 3, ⌈H/3⌉, ⌈W/3⌉]``."""
    return output[:, :, ::PIXEL_STEP, ::PIXEL_STEP]


def reduce_model(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first frame of a model's file, its weights unchanged; models of the index alone need no frames."""
    reduced = {**tensors, "norm_idx": tensors["norm_idx"][:1], "output": reduce_output(tensors["output"][:1])}
    frames = reduced.pop("frames")
    if any(name.startswith("param.encoder.") for name in tensors):
        reduced["frames"] = frames[:1]
    return reduced


def main(full: Path) -> None:
    for name in COPIED:
        shutil.copyfile(full / name, HERE / name)
    for name in MODELS:
        _save(reduce_model(load_file(full / f"{name}.safetensors")), name)
    _save({key: value[:1] for key, value in load_file(full / "losses.safetensors").items()}, "losses")
    for name, parts in PARTS.items():
        tensors = load_file(full / f"{name}.safetensors")
        _save({key: value for key, value in tensors.items() if key.startswith(parts)}, name)


def _save(tensors: dict[str, Tensor], name: str) -> None:
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / f"{name}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
