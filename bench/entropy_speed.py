"""Entropy coding against bare constriction, and how long a file of 15 M parameters takes to open.

``python -m bench.entropy_speed [--json] [--repeats N]``. The bare coder gets the same symbols under the same
distributions, ready in arrays: one `AnsCoder`, a Gaussian or Laplace model a call. It neither fits nor stores
parameters nor predicts. Where the writer codes several times to choose what is smallest, the bare coder does so too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray

from bench.model_file import model_file
from bench.timing import Spread, interleaved, machine, ratio
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized
from boostnerv.codec.entropy.entropy_models import (
    BY_NAME,
    SLOPE_UNITS,
    UNITS_PER_CODE,
    IndependentParameters,
    TemporalParameters,
    models_of,
    support,
)
from boostnerv.codec.entropy.payloads import DEFAULT_GROUP, Embeddings, read_weights, write_embeddings, write_weights
from boostnerv.codec.quantizers.grids import COARSE_SIGMA_GRID
from boostnerv.config import ModelSettings
from boostnerv.evaluation.text import aligned
from boostnerv.models.architecture import Spec, architecture, tensor_shapes
from boostnerv.models.budget import decoder_parameters, resolve

_MODEL = architecture("hnerv-boost")
_FRAMES, _HEIGHT, _WIDTH = 132, 720, 1280
_CODED_M = 1.5  # decoder and embeddings whose coding is measured
_OPENED_M = 15.3  # so that the decoder alone has 15 M
_OPENED_BITS = 6


@dataclass(frozen=True)
class Piece:
    """Symbols ``[n]`` of one call of the bare coder; `mean` and `scale` are numbers, or given for each ``[n]``."""

    symbols: NDArray[np.int32]
    family: Any
    low: int
    high: int
    mean: Any
    scale: Any

    @property
    def model(self) -> tuple[Any, tuple[Any, ...]]:
        """What constriction takes: a model, and the parameters that it wants for each symbol."""
        if isinstance(self.mean, float):
            return self.family(self.low, self.high, self.mean, self.scale), ()
        return self.family(self.low, self.high), (self.mean, self.scale)


@dataclass(frozen=True)
class Measured:
    """A way of coding: how fast, and how many times as long the bare coder takes for the same."""

    what: str
    symbols: int
    codings: int
    ns_per_symbol: Spread
    bare_ns_per_symbol: Spread
    speed_of_bare: Spread


def bare_encode(pieces: Sequence[Piece]) -> NDArray[np.uint32]:
    """All pieces on one stack."""
    coder = constriction.stream.stack.AnsCoder()
    for piece in reversed(pieces):
        model, parameters = piece.model
        coder.encode_reverse(piece.symbols, model, *parameters)
    return coder.get_compressed()


def bare_decode(words: NDArray[np.uint32], pieces: Sequence[Piece]) -> list[NDArray[np.int32]]:
    """The symbols of each piece."""
    coder = constriction.stream.stack.AnsCoder(words)
    decoded = []
    for piece in pieces:
        model, parameters = piece.model
        decoded.append(coder.decode(model, *(parameters or (len(piece.symbols),))))
    return decoded


# --- what is coded -----------------------------------------------------------------------------------------


def size(total_m: float) -> Spec:
    """HNeRV-Boost of so many million parameters for the usual clip."""
    settings = ModelSettings(name=_MODEL.name, strides=(5, 2, 2, 2, 2), total_m=total_m)
    return resolve(settings, _FRAMES, _HEIGHT, _WIDTH)


def weight_codes(spec: Spec) -> list[NDArray[np.int32]]:
    """Codes of the decoder's tensors, of about 2 to 4 bits: Gaussian, with a deviation of each channel's own."""
    random = np.random.default_rng(1)
    codes = []
    for shape in tensor_shapes(_MODEL, spec).values():
        deviation = np.exp(random.normal(0.7, 0.5, (shape[0], *[1] * (len(shape) - 1))))
        codes.append(np.rint(random.normal(0, deviation, tuple(shape))).astype(np.int32))
    return codes


def embedding_codes(spec: Spec) -> NDArray[np.int32]:
    """Codes of the frames' embeddings ``[T, e, h, w]``: each like the one before, a deviation of 8."""
    random = np.random.default_rng(2)
    assert spec.embedding_shape is not None
    values = random.normal(0, 8, (spec.frames, *spec.embedding_shape))
    for frame in range(1, spec.frames):
        values[frame] = 0.9 * values[frame - 1] + np.sqrt(1 - 0.9**2) * values[frame]
    return np.rint(values).astype(np.int32)


