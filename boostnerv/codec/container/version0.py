"""Reader of ``.bnv`` files of version 0, written before the format was frozen.

    magic "BNV", version u8
    sections: id u8, length u32 (bytes of payload), CRC-32 u32 of id, length and payload, payload
      1 header      architecture u16, entropy model u8 (1), colour u8, fps f64, reach of weights u8, reach of embeddings
                    u8, then the spec's fields: T, H, W as u32, the others as in version 1
      2 side        one u32 per weight tensor: δ (12 bits), σ (8), μ (12); with embeddings δ u16, β i32, origin i32,
                    then σ u8 and μ i8 per frame
      3 weights     ANS words of all weight codes, in the order of the decoder's tensors
      4 embeddings  ANS words of all embedding codes, frame by frame (architectures with embeddings only)

The result is a `Bitstream` of version 1 with the same codes and quantisers, so that no other code handles version 0.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib

import constriction
import numpy as np
from numpy.typing import NDArray

from boostnerv.codec.container import bitstream, limits
from boostnerv.codec.entropy import payloads
from boostnerv.codec.entropy.entropy_models import Codes, support
from boostnerv.codec.entropy.symbols import SymbolReader
from boostnerv.codec.quantizers.grids import SIGMA_GRID, STEP_GRID
from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import tensor_shapes

VERSION = 0
_SECTIONS = {1: "header", 2: "side", 3: "weights", 4: "embeddings"}
_HEADER = struct.Struct("<HBBdBB")
_SIZE = struct.Struct("<III")
_SECTION_HEAD = struct.Struct("<BII")
_ENTROPY_GAUSSIAN = 1
_MEAN_BITS = 12
_UNITS_PER_SIGMA = 16
_CODINGS = 3  # passes over embedding codes: decode, measure, encode


def read(data: bytes) -> bitstream.Bitstream:
    """Parse the bytes of a file, decode and re-encode its codes; raises `BitstreamError` with one sentence."""
    sections = _split(data)
    if len(sections[1]) < _HEADER.size + _SIZE.size:
        raise _damaged("the header is too short")
    architecture, entropy, colour, fps, *reaches = _HEADER.unpack_from(sections[1])
    frames, height, width = _SIZE.unpack_from(sections[1], _HEADER.size)
    if entropy != _ENTROPY_GAUSSIAN:
        raise BitstreamError(f"entropy model {entropy} is unknown; a newer boostnerv may read it")
    if max(height, width) >= 1 << 16:
        raise _damaged(f"a frame of {height}×{width} is impossible")
    model = struct.pack("<HBI", architecture, 1, frames) + sections[1][_HEADER.size + _SIZE.size :]
    video = struct.pack("<IHHdBBI", frames, height, width, fps, colour, 1, 1)
    empty = [(bitstream.VIDEO, video), (bitstream.MODEL, model), (bitstream.WEIGHTS, b"")]
    if 4 in sections:
        empty.append((bitstream.EMBEDDINGS, b""))
    stream = bitstream.read(bitstream.join(empty))
    return bitstream.Bitstream(stream.video, (_recoded(stream.segments[0], sections, reaches),))


def section_bytes(data: bytes) -> dict[str, int]:
    """Bytes of each section, head included, and of the container itself; they add up to the file size."""
    sizes = {"container": 4}
    return sizes | {_SECTIONS[number]: _SECTION_HEAD.size + len(part) for number, part in _split(data).items()}


def _split(data: bytes) -> dict[int, bytes]:
    sections: dict[int, bytes] = {}
    position = 4
    while position < len(data):
        if position + _SECTION_HEAD.size > len(data):
            raise _damaged(f"the file ends inside a section head at byte {position}")
        number, length, crc = _SECTION_HEAD.unpack_from(data, position)
        position += _SECTION_HEAD.size
        payload = data[position : position + length]
        if number not in _SECTIONS or number <= max(sections, default=0) or len(payload) != length:
            raise _damaged(f"section {number} at byte {position} is unexpected or incomplete")
        if zlib.crc32(payload, zlib.crc32(struct.pack("<BI", number, length))) != crc:
            raise _damaged(f"section {_SECTIONS[number]} fails its CRC")
        sections[number] = payload
        position += length
    for number in (1, 2, 3):
        if number not in sections:
            raise _damaged(f"section {_SECTIONS[number]} is missing")
    return sections


def _recoded(segment: bitstream.Segment, sections: dict[int, bytes], reaches: list[int]) -> bitstream.Segment:
    spec = segment.spec
    try:
        shapes = [tuple(shape) for shape in tensor_shapes(segment.architecture, spec).values()]
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise _damaged("the header describes an impossible model") from error
    embeds = spec.embedding_shape is not None
    side, tensors = sections[2], len(shapes)
    if len(side) != 4 * tensors + ((10 + 2 * spec.frames) if embeds else 0) or embeds != (4 in sections):
        raise _damaged("the side information does not fit the model")
    words = np.frombuffer(side[: 4 * tensors], dtype="<u4").astype(np.int64)
    mean = words & ((1 << _MEAN_BITS) - 1)
    mean -= (mean >> (_MEAN_BITS - 1)) << _MEAN_BITS
    sigma = SIGMA_GRID.decode((words >> 12) & (SIGMA_GRID.levels - 1))
    payloads.check_shapes(shapes, len(sections[3]))
    _check_recoding(segment, sections)
    counts = [math.prod(shape) for shape in shapes]
    flat = _decode(sections[3], counts, mean * sigma / _UNITS_PER_SIGMA, sigma, reaches[0])
    codes = [part.reshape(shape) for part, shape in zip(flat, shapes, strict=True)]
    weights = payloads.write_weights(codes, words >> 20, "gaussian")
    embeddings = b""
    if spec.embedding_shape is not None:
        embeddings = _recoded_embeddings(
            side[4 * tensors :], sections[4], (spec.frames, *spec.embedding_shape), reaches[1]
        )
    return bitstream.Segment(segment.architecture, spec, segment.quantizer, weights, embeddings)


def _check_recoding(segment: bitstream.Segment, sections: dict[int, bytes]) -> None:
    """Raise `BitstreamError` if decoding all codes takes more time than a file of this size may."""
    demand = limits.demand(segment.architecture, segment.spec)
    codes_s = _CODINGS * limits.S_PER_CODE * segment.spec.embedding_parameters
    demand = dataclasses.replace(demand, nominal_s=demand.nominal_s + codes_s)
    limits.check_proportion(demand, len(sections[3]) + len(sections.get(4, b"")))


def _recoded_embeddings(side: bytes, data: bytes, shape: tuple[int, ...], reach: int) -> bytes:
    step_index, offset_index, origin = struct.unpack_from("<Hii", side)
    if step_index >= STEP_GRID.levels or abs(origin) > 1 << 24:
        raise _damaged("the embedding quantiser is impossible")
    sigma = SIGMA_GRID.decode(np.frombuffer(side[10 : 10 + shape[0]], dtype=np.uint8))
    mean = origin + np.frombuffer(side[10 + shape[0] :], dtype=np.int8) * (sigma / _UNITS_PER_SIGMA)
    payloads.check_shapes([shape], len(data))
    codes = _decode(data, [math.prod(shape[1:])] * shape[0], mean, sigma, reach)
    return payloads.write_embeddings(
        np.stack(codes).reshape(shape), step_index, offset_index, payloads.DEFAULT_GROUP, "gaussian"
    )


def _decode(
    data: bytes, counts: list[int], mean: NDArray[np.float64], sigma: NDArray[np.float64], reach: int
) -> list[Codes]:
    reader = SymbolReader(data)
    codes = []
    for count, location, scale in zip(counts, mean, sigma, strict=True):
        low, high = support(location, scale, reach)
        model = constriction.stream.model.QuantizedGaussian(low, high, float(location), float(scale))
        codes.append(reader.coded(count, model))
    reader.finish()
    return codes


def _damaged(problem: str) -> BitstreamError:
    return BitstreamError(f"{problem}; the file is damaged, get it again")
