"""A second, independent implementation of the container as the format page describes it."""

from __future__ import annotations

import struct
import zlib

VIDEO, TIMESTAMPS, MODEL, WEIGHTS, EMBEDDINGS, VIDEOS, KEYFRAMES = 1, 2, 3, 4, 5, 6, 7
Sections = list[tuple[int, bytes]]


def join(sections: Sections, *, magic: bytes = b"BNV", version: int = 1) -> bytes:
    """Bytes of a file with these sections in this order and correct CRCs; payloads are not checked."""
    data = magic + bytes([version])
    for number, payload in sections:
        head = struct.pack("<BI", number, len(payload))
        data += head + struct.pack("<I", _checksum(data, head, payload)) + payload
    return data


def split(data: bytes) -> Sections:
    """Sections of a valid file, after checking their CRCs."""
    sections, position = [], 4
    while position < len(data):
        number, length, crc = struct.unpack_from("<BII", data, position)
        payload = data[position + 9 : position + 9 + length]
        assert len(payload) == length
        assert crc == _checksum(data[:position], data[position : position + 5], payload)
        sections.append((number, payload))
        position += 9 + length
    return sections


def _checksum(before: bytes, head: bytes, payload: bytes) -> int:
    """CRC of everything so far; in version 0, of the section alone."""
    return zlib.crc32((before if before[3] else b"") + head + payload)
