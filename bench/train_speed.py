"""How many steps a second a training makes, beside the published way of training.

``python -m bench.train_speed [--json] [--case MODEL:TOTAL_M:HEIGHT ...] [--steps N] [--repeats N] [--threads N]
[--original PATH]``. Each way is a process of its own, all with the same weights, frames, order and learning rates; they
take turns, some steps each, so that a busy machine is busy for all of them. The published way is `bench.baseline`, and
with ``--original`` the authors' own code beside it (`bench.original`). Ratios are taken round by round; the loss curves
of the same steps are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.baseline import Trainer, published_parts, write_pngs
from bench.original import check_original, original_parts
from bench.timing import OwnProcess, Spread, machine, ratio, tell
from bench.trainer import OurTrainer
from boostnerv.config import Computing, ModelSettings, Training
from boostnerv.errors import UserError
from boostnerv.evaluation.text import aligned
from boostnerv.models.architecture import build_model
from boostnerv.models.budget import natural_strides, resolve
from boostnerv.training.loop import epoch_order
from boostnerv.training.schedules import learning_rate
from boostnerv.training.tasks import ResidentVideo

FRAMES = 16
PEAKS = {"hnerv-boost": 3e-3, "e-nerv-boost": 1.5e-3}
CASES = ("hnerv-boost:0.27:180", "e-nerv-boost:0.55:180", "hnerv-boost:0.55:360", "e-nerv-boost:0.8:360")


@dataclass(frozen=True)
class Case:
    """What is trained: a model of so many million parameters, embeddings included, on 16:9 frames."""

    model: str
    total_m: float
    height: int

    @staticmethod
    def of(text: str) -> Case:
        """From ``MODEL:TOTAL_M:HEIGHT``."""
        model, total_m, height = text.split(":")
        return Case(model, float(total_m), int(height))

    @property
    def width(self) -> int:
        return self.height * 16 // 9

    @property
    def settings(self) -> ModelSettings:
        return ModelSettings(name=self.model, strides=natural_strides(self.height, self.width), total_m=self.total_m)

    @property
    def label(self) -> str:
        return f"{self.model} {self.total_m:g} M, {self.height}×{self.width}"


@dataclass(frozen=True)
class Job:
    """What a process is told: how it trains, and on what."""

    way: str
    case: Case
    order: tuple[int, ...]
    rates: tuple[float, ...]
    threads: int
    device: str
    pngs: Path
    computing: dict[str, Any]
    original: Path | None = None


class Stepper(Protocol):
    """A training that makes steps when it is asked to."""

    losses: list[float]

    def steps(self, count: int) -> None: ...


def moving_picture(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """Frames ``[T, H, W, 3]`` of a smooth picture and a grain that move past each other; the same every time."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width] / height
    grain = random.normal(0, 6, (height, 2 * width, 3))
    made = np.empty((frames, height, width, 3))
    for k in range(frames):
        for channel in range(3):
            phase = 0.15 * k + 2 * channel
            made[k, ..., channel] = np.sin(5 * rows + phase) + np.sin(7 * columns - phase) + np.sin(31 * rows * columns)
        made[k] = 127 + 38 * made[k] + grain[:, 4 * k % width :][:, :width]
    return made.round().clip(0, 255).astype(np.uint8)


def stepper(job: Job) -> Stepper:
    """The training that a job describes."""
    pixels = moving_picture(FRAMES, job.case.height, job.case.width)
    model = build_model(job.case.model, resolve(job.case.settings, FRAMES, *pixels.shape[1:3]), seed=1)
    if job.way == "ours":
        recipe = Training(epochs=1, lr={"peak": job.rates[0]}, computing=Computing(**job.computing))
        return OurTrainer(model, ResidentVideo(pixels, torch.device(job.device)), recipe, job.order, job.rates)
    if job.way == "original":
        assert job.original is not None
        parts = original_parts(job.original, model, job.pngs)
    else:
        parts = published_parts(model, job.pngs)
    return Trainer(parts, torch.device(job.device), job.order, job.rates)


