"""Times of things that are compared: repeats take turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from boostnerv import provenance


@dataclass(frozen=True)
class Spread:
    """Median of a measured number, and the quartiles around it."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of one value or more."""
        if len(values) == 1:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)

    def text(self, form: str) -> str:
        """``median (low–high)`` in a format such as ``.2f``."""
        return f"{self.median:{form}} ({self.low:{form}}–{self.high:{form}})"


def interleaved(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each action in each of `repeats` rounds, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for counted in (False, *[True] * repeats):
        for name, action in actions.items():
            begin = time.perf_counter()
            action()
            if counted:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


class OwnProcess:
    """What `make` makes of `given`, in a process of its own: called here, it runs there.

    ``with OwnProcess(make, *given) as function: function(*asked)``; ready once it is made.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *given: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._line, there = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(there, make, given), daemon=True)
        self._process.start()
        there.close()
        self._line.recv()

    def __call__(self, *asked: Any) -> Any:
        self.begin(*asked)
        return self.end()

    def begin(self, *asked: Any) -> None:
        """Call it, and do not wait."""
        self._line.send(asked)

    def end(self) -> Any:
        """Wait for what `begin` began."""
        return self._line.recv()

    def __enter__(self) -> OwnProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def _serve(line: Connection, make: Callable[..., Callable[..., Any]], given: Sequence[Any]) -> None:
    function = make(*given)
    line.send(None)
    while True:
        line.send(function(*line.recv()))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """How many times as long `above` took as `below`, round by round."""
    return Spread.of([one / other for one, other in zip(above, below, strict=True)])


def machine(*packages: str) -> dict[str, str]:
    """What the figures depend on: processor, its load, and versions of Python, this code and `packages`."""
    return {
        "processor": f"{provenance.processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "boostnerv": provenance.commit(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def tell(as_json: bool, facts: Mapping[str, str], contents: Mapping[str, object], lines: Iterable[str] = ()) -> None:
    """Print what was measured: `contents` as JSON, or `lines`; and the `facts` of `machine`."""
    if as_json:
        print(json.dumps({"machine": facts, **contents}, indent=2))
        return
    for line in lines:
        print(line)
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
