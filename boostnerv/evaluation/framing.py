"""How many bytes of an elementary stream only say where its parts begin.

A container would say the same in its own way, and so do the lengths in a ``.bnv`` file. They are counted in the size of
a file all the same; here they are told apart:

* H.264, HEVC and VVC (Annex B): the start codes 00 00 01, with the zero bytes before them and at the end. Headers of
  NAL units and bytes against false start codes belong to the units.
* AV1 (low-overhead format): the temporal delimiters, whole. Headers and lengths of other OBUs belong to these.
* IVF, which programs write AV1 in: its header and that of each frame, and the temporal delimiters.
"""

from __future__ import annotations

import re

from boostnerv.errors import BitstreamError

# No NAL unit ends with a zero byte, so that all zeros before the code belong to it.
_START_CODE = re.compile(rb"\x00{2,}\x01")
_TEMPORAL_DELIMITER = 2
_MOST_LENGTH_BYTES = 8
_IVF_FRAME_HEADER_BYTES = 12


def framing_bytes(stream: bytes, stream_format: str) -> int:
    """Bytes of framing in a whole stream; `stream_format` is ffmpeg's name: h264, hevc, vvc, obu or ivf.

    Raises `BitstreamError` where the stream is not of that format.
    """
    if stream_format == "ivf":
        return _of_ivf(stream)
    return _of_obus(stream) if stream_format == "obu" else _of_annex_b(stream)


def _of_annex_b(stream: bytes) -> int:
    codes = [match.span() for match in _START_CODE.finditer(stream)]
    if not codes or codes[0][0] != 0:
        raise BitstreamError("the stream does not begin with a start code; code it again")
    trailing = len(stream) - len(stream.rstrip(b"\x00"))
    return sum(end - start for start, end in codes) + trailing


def _of_obus(stream: bytes) -> int:
    total = position = 0
    while position < len(stream):
        start, header = position, stream[position]
        has_extension, has_length = header >> 2 & 1, header >> 1 & 1
        if header >> 7 or not has_length:
            raise BitstreamError(f"there is no OBU with a length at byte {start} of the stream; code it again")
        length, position = _leb128(stream, start + 1 + has_extension)
        position += length
        if position > len(stream):
            raise BitstreamError(f"the OBU at byte {start} of the stream is cut off; code it again")
        if header >> 3 & 15 == _TEMPORAL_DELIMITER:
            total += position - start
    return total


def _of_ivf(stream: bytes) -> int:
    header_bytes = int.from_bytes(stream[6:8], "little")
    if not stream.startswith(b"DKIF") or header_bytes < 32:
        raise BitstreamError("the stream does not begin with a header of IVF; code it again")
    total = position = header_bytes
    while position < len(stream):
        end = position + _IVF_FRAME_HEADER_BYTES + int.from_bytes(stream[position : position + 4], "little")
        if end > len(stream):
            raise BitstreamError(f"the frame at byte {position} of the stream is cut off; code it again")
        total += _IVF_FRAME_HEADER_BYTES + _of_obus(stream[position + _IVF_FRAME_HEADER_BYTES : end])
        position = end
    return total


def _leb128(stream: bytes, position: int) -> tuple[int, int]:
    """The length that begins at `position`, seven bits a byte and the lowest first, and where it ends."""
    value = 0
    for index, byte in enumerate(stream[position : position + _MOST_LENGTH_BYTES]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise BitstreamError(f"the length at byte {position} of the stream does not end; code it again")
