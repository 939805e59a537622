"""How the time of a training step grows with pixels, parameters and frames, over three octaves each.

``python -m bench.growth [--json] [--model NAME] [--repeats N] [--threads N] [--figure FILE]``. All models are trained
in one process, in turns, a step each. Of pixels and frames the decoder keeps its weights, and only its maps and the
number of its embeddings grow; of parameters it gets wider. The slope is that of a straight line through logarithms, by
least squares: 1 is in proportion, 0 does not grow.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from bench.timing import Spread, interleaved, machine, tell
from bench.train_speed import moving_picture
from bench.trainer import OurTrainer
from boostnerv.config import ModelSettings, Training
from boostnerv.evaluation.text import aligned
from boostnerv.models.architecture import Spec, architecture, build_model
from boostnerv.models.budget import decoder_parameters, natural_strides, resolve
from boostnerv.report.style import STYLE, look_of, new_figure, save_as
from boostnerv.training.tasks import ResidentVideo

OCTAVES = (1, 2, 4, 8)
_SIZES = ((180, 320), (180, 640), (360, 640), (360, 1280))
_FRAMES, _TOTAL_M = 16, 0.3


@dataclass(frozen=True)
class Measured:
    """A model, how much larger it is than the smallest in what grows, and seconds of its steps."""

    growing: str
    times: int
    height: int
    width: int
    frames: int
    decoder_parameters: int
    seconds: list[float]


def models(name: str) -> dict[tuple[str, int], Spec]:
    """All models, by what grows and how many times."""

    def of(total_m: float) -> Spec:
        settings = ModelSettings(name=name, strides=natural_strides(*_SIZES[0]), total_m=total_m)
        return resolve(settings, _FRAMES, *_SIZES[0])

    smallest = of(_TOTAL_M)
    found: dict[tuple[str, int], Spec] = {}
    for times, (height, width) in zip(OCTAVES, _SIZES, strict=True):
        found["pixels", times] = dataclasses.replace(smallest, height=height, width=width)
        found["parameters", times] = of(_TOTAL_M * times)
        found["frames", times] = dataclasses.replace(smallest, frames=_FRAMES * times)
    return found


def trainer(name: str, spec: Spec, steps: int) -> OurTrainer:
    """A training of so many steps that go through the frames one by one."""
    video = ResidentVideo(moving_picture(spec.frames, spec.height, spec.width), torch.device("cpu"))
    order = [step % spec.frames for step in range(steps)]
    recipe = Training(epochs=1, lr={"peak": 3e-3})
    return OurTrainer(build_model(name, spec, seed=1), video, recipe, order, [1e-4] * steps)


def measure(name: str, repeats: int) -> list[Measured]:
    """Steps of all models, in turns."""
    specs = models(name)
    trainers = {key: trainer(name, spec, repeats + 1) for key, spec in specs.items()}
    actions = {f"{growing} {times}": lambda each=each: each.steps(1) for (growing, times), each in trainers.items()}
    seconds = interleaved(actions, repeats)
    entry = architecture(name)
    return [
        Measured(
            growing,
            times,
            spec.height,
            spec.width,
            spec.frames,
            decoder_parameters(entry, spec),
            seconds[f"{growing} {times}"],
        )
        for (growing, times), spec in specs.items()
    ]


def of_one(measured: Sequence[Measured], growing: str) -> tuple[list[float], list[float]]:
    """How many times what grows is larger than the smallest, and medians of the seconds."""
    rows = sorted((each for each in measured if each.growing == growing), key=lambda each: each.times)
    first = rows[0]
    if growing == "parameters":  # what was built, not what was asked for
        sizes = [each.decoder_parameters / first.decoder_parameters for each in rows]
    else:
        sizes = [float(each.times) for each in rows]
    return sizes, [Spread.of(each.seconds).median for each in rows]


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of log seconds over log sizes."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def table(measured: Sequence[Measured]) -> list[str]:
    """Lines of text, a model each, and the slopes."""
    rows = [("growing", "frames", "height", "width", "decoder parameters", "ms a step", "slope")]
    for each in sorted(measured, key=lambda each: (each.growing, each.times)):
        found = f"{slope(*of_one(measured, each.growing)):.2f}" if each.times == OCTAVES[-1] else ""
        times = Spread.of([1000 * seconds for seconds in each.seconds]).text(".0f")
        rows.append(
            (each.growing, *map(str, (each.frames, each.height, each.width, each.decoder_parameters)), times, found)
        )
    return aligned(rows, {0})


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Step time over size, both as multiples of the smallest, with slopes."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure()
        for index, growing in enumerate(("pixels", "parameters", "frames")):
            sizes, seconds = of_one(measured, growing)
            look = look_of(index, "-")
            axes.plot(
                sizes,
                np.array(seconds) / seconds[0],
                color=look.colour,
                marker=look.marker,
                linestyle=look.line,
                label=f"{growing}: slope {slope(sizes, seconds):.2f}",
            )
        axes.plot(OCTAVES, OCTAVES, color="#999999", linestyle=":", label="in proportion: slope 1")
        for scale, axis in ((axes.set_xscale, axes.xaxis), (axes.set_yscale, axes.yaxis)):
            scale("log", base=2)
            axis.set_major_formatter("{x:g}")
        axes.set_xlabel("size, times the smallest")
        axes.set_ylabel("time of a training step, times that of the smallest")
        axes.legend()
        save_as(figure, path)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--model", default="hnerv-boost")
    parser.add_argument("--repeats", type=int, default=7, help="steps that count")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--figure", type=Path, help="a file to draw, .svg or .png")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = measure(given.model, given.repeats)
    if given.figure:
        draw(found, given.figure)
    facts = machine("torch") | {"model": given.model, "threads": str(given.threads)}
    tell(given.json, facts, {"models": [dataclasses.asdict(each) for each in found]}, table(found))


if __name__ == "__main__":
    main()