def independent_pieces(fitted: IndependentParameters, codes: NDArray[np.int32], reach: int) -> list[Piece]:
    """A call for each location: for the whole tensor, or for each of its channels or frames."""
    kinds = constriction.stream.model
    family = kinds.QuantizedGaussian if fitted.model.distribution == "gaussian" else kinds.QuantizedLaplace
    rows = codes.reshape(fitted.mean.size, -1)
    return [
        Piece(row, family, *support(mean, scale, reach), float(mean), float(scale))
        for row, mean, scale in zip(rows, fitted.mean.reshape(-1), fitted.scale.reshape(-1), strict=True)
    ]


def temporal_pieces(fitted: TemporalParameters, codes: NDArray[np.int32]) -> list[Piece]:
    """A call for each frame, with locations that are known beforehand."""
    pieces = []
    for index, frame in enumerate(codes):
        mean, scale = fitted.mean_index[0] / UNITS_PER_CODE, COARSE_SIGMA_GRID.decode(fitted.first_index[0])
        if index % DEFAULT_GROUP:
            mean = mean + fitted.slope_index[0] / SLOPE_UNITS * (codes[index - 1] - mean)
            scale = COARSE_SIGMA_GRID.decode(fitted.later_index[0])
        bounds = support(mean, scale, fitted.reach)
        each = (np.broadcast_to(values, frame.shape).reshape(-1) for values in (mean, scale))
        pieces.append(Piece(frame.reshape(-1), constriction.stream.model.QuantizedGaussian, *bounds, *each))
    return pieces


def pieces_of_weights(codes: Sequence[NDArray[np.int32]], names: Sequence[str]) -> list[Piece]:
    """Those of all tensors, each under the model of that name."""
    fitted = [BY_NAME[name].candidates(tensor, "weights", 1)[0] for tensor, name in zip(codes, names, strict=True)]
    reach = max(parameters.reach for parameters in fitted)
    pieces = []
    for tensor, parameters in zip(codes, fitted, strict=True):
        assert isinstance(parameters, IndependentParameters)
        pieces += independent_pieces(parameters, tensor, reach)
    return pieces


# --- what is measured --------------------------------------------------------------------------------------


def measure_weights(choice: str, repeats: int) -> list[Measured]:
    """Writing and reading of weights under one model, or ``auto``."""
    spec = size(_CODED_M)
    codes = weight_codes(spec)
    shapes = [tensor.shape for tensor in codes]
    steps = np.full(len(codes), 2000)
    data = write_weights(codes, steps, choice)
    chosen = pieces_of_weights(codes, read_weights(data, shapes).models)
    tried = [chosen]
    if choice == "auto":
        # Every model is tried twice: for each tensor, and for all of them.
        alike = [pieces_of_weights(codes, [model.name] * len(codes)) for model in models_of("weights")]
        tried = [*alike, *alike, chosen]
    return measured(
        f"weights, {choice}",
        chosen,
        tried,
        lambda: write_weights(codes, steps, choice),
        lambda: read_weights(data, shapes),
        repeats,
    )


