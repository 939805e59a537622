"""Variable-length integers (LEB128): seven bits per byte, lowest first; a set top bit means that more bytes follow."""

from __future__ import annotations


def write_number(value: int) -> bytes:
    """Encode an integer ≥ 0."""
    data = bytearray()
    while value >= 128:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)


def read_numbers(data: bytes, position: int, count: int, most_bytes: int) -> tuple[list[int], int]:
    """Decode `count` numbers starting at byte `position`; returns them and the position after the last.

    Raises `ValueError` if the data ends too early or a number is longer than `most_bytes` bytes.
    """
    values: list[int] = []
    value = shift = 0
    while len(values) < count:
        if position >= len(data) or shift >= 7 * most_bytes:
            raise ValueError(f"the data does not hold {count} numbers of at most {most_bytes} bytes")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    return values, position
