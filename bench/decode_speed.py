"""How many frames a second come out of a file, beside the published way of decoding.

``python -m bench.decode_speed [--json] [--case MODEL:TOTAL_M:HEIGHT ...] [--frames N] [--repeats N] [--threads N]``.
All costs are in, from the path of a file to uint8 frames: reading, entropy decoding, building the network, moving
pixels. Ours is `VideoFile` in its exact mode, on a ``.bnv`` file; the published way is `bench.baseline`, which reads
codes of a byte that nobody entropy-coded. Each is a process of its own, and they take turns. Then it opens our file for
one frame, the first and the hundred-and-first.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.baseline import decoded, write_codes
from bench.model_file import model_file
from bench.timing import OwnProcess, Spread, interleaved, machine, ratio, tell
from bench.train_speed import Case
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized
from boostnerv.evaluation.text import aligned
from boostnerv.host.allocator import keep_freed_memory
from boostnerv.models.architecture import VideoModel, build_model
from boostnerv.models.budget import resolve

CASES = ("hnerv-boost:0.5:180", "e-nerv-boost:0.55:180", "hnerv-boost:1.5:360", "e-nerv-boost:0.8:360")
FRAMES = 132
FAR = 100
_BITS = 6


def model_of(case: Case) -> VideoModel:
    """A model of so many frames as it is before its training: what decoding costs does not depend on that."""
    return build_model(case.model, resolve(case.settings, FRAMES, case.height, case.width), seed=1)


def write_files(case: Case, folder: Path) -> None:
    """One model as a ``.bnv`` file and as the published way keeps it."""
    model = model_of(case)
    shape = model.spec.embedding_shape
    noise = torch.Generator().manual_seed(1)
    embeddings = torch.randn(FRAMES, *shape, generator=noise) if shape else None
    values = Quantized.after_training(dict(model.decoder.named_parameters()), embeddings, _BITS)
    data = model_file(model.architecture, model.spec, values)
    (folder / "video.bnv").write_bytes(data)
    write_codes(model, embeddings, folder / "codes.pt")


def decoder(way: str, case: Case, folder: Path, threads: int) -> Callable[[range], int]:
    """What decodes a range of frames when it is called, anew from the file each time, and says how many came."""
    torch.set_num_threads(threads)
    if way == "baseline":
        model = model_of(case)
        return lambda frames: sum(1 for _ in decoded(model, folder / "codes.pt", frames))
    # As `boostnerv decode` begins.
    keep_freed_memory()
    return lambda frames: sum(1 for _ in VideoFile(folder / "video.bnv").frames(frames))


@dataclass(frozen=True)
class Measured:
    """Seconds of each round of a case: of both ways for so many frames, and of ours for one."""

    case: Case
    frames: int
    baseline: list[float]
    ours: list[float]
    first_frame: list[float]
    far_frame: list[float]


def measure(case: Case, frames: int, repeats: int, threads: int) -> Measured:
    """In turns: a round that does not count, then `repeats` that do."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_files(case, folder)
        baseline, ours = (
            stack.enter_context(OwnProcess(decoder, way, case, folder, threads)) for way in ("baseline", "ours")
        )
        actions = {
            "baseline": lambda: baseline(range(frames)),
            "ours": lambda: ours(range(frames)),
            "first_frame": lambda: ours(range(1)),
            "far_frame": lambda: ours(range(FAR, FAR + 1)),
        }
        return Measured(case, frames, **interleaved(actions, repeats))


def table(measured: Sequence[Measured]) -> list[str]:
    """Lines of text, a case each."""
    rows = [("", "baseline, fps", "ours, fps", "ours to the baseline", f"frame {FAR} to frame 0, time")]
    for each in measured:
        fps = [
            Spread.of([each.frames / seconds for seconds in times]).text(".2f") for times in (each.baseline, each.ours)
        ]
        gains = (ratio(each.baseline, each.ours), ratio(each.far_frame, each.first_frame))
        rows.append((each.case.label, *fps, *(gain.text(".2f") for gain in gains)))
    return aligned(rows, {0})


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode_speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--case", nargs="+", default=list(CASES), help="MODEL:TOTAL_M:HEIGHT, one or more")
    parser.add_argument("--frames", type=int, default=16, help="decoded in a round")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    found: list[Measured] = []
    for case in map(Case.of, given.case):
        found.append(measure(case, given.frames, given.repeats, given.threads))
        if not given.json:
            print(*table(found[-1:]), sep="\n", flush=True)
    facts = machine("torch", "constriction") | {"threads": str(given.threads)}
    tell(given.json, facts, {"cases": [dataclasses.asdict(each) for each in found]})


if __name__ == "__main__":
    main()
