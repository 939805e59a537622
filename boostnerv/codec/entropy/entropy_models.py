"""Entropy models by name and file number: the probability of each code, from parameters that the file stores.

    1  gaussian          mean and deviation per tensor, per frame for embeddings: the published model (Zhang et al.,
                         CVPR 2024, section 3.4)
    2  gaussian-channel  mean and deviation per channel: output channel of weights, channel of embeddings
    3  laplace           location and scale per tensor, per frame for embeddings
    4  temporal          embeddings only: each code is predicted from the same position of the previous frame

The parameters of a model lie on grids and are stored in the same streams as the codes. All values that enter a
distribution are products of small integers and powers of two, which are exact on every machine; only erf and exp
remain to agree on, and those are constriction's.

Codes of embeddings are divided into groups of N frames, each in a stream of its own in which the `temporal` model
starts afresh: decoding a frame needs at most N − 1 other frames' embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from boostnerv.catalogue import ENTROPY_MODELS, Role, entropy_model_names
from boostnerv.codec.entropy.symbols import SymbolReader, SymbolWriter, tabulated
from boostnerv.codec.quantizers.grids import COARSE_SIGMA_GRID, LARGEST_CODE, SIGMA_GRID, SmallFloat
from boostnerv.errors import BitstreamError

Codes = NDArray[np.int32]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Distribution = Literal["gaussian", "laplace"]

LARGEST_REACH = 255  # codes lie within this many scales of their location
_SPARE_REACH = 1  # rounding a location to its grid moves it by less than a scale
ORIGIN_RANGE = 1 << 21
MEAN_BITS: dict[Role, int] = {"weights": 12, "embeddings": 8}
UNITS_PER_SIGMA = 16  # locations of tensors and frames are in sixteenths of the scale
UNITS_PER_SIGMA_OF_CHANNEL = 4  # a channel has fewer codes, so less precision suffices
UNITS_PER_CODE = 4  # locations of positions are in quarters of a code
SLOPE_UNITS = 16  # slopes are sixteenths in [−1, 1]
_BY_POSITION, _BY_CHANNEL = (0,), (0, 2, 3)  # axes of embeddings that share a value
_LARGEST_INDEX = (1 << 15) - 1
INDEX_RANGE = 1 << 16  # indices lie in [−2^15, 2^15)
CENTRE_UNITS = 256  # the mean of indices is stored in 256ths of their range
_CODES_PER_TABLE_ENTRY = 64
_SPARE_BITS = 64  # more than the coder's state can hold


class Parameters(Protocol):
    """Parameters of an entropy model for one tensor, or for all embeddings, on their grids."""

    @property
    def reach(self) -> int:
        """Largest distance of a code from its location in scales, in [1, 255]."""
        ...

    def write(self, writer: SymbolWriter) -> None:
        """Append the parameters to a stream."""
        ...

    def encode(self, writer: SymbolWriter, codes: Codes, first: int, reach: int) -> None:
        """Append codes to a stream; embeddings are a group ``[n, e, h, w]`` that starts with frame `first`."""
        ...

    def decode(self, reader: SymbolReader, shape: tuple[int, ...], first: int, reach: int) -> Codes:
        """Inverse of `encode`."""
        ...


@dataclass(frozen=True)
class Units:
    """For the format page: the distribution of a code, and the codes that share its parameters, and its range."""

    distribution: str
    parameters: str
    range: str


class EntropyModel(Protocol):
    """An entropy model; the catalogue's row of the same `name` holds its number and its roles."""

    @property
    def name(self) -> str: ...

    def units(self, role: Role) -> Units:
        """Codes that share parameters, as the format page says it."""
        ...

    def candidates(self, codes: Codes, role: Role, group: int) -> Sequence[Parameters]:
        """Parameters fitted to codes ``[out, …]`` or ``[T, e, h, w]``; the encoder chooses the cheapest."""
        ...

    def read(self, reader: SymbolReader, shape: tuple[int, ...], role: Role) -> Parameters:
        """Inverse of `Parameters.write` for codes of this shape."""
        ...