def trainer(job: Job) -> Callable[[int], tuple[float, list[float]]]:
    """What makes so many steps when it is called: their seconds and losses."""
    torch.set_num_threads(job.threads)
    training = stepper(job)

    def steps(count: int) -> tuple[float, list[float]]:
        before = len(training.losses)
        begin = time.perf_counter()
        training.steps(count)
        return time.perf_counter() - begin, training.losses[before:]

    return steps


@dataclass(frozen=True)
class Measured:
    """One way of one case: seconds a step in each round, and the losses of all steps."""

    way: str
    case: Case
    seconds: list[float]
    losses: list[float]


def measure(case: Case, ways: Sequence[str], steps: int, repeats: int, job: dict[str, Any]) -> list[Measured]:
    """Train in turns: a round of `steps` that does not count, then `repeats` that do."""
    rounds = repeats + 1
    total = rounds * steps
    order = [int(k) for epoch in range(math.ceil(total / FRAMES)) for k in epoch_order(FRAMES, 1, epoch)][:total]
    recipe = Training(epochs=300, lr={"peak": PEAKS.get(case.model, 3e-3)}).lr
    rates = tuple(learning_rate(recipe, step / (300 * FRAMES)) for step in range(total))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_pngs(moving_picture(FRAMES, case.height, case.width), folder)
        trainers = {}
        for way in ways:
            wanted = Job(way.split()[0], case, tuple(order), rates, pngs=folder, computing=_computing(way), **job)
            trainers[way] = stack.enter_context(OwnProcess(trainer, wanted))
        found = {way: Measured(way, case, [], []) for way in ways}
        for number in range(rounds):
            for way, train in trainers.items():
                seconds, losses = train(steps)
                found[way].losses.extend(losses)
                if number:
                    found[way].seconds.append(seconds / steps)
    return list(found.values())


def _computing(way: str) -> dict[str, Any]:
    """``ours compile bf16``: what follows the first word are settings that differ from the default."""
    words = way.split()[1:]
    precision = [word for word in words if word in ("tf32", "bf16")]
    return {"compile": "compile" in words} | ({"precision": precision[0]} if precision else {})


def largest_difference(losses: Sequence[float], others: Sequence[float]) -> float:
    """Of two loss curves, relative."""
    return max(abs(one - other) / other for one, other in zip(losses, others, strict=True))


def table(measured: Sequence[Measured]) -> list[str]:
    """Lines of text; every way beside the baseline of its case."""
    rows = [("", "ms a step", "steps/s to the baseline", "loss differs by")]
    by_case: dict[Case, Measured] = {each.case: each for each in measured if each.way == "baseline"}
    for each in measured:
        base = by_case[each.case]
        times = Spread.of([1000 * seconds for seconds in each.seconds]).text(".0f")
        gain = ratio(base.seconds, each.seconds).text(".2f")
        rows.append(
            (f"{each.case.label}: {each.way}", times, gain, f"{largest_difference(each.losses, base.losses):.1e}")
        )
    return aligned(rows, {0})


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.train_speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--case", nargs="+", default=list(CASES), help="MODEL:TOTAL_M:HEIGHT, one or more")
    parser.add_argument("--way", nargs="+", default=["ours"], help='beside the baseline, e.g. "ours compile"')
    parser.add_argument("--steps", type=int, default=4, help="in a round")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--original", type=Path, help="a folder with the authors' own code, trained with beside the rest"
    )
    given = parser.parse_args()
    if given.original:
        try:
            check_original(given.original)
        except UserError as error:
            parser.error(str(error))
    ways = ["baseline", *(["original"] if given.original else []), *given.way]
    job = {"threads": given.threads, "device": given.device, "original": given.original}
    found: list[Measured] = []
    for case in map(Case.of, given.case):
        found += measure(case, ways, given.steps, given.repeats, job)
        if not given.json:
            print(*table(found[-len(ways) :]), sep="\n", flush=True)
    facts = machine("torch", "pytorch_optimizer", "pytorch_msssim") | {"threads": str(given.threads)}
    if given.device == "cuda":
        facts["device"] = torch.cuda.get_device_name()
    tell(given.json, facts, {"ways": [dataclasses.asdict(each) for each in found]})


if __name__ == "__main__":
    main()
