"""What ffmpeg leaves out of a file without a word: a frame that is cut off, and recordings joined to the first one.

Files are walked through from element to element, none of which is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_Y4M = b"YUV4MPEG2 "
_FRAME = b"FRAME"
_LONGEST_LINE = 4096

_EBML = b"\x1a\x45\xdf\xa3"  # begins a file of Matroska or WebM
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # begins a file of WMV
_FLV = b"FLV"
_FLV_HEADER_BYTES = 13

Element = tuple[bytes, int] | None  # its kind and where it ends; None where that is not said
Reader = Callable[[BinaryIO], Element]


def is_y4m(path: Path) -> bool:
    """Whether a file is a ``.y4m``, whatever its name."""
    with open(path, "rb") as file:
        return file.read(len(_Y4M)) == _Y4M


def is_cut_y4m(path: Path, frame_bytes: int) -> bool:
    """Whether a ``.y4m`` file ends within a frame or its line; frames have `frame_bytes` bytes each.

    What else may be wrong with it is left to ffmpeg, which says so.
    """
    with open(path, "rb") as file:
        file.readline(_LONGEST_LINE)
        size = os.fstat(file.fileno()).st_size
        while line := file.readline(_LONGEST_LINE):
            whole_line = line.endswith(b"\n")
            if not line.startswith(_FRAME) and (whole_line or not _FRAME.startswith(line)):
                return False
            if not whole_line or file.seek(frame_bytes, os.SEEK_CUR) > size:
                return True
    return False


def has_unread_recording(path: Path) -> bool:
    """Whether further recordings follow the first one in a file, as `cat` joins them, and ffmpeg does not read all.

    Of Matroska it reads two, and all where lengths are not said; of MP4, FLV and WMV it reads one.
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
    """The kinds of all elements, to the first that is none, has no length or goes beyond the file."""
    size, position = os.fstat(file.fileno()).st_size, 0
    while position < size and (element := reader(file)) is not None:
        kind, end = element
        if not position < end <= size:
            return
        yield kind
        position = file.seek(end)


def _matroska_element(file: BinaryIO) -> Element:
    """Its number has four bytes; the first one of its length has as many leading zeros as bytes follow."""
    kind, first = file.read(4), file.read(1)
    if len(kind) < 4 or not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    length = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + rest)
    unknown = 2 ** (7 * (more + 1)) - 1
    return None if len(rest) < more or length == unknown else (kind, file.tell() + length)


def _mp4_box(file: BinaryIO) -> Element:
    """A length of 32 bits, or of 64 after the kind where that is 1, counts all of the box."""
    position = file.tell()
    head = file.read(8)
    length = int.from_bytes(head[:4])
    if length == 1:
        length = int.from_bytes(file.read(8))
    return None if len(head) < 8 or length < 8 else (head[4:], position + length)


def _flv_tag(file: BinaryIO) -> Element:
    """A tag, or the header of a file, which is 13 bytes long in all that are in use."""
    position = file.tell()
    head = file.read(11)
    if head.startswith(_FLV):
        return _FLV, position + _FLV_HEADER_BYTES
    return None if len(head) < 11 else (head[:1], position + 11 + int.from_bytes(head[1:4]) + 4)


def _asf_object(file: BinaryIO) -> Element:
    """16 bytes that say its kind and a length of 64 bits that counts them."""
    position = file.tell()
    head = file.read(24)
    return None if len(head) < 24 else (head[:16], position + int.from_bytes(head[16:], "little"))