# --- independent codes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Independent:
    """Independent codes with one location and one scale per unit: a tensor, frame or channel."""

    name: str
    distribution: Distribution
    by_channel: bool

    def units(self, role: Role) -> Units:
        if not self.by_channel:
            tensor = "the tensor" if role == "weights" else "the frame"
            return Units(self.distribution.capitalize(), tensor, tensor)
        if role == "weights":
            return Units(self.distribution.capitalize(), "the index of the first axis", "the index of the first axis")
        return Units(self.distribution.capitalize(), "the channel, e", "the group of frames")

    def candidates(self, codes: Codes, role: Role, group: int) -> Sequence[Parameters]:
        units = self._units(codes.shape, role)
        axes = tuple(axis for axis, count in enumerate(units) if count == 1)
        centre = np.median if self.distribution == "laplace" else np.mean
        mean = centre(codes, axis=axes, keepdims=True).astype(np.float64)
        distance = np.abs(codes - mean)
        if self.distribution == "laplace":
            scale = distance.mean(axis=axes, keepdims=True)
        else:
            scale = np.sqrt(np.square(distance).mean(axis=axes, keepdims=True))
        origin = 0 if role == "weights" else round(float(mean.mean()))
        return [self._snapped(mean, scale, distance.max(axis=axes, keepdims=True), origin, role)]

    def read(self, reader: SymbolReader, shape: tuple[int, ...], role: Role) -> Parameters:
        units = self._units(shape, role)
        origin = 0 if role == "weights" else reader.integer(ORIGIN_RANGE) - ORIGIN_RANGE // 2
        if self.by_channel:
            scale_index, mean_index = _read_indices(reader, units), _read_indices(reader, units)
        else:
            scale_index, mean_index = _read_fixed(reader, units, MEAN_BITS[role])
        return IndependentParameters(self, role, np.clip(scale_index, 0, SIGMA_GRID.levels - 1), mean_index, origin)

    def _units(self, shape: tuple[int, ...], role: Role) -> tuple[int, ...]:
        axis = 1 if role == "embeddings" and self.by_channel else 0
        single = role == "weights" and not self.by_channel
        return tuple(count if i == axis and not single else 1 for i, count in enumerate(shape))

    def _snapped(self, mean: Floats, scale: Floats, farthest: Floats, origin: int, role: Role) -> IndependentParameters:
        """Parameters on the grids; the scale is enlarged until location and farthest code fit their ranges."""
        units = UNITS_PER_SIGMA_OF_CHANNEL if self.by_channel else UNITS_PER_SIGMA
        largest = _LARGEST_INDEX if self.by_channel else (1 << (MEAN_BITS[role] - 1)) - 1
        needed = np.maximum(np.abs(mean - origin) * units / (largest - 0.5), farthest / (LARGEST_REACH - _SPARE_REACH))
        scale_index = _at_least(SIGMA_GRID, scale, needed)
        grid_scale = SIGMA_GRID.decode(scale_index)
        mean_index = np.rint((mean - origin) * units / grid_scale).astype(np.int64)
        reach = _reach(farthest, grid_scale)
        return IndependentParameters(self, role, scale_index, mean_index, origin, reach)


