"""How long crafted files occupy a decoder: ``python -m bench.crafted_files [--seconds 60] [--seed 1] [FILE …]``.

A file of a few bytes may describe a large network: codes that are all equal cost nothing. This searches models at
random, keeps those that the reader's limits just allow (`boostnerv.codec.container.limits`), and decodes their first
frame, each in a process of its own. It prints the slowest and the largest, beyond what imports take, beside what the
limits say; of each FILE the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from boostnerv.codec.container.bitstream import Bitstream, OneOfMany, Segment, Video, check_spec, spec_fields, write
from boostnerv.codec.container.limits import ANY_SEGMENT_BYTES, ANY_SEGMENT_S, Demand, check_proportion, demand
from boostnerv.codec.entropy.payloads import check_shapes, write_embeddings, write_weights
from boostnerv.config import model_names
from boostnerv.errors import UserError
from boostnerv.models.architecture import Architecture, Spec, architecture, tensor_shapes
from boostnerv.models.clips import ClipSpec

_STEP = 2000  # an index of the step grid
_CLOSE = 0.02  # powers of two of a side
_FIRST_FRAME = """
import resource, sys, time
import torch
from boostnerv.codec.decoder import VideoFile
from boostnerv.errors import UserError

def used():
    return time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = used()
try:
    outcome = "x".join(map(str, VideoFile(sys.argv[1])[0].shape[:2]))
except UserError as error:
    outcome = str(error).rpartition(": ")[2]
after = used()
print(after[0] - before[0], (after[1] - before[1]) / 1e3, outcome, sep="|")
"""


@dataclasses.dataclass(frozen=True)
class Taken:
    """CPU seconds and megabytes of a first frame, beyond imports, and its size or why it was refused."""

    seconds: float
    megabytes: float
    outcome: str


def first_frame(path: Path) -> Taken:
    """Decode the first frame of a file in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _FIRST_FRAME, str(path)], check=True, capture_output=True, text=True
    )
    seconds, megabytes, outcome = done.stdout.strip().split("|", 2)
    return Taken(float(seconds), float(megabytes), outcome)


def crafted(entry: Architecture, spec: Spec, batch: int = 1) -> bytes:
    """A file of a model whose codes are all zero."""
    codes = [np.zeros(shape, np.int32) for shape in tensor_shapes(entry, spec).values()]
    weights = write_weights(codes, np.full(len(codes), _STEP), "gaussian")
    embeddings = b""
    if spec.embedding_shape is not None:
        embeddings = write_embeddings(np.zeros((spec.frames, *spec.embedding_shape), np.int32), _STEP, 0, 1, "temporal")
    videos = (OneOfMany("a", spec.frames, 25.0),) if isinstance(spec, ClipSpec) else ()
    segment = Segment(entry, spec, "uniform", weights, embeddings, videos)
    return write(Bitstream(Video(spec.frames, spec.height, spec.width, 25.0, "ffmpeg-default", batch), (segment,)))


def random_model(chance: random.Random) -> tuple[Architecture, Spec, int]:
    """A model that the format allows, and frames a batch; raises `UserError` where chance made none."""
    entry = architecture(chance.choice([name for name in model_names() if name != "d-nerv"]))
    chosen: dict[str, Any] = {
        "frames": chance.choice([1, 1, 8, 255]),
        "height": round(2 ** chance.uniform(0, 4)),
        "width": round(2 ** chance.uniform(0, 4)),
        "strides": tuple(chance.choice([1, 1, 2, 3, 5, 16]) for _ in range(chance.randint(1, 8))),
    }
    wide = [1, 2, 3, 7, 12, 16, 28, 40, 100, 500, 2000]
    if issubclass(entry.spec, ClipSpec):
        chosen["lengths"] = (chosen["frames"],)
    for field in spec_fields(entry.spec):
        if field.name.endswith("_e4"):
            chosen[field.name] = (5000, 5000, 5000)
        elif field.name.startswith("kernel_"):
            chosen[field.name] = chance.choice([1, 1, 3, 3, 5, 7, 9, 31, 101])
        elif field.name not in chosen:
            chosen[field.name] = {"reduce": chance.choice([1.0, 1.2, 2.0]), "base": 1.25, "expansion": 1.0}.get(
                field.name, chance.choice(wide)
            )
    if issubclass(entry.spec, ClipSpec):
        chosen["clip_frames"] = min(chosen["frames"], 255)
        chosen["patch_rows"] = chance.choice([1, 1, 2, 8, 64])
        chosen["patch_columns"] = chance.choice([1, 1, 2, 8, 64])
        chosen["height"] *= chosen["patch_rows"]
        chosen["width"] *= chosen["patch_columns"]
    spec = entry.spec(**chosen)
    check_spec(spec)
    return entry, spec, chance.choice([1, 1, 1, 2, 8, 255])


