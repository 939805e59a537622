"""The container as the format page describes it, written a second time and on its own."""

from __future__ import annotations

import struct
import zlib

Sections = dict[int, bytes]


def join(sections: Sections, *, magic: bytes = b"BNV", version: int = 0) -> bytes:
    """Bytes of a file with these sections in this order; CRCs are right whatever they hold."""
    data = magic + bytes([version])
    for number, payload in sections.items():
        head = struct.pack("<BI", number, len(payload))
        data += head + struct.pack("<I", zlib.crc32(head + payload)) + payload
    return data


def split(data: bytes) -> Sections:
    """Sections of a good file, their CRCs checked."""
    assert data[:4] == b"BNV\0"
    sections, rest = {}, data[4:]
    while rest:
        number, length, crc = struct.unpack("<BII", rest[:9])
        payload, rest = rest[9 : 9 + length], rest[9 + length :]
        assert zlib.crc32(struct.pack("<BI", number, length) + payload) == crc
        sections[number] = payload
    return sections