@dataclass(frozen=True)
class IndependentParameters:
    """`scale_index` on `SIGMA_GRID` and `mean_index` in fractions of the scale from `origin`; shapes broadcast."""

    model: Independent
    role: Role
    scale_index: Indices
    mean_index: Indices
    origin: int
    reach: int = LARGEST_REACH

    @property
    def scale(self) -> Floats:
        """σ, or b of a Laplace distribution, in codes."""
        return SIGMA_GRID.decode(self.scale_index)

    @property
    def mean(self) -> Floats:
        """Locations, in codes."""
        units = UNITS_PER_SIGMA_OF_CHANNEL if self.model.by_channel else UNITS_PER_SIGMA
        return self.origin + self.mean_index * (self.scale / units)

    def write(self, writer: SymbolWriter) -> None:
        if self.role == "embeddings":
            writer.integers(self.origin + ORIGIN_RANGE // 2, ORIGIN_RANGE)
        if self.model.by_channel:
            _write_indices(writer, self.scale_index)
            _write_indices(writer, self.mean_index)
        else:
            _write_fixed(writer, self.scale_index, self.mean_index, MEAN_BITS[self.role])

    def encode(self, writer: SymbolWriter, codes: Codes, first: int, reach: int) -> None:
        mean, scale = self._of(first, len(codes))
        for part, location, spread in _pieces(mean, scale, codes.shape):
            _encode(writer, self.model.distribution, codes[part], location, spread, reach)

    def decode(self, reader: SymbolReader, shape: tuple[int, ...], first: int, reach: int) -> Codes:
        mean, scale = self._of(first, shape[0])
        codes = np.empty(shape, dtype=np.int32)
        for part, location, spread in _pieces(mean, scale, shape):
            codes[part] = _decode(reader, self.model.distribution, codes[part].shape, location, spread, reach)
        return codes

    def _of(self, first: int, count: int) -> tuple[Floats, Floats]:
        """Locations and scales of `count` frames from `first` on; for weights, all of them."""
        part = slice(None)
        if self.role == "embeddings" and not self.model.by_channel:
            part = slice(first, first + count)
        return self.mean[part], self.scale[part]


def _pieces(
    mean: Floats, scale: Floats, shape: tuple[int, ...]
) -> Iterator[tuple[slice, float | Floats, float | Floats]]:
    """Slices of codes with one location and scale per slice if units lie on the first axis, else all codes at once."""
    if len(mean) == mean.size:
        # Build a distribution once for many codes instead of once per code.
        for index, (location, spread) in enumerate(zip(mean.ravel().tolist(), scale.ravel().tolist(), strict=True)):
            yield slice(None) if len(mean) == 1 else slice(index, index + 1), location, spread
    else:
        yield slice(None), np.broadcast_to(mean, shape), np.broadcast_to(scale, shape)


# --- predicted from the previous frame ---------------------------------------------------------------------


@dataclass(frozen=True)
class Temporal:
    """Codes of embeddings as a first-order autoregressive process over time, restarted in every group.

    The first frame of a group is Gaussian about μ with deviation σ₀; in each later one a code is Gaussian about
    ``μ + a·(previous code − μ)`` with deviation σ₁. μ and σ₀, as well as a and σ₁, are given per channel or position.
    """

    name: str = "temporal"

    def units(self, role: Role) -> Units:
        return Units("Gaussian", "the code", "the frame")

    def candidates(self, codes: Codes, role: Role, group: int) -> Sequence[Parameters]:
        units = (_BY_CHANNEL, _BY_POSITION)
        return [parameters for first in units for parameters in _fit_temporal(codes, group, first, units)]

    def read(self, reader: SymbolReader, shape: tuple[int, ...], role: Role) -> Parameters:
        by_position = reader.integer(2), reader.integer(2)
        fine, coarse = (1, *shape[1:]), (1, shape[1], 1, 1)
        first, later = ((fine if flag else coarse) for flag in by_position)
        levels = COARSE_SIGMA_GRID.levels - 1
        return TemporalParameters(
            mean_index=_read_indices(reader, first),
            first_index=np.clip(_read_indices(reader, first), 0, levels),
            slope_index=np.clip(_read_indices(reader, later), -SLOPE_UNITS, SLOPE_UNITS),
            later_index=np.clip(_read_indices(reader, later), 0, levels),
        )


@dataclass(frozen=True)
class TemporalParameters:
    """Grid indices ``[1, e, 1, 1]`` or ``[1, e, h, w]``: μ in quarters of a code, a in sixteenths, σ₀ and σ₁ on
    `COARSE_SIGMA_GRID`."""

    mean_index: Indices
    first_index: Indices
    slope_index: Indices
    later_index: Indices
    reach: int = LARGEST_REACH

    def write(self, writer: SymbolWriter) -> None:
        for indices in (self.first_index, self.later_index):
            writer.integers(int(indices.shape[2] * indices.shape[3] > 1), 2)
        for indices in (self.mean_index, self.first_index, self.slope_index, self.later_index):
            _write_indices(writer, indices)

    def encode(self, writer: SymbolWriter, codes: Codes, first: int, reach: int) -> None:
        for index in range(len(codes)):
            frame = codes[index : index + 1]
            mean, sigma = self._expected(codes[index - 1 : index], frame.shape)
            _encode(writer, "gaussian", frame, mean, sigma, reach)

    def decode(self, reader: SymbolReader, shape: tuple[int, ...], first: int, reach: int) -> Codes:
        codes = np.empty(shape, dtype=np.int32)
        frame_shape = (1, *shape[1:])
        for index in range(shape[0]):
            mean, sigma = self._expected(codes[index - 1 : index], frame_shape)
            codes[index : index + 1] = _decode(reader, "gaussian", frame_shape, mean, sigma, reach)
        return codes

    def _expected(self, previous: Codes, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Location and scale of a frame's codes of `shape`, given the previous frame's ``[1, e, h, w]``, or empty."""
        if len(previous) == 0:
            return np.broadcast_to(self._mean, shape), np.broadcast_to(self._first_sigma, shape)
        return self._mean + self._slope * (previous - self._mean), np.broadcast_to(self._later_sigma, shape)

    @property
    def values(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Values of μ, σ₀, a and σ₁."""
        return self._mean, self._first_sigma, self._slope, self._later_sigma

    @cached_property
    def _mean(self) -> Floats:
        return self.mean_index / UNITS_PER_CODE

    @cached_property
    def _slope(self) -> Floats:
        return self.slope_index / SLOPE_UNITS

    @cached_property
    def _first_sigma(self) -> Floats:
        return COARSE_SIGMA_GRID.decode(self.first_index)

    @cached_property
    def _later_sigma(self) -> Floats:
        return COARSE_SIGMA_GRID.decode(self.later_index)


def temporal_process(codes: Codes, group: int) -> tuple[Floats, ...]:
    """μ, σ₀, a and σ₁ of embedding codes ``[T, e, h, w]``, each ``[1, e, h, w]``: the model that training assumes."""
    (parameters,) = _fit_temporal(codes, group, _BY_CHANNEL, [_BY_POSITION])
    return tuple(np.broadcast_to(values, codes[:1].shape) for values in parameters.values)


def _fit_temporal(
    codes: Codes, group: int, first: tuple[int, ...], laters: Sequence[tuple[int, ...]]
) -> Iterator[TemporalParameters]:
    """Moments of all codes over the axes `first`, and for each of `laters` the least-squares regression, over these
    axes, of each code on its predecessor in the group.
    """
    mean_index = _clipped(codes.mean(axis=first, keepdims=True) * UNITS_PER_CODE)
    centred = codes.astype(np.float32) - (mean_index / UNITS_PER_CODE).astype(np.float32)
    starts = np.arange(len(codes)) % group == 0
    first_index, first_reach = _spread(centred, centred[starts], first)
    before, after = centred[np.flatnonzero(~starts) - 1], centred[~starts]
    powers, products = np.square(before), before * after
    for later in laters:
        power, product = (values.sum(axis=later, keepdims=True) for values in (powers, products))
        slope = product / np.maximum(power, 1e-9)
        slope_index = np.clip(np.rint(slope * SLOPE_UNITS), -SLOPE_UNITS, SLOPE_UNITS).astype(np.int64)
        residual = after - (slope_index / SLOPE_UNITS).astype(np.float32) * before
        later_index, later_reach = _spread(residual, residual, later)
        yield TemporalParameters(mean_index, first_index, slope_index, later_index, max(first_reach, later_reach))


def _spread(values: NDArray[np.float32], coded: NDArray[np.float32], axes: tuple[int, ...]) -> tuple[Indices, int]:
    """Index of the deviation of `values` about zero on the coarse grid, enlarged to fit `coded`; and the reach."""
    if len(values) == 0:
        shape = tuple(1 if axis in axes else count for axis, count in enumerate(values.shape))
        return np.zeros(shape, dtype=np.int64), 1
    deviation = np.sqrt(np.square(values).mean(axis=axes, keepdims=True, dtype=np.float64))
    farthest = np.maximum(coded.max(axis=axes, keepdims=True), -coded.min(axis=axes, keepdims=True))
    index = _at_least(COARSE_SIGMA_GRID, deviation, farthest / (LARGEST_REACH - _SPARE_REACH))
    return index, _reach(farthest, COARSE_SIGMA_GRID.decode(index))


# --- the registry ------------------------------------------------------------------------------------------

MODELS: tuple[EntropyModel, ...] = (
    Independent("gaussian", "gaussian", by_channel=False),
    Independent("gaussian-channel", "gaussian", by_channel=True),
    Independent("laplace", "laplace", by_channel=False),
    Temporal(),
)
BY_NAME = {model.name: model for model in MODELS}
BY_WIRE_ID = {entry.wire_id: BY_NAME[entry.name] for entry in ENTROPY_MODELS}


def models_of(role: Role) -> tuple[EntropyModel, ...]:
    """Models that can code weights or embeddings, by role."""
    return tuple(BY_NAME[name] for name in entropy_model_names(role))


# --- distributions over a range of codes -------------------------------------------------------------------


def _encode(
    writer: SymbolWriter,
    distribution: Distribution,
    codes: Codes,
    mean: float | Floats,
    scale: float | Floats,
    reach: int,
) -> None:
    low, high = support(mean, scale, reach)
    model, parameters = _coder_model(distribution, mean, scale, low, high)
    if _table_pays(codes.size, mean, low, high):
        writer.coded(codes.reshape(-1) - low, tabulated(model, low, high))
    else:
        writer.coded(codes.reshape(-1), model, *parameters)


def _decode(
    reader: SymbolReader,
    distribution: Distribution,
    shape: tuple[int, ...],
    mean: float | Floats,
    scale: float | Floats,
    reach: int,
) -> Codes:
    count = math.prod(shape)
    low, high = support(mean, scale, reach)
    model, parameters = _coder_model(distribution, mean, scale, low, high)
    if _table_pays(count, mean, low, high):
        return reader.coded(count, tabulated(model, low, high)).reshape(shape) + np.int32(low)
    return reader.coded(count, model, *parameters).reshape(shape)


def _coder_model(
    distribution: Distribution, mean: float | Floats, scale: float | Floats, low: int, high: int
) -> tuple[Any, tuple[Any, ...]]:
    """Constriction's model for one location and scale, or its model family with the parameters of each code."""
    kinds = constriction.stream.model
    family = kinds.QuantizedGaussian if distribution == "gaussian" else kinds.QuantizedLaplace
    if isinstance(mean, float):
        return family(low, high, mean, scale), ()
    return family(low, high), tuple(np.ascontiguousarray(values).reshape(-1) for values in (mean, scale))


def _table_pays(count: int, mean: float | Floats, low: int, high: int) -> bool:
    """Whether coding `count` codes is faster with a table; the coded bits are the same."""
    return isinstance(mean, float) and count > _CODES_PER_TABLE_ENTRY * (high - low + 1)


def support(mean: float | Floats, scale: float | Floats, reach: int) -> tuple[int, int]:
    """Smallest and largest code, inclusive; the coder requires at least two.

    Raises `BitstreamError` if all locations lie beyond ±2^19.
    """
    lows, highs = mean - reach * scale, mean + reach * scale
    low = max(float(lows if isinstance(lows, float) else lows.min()), -LARGEST_CODE)
    high = min(float(highs if isinstance(highs, float) else highs.max()), LARGEST_CODE)
    if low > high:
        raise BitstreamError("a mean beyond the largest code is impossible; the file is damaged, get it again")
    return math.floor(low), math.ceil(high) + 1


def _reach(farthest: Floats, scale: Floats) -> int:
    return min(int(np.ceil((farthest / scale).max())) + _SPARE_REACH, LARGEST_REACH)


def _at_least(grid: SmallFloat, value: Floats, least: Floats) -> Indices:
    return np.maximum(grid.encode(value), grid.encode(least, at_least=True))


def _clipped(values: Floats) -> Indices:
    return np.clip(np.rint(values), -_LARGEST_INDEX, _LARGEST_INDEX).astype(np.int64)


# --- parameters in a stream --------------------------------------------------------------------------------


def _write_fixed(writer: SymbolWriter, scale_index: Indices, mean_index: Indices, mean_bits: int) -> None:
    writer.integers(scale_index.reshape(-1), SIGMA_GRID.levels)
    writer.integers(mean_index.reshape(-1) + (1 << (mean_bits - 1)), 1 << mean_bits)


def _read_fixed(reader: SymbolReader, units: tuple[int, ...], mean_bits: int) -> tuple[Indices, Indices]:
    count = math.prod(units)
    # The encoder never writes the smallest location, so that every location costs its bits.
    if count * (8 + mean_bits) > reader.bits_left() + _SPARE_BITS:
        raise BitstreamError("the parameters of an entropy model end too early; the file is damaged, get it again")
    scale_index = reader.integers(count, SIGMA_GRID.levels)
    mean_index = reader.integers(count, 1 << mean_bits) - (1 << (mean_bits - 1))
    return scale_index.reshape(units), mean_index.reshape(units)


def _write_indices(writer: SymbolWriter, values: Indices) -> None:
    """Indices in [−2^15, 2^15) under a Gaussian over their range, after their minimum, span, mean and deviation."""
    flat = values.reshape(-1)
    low, span = int(flat.min()), int(flat.max() - flat.min())
    writer.integers([low + INDEX_RANGE // 2, span], INDEX_RANGE)
    if span:
        centre = int(np.clip(round(float(flat.mean() - low) / span * CENTRE_UNITS), 0, CENTRE_UNITS - 1))
        sigma_index = int(SIGMA_GRID.encode(np.array(flat.std())))
        writer.integers(centre, CENTRE_UNITS)
        writer.integers(sigma_index, SIGMA_GRID.levels)
        writer.coded(flat.astype(np.int32), _index_model(low, span, centre, sigma_index))


def _read_indices(reader: SymbolReader, units: tuple[int, ...]) -> Indices:
    low, span = reader.integers(2, INDEX_RANGE).tolist()
    low -= INDEX_RANGE // 2
    if span == 0:
        return np.full(units, low, dtype=np.int64)
    centre = reader.integer(CENTRE_UNITS)
    sigma_index = reader.integer(SIGMA_GRID.levels)
    model = _index_model(low, span, centre, sigma_index)
    return reader.coded(math.prod(units), model).astype(np.int64).reshape(units)


def _index_model(low: int, span: int, centre: int, sigma_index: int) -> Any:
    sigma = float(SIGMA_GRID.decode(np.array(sigma_index)))
    return constriction.stream.model.QuantizedGaussian(low, low + span, low + span * (centre / CENTRE_UNITS), sigma)
