"""Whole numbers in groups of seven bits, a byte each, the lowest first; the top bit says that more follow."""

from __future__ import annotations


def write_number(value: int) -> bytes:
    """Bytes of a number from 0 on."""
    data = bytearray()
    while value >= 128:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)


def read_numbers(data: bytes, position: int, count: int, most_bytes: int) -> tuple[list[int], int]:
    """So many numbers from a position on, and where they end.

    Raises `ValueError` where the bytes end before, or a number has more of them than `most_bytes`.
    """
    values: list[int] = []
    value = shift = 0
    while len(values) < count:
        if position >= len(data) or shift >= 7 * most_bytes:
            raise ValueError(f"{count} numbers of {most_bytes} bytes at most")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    return values, position
