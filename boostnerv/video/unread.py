"""Detecting what ffmpeg silently leaves out of a file: a truncated last frame, and recordings joined to the first one.

Files are walked from element to element without reading the elements.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_Y4M = b"YUV4MPEG2 "
_FRAME = b"FRAME"
_LONGEST_LINE = 4096

_EBML = b"\x1a\x45\xdf\xa3"  # signature of Matroska and WebM
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # signature of WMV
_FLV = b"FLV"
_FLV_HEADER_BYTES = 13

Element = tuple[bytes, int] | None  # its kind and end position; None if there is none or its length is unknown
Reader = Callable[[BinaryIO], Element]


def is_y4m(path: Path) -> bool:
    """Whether a file is a ``.y4m``, whatever its name."""
    with open(path, "rb") as file:
        return file.read(len(_Y4M)) == _Y4M


def is_cut_y4m(path: Path, frame_bytes: int) -> bool:
    """Whether a ``.y4m`` file ends within a frame or its header line; a frame has `frame_bytes` bytes.

    Other defects are left to ffmpeg, which reports them.
    """
    with open(path, "rb") as file:
        file.readline(_LONGEST_LINE)
        size = os.fstat(file.fileno()).st_size
        while line := file.readline(_LONGEST_LINE):
            complete_line = line.endswith(b"\n")
            if not line.startswith(_FRAME) and (complete_line or not _FRAME.startswith(line)):
                return False
            if not complete_line or file.seek(frame_bytes, os.SEEK_CUR) > size:
                return True
    return False


def has_unread_recording(path: Path) -> bool:
    """Whether a file consists of recordings joined as by `cat`, of which ffmpeg does not read all.

    ffmpeg reads two recordings of Matroska, or all if lengths are unknown, and one of MP4, FLV and WMV.
    """
    with open(path, "rb") as file:
        start = file.read(len(_ASF))
        for signature, reader, beginning, read in (
            (_EBML, _matroska_element, _EBML, 2),
            (b"ftyp", _mp4_box, b"moov", 1),
            (_FLV, _flv_tag, _FLV, 1),
            (_ASF, _asf_object, _ASF, 1),
        ):
            if start.startswith(signature) or (signature == b"ftyp" and start[4:8] == signature):
                file.seek(0)
                return sum(kind == beginning for kind in _kinds(file, reader)) > read
    return False


def _kinds(file: BinaryIO, reader: Reader) -> Iterator[bytes]:
    """The kinds of all elements, up to the first that is invalid, has no length or exceeds the file."""
    size, position = os.fstat(file.fileno()).st_size, 0
    while position < size and (element := reader(file)) is not None:
        kind, end = element
        if not position < end <= size:
            return
        yield kind
        position = file.seek(end)


def _matroska_element(file: BinaryIO) -> Element:
    """Read an ID of four bytes and a length, whose first byte has as many leading zeros as bytes follow."""
    kind, first = file.read(4), file.read(1)
    if len(kind) < 4 or not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    length = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + rest)
    unknown = 2 ** (7 * (more + 1)) - 1
    return None if len(rest) < more or length == unknown else (kind, file.tell() + length)


def _mp4_box(file: BinaryIO) -> Element:
    """Read a box header: the length of the box in 32 bits and its kind; if that length is 1, it follows in 64 bits."""
    position = file.tell()
    head = file.read(8)
    length = int.from_bytes(head[:4])
    if length == 1:
        length = int.from_bytes(file.read(8))
    return None if len(head) < 8 or length < 8 else (head[4:], position + length)


def _flv_tag(file: BinaryIO) -> Element:
    """Read a tag, or a file header, which has 13 bytes in practice."""
    position = file.tell()
    head = file.read(11)
    if head.startswith(_FLV):
        return _FLV, position + _FLV_HEADER_BYTES
    return None if len(head) < 11 else (head[:1], position + 11 + int.from_bytes(head[1:4]) + 4)


def _asf_object(file: BinaryIO) -> Element:
    """Read an object header: a kind of 16 bytes, and a length of 64 bits that includes both."""
    position = file.tell()
    head = file.read(24)
    return None if len(head) < 24 else (head[:16], position + int.from_bytes(head[16:], "little"))
