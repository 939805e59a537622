"""A reader of ``.bnv`` files written from ``docs/format.md`` alone: fields from the page's tables, the rest by hand."""

from __future__ import annotations

import math
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PAGE = (Path(__file__).parents[3] / "docs/format.md").read_text(encoding="utf-8")
CODES = {"u8": "B", "u16": "H", "u32": "I", "i32": "i", "f64": "d"}
Floats = Sequence[float]


def tables(heading: str) -> list[list[list[str]]]:
    """The tables under a heading as rows of cells, without table heads."""
    text = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)
    return [[[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in b.splitlines()[2:]] for b in blocks]


def fields(heading: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    """Values of the fields of a section, and the bytes after them."""
    values, end = {}, 0
    for offset, kind, name, _ in tables(heading)[0]:
        (values[name],) = struct.unpack_from("<" + CODES[kind], data, int(offset))
        end = int(offset) + struct.calcsize(CODES[kind])
    return values, data[end:]


# --- container ----------------------------------------------------------------------------------------------


def sections(data: bytes) -> list[tuple[str, bytes]]:
    """Names and payloads of the sections, after checking their CRCs."""
    head, kinds = tables("Container")
    offsets = [int(row[0]) for row in head]
    assert [row[1] for row in head] == ["u8", "u32", "u32", ""]
    names = {int(row[0]): row[1] for row in kinds}
    assert data[:4] == b"BNV\x01"
    named_payloads, position = [], 4
    while position < len(data):
        number, length, crc = (
            struct.unpack_from(f"<{code}", data, position + at)[0] for code, at in zip("BII", offsets, strict=False)
        )
        payload = data[position + offsets[3] : position + offsets[3] + length]
        assert len(payload) == length
        assert crc == zlib.crc32(data[:position] + data[position : position + offsets[2]] + payload)
        named_payloads.append((names[number], payload))
        position += offsets[3] + length
    return named_payloads


def model(payload: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and spec in a section model."""
    values, rest = fields("Section model", payload)
    row = next(row for row in tables("Section model")[1] if int(row[0]) == values["architecture"])
    values["architecture"] = re.sub(r"\[`(.*)`\].*", r"\1", row[1])
    spec: dict[str, Any] = {}
    for name, kind in re.findall(r"(\w+)`? (\w+)", row[2]):
        if kind == "list":
            spec[name] = struct.unpack_from(f"<{rest[0]}H", rest, 1)
            rest = rest[1 + 2 * rest[0] :]
        else:
            (spec[name],) = struct.unpack_from("<" + CODES[kind], rest)
            rest = rest[struct.calcsize(CODES[kind]) :]
    assert rest == b""
    return values, spec


def timestamps(payload: bytes) -> list[int]:
    """Ticks between frames."""
    numbers, value, shift = [], 0, 0
    for byte in payload:
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    return numbers


# --- streams ------------------------------------------------------------------------------------------------


def grid(name: str, index: int) -> float:
    mantissa, bias = next((int(row[2]), int(row[3])) for row in tables("Streams and grids")[1] if row[0] == name)
    return (1 + index % 2**mantissa / 2**mantissa) * 2.0 ** (index // 2**mantissa - bias)


class Stream:
    def __init__(self, data: bytes) -> None:
        self.words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.x = 0
        for _ in range(2):
            self.refill()

    def refill(self) -> None:
        if self.words:
            self.x = self.x * 2**32 + self.words.pop()

    def symbol(self, low: int, high: int, start: Callable[[int], int]) -> int:
        q = self.x % 2**24
        symbol = low + bisect_right(range(low, high + 1), q, key=start) - 1
        after = start(symbol + 1) if symbol < high else 2**24
        self.x = self.x // 2**24 * (after - start(symbol)) + q - start(symbol)
        if self.x < 2**32:
            self.refill()
        return symbol

    def uniform(self, n: int) -> int:
        return self.symbol(0, n - 1, lambda k: k * (2**24 // n))

    def distributed(self, kind: str, low: int, high: int, m: float, s: float) -> int:
        f = 2**24 - 1 - (high - low)
        cumulative = {"Gaussian": gaussian, "Laplace": laplace}[kind]
        return self.symbol(low, high, lambda k: 0 if k == low else math.floor(f * cumulative(k - 0.5, m, s)) + k - low)

    def index_list(self, n: int) -> list[int]:
        low = self.uniform(65536) - 32768
        span = self.uniform(65536)
        if span == 0:
            return [low] * n
        c = self.uniform(256)
        s = grid("sigma", self.uniform(256))
        return [self.distributed("Gaussian", low, low + span, low + span * c / 256, s) for _ in range(n)]

    def end(self) -> None:
        assert not self.words
        assert self.x == 0


def gaussian(x: float, m: float, s: float) -> float:
    return 0.5 * (1 + math.erf((x - m) / (s * math.sqrt(2))))


def laplace(x: float, m: float, s: float) -> float:
    return 0.5 * math.exp((x - m) / s) if x <= m else 1 - 0.5 * math.exp((m - x) / s)


def bounds(m: Floats, s: Floats, reach: int) -> tuple[int, int]:
    low = math.floor(max(min(a - reach * b for a, b in zip(m, s, strict=True)), -(2**19)))
    return low, math.ceil(min(max(a + reach * b for a, b in zip(m, s, strict=True)), 2**19)) + 1


def run(stream: Stream, kind: str, m: Floats, s: Floats, reach: int) -> list[int]:
    """Codes with common low and high, and m and s of their own."""
    low, high = bounds(m, s, reach)
    return [stream.distributed(kind, low, high, *parameters) for parameters in zip(m, s, strict=True)]


def entropy_model(number: int) -> tuple[str, str]:
    """Name and distribution of an entropy model."""
    return next((row[1], row[3]) for row in tables("Entropy models")[0] if int(row[0]) == number)


def is_by_channel(name: str) -> bool:
    """Whether parameters are given as the page says of `gaussian-channel`."""
    (headings,) = re.findall(r"\*\*(`gaussian-channel`.*?)\.\*\*", PAGE)
    return f"`{name}`" in headings


# --- sections -----------------------------------------------------------------------------------------------


def weights(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[tuple[float, list[int]]]:
    """δ and codes of each tensor."""
    stream = Stream(data)
    reach, common = stream.uniform(256), stream.uniform(16)
    tensors = []
    for shape in shapes:
        step = grid("step", stream.uniform(4096))
        name, kind = entropy_model(common or stream.uniform(16))
        size = math.prod(shape)
        if is_by_channel(name):
            s = [grid("sigma", i) for i in stream.index_list(shape[0])]
            m = [j * scale / 4 for j, scale in zip(stream.index_list(shape[0]), s, strict=True)]
        else:
            s = [grid("sigma", stream.uniform(256))]
            m = [(stream.uniform(4096) - 2048) * s[0] / 16]
        unit_codes = size // len(m)
        codes = [
            c for a, b in zip(m, s, strict=True) for c in run(stream, kind, [a] * unit_codes, [b] * unit_codes, reach)
        ]
        tensors.append((step, codes))
    stream.end()
    return tensors


def embeddings(data: bytes, shape: tuple[int, ...]) -> tuple[float, np.float32, list[int]]:
    """δ, β and the codes of all frames ``[T, e, h, w]``."""
    values, rest = fields("Section embeddings", data)
    frames, group = shape[0], values["group"]
    groups = -(-frames // group)
    lengths = [values["parameters"], *struct.unpack_from(f"<{groups}I", rest)]
    rest = rest[4 * groups :]
    streams = []
    for length in lengths:
        streams.append(Stream(rest[: 4 * length]))
        rest = rest[4 * length :]
    assert rest == b""
    name, kind = entropy_model(values["model"])
    coder = Temporal(streams[0], shape) if name == "temporal" else Independent(streams[0], shape, name)
    streams[0].end()
    codes = []
    for number, stream in enumerate(streams[1:]):
        indices = range(number * group, min((number + 1) * group, frames))
        codes += coder.decode(stream, kind, indices, values["reach"])
        stream.end()
    step = grid("step", values["step"])
    return step, np.float32(values["offset"] * (step / 64)), codes


class Independent:
    def __init__(self, stream: Stream, shape: tuple[int, ...], name: str) -> None:
        frames, self.channels, *rest = shape
        self.positions, self.by_channel = math.prod(rest), is_by_channel(name)
        origin = stream.uniform(2**21) - 2**20
        if self.by_channel:
            self.s = [grid("sigma", i) for i in stream.index_list(self.channels)]
            means = stream.index_list(self.channels)
        else:
            self.s = [grid("sigma", stream.uniform(256)) for _ in range(frames)]
            means = [stream.uniform(256) - 128 for _ in range(frames)]
        self.m = [origin + j * s / (4 if self.by_channel else 16) for j, s in zip(means, self.s, strict=True)]

    def decode(self, stream: Stream, kind: str, frames: range, reach: int) -> list[int]:
        if self.by_channel:
            m, s = ([v for v in values for _ in range(self.positions)] * len(frames) for values in (self.m, self.s))
            return run(stream, kind, m, s, reach)
        size = self.channels * self.positions
        return [c for k in frames for c in run(stream, kind, [self.m[k]] * size, [self.s[k]] * size, reach)]


class Temporal:
    def __init__(self, stream: Stream, shape: tuple[int, ...]) -> None:
        _, channels, *rest = shape
        positions = math.prod(rest)
        first, later = stream.uniform(2), stream.uniform(2)

        def spread_list(by_position: int) -> list[int]:
            if by_position:
                return stream.index_list(channels * positions)
            return [value for value in stream.index_list(channels) for _ in range(positions)]

        self.mean = [value / 4 for value in spread_list(first)]
        self.first_s = [grid("coarse sigma", value) for value in spread_list(first)]
        self.slope = [value / 16 for value in spread_list(later)]
        self.later_s = [grid("coarse sigma", value) for value in spread_list(later)]

    def decode(self, stream: Stream, kind: str, frames: range, reach: int) -> list[int]:
        before = run(stream, kind, self.mean, self.first_s, reach)
        codes = list(before)
        for _ in frames[1:]:
            m = [mean + a * (c - mean) for mean, a, c in zip(self.mean, self.slope, before, strict=True)]
            before = run(stream, kind, m, self.later_s, reach)
            codes += before
        return codes


def older(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Values of each tensor."""
    position, sides = 1, []
    for shape in shapes:
        (axis,) = struct.unpack_from("<b", data, position)
        side = () if axis == -1 else tuple(1 if i == axis else n for i, n in enumerate(shape))
        kind, count = ("<f4", 1) if axis == -1 else ("<f2", math.prod(side))
        numbers = np.frombuffer(data, kind, 2 * count, position + 1).astype(np.float32)
        sides.append((numbers[:count].reshape(side), numbers[count:].reshape(side)))
        position += 1 + numbers.size * np.dtype(kind).itemsize
    symbols = huffman(data[position:], [math.prod(shape) for shape in shapes])
    assert max(map(max, symbols)) < 2 ** data[0]
    return [
        minimum + scale * np.array(codes, np.float32).reshape(shape)
        for codes, shape, (minimum, scale) in zip(symbols, shapes, sides, strict=True)
    ]


def slices(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Values of each tensor."""
    _, lowest = struct.unpack_from("<Bi", data)
    position, sides = 5, []
    for shape in shapes:
        (axis,) = struct.unpack_from("<b", data, position)
        side = () if axis == -1 else tuple(n if i == axis else 1 for i, n in enumerate(shape))
        count = math.prod(side)
        sides.append(np.frombuffer(data, "<f4", 2 * count, position + 1).reshape(2, *side))
        position += 1 + 8 * count
    symbols = huffman(data[position:], [math.prod(shape) for shape in shapes])
    return [
        minimum + scale * np.array([lowest + symbol for symbol in tensor_symbols], np.float32).reshape(shape)
        for tensor_symbols, shape, (minimum, scale) in zip(symbols, shapes, sides, strict=True)
    ]


def huffman(data: bytes, counts: Sequence[int]) -> list[list[int]]:
    """Symbols of each tensor; `counts` are their numbers."""
    (largest,) = struct.unpack_from("<H", data)
    lengths = data[2 : 3 + largest]
    words, word, before = {}, -1, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        word = (word + 1) << (length - before)
        before = length
        words[f"{word:0{length}b}"] = symbol
    bits = "".join(f"{byte:08b}" for byte in data[3 + largest :])
    symbols: list[list[int]] = []
    for count in counts:
        symbols.append([])
        for _ in range(count):
            length = next(length for length in range(1, 33) if bits[:length] in words)
            symbols[-1].append(words[bits[:length]])
            bits = bits[length:]
    assert len(bits) < 8
    assert "1" not in bits
    return symbols


# --- many videos --------------------------------------------------------------------------------------------


def videos(payload: bytes) -> list[tuple[str, int, float]]:
    """Name, frames and frames per second of each video."""
    (count,) = struct.unpack_from("<I", payload)
    rows = zlib.decompress(payload[4:])
    entries = []
    for _ in range(count):
        values, rows = fields("Section videos", rows)
        entries.append((rows[: values["name"]].decode(), values["frames"], values["fps"]))
        rows = rows[values["name"] :]
    assert rows == b""
    return entries


def keyframes(payload: bytes, count: int) -> tuple[int, list[bytes]]:
    """Number of the image codec, and the coded images."""
    values, rest = fields("Section keyframes", payload)
    lengths: list[int] = []
    while len(lengths) < count:
        value = shift = 0
        while True:
            byte, rest = rest[0], rest[1:]
            value += (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(value)
    window = rest[: min(lengths[0] // 2, 1024)]
    images = []
    for length in lengths:
        stored, rest = rest[: length // 2], rest[length // 2 :]
        images.append(zlib.decompressobj(-15, window).decompress(stored) if length % 2 else stored)
    assert rest == b""
    return values["codec"], images
