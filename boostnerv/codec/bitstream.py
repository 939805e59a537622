"""The ``.bnv`` container, version 0: what every byte of a file is.

Version 0 may still change; a later release freezes version 1. All numbers are little-endian.

    magic "BNV", version u8
    sections, each: id u8, length u32 (bytes of payload), CRC-32 u32 of id, length and payload, payload
      1 header      video, architecture, spec: the fields of `HEADER_FIELDS`, then the spec's own fields
      2 side        one u32 a weight tensor (δ, σ, μ); for embedding models δ, β, origin, then σ, μ a frame
      3 weights     ANS words of all weight codes, in the order of the decoder's tensors
      4 embeddings  ANS words of all embedding codes, frame by frame (embedding models only)

Sections stand in this order, once each, and nothing follows the last. Nothing is executed or unpickled, and
every length is compared with the bytes at hand before memory is taken.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostnerv.codec.entropy import SIGMA_GRID, STEP_GRID, GaussianGrid
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import Architecture, Spec, architectures_by_wire_id, tensor_shapes

MAGIC = b"BNV"
VERSION = 0
SECTIONS = {1: "header", 2: "side", 3: "weights", 4: "embeddings"}

_SECTION_HEAD = struct.Struct("<BII")
_ENTROPY_GAUSSIAN = 1
_COLOUR_PROFILES = {1: "ffmpeg-default"}
_LARGEST_SIDE = 1 << 15
_LARGEST_FRAME_COUNT = 1 << 24
_LARGEST_WIDTH = 1 << 14
MEAN_BITS_WEIGHTS = 12
MEAN_BITS_FRAMES = 8
_OFFSET_UNITS_PER_STEP = 64  # β lies on multiples of δ/64


@dataclass(frozen=True)
class Header:
    """What the decoder must know besides the numbers: the fields of the header section, in order."""

    architecture: Architecture
    spec: Spec
    fps: float  # frames per second
    colour: str  # profile by which the source became RGB


# Name, struct format, meaning. Writer, reader and `boostnerv info` loop over this table.
HEADER_FIELDS = (
    ("architecture", "H", "wire id of the model"),
    ("entropy_model", "B", "1 = Gaussian, one mean and deviation a tensor, a frame for embeddings"),
    ("colour", "B", "1 = ffmpeg-default"),
    ("fps", "d", "frames per second"),
    ("weights_reach", "B", "codes of a tensor lie within this many deviations of its mean"),
    ("embeddings_reach", "B", "the same for a frame's embedding; 0 without embeddings"),
)
_HEADER_STRUCT = struct.Struct("<" + "".join(code for _, code, _ in HEADER_FIELDS))


@dataclass(frozen=True)
class WeightSide:
    """Side information of the decoder's S tensors: grid index of δ in [0, 4095], and μ, σ."""

    step_index: NDArray[np.int64]
    grid: GaussianGrid

    @property
    def steps(self) -> NDArray[np.float32]:
        """δ of each tensor ``[S]``."""
        return STEP_GRID.decode(self.step_index).astype(np.float32)


@dataclass(frozen=True)
class EmbeddingSide:
    """Side information of the embeddings: grid index of δ, β in 64ths of δ, and each frame's μ, σ."""

    step_index: int
    offset_index: int
    grid: GaussianGrid

    @property
    def step(self) -> np.float32:
        return np.float32(STEP_GRID.decode(np.array(self.step_index)))

    @property
    def offset(self) -> np.float32:
        return np.float32(self.offset_index * (float(self.step) / _OFFSET_UNITS_PER_STEP))


@dataclass(frozen=True)
class Bitstream:
    """A parsed file. `weights` and `embeddings` are still entropy-coded."""

    header: Header
    weight_side: WeightSide
    embedding_side: EmbeddingSide | None
    weights: bytes
    embeddings: bytes


# --- writing -------------------------------------------------------------------------------------------------


def write(stream: Bitstream) -> bytes:
    """Serialise to the bytes of a file."""
    sections = [(1, _write_header(stream)), (2, _write_side(stream)), (3, stream.weights)]
    if stream.embedding_side is not None:
        sections.append((4, stream.embeddings))
    return MAGIC + bytes([VERSION]) + b"".join(_write_section(number, data) for number, data in sections)


def _write_section(number: int, payload: bytes) -> bytes:
    return _SECTION_HEAD.pack(number, len(payload), _crc(number, payload)) + payload


