"""Counting the framing bytes of an elementary stream, which only mark where its units begin.

A container would do that in its own way, as do the lengths in a ``.bnv`` file. Framing is part of the file's size, but
is also reported separately:

* H.264, HEVC and VVC (Annex B): the start codes 00 00 01, with preceding and trailing zero bytes. NAL unit headers and
  emulation prevention bytes belong to the units.
* AV1 (low-overhead format): the entire temporal delimiters. Headers and lengths of other OBUs belong to these.
* IVF, in which programs write AV1: its header, the header of each frame, and the temporal delimiters.
"""

from __future__ import annotations

import re

from boostnerv.errors import BitstreamError

# No NAL unit ends with a zero byte, so all zeros before a start code belong to it.
_START_CODE = re.compile(rb"\x00{2,}\x01")
_TEMPORAL_DELIMITER = 2
_MOST_LENGTH_BYTES = 8
_IVF_FRAME_HEADER_BYTES = 12


def framing_bytes(stream: bytes, stream_format: str) -> int:
    """Framing bytes in a complete stream; `stream_format` is ffmpeg's name: h264, hevc, vvc, obu or ivf.

    Raises `BitstreamError` if the stream does not have that format.
    """
    if stream_format == "ivf":
        return _ivf_framing_bytes(stream)
    return _obu_framing_bytes(stream) if stream_format == "obu" else _annex_b_framing_bytes(stream)


def _annex_b_framing_bytes(stream: bytes) -> int:
    codes = [match.span() for match in _START_CODE.finditer(stream)]
    if not codes or codes[0][0] != 0:
        raise BitstreamError("the stream does not begin with a start code; code it again")
    trailing = len(stream) - len(stream.rstrip(b"\x00"))
    return sum(end - start for start, end in codes) + trailing


def _obu_framing_bytes(stream: bytes) -> int:
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


def _ivf_framing_bytes(stream: bytes) -> int:
    header_bytes = int.from_bytes(stream[6:8], "little")
    if not stream.startswith(b"DKIF") or header_bytes < 32:
        raise BitstreamError("the stream does not begin with a header of IVF; code it again")
    total = position = header_bytes
    while position < len(stream):
        end = position + _IVF_FRAME_HEADER_BYTES + int.from_bytes(stream[position : position + 4], "little")
        if end > len(stream):
            raise BitstreamError(f"the frame at byte {position} of the stream is cut off; code it again")
        total += _IVF_FRAME_HEADER_BYTES + _obu_framing_bytes(stream[position + _IVF_FRAME_HEADER_BYTES : end])
        position = end
    return total


def _leb128(stream: bytes, position: int) -> tuple[int, int]:
    """(value, end position) of the little-endian base-128 number at `position`."""
    value = 0
    for index, byte in enumerate(stream[position : position + _MOST_LENGTH_BYTES]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise BitstreamError(f"the length at byte {position} of the stream does not end; code it again")