def as_large_as_allowed(entry: Architecture, spec: Spec, batch: int) -> tuple[Spec, Demand] | None:
    """The model with frames as large as the limits let a file of no bytes have; None where it has too many codes."""
    best = None
    low, high = 0.0, 15.0
    while high - low > _CLOSE:
        middle = (low + high) / 2
        sized = dataclasses.replace(spec, height=_scaled(spec, "height", middle), width=_scaled(spec, "width", middle))
        try:
            check_spec(sized)
            shapes = [tuple(shape) for shape in tensor_shapes(entry, sized).values()]
            if any(0 in shape for shape in shapes):
                return None
            check_shapes([*shapes, (1, sized.embedding_parameters)], 0)
            wanted = demand(entry, sized, min(batch, sized.frames))
            check_proportion(wanted, 0)
        except (ArithmeticError, RuntimeError, TypeError, UserError, ValueError):
            high = middle
        else:
            low, best = middle, (sized, wanted)
    return best


def _scaled(spec: Spec, side: str, power: float) -> int:
    """A side of frames, divided by patches without a rest."""
    patches = {"height": spec.patch_rows, "width": spec.patch_columns}[side] if isinstance(spec, ClipSpec) else 1
    return max(1, round(getattr(spec, side) * 2**power / patches)) * patches


def search(seconds: float, seed: int, folder: Path) -> list[tuple[Taken, Demand, str]]:
    """First frames of random models that the limits just allow."""
    chance, results = random.Random(seed), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            entry, spec, batch = random_model(chance)
        except (ArithmeticError, UserError):
            continue
        largest = as_large_as_allowed(entry, spec, batch)
        if largest is not None:
            path = folder / "crafted.bnv"
            path.write_bytes(crafted(entry, largest[0], batch))
            results.append((first_frame(path), largest[1], f"{largest[0]} batch {batch}"))
    return results


def main() -> None:
    """Measure the files that are named, then search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="measure these, too")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to search")
    parser.add_argument("--seed", type=int, default=1, help="where the search begins")
    arguments = parser.parse_args()
    for path in arguments.files:
        taken = first_frame(path)
        print(f"{path.name:28} {taken.seconds:6.2f} s {taken.megabytes:6.0f} MB  {taken.outcome}")
    with tempfile.TemporaryDirectory() as folder:
        results = search(arguments.seconds, arguments.seed, Path(folder))
    print(f"{len(results)} models near the limits of {ANY_SEGMENT_S:g} s and {ANY_SEGMENT_BYTES / 1e6:g} MB")
    for what, measure in (("slowest", lambda taken: taken.seconds), ("largest", lambda taken: taken.megabytes)):
        for taken, wanted, spec in sorted(results, key=lambda result: -measure(result[0]))[:5]:
            print(
                f"{what}: {taken.seconds:.2f} s {taken.megabytes:.0f} MB (limits: {wanted.nominal_s:.2f} s "
                f"{wanted.memory_bytes / 1e6:.0f} MB) {taken.outcome} {spec}"
            )


if __name__ == "__main__":
    main()