def measure_embeddings(choice: str, repeats: int) -> list[Measured]:
    """Writing and reading of embeddings under one model."""
    spec = size(_CODED_M)
    codes = embedding_codes(spec)
    data = write_embeddings(codes, 2000, 0, DEFAULT_GROUP, choice)
    tried = []
    for parameters in BY_NAME[choice].candidates(codes, "embeddings", DEFAULT_GROUP):
        if isinstance(parameters, TemporalParameters):
            tried.append(temporal_pieces(parameters, codes))
        else:
            assert isinstance(parameters, IndependentParameters)
            tried.append(independent_pieces(parameters, codes, parameters.reach))
    chosen = min(tried, key=lambda pieces: len(bare_encode(pieces)))

    def read() -> None:
        coded = Embeddings(data, codes.shape)
        for number in range(coded.groups):
            coded.codes(number)

    return measured(
        f"embeddings, {choice}",
        chosen,
        tried,
        lambda: write_embeddings(codes, 2000, 0, DEFAULT_GROUP, choice),
        read,
        repeats,
    )


def measured(
    what: str,
    chosen: Sequence[Piece],
    tried: Sequence[Sequence[Piece]],
    write: Callable[[], object],
    read: Callable[[], object],
    repeats: int,
) -> list[Measured]:
    """Writing beside the bare coding of all that was tried, reading beside the bare decoding of what was chosen."""
    words = bare_encode(chosen)
    assert all(map(np.array_equal, bare_decode(words, chosen), (piece.symbols for piece in chosen)))
    actions = {
        "write": write,
        "bare write": lambda: [bare_encode(pieces) for pieces in tried],
        "read": read,
        "bare read": lambda: bare_decode(words, chosen),
    }
    seconds = interleaved(actions, repeats)
    symbols = sum(len(piece.symbols) for piece in chosen)

    def compared(verb: str, codings: int) -> Measured:
        ours, bare = seconds[verb], seconds[f"bare {verb}"]
        each = [Spread.of([1e9 / symbols * value for value in values]) for values in (ours, bare)]
        return Measured(f"{verb} {what}", symbols, codings, *each, ratio(bare, ours))

    return [compared("write", len(tried)), compared("read", 1)]


def opening_s(repeats: int) -> tuple[int, Spread]:
    """Decoder parameters of a file, and seconds from its path to a network that renders."""
    spec = size(_OPENED_M)
    torch.manual_seed(0)
    weights = {name: values.detach() for name, values in _MODEL.decoder(spec).named_parameters()}
    assert spec.embedding_shape is not None
    embeddings = torch.randn(spec.frames, *spec.embedding_shape)
    quantized = Quantized.after_training(weights, embeddings, _OPENED_BITS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.bnv"
        path.write_bytes(model_file(_MODEL, spec, quantized))
        seconds = interleaved({"open": lambda: VideoFile(path).segment(0).prepare()}, repeats)
    return decoder_parameters(_MODEL, spec), Spread.of(seconds["open"])


def table(rows: Iterable[Measured]) -> list[str]:
    """Lines of text, times in nanoseconds a symbol."""
    heads = ("", "symbols", "codings", "ns a symbol", "bare", "speed as a part of bare")
    cells = [
        (
            row.what,
            str(row.symbols),
            str(row.codings),
            row.ns_per_symbol.text(".0f"),
            row.bare_ns_per_symbol.text(".0f"),
            row.speed_of_bare.text(".2f"),
        )
        for row in rows
    ]
    return aligned([heads, *cells], {0})


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.entropy_speed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count")
    given = parser.parse_args()
    rows = [row for choice in ("gaussian", "auto") for row in measure_weights(choice, given.repeats)]
    rows += [row for choice in ("gaussian", "temporal") for row in measure_embeddings(choice, given.repeats)]
    parameters, open_s = opening_s(given.repeats)
    facts = machine("constriction", "numpy", "torch")
    if given.json:
        found = {"machine": facts, "coding": [dataclasses.asdict(row) for row in rows]}
        opening = {"decoder_parameters": parameters, "seconds": dataclasses.asdict(open_s)}
        print(json.dumps({**found, "opening": opening}, indent=2))
        return
    print(*table(rows), sep="\n")
    print(f"\nopening a file of {parameters / 1e6:.1f} M decoder parameters: {open_s.text('.2f')} s")
    print("medians (quartiles); " + ", ".join(f"{name} {value}" for name, value in facts.items()))


if __name__ == "__main__":
    main()
