"""Streams of symbols, each coded under its own model, by asymmetric numeral systems (ANS) through constriction.

Writer and reader must use the same models in the same order. A stream is a sequence of little-endian 32-bit words.
Reading garbage yields symbols within the range of their models; `SymbolReader.finish` checks that the stream ended with
the symbols.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version
from typing import Any

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from boostnerv.errors import BitstreamError

_Piece = tuple[NDArray[np.int32], Any, tuple[NDArray[np.float64], ...]]
CONSTRICTION = "0.5.0"  # its models are part of the format; other releases work, with a warning
_SYMBOLS_AT_ONCE = 1 << 14
PRECISION = 24  # bits: the probabilities of a model are integers that add up to 2^PRECISION


def tabulated(model: Any, low: int, high: int) -> Any:
    """A table model of ``symbol − low`` that divides 2^24 among symbols in [low, high] exactly as `model` does.

    Building it takes a few microseconds per symbol; coding with it is several times as fast as with a formula.
    """
    starts = np.empty(high - low + 2)
    for index, symbol in enumerate(np.arange(low, high + 1, dtype=np.int32)):
        # On an empty stack, encoding a symbol leaves the start of its interval.
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(int(symbol), model)
        starts[index] = coder.get_compressed().sum()
    starts[-1] = 1 << PRECISION
    # Categorical gives 1 to every symbol and divides the rest in proportion to these numbers, which are that rest.
    return constriction.stream.model.Categorical(np.diff(starts) - 1, perfect=False, lazy=False)


@cache
def _warn_of_another_release() -> None:
    """Warn once, on standard error, if the installed constriction is not the release that defines the format."""
    installed = version("constriction")
    if installed != CONSTRICTION:
        print(
            f"constriction {installed} is installed, .bnv files are written and tested with {CONSTRICTION}: if frames "
            f"come out wrong, install constriction=={CONSTRICTION}",
            file=sys.stderr,
            flush=True,
        )


class SymbolWriter:
    """Collects symbols in reading order."""

    def __init__(self) -> None:
        _warn_of_another_release()
        self._pieces: list[_Piece] = []

    def integers(self, values: ArrayLike, size: int) -> None:
        """Append integers in [0, size), size in [2, 2^24], all equally likely."""
        self.coded(np.atleast_1d(np.asarray(values, dtype=np.int32)), constriction.stream.model.Uniform(size))

    def coded(self, symbols: NDArray[np.int32], model: Any, *parameters: NDArray[np.float64]) -> None:
        """Append symbols ``[n]`` under a constriction model, or a model family with parameters ``[n]``."""
        self._pieces.append((np.ascontiguousarray(symbols, dtype=np.int32), model, parameters))

    def bits(self) -> int:
        """Length of the stream in bits, before padding to words."""
        return int(self._coder().num_valid_bits())

    def finish(self) -> bytes:
        """The bytes of the stream."""
        return bytes(self._coder().get_compressed().astype("<u4").tobytes())

    def _coder(self) -> Any:
        coder = constriction.stream.stack.AnsCoder()
        # The coder is a stack: the first symbol to be read is encoded last.
        for symbols, model, parameters in reversed(self._pieces):
            if len(symbols):
                coder.encode_reverse(symbols, model, *parameters)
        return coder


class SymbolReader:
    """Reads what `SymbolWriter` wrote; raises `BitstreamError` for bytes that are not a stream."""

    def __init__(self, data: bytes) -> None:
        _warn_of_another_release()
        if len(data) % 4:
            raise BitstreamError(
                f"an entropy-coded stream of {len(data)} bytes is not a whole number of words; "
                "the file is damaged, get it again"
            )
        words = np.frombuffer(data, dtype="<u4").astype(np.uint32)
        if len(words) and words[-1] == 0:
            raise BitstreamError("an entropy-coded stream ends in an empty word; the file is damaged, get it again")
        self._coder = constriction.stream.stack.AnsCoder(words)

    def integers(self, count: int, size: int) -> NDArray[np.int64]:
        """Read `count` integers in [0, size)."""
        return self.coded(count, constriction.stream.model.Uniform(size)).astype(np.int64)

    def integer(self, size: int) -> int:
        """Read one integer in [0, size)."""
        return int(self.integers(1, size)[0])

    def coded(self, count: int, model: Any, *parameters: NDArray[np.float64]) -> NDArray[np.int32]:
        """Read `count` symbols int32; the parameters of a model family are ``[count]``."""
        if count == 0:
            return np.zeros(0, dtype=np.int32)
        symbols = np.empty(count, dtype=np.int32)
        for first in range(0, count, _SYMBOLS_AT_ONCE):
            if self._coder.is_empty():
                # All remaining symbols are the smallest; in the tail of a distribution each is slow to decode.
                first_parameters = tuple(values[first : first + 1] for values in parameters)
                symbols[first:] = self._coder.decode(model, *(first_parameters or (1,)))
                break
            part = slice(first, min(first + _SYMBOLS_AT_ONCE, count))
            part_parameters = tuple(values[part] for values in parameters)
            symbols[part] = self._coder.decode(model, *(part_parameters or (part.stop - part.start,)))
        return symbols

    def bits_left(self) -> int:
        """Number of bits not yet read."""
        return int(self._coder.num_valid_bits())

    def finish(self) -> None:
        """Raise `BitstreamError` if data remains."""
        if not self._coder.is_empty():
            raise BitstreamError(
                "an entropy-coded stream has data after its last code; the file is damaged, get it again"
            )
