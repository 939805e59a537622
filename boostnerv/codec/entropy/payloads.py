"""Payloads of the sections ``weights`` and ``embeddings`` for uniform quantisers: steps, parameters, codes.

``weights`` is one stream of symbols: reach (8 bits), number of the entropy model or 0 (4 bits), then for each tensor of
the decoder in order: δ on its grid (12 bits), after a 0 the number of the tensor's own model (4 bits), the parameters
of the model, the codes.

``embeddings`` consists of `EMBEDDINGS_FIELDS`, the length of each group's stream in words (u32), a stream with the
parameters of the model, and the streams of the groups.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from boostnerv.catalogue import entropy_model
from boostnerv.codec.container.bitstream import Field, layout
from boostnerv.codec.entropy.entropy_models import (
    BY_NAME,
    BY_WIRE_ID,
    Codes,
    EntropyModel,
    Indices,
    Parameters,
    models_of,
)
from boostnerv.codec.entropy.symbols import SymbolReader, SymbolWriter
from boostnerv.codec.quantizers.grids import STEP_GRID, offset_value, step_values
from boostnerv.errors import BitstreamError, UserError, nearest

AUTO = "auto"
DEFAULT_GROUP = 16
LARGEST_GROUP = 255
ANY_MODEL = 0
MODEL_NUMBERS = 16
REACHES = 256
# Equal codes cost next to nothing, so that any payload may have many. Beyond that, the bytes bound the numbers of codes
# and of channels, which may have distributions of their own.
ANY_CODES, CODES_PER_BYTE = 1 << 21, 256
ANY_CHANNELS, CHANNELS_PER_BYTE = 1 << 14, 16

EMBEDDINGS_FIELDS = (
    Field("step", "H", "δ on its grid"),
    Field("offset", "i", "β in 64ths of δ"),
    Field("model", "B", "entropy model"),
    Field("reach", "B", "codes lie within this many scales of their location"),
    Field("group", "B", "N, frames whose codes are decoded together"),
    Field("parameters", "I", "length of the parameter stream in words"),
)
_EMBEDDINGS_HEAD = layout(EMBEDDINGS_FIELDS)


def check_choice(choice: str) -> None:
    """Raise `UserError` unless `choice` is ``auto`` or a registered entropy model."""
    if choice not in (AUTO, *BY_NAME):
        raise UserError(f"unknown entropy model '{choice}': {nearest(choice, [AUTO, *BY_NAME])}")


class CodedWeights(Protocol):
    """A decoded section ``weights``, for any quantiser."""

    @property
    def models(self) -> tuple[str, ...]:
        """Name of the entropy model of each tensor."""
        ...

    @property
    def side_bits(self) -> int:
        """Bits of the section that are not codes."""
        ...

    def values(self) -> Iterator[NDArray[np.float32]]:
        """Values of each tensor, in decoder order."""
        ...


class CodedEmbeddings(Protocol):
    """A decoded section ``embeddings``, for any quantiser."""

    @property
    def model_name(self) -> str:
        """Name of the entropy model."""
        ...

    @property
    def group(self) -> int:
        """Number of frames decoded together."""
        ...

    @property
    def side_bits(self) -> int:
        """Bits of the section that are not codes."""
        ...

    def values(self, number: int) -> NDArray[np.float32]:
        """Embeddings of the frames of a group ``[n, e, h, w]``."""
        ...


# --- weights -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """Decoded section: codes of each tensor in its shape, grid indices of δ ``[S]``, names of models, side bits.

    `tensor_bits` is the number of bits by which decoding each tensor's codes shrank the coder's state.
    """

    codes: list[Codes]
    step_index: Indices
    models: tuple[str, ...]
    side_bits: int
    tensor_bits: tuple[int, ...]

    @property
    def steps(self) -> NDArray[np.float32]:
        """δ of each tensor ``[S]``."""
        return step_values(self.step_index)

    def values(self) -> Iterator[NDArray[np.float32]]:
        """Values ``δ·code`` of each tensor in float32."""
        for codes, step in zip(self.codes, self.steps, strict=True):
            yield codes.astype(np.float32) * step


def write_weights(codes: Sequence[Codes], step_index: Indices, choice: str = AUTO) -> bytes:
    """Payload of the codes of S tensors under the entropy model `choice`, or the cheapest ones for ``auto``.

    `step_index` ``[S]`` are grid indices of δ. ``auto`` is never larger than any single model. If `choice` cannot code
    weights, ``gaussian`` is used.
    """
    allowed = {model.name: model for model in models_of("weights")}
    if choice != AUTO:
        model = allowed.get(choice, BY_NAME["gaussian"])
        return _write_weights(codes, step_index, [_fitted(tensor, model) for tensor in codes])
    fitted = [[_fitted(tensor, model) for model in allowed.values()] for tensor in codes]
    layouts = [[choices[number] for choices in fitted] for number in range(len(allowed))]
    layouts.append([min(choices, key=_bits) for choices in fitted])
    return min((_write_weights(codes, step_index, layout) for layout in layouts), key=len)


@dataclass(frozen=True)
class _Choice:
    """An entropy model with parameters fitted to the codes of a tensor."""

    model: EntropyModel
    parameters: Parameters
    codes: Codes

    @cached_property
    def bits(self) -> int:
        """Cost of parameters and codes."""
        writer = SymbolWriter()
        self.parameters.write(writer)
        self.parameters.encode(writer, self.codes, 0, self.parameters.reach)
        return writer.bits()


def _bits(choice: _Choice) -> int:
    return choice.bits


def _fitted(tensor: Codes, model: EntropyModel) -> _Choice:
    """A model with its cheapest parameters for a tensor."""
    choices = [_Choice(model, parameters, tensor) for parameters in model.candidates(tensor, "weights", 1)]
    return choices[0] if len(choices) == 1 else min(choices, key=_bits)


def _write_weights(codes: Sequence[Codes], step_index: Indices, layout: Sequence[_Choice]) -> bytes:
    numbers = {entropy_model(choice.model.name).wire_id for choice in layout}
    mixed = len(numbers) > 1
    reach = max(choice.parameters.reach for choice in layout)
    writer = SymbolWriter()
    writer.integers(reach, REACHES)
    writer.integers(ANY_MODEL if mixed else numbers.pop(), MODEL_NUMBERS)
    for tensor, step, choice in zip(codes, step_index, layout, strict=True):
        writer.integers(step, STEP_GRID.levels)
        if mixed:
            writer.integers(entropy_model(choice.model.name).wire_id, MODEL_NUMBERS)
        choice.parameters.write(writer)
        choice.parameters.encode(writer, tensor, 0, reach)
    return writer.finish()


def read_weights(data: bytes, shapes: Sequence[tuple[int, ...]]) -> Weights:
    """Inverse of `write_weights` for tensors of these shapes; raises `BitstreamError` for damaged data."""
    check_shapes(shapes, len(data))
    reader = SymbolReader(data)
    reach = reader.integer(REACHES)
    common = reader.integer(MODEL_NUMBERS)
    codes, steps, models, tensor_bits = [], [], [], []
    for shape in shapes:
        steps.append(reader.integer(STEP_GRID.levels))
        number = reader.integer(MODEL_NUMBERS) if common == ANY_MODEL else common
        model = _model(number)
        if "weights" not in entropy_model(model.name).roles:
            raise BitstreamError(f"entropy model {model.name} cannot code weights; the file is damaged, get it again")
        parameters = model.read(reader, shape, "weights")
        bits_before = reader.bits_left()
        codes.append(parameters.decode(reader, shape, 0, reach))
        tensor_bits.append(bits_before - reader.bits_left())
        models.append(model.name)
    reader.finish()
    side_bits = max(8 * len(data) - sum(tensor_bits), 0)
    return Weights(codes, np.array(steps, dtype=np.int64), tuple(models), side_bits, tuple(tensor_bits))


# --- embeddings --------------------------------------------------------------------------------------------


def write_embeddings(codes: Codes, step_index: int, offset_index: int, group: int, choice: str = AUTO) -> bytes:
    """Payload of the embedding codes of all frames ``[T, e, h, w]`` under the model `choice`, or the cheapest for
    ``auto``; `group` frames (1 to 255) are coded together.
    """
    if not 1 <= group <= LARGEST_GROUP:
        raise ValueError(f"a group of {group} frames does not fit the format, which allows 1 to {LARGEST_GROUP}")
    models = models_of("embeddings") if choice == AUTO else [BY_NAME[choice]]
    payloads = [
        _write_embeddings(codes, step_index, offset_index, group, model, parameters)
        for model in models
        for parameters in model.candidates(codes, "embeddings", group)
    ]
    return min(payloads, key=len)


def _write_embeddings(
    codes: Codes, step_index: int, offset_index: int, group: int, model: EntropyModel, parameters: Parameters
) -> bytes:
    side = SymbolWriter()
    parameters.write(side)
    streams = [side.finish()]
    for first in range(0, len(codes), group):
        writer = SymbolWriter()
        parameters.encode(writer, codes[first : first + group], first, parameters.reach)
        streams.append(writer.finish())
    words = [len(stream) // 4 for stream in streams]
    head = _EMBEDDINGS_HEAD.pack(
        step_index, offset_index, entropy_model(model.name).wire_id, parameters.reach, group, words[0]
    )
    return head + np.array(words[1:], dtype="<u4").tobytes() + b"".join(streams)


class Embeddings:
    """The section ``embeddings`` for embeddings ``[T, e, h, w]``; groups of frames are decoded on request.

    Raises `BitstreamError` for a damaged payload.
    """

    def __init__(self, data: bytes, shape: tuple[int, ...]) -> None:
        self._data, self._shape = data, shape
        if len(data) < _EMBEDDINGS_HEAD.size:
            raise BitstreamError("the section is too short; the file is damaged, get it again")
        values = _EMBEDDINGS_HEAD.unpack_from(data)
        self.step_index, self.offset_index, number, self._reach, self.group, words = values
        self.model = _model(number)
        if (
            "embeddings" not in entropy_model(self.model.name).roles
            or self.group == 0
            or self.step_index >= STEP_GRID.levels
        ):
            raise BitstreamError("its quantiser or entropy model is invalid; the file is damaged, get it again")
        check_shapes([(1, min(self.group, shape[0]), *shape[1:])], len(data))
        self._bounds = self._find_bounds(words)

    def _find_bounds(self, parameter_words: int) -> list[int]:
        """Byte offset of the start of each stream, and of the end of the last."""
        groups = -(-self._shape[0] // self.group)
        start = _EMBEDDINGS_HEAD.size + 4 * groups
        if start > len(self._data):
            raise BitstreamError("the section is too short; the file is damaged, get it again")
        lengths = np.frombuffer(self._data, "<u4", groups, _EMBEDDINGS_HEAD.size).astype(np.int64)
        bounds = start + 4 * np.cumsum([0, parameter_words, *lengths.tolist()])
        if int(bounds[-1]) != len(self._data):
            raise BitstreamError(
                f"its streams claim {int(bounds[-1])} bytes, the section has {len(self._data)}; "
                "the file is damaged, get it again"
            )
        return [int(bound) for bound in bounds]

    @property
    def groups(self) -> int:
        return len(self._bounds) - 2

    @property
    def model_name(self) -> str:
        return self.model.name

    @property
    def step(self) -> np.float32:
        """δ."""
        return np.float32(step_values(np.array(self.step_index)))

    @property
    def offset(self) -> np.float32:
        """β."""
        return offset_value(self.offset_index, self.step)

    @property
    def side_bits(self) -> int:
        """Bits that are not codes."""
        return 8 * self._bounds[1]

    @property
    def code_bits(self) -> int:
        """Bits of the codes of all groups, without the padding of their streams to words."""
        streams = itertools.pairwise(self._bounds[1:])
        return sum(SymbolReader(self._data[start:end]).bits_left() for start, end in streams)

    @cached_property
    def _parameters(self) -> Parameters:
        reader = SymbolReader(self._data[self._bounds[0] : self._bounds[1]])
        parameters = self.model.read(reader, self._shape, "embeddings")
        reader.finish()
        return parameters

    def codes(self, number: int) -> Codes:
        """Codes of the frames of a group ``[n, e, h, w]``."""
        first = number * self.group
        shape = (min(self.group, self._shape[0] - first), *self._shape[1:])
        reader = SymbolReader(self._data[self._bounds[number + 1] : self._bounds[number + 2]])
        codes = self._parameters.decode(reader, shape, first, self._reach)
        reader.finish()
        return codes

    def values(self, number: int) -> NDArray[np.float32]:
        """Embeddings of the frames of a group ``[n, e, h, w]``: ``δ·code + β`` in float32."""
        return dequantize(self.codes(number), self.step, self.offset)


def dequantize(codes: Codes, step: np.float32, offset: np.float32) -> NDArray[np.float32]:
    """Values ``δ·code + β`` of codes of any shape, in float32."""
    values: NDArray[np.float32] = codes.astype(np.float32) * step + offset
    return values


def _model(number: int) -> EntropyModel:
    if number not in BY_WIRE_ID:
        raise BitstreamError(f"entropy model {number} is unknown; a newer boostnerv may read it")
    return BY_WIRE_ID[number]


def check_shapes(shapes: Sequence[tuple[int, ...]], size: int) -> None:
    """Raise `BitstreamError` if tensors ``[out, …]`` have more codes or channels than `size` bytes permit."""
    codes, channels = sum(map(math.prod, shapes)), sum(shape[0] for shape in shapes)
    if codes > ANY_CODES + CODES_PER_BYTE * size or channels > ANY_CHANNELS + CHANNELS_PER_BYTE * size:
        raise BitstreamError(
            f"it claims {codes} codes in {channels} channels in {size} bytes; the file is damaged, get it again"
        )