def _crc(number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<BI", number, len(payload))))


def _write_header(stream: Bitstream) -> bytes:
    header = stream.header
    colours = {name: number for number, name in _COLOUR_PROFILES.items()}
    values = {
        "architecture": header.architecture.wire_id,
        "entropy_model": _ENTROPY_GAUSSIAN,
        "colour": colours[header.colour],
        "fps": header.fps,
        "weights_reach": stream.weight_side.grid.reach,
        "embeddings_reach": stream.embedding_side.grid.reach if stream.embedding_side else 0,
    }
    return _HEADER_STRUCT.pack(*(values[name] for name, _, _ in HEADER_FIELDS)) + _write_spec(header.spec)


def _write_spec(spec: Spec) -> bytes:
    """Fields in the order of the class: ``int`` u32, ``float`` f64, ``tuple[int, ...]`` u8 count and u16 each."""
    parts = []
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.type == "int":
            parts.append(struct.pack("<I", value))
        elif field.type == "float":
            parts.append(struct.pack("<d", value))
        else:
            parts.append(struct.pack(f"<B{len(value)}H", len(value), *value))
    return b"".join(parts)


def _write_side(stream: Bitstream) -> bytes:
    side = stream.weight_side
    mean = side.grid.mean_index & ((1 << MEAN_BITS_WEIGHTS) - 1)
    words = (side.step_index << 20) | (side.grid.sigma_index << 12) | mean
    data = words.astype("<u4").tobytes()
    if stream.embedding_side is not None:
        frames = stream.embedding_side
        data += struct.pack("<Hii", frames.step_index, frames.offset_index, frames.grid.origin)
        data += frames.grid.sigma_index.astype(np.uint8).tobytes() + frames.grid.mean_index.astype(np.int8).tobytes()
    return data


# --- reading -------------------------------------------------------------------------------------------------


def read(data: bytes, name: str = "file") -> Bitstream:
    """Parse and check the bytes of a file called `name`; raises `BitstreamError` in one sentence."""
    try:
        return _read(data)
    except BitstreamError as error:
        raise BitstreamError(f"{name}: {error}") from error


def section_bytes(data: bytes) -> dict[str, int]:
    """Bytes of each section, its head included, and of the container itself; they add up to the file."""
    sizes = {"container": len(MAGIC) + 1}
    for number, payload in _split(data).items():
        sizes[SECTIONS[number]] = _SECTION_HEAD.size + len(payload)
    return sizes


def _read(data: bytes) -> Bitstream:
    sections = _split(data)
    header, reaches = _read_header(sections[1])
    try:
        tensors = len(tensor_shapes(header.architecture, header.spec))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise BitstreamError("the header describes no possible model; the file is damaged, get it again") from error
    weight_side, embedding_side = _read_side(sections[2], header.spec, tensors, reaches)
    if (embedding_side is not None) != (4 in sections):
        raise BitstreamError("the embeddings section does not fit the architecture; the file is damaged, get it again")
    return Bitstream(header, weight_side, embedding_side, sections[3], sections.get(4, b""))


def _split(data: bytes) -> dict[int, bytes]:
    if data[: len(MAGIC)] != MAGIC or len(data) < len(MAGIC) + 1:
        raise BitstreamError("this is not a .bnv file (it does not begin with BNV); check the path")
    if data[len(MAGIC)] != VERSION:
        raise BitstreamError(
            f"this file has format version {data[len(MAGIC)]}, this program reads version {VERSION}; "
            "use the boostnerv release that wrote it, or a newer one"
        )
    sections: dict[int, bytes] = {}
    position = len(MAGIC) + 1
    while position < len(data):
        if position + _SECTION_HEAD.size > len(data):
            raise BitstreamError(
                f"the file ends inside a section head at byte {position}; it is truncated, get it again"
            )
        number, length, crc = _SECTION_HEAD.unpack_from(data, position)
        position += _SECTION_HEAD.size
        if number not in SECTIONS or number <= max(sections, default=0):
            raise BitstreamError(f"unexpected section {number} at byte {position}; the file is damaged, get it again")
        if length > len(data) - position:
            raise BitstreamError(
                f"section {SECTIONS[number]} wants {length} bytes, {len(data) - position} are left; "
                "the file is truncated or damaged, get it again"
            )
        payload = data[position : position + length]
        if _crc(number, payload) != crc:
            raise BitstreamError(f"section {SECTIONS[number]} fails its CRC; the file is damaged, get it again")
        sections[number] = payload
        position += length
    for number in (1, 2, 3):
        if number not in sections:
            raise BitstreamError(f"section {SECTIONS[number]} is missing; the file is truncated, get it again")
    return sections


def _read_header(data: bytes) -> tuple[Header, tuple[int, int]]:
    if len(data) < _HEADER_STRUCT.size:
        raise BitstreamError("the header is too short; the file is damaged, get it again")
    values = dict(zip((name for name, _, _ in HEADER_FIELDS), _HEADER_STRUCT.unpack_from(data), strict=True))
    entry = architectures_by_wire_id().get(values["architecture"])
    if entry is None:
        raise BitstreamError(f"architecture {values['architecture']} is not known here; a newer boostnerv may know it")
    if values["entropy_model"] != _ENTROPY_GAUSSIAN:
        raise BitstreamError(
            f"entropy model {values['entropy_model']} is not known here; a newer boostnerv may know it"
        )
    if values["colour"] not in _COLOUR_PROFILES:
        raise BitstreamError(f"colour profile {values['colour']} is not known here; a newer boostnerv may know it")
    if not 0 < values["fps"] < 1e6:
        raise BitstreamError(f"{values['fps']} frames per second cannot be; the file is damaged, get it again")
    spec = _read_spec(data[_HEADER_STRUCT.size :], entry.spec)
    header = Header(entry, spec, values["fps"], _COLOUR_PROFILES[values["colour"]])
    return header, (values["weights_reach"], values["embeddings_reach"])


def _read_spec(data: bytes, kind: type[Spec]) -> Spec:
    values: dict[str, Any] = {}
    try:
        for field in dataclasses.fields(kind):
            if field.type == "int":
                (values[field.name],) = struct.unpack_from("<I", data)
                data = data[4:]
            elif field.type == "float":
                (values[field.name],) = struct.unpack_from("<d", data)
                data = data[8:]
            else:
                values[field.name] = struct.unpack_from(f"<{data[0]}H", data, 1)
                data = data[1 + 2 * data[0] :]
        spec = kind(**values)
        _check_spec(spec)
    except (struct.error, IndexError, OverflowError, UserError) as error:
        raise BitstreamError(
            f"the model description is not possible ({error}); the file is damaged, get it again"
        ) from error
    if data:
        raise BitstreamError("the header is too long; the file is damaged, get it again")
    return spec


def _check_spec(spec: Spec) -> None:
    largest = {"frames": _LARGEST_FRAME_COUNT, "height": _LARGEST_SIDE, "width": _LARGEST_SIDE}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        limit = largest.get(field.name, _LARGEST_WIDTH)
        if not all(0 < number <= limit for number in numbers) or len(numbers) > 16:
            raise UserError(f"{field.name} = {value}")
    if max(spec.padded) > 2 * _LARGEST_SIDE:
        raise UserError(f"strides = {spec.strides}")


def _read_side(
    data: bytes, spec: Spec, tensors: int, reaches: tuple[int, int]
) -> tuple[WeightSide, EmbeddingSide | None]:
    embeds = spec.embedding_shape is not None
    expected = 4 * tensors + ((10 + 2 * spec.frames) if embeds else 0)
    if len(data) != expected:
        raise BitstreamError(
            f"section side has {len(data)} bytes, the model needs {expected}; the file is damaged, get it again"
        )
    words = np.frombuffer(data[: 4 * tensors], dtype="<u4").astype(np.int64)
    mean = words & ((1 << MEAN_BITS_WEIGHTS) - 1)
    mean -= (mean >> (MEAN_BITS_WEIGHTS - 1)) << MEAN_BITS_WEIGHTS
    weight_grid = GaussianGrid((words >> 12) & (SIGMA_GRID.levels - 1), mean, 0, reaches[0])
    weight_side = WeightSide(words >> 20, weight_grid)
    if not embeds:
        return weight_side, None
    step_index, offset_index, origin = struct.unpack_from("<Hii", data, 4 * tensors)
    if step_index >= STEP_GRID.levels or abs(origin) > 1 << 24:
        raise BitstreamError("the embedding quantiser is not possible; the file is damaged, get it again")
    rest = data[4 * tensors + 10 :]
    sigma = np.frombuffer(rest[: spec.frames], dtype=np.uint8).astype(np.int64)
    frame_mean = np.frombuffer(rest[spec.frames :], dtype=np.int8).astype(np.int64)
    grid = GaussianGrid(sigma, frame_mean, origin, reaches[1])
    return weight_side, EmbeddingSide(step_index, offset_index, grid)


def snap_steps(steps: NDArray[np.floating]) -> NDArray[np.int64]:
    """Grid indices of quantiser steps δ ``[S]``."""
    return STEP_GRID.encode(steps)


def snap_offset(offset: float, step: float) -> int:
    """β in 64ths of the (already snapped) step, kept within 32 bits."""
    return int(np.clip(round(offset / step * _OFFSET_UNITS_PER_STEP), -(2**31), 2**31 - 1))
