"""A stream of symbols, each under a model of its own: asymmetric numeral systems (ANS) through constriction.

Writer and reader name the same models in the same order. A stream is a whole number of little-endian 32-bit words;
reading garbage gives symbols within the range of their models, and `SymbolReader.finish` says whether the stream ended
where the symbols did.
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
CONSTRICTION = "0.5.0"  # its models are a part of the format; another release is used, with a warning
_SYMBOLS_AT_ONCE = 1 << 14
PRECISION = 24  # bits: the probabilities of a model are whole numbers that add up to 2^PRECISION


def tabulated(model: Any, low: int, high: int) -> Any:
    """The model of ``symbol − low`` that divides 2^24 exactly as `model` does among symbols in [low, high].

    To make it costs a few microseconds a symbol; to code with it is several times as fast as with a formula.
    """
    starts = np.empty(high - low + 2)
    for index, symbol in enumerate(np.arange(low, high + 1, dtype=np.int32)):
        # Onto an empty stack a symbol goes as the number at which its interval begins.
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(int(symbol), model)
        starts[index] = coder.get_compressed().sum()
    starts[-1] = 1 << PRECISION
    # One is given to every symbol; the rest is divided, and is what is divided.
    return constriction.stream.model.Categorical(np.diff(starts) - 1, perfect=False, lazy=False)


@cache
def _warn_of_another_release() -> None:
    """Say once, on the standard error output, that another constriction is installed than files are made with."""
    installed = version("constriction")
    if installed != CONSTRICTION:
        print(
            f"constriction {installed} is installed, .bnv files are made and tested with {CONSTRICTION}: where frames "
            f"come out wrong, install constriction=={CONSTRICTION}",
            file=sys.stderr,
            flush=True,
        )


class SymbolWriter:
    """Collects symbols in the order in which they will be read."""

    def __init__(self) -> None:
        _warn_of_another_release()
        self._pieces: list[_Piece] = []

    def integers(self, values: ArrayLike, size: int) -> None:
        """Whole numbers in [0, size), size in [2, 2^24], all as likely."""
        self.coded(np.atleast_1d(np.asarray(values, dtype=np.int32)), constriction.stream.model.Uniform(size))

    def coded(self, symbols: NDArray[np.int32], model: Any, *parameters: NDArray[np.float64]) -> None:
        """Symbols ``[n]`` under a model of constriction, or a family of models and parameters ``[n]``."""
        self._pieces.append((np.ascontiguousarray(symbols, dtype=np.int32), model, parameters))

    def bits(self) -> int:
        """Length of the stream in bits, before it is filled up to words."""
        return int(self._coder().num_valid_bits())

    def finish(self) -> bytes:
        """The stream."""
        return bytes(self._coder().get_compressed().astype("<u4").tobytes())

    def _coder(self) -> Any:
        coder = constriction.stream.stack.AnsCoder()
        # A stack gives back last what went in first.
        for symbols, model, parameters in reversed(self._pieces):
            if len(symbols):
                coder.encode_reverse(symbols, model, *parameters)
        return coder


class SymbolReader:
    """Reads what `SymbolWriter` wrote; raises `BitstreamError` for bytes that are no stream."""

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
        """`count` whole numbers in [0, size)."""
        return self.coded(count, constriction.stream.model.Uniform(size)).astype(np.int64)

    def integer(self, size: int) -> int:
        """A whole number in [0, size)."""
        return int(self.integers(1, size)[0])

    def coded(self, count: int, model: Any, *parameters: NDArray[np.float64]) -> NDArray[np.int32]:
        """`count` symbols int32; of a family the parameters are ``[count]``."""
        if count == 0:
            return np.zeros(0, dtype=np.int32)
        symbols = np.empty(count, dtype=np.int32)
        for first in range(0, count, _SYMBOLS_AT_ONCE):
            if self._coder.is_empty():
                # Nothing is left but least symbols. In the tail of a distribution they are slow to find one by one.
                one = tuple(values[first : first + 1] for values in parameters)
                symbols[first:] = self._coder.decode(model, *(one or (1,)))
                break
            part = slice(first, min(first + _SYMBOLS_AT_ONCE, count))
            some = tuple(values[part] for values in parameters)
            symbols[part] = self._coder.decode(model, *(some or (part.stop - part.start,)))
        return symbols

    def bits_left(self) -> int:
        """Bits that are still to be read."""
        return int(self._coder.num_valid_bits())

    def finish(self) -> None:
        """Raise `BitstreamError` where the stream goes on."""
        if not self._coder.is_empty():
            raise BitstreamError(
                "an entropy-coded stream has data behind its last code; the file is damaged, get it again"
            )
