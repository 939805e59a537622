"""How much memory the large steps take, and that a longer video does not take more.

``python -m bench.memory [--json] [--only WORD]``. Each row is a process of its own. What counts is anonymous memory,
its peak beyond what imports took, looked at a hundred times a second: pages of mapped files are not in it, as the
system takes them back when it wants. ffmpeg beside an extraction is a process of its own and is not counted. Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.model_file import model_file
from bench.timing import OwnProcess, machine, tell
from bench.train_speed import moving_picture
from bench.trainer import OurTrainer
from boostnerv import steps
from boostnerv.codec.encoder import Quantized
from boostnerv.config import ExtractJob, Memory, ModelSettings, OwnVideo, Preparation, Training, own_video
from boostnerv.evaluation.text import aligned
from boostnerv.host.machine import Host
from boostnerv.models.architecture import Spec, build_model
from boostnerv.models.budget import natural_strides, resolve
from boostnerv.training.tasks import ResidentVideo
from boostnerv.video.ffmpeg import run
from boostnerv.video.frames import extract_frames

_EVERY_S = 0.01


@dataclass(frozen=True)
class Measured:
    """What ran, for how many frames, and the most memory that it took."""

    what: str
    frames: int
    peak_mib: float
    seconds: float


def anonymous_mib() -> float:
    """Memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("Linux says it")


def peak_of(action: Callable[[], object]) -> tuple[float, float]:
    """MiB that an action takes at most beyond what there was before, and its seconds."""
    done, before, peak = threading.Event(), anonymous_mib(), [0.0]

    def watch() -> None:
        while not done.wait(_EVERY_S):
            peak[0] = max(peak[0], anonymous_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    try:
        action()
    finally:
        seconds = time.perf_counter() - begin
        done.set()
        watcher.join()
    return max(peak[0], anonymous_mib()) - before, seconds


# --- what is measured --------------------------------------------------------------------------------------


def training(folder: Path, frames: int, batch: int, memory: dict[str, Any]) -> Callable[[], tuple[float, float]]:
    """Two steps of HNeRV-Boost with 3 M parameters on 1080p."""
    path = folder / f"{frames}.npy"
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(frames, 1080, 1920, 3))
    for k, frame in enumerate(moving_picture(2, 1080, 1920)):
        pixels[k::2] = frame
    recipe = Training(epochs=1, batch_size=batch, lr={"peak": 3e-3}, memory=Memory(**memory))
    settings = ModelSettings(name="hnerv-boost", strides=natural_strides(1080, 1920), total_m=3.0)
    spec = resolve(settings, frames, 1080, 1920)

    def act() -> None:
        in_file = recipe.memory.frames == "file"
        video = ResidentVideo(np.load(path, mmap_mode="r"), torch.device("cpu"), in_file=in_file)
        order = [[(step + k) % frames for k in range(batch)] for step in range(2)]
        OurTrainer(build_model("hnerv-boost", spec, seed=1), video, recipe, order, [1e-4] * 2).steps(2)

    return lambda: peak_of(act)


def extraction(folder: Path, frames: int) -> Callable[[], tuple[float, float]]:
    """All frames of a 1080p video."""
    import ffmpeg

    source = folder / f"{frames}.mkv"
    graph = ffmpeg.input("testsrc2=size=1920x1080:rate=25", f="lavfi").output(
        str(source), frames=frames, vcodec="libx264", preset="ultrafast", pix_fmt="yuv420p"
    )
    run(graph.overwrite_output())
    preparation = Preparation()

    def act() -> None:
        extract_frames(
            source,
            ExtractJob(dataset="own", video=own_video(OwnVideo(path=str(source))), preparation=preparation),
            folder / f"{frames}.npy",
        )

    return lambda: peak_of(act)


def decoding(folder: Path, frames: int) -> Callable[[], tuple[float, float]]:
    """All frames of a file, into an array."""
    settings = ModelSettings(name="hnerv-boost", strides=(5, 2, 2), total_m=0.3)
    spec: Spec = dataclasses.replace(resolve(settings, 50, 180, 320), frames=frames)
    model = build_model("hnerv-boost", spec, seed=1)
    assert spec.embedding_shape is not None
    values = Quantized.after_training(
        dict(model.decoder.named_parameters()), torch.randn(frames, *spec.embedding_shape), 6
    )
    path = folder / f"{frames}.bnv"
    path.write_bytes(model_file(model.architecture, spec, values))

    def act() -> None:
        steps.decode(
            steps.DecodingFiles(file=path, output=folder / f"{frames}.npy"), steps.DecodingChoice(), Host("cpu")
        )

    return lambda: peak_of(act)


def rows() -> Iterator[tuple[str, int, Callable[..., Any], tuple[Any, ...]]]:
    """What each row says, its frames, and what makes what is measured, after a folder."""
    step = "training step, HNeRV-Boost 3 M, 1080×1920"
    for frames in (8, 64):
        yield f"{step}, frames in their file", frames, training, (frames, 1, {"frames": "file"})
    yield f"{step}, checkpointing", 8, training, (8, 1, {"frames": "file", "checkpointing": True})
    yield (
        f"{step}, batch of 2, one at once, checkpointing",
        8,
        training,
        (8, 2, {"frames": "file", "checkpointing": True, "frames_at_once": 1}),
    )
    for frames in (60, 600):
        yield "extraction, 1080×1920", frames, extraction, (frames,)
    for frames in (60, 600):
        yield "decoding, HNeRV-Boost, 180×320", frames, decoding, (frames,)


def measure(word: str) -> Iterator[Measured]:
    """All rows in whose text `word` is."""
    for what, frames, make, given in rows():
        if word not in what:
            continue
        with tempfile.TemporaryDirectory() as folder, OwnProcess(make, Path(folder), *given) as act:
            yield Measured(what, frames, *act())


def table(measured: list[Measured]) -> list[str]:
    """Lines of text."""
    heads = ("", "frames", "peak, MiB", "seconds")
    return aligned([heads, *((m.what, str(m.frames), f"{m.peak_mib:.0f}", f"{m.seconds:.0f}") for m in measured)], {0})


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", default="", help="rows with this in their text, e.g. decoding")
    given = parser.parse_args()
    found = []
    for each in measure(given.only):
        found.append(each)
        print(f"{each.what}, {each.frames} frames: {each.peak_mib:.0f} MiB", file=sys.stderr, flush=True)
    facts = machine("torch")
    tell(given.json, facts, {"rows": [dataclasses.asdict(each) for each in found]}, table(found))


if __name__ == "__main__":
    main()
