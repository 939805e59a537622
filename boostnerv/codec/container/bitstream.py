"""The ``.bnv`` container, version 1: the meaning of every byte. ``docs/format.md`` is generated from these tables.

All numbers are little-endian. A file is ``BNV``, a version byte and sections; each section is ``id u8, length u32,
CRC-32 u32, payload``. The CRC covers every byte of the file before the section, its head without the CRC, and its
payload, so that a damaged section, a missing one and one from another file are all detected. In order:

    1 video        once: properties of the whole video
    2 timestamps   at most once: presentation time of each frame, for variable frame rates
    then for each segment of the video, a run of frames with a network of its own:
    3 model        the architecture and its spec
    6 videos       names and lengths, for multi-video models
    4 weights      the coded tensors of the decoder
    5 embeddings   the coded embeddings of the frames, for architectures that have them
    7 keyframes    the images at both ends of each clip, for architectures that need them

Sections numbered 128 and above are remarks: they may appear anywhere after the first section, are covered by the CRCs,
and are skipped by readers that do not know them. Frames never depend on them. One is defined:

    128 display    how to display the frames, unless they are progressive SDR with square pixels

Nothing is executed or unpickled, and every length is compared with the remaining bytes before memory is allocated.
Version 1 is frozen: later additions get new numbers, for sections or for values of fields; this reader refuses numbers
it does not know, remarks excepted.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from boostnerv.codec.container.varints import read_numbers, write_number
from boostnerv.errors import BitstreamError, UserError
from boostnerv.models.architecture import Architecture, Spec, architectures_by_wire_id, is_stored
from boostnerv.models.clips import ClipSpec

MAGIC = b"BNV"
VERSION = 1
VIDEO, TIMESTAMPS, MODEL, WEIGHTS, EMBEDDINGS, VIDEOS, KEYFRAMES = range(1, 8)
SECTIONS = {
    VIDEO: "video",
    TIMESTAMPS: "timestamps",
    MODEL: "model",
    WEIGHTS: "weights",
    EMBEDDINGS: "embeddings",
    VIDEOS: "videos",
    KEYFRAMES: "keyframes",
}
FIRST_REMARK = DISPLAY = 128
REMARKS = "remarks"
COLOURS = {1: "ffmpeg-default", 2: "bt709-float", 3: "bt601-float"}
# How codes become values, and which entropy coder stores them.
QUANTIZERS = {1: "uniform", 2: "min-max", 3: "slices"}
FIELD_ORDERS = {0: "progressive", 1: "tff", 2: "bff"}
# The code points of ITU-T H.273, by ffmpeg's names.
TRANSFERS = {2: "unknown", 16: "smpte2084", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 2: "unknown", 9: "bt2020", 11: "smpte431", 12: "smpte432"}
TICKS_PER_SECOND = 90_000
_MOST_TICK_BYTES = 6

LARGEST_FRAME_COUNT = 1 << 24
LARGEST_SIDE = 1 << 15
LARGEST_BATCH = 255
LARGEST_WIDTH = 1 << 14
LARGEST_STRIDES = 8
LONGEST_NAME = 255
LEAST_FPS, FPS_LIMIT = 1e-6, 1e6
_INFLATED_AT_ONCE = 1 << 16
_SECTION_HEAD = struct.Struct("<BII")
_COUNT = struct.Struct("<I")
_FOLLOWING = ("frames", "height", "width", "lengths")  # fields of a spec that the video and its segments determine


@dataclass(frozen=True)
class Field:
    """A number in a section: its name, its `struct` type code and its meaning."""

    name: str
    code: str
    meaning: str


def layout(fields: Sequence[Field]) -> struct.Struct:
    """The packed little-endian layout of consecutive fields."""
    return struct.Struct("<" + "".join(field.code for field in fields))


VIDEO_FIELDS = (
    Field("frames", "I", "frames of the video, T"),
    Field("height", "H", "height of the video in pixels, H; rows that a model adds at the bottom are cropped"),
    Field("width", "H", "width of the video in pixels, W; columns that a model adds on the right are cropped"),
    Field("fps", "d", "frames per second; the mean if timestamps follow"),
    Field("colour", "B", "colour profile that converted the source to RGB"),
    Field("batch", "B", "frames that the exact decoder computes together, counted from the start of a segment"),
    Field("segments", "I", "number of segments that follow"),
)
MODEL_FIELDS = (
    Field("architecture", "H", "architecture of the network"),
    Field("quantizer", "B", "how codes become values"),
    Field("frames", "I", "frames of the segment"),
)
DISPLAY_FIELDS = (
    Field("aspect_width", "I", "width of the pixel aspect ratio, above 0"),
    Field("aspect_height", "I", "height of the pixel aspect ratio, above 0"),
    Field("field_order", "B", "which field of a frame comes first in time"),
    Field("transfer", "B", "transfer function of R, G and B; `unknown` for SDR"),
    Field("primaries", "B", "primaries of R, G and B"),
)
ONE_OF_MANY_FIELDS = (
    Field("frames", "I", "frames of the video"),
    Field("fps", "d", "its frames per second"),
    Field("name", "B", "length in bytes of its UTF-8 name, which follows"),
)


@dataclass(frozen=True)
class Display:
    """How to display the frames. Colour names are ffmpeg's; SDR colours are not distinguished from ``unknown``."""

    sample_aspect: str = "1:1"  # pixel aspect ratio, width to height
    field_order: str = "progressive"
    transfer: str = "unknown"
    primaries: str = "unknown"


@dataclass(frozen=True)
class Video:
    """Properties of the whole video. `timestamps_s` is relative to the first frame; None at a constant rate.

    `display` is a remark, None for progressive SDR with square pixels.
    """

    frames: int
    height: int
    width: int
    fps: float
    colour: str
    batch: int = 1
    timestamps_s: tuple[float, ...] | None = None
    display: Display | None = None


@dataclass(frozen=True)
class OneOfMany:
    """One of the videos of a segment with a multi-video model."""

    name: str
    frames: int
    fps: float


@dataclass(frozen=True)
class Segment:
    """A run of frames with a network of its own; `weights`, `embeddings` and `keyframes` are coded payloads.

    `videos` lists the videos of a multi-video model, in order.
    """

    architecture: Architecture
    spec: Spec
    quantizer: str
    weights: bytes
    embeddings: bytes = b""
    videos: tuple[OneOfMany, ...] = ()
    keyframes: bytes = b""

    @property
    def coded_bytes(self) -> int:
        """Total bytes of the coded payloads."""
        return len(self.weights) + len(self.embeddings) + len(self.keyframes)


@dataclass(frozen=True)
class Bitstream:
    """A parsed file."""

    video: Video
    segments: tuple[Segment, ...]


# --- writing -------------------------------------------------------------------------------------------------


def write(stream: Bitstream) -> bytes:
    """Serialise to the bytes of a file; raises `UserError` if the format cannot represent the stream."""
    _check_fits(stream)
    sections = _head(stream.video, len(stream.segments))
    for segment in stream.segments:
        sections.append((MODEL, _write_model(segment)))
        if segment.spec.multi_video:
            sections.append((VIDEOS, _write_videos(segment)))
        sections.append((WEIGHTS, segment.weights))
        if segment.spec.embedding_shape is not None:
            sections.append((EMBEDDINGS, segment.embeddings))
        if segment.spec.uses_keyframes:
            sections.append((KEYFRAMES, segment.keyframes))
    return join(sections)


def head_bytes(video: Video) -> int:
    """Number of bytes that precede the segments of a file."""
    return len(join(_head(video, 1)))


def coded_bytes(segment: Segment) -> int:
    """Number of bytes of a file with this one segment, not counting its videos and keyframes."""
    video = Video(segment.spec.frames, segment.spec.height, segment.spec.width, 25.0, COLOURS[1])
    sections = [*_head(video, 1), (MODEL, _write_model(segment)), (WEIGHTS, segment.weights)]
    if segment.spec.embedding_shape is not None:
        sections.append((EMBEDDINGS, segment.embeddings))
    return len(join(sections))


def _head(video: Video, segments: int) -> list[tuple[int, bytes]]:
    values = {field.name: getattr(video, field.name, None) for field in VIDEO_FIELDS}
    values |= {"colour": _number(COLOURS, video.colour), "segments": segments}
    sections = [(VIDEO, _pack(VIDEO_FIELDS, values))]
    if video.timestamps_s is not None:
        sections.append((TIMESTAMPS, _write_timestamps(video.timestamps_s)))
    if video.display is not None:
        sections.append((DISPLAY, _write_display(video.display)))
    return sections


def join(sections: Sequence[tuple[int, bytes]]) -> bytes:
    """The bytes of a file with these sections; payloads are not checked."""
    data = bytearray(MAGIC + bytes([VERSION]))
    running = zlib.crc32(data)
    for number, payload in sections:
        head, running = _section_head(number, payload, running)
        data += head + payload
    return bytes(data)


def _section_head(number: int, payload: bytes, running: int) -> tuple[bytes, int]:
    """The head of a section, and the CRC of all bytes up to its end, given the CRC of all bytes before it."""
    crc = _crc(number, payload, running)
    head = _SECTION_HEAD.pack(number, len(payload), crc)
    return head, zlib.crc32(payload, zlib.crc32(head, running))


def _crc(number: int, payload: bytes, running: int) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<BI", number, len(payload)), running))


def _check_fits(stream: Bitstream) -> None:
    video = stream.video
    if max(video.height, video.width) > LARGEST_SIDE or video.frames > LARGEST_FRAME_COUNT:
        raise UserError(
            f"a video of {video.frames} frames of {video.height}×{video.width} does not fit the format, which allows "
            f"at most {LARGEST_FRAME_COUNT} frames and sides of {LARGEST_SIDE}; cut or scale it"
        )
    if not 1 <= video.batch <= LARGEST_BATCH or sum(segment.spec.frames for segment in stream.segments) != video.frames:
        raise ValueError(f"batch {video.batch} is invalid, or the segments do not add up to {video.frames} frames")
    if not LEAST_FPS <= video.fps < FPS_LIMIT:
        raise UserError(
            f"{video.fps:g} frames per second do not fit the format, which allows {LEAST_FPS:g} to {FPS_LIMIT:g}; "
            "convert the video to another rate"
        )
    if video.timestamps_s is not None and not _rises(video.timestamps_s, video.frames):
        raise UserError(
            f"the timestamps of the {video.frames} frames do not fit the format: there must be one per frame, and they "
            "must not decrease; convert the video to a constant rate"
        )
    for segment in stream.segments:
        check_storable(segment.architecture, segment.spec)
        try:
            check_spec(segment.spec)
        except UserError as error:
            raise UserError(f"the model ({error}) does not fit the format; choose fewer or smaller ones") from error


def _rises(timestamps_s: Sequence[float], frames: int) -> bool:
    return len(timestamps_s) == frames and all(before <= after for before, after in itertools.pairwise(timestamps_s))


def _pack(fields: Sequence[Field], values: dict[str, Any]) -> bytes:
    return layout(fields).pack(*(values[field.name] for field in fields))


def _write_timestamps(timestamps_s: Sequence[float]) -> bytes:
    """Differences between consecutive frames in ticks of 1/90000 s, as varints."""
    ticks = [round(time * TICKS_PER_SECOND) for time in timestamps_s]
    return b"".join(write_number(after - before) for before, after in itertools.pairwise(ticks))


def _write_display(display: Display) -> bytes:
    width, height = map(int, display.sample_aspect.split(":"))
    values = {
        "aspect_width": width,
        "aspect_height": height,
        "field_order": _number(FIELD_ORDERS, display.field_order),
        "transfer": _number(TRANSFERS, display.transfer),
        "primaries": _number(PRIMARIES, display.primaries),
    }
    return _pack(DISPLAY_FIELDS, values)


def _write_model(segment: Segment) -> bytes:
    values = {
        "architecture": segment.architecture.wire_id,
        "quantizer": _number(QUANTIZERS, segment.quantizer),
        "frames": segment.spec.frames,
    }
    return _pack(MODEL_FIELDS, values) + _write_spec(segment.spec)


def _write_videos(segment: Segment) -> bytes:
    """The number of videos, then all rows in one zlib stream, as names are much alike."""
    assert isinstance(segment.spec, ClipSpec)
    if tuple(video.frames for video in segment.videos) != segment.spec.lengths:
        raise ValueError("the videos of a segment must have the lengths in its spec")
    rows = []
    for video in segment.videos:
        name = video.name.encode()
        if not (1 <= len(name) <= LONGEST_NAME and is_video_name(video.name)):
            raise UserError(
                f"the video name '{video.name}' must have 1 to {LONGEST_NAME} bytes, all printable, without '/'; "
                "choose another"
            )
        rows.append(_pack(ONE_OF_MANY_FIELDS, {"frames": video.frames, "fps": video.fps, "name": len(name)}) + name)
    return _COUNT.pack(len(rows)) + zlib.compress(b"".join(rows), level=9)


def spec_fields(kind: type[Spec]) -> list[dataclasses.Field[Any]]:
    """The fields of a spec that a file stores; the others follow from the video, the segment and its videos, or keep
    their defaults."""
    return [field for field in dataclasses.fields(kind) if field.name not in _FOLLOWING and is_stored(field)]


def check_storable(entry: Architecture, spec: Spec) -> None:
    """Raise `UserError` if the spec changes a field of the decoder that the format does not store."""
    for name, value in spec.unstored_choices(of_encoder=False).items():
        text = list(value) if isinstance(value, tuple) else value
        raise UserError(
            f"{entry.name} has {name} = {text}, which format version {VERSION} of .bnv files does not store: it can be "
            "trained, evaluated and exported, but not coded; remove that option, or skip coding"
        )


def _write_spec(spec: Spec) -> bytes:
    """Fields in class order: ``int`` as u32, ``float`` as f64, ``tuple[int, ...]`` as a u8 count and u16 entries."""
    parts = []
    for field in spec_fields(type(spec)):
        value = getattr(spec, field.name)
        if field.type == "int":
            parts.append(struct.pack("<I", value))
        elif field.type == "float":
            parts.append(struct.pack("<d", value))
        else:
            parts.append(struct.pack(f"<B{len(value)}H", len(value), *value))
    return b"".join(parts)


def _number(names: dict[int, str], name: str) -> int:
    return next(number for number, listed in names.items() if listed == name)


# --- reading -------------------------------------------------------------------------------------------------


def version(data: bytes) -> int:
    """The format version of a file; raises `BitstreamError` if the bytes are not a ``.bnv`` file."""
    if data[: len(MAGIC)] != MAGIC or len(data) < len(MAGIC) + 1:
        raise BitstreamError("this is not a .bnv file (it does not begin with BNV); check the path")
    return data[len(MAGIC)]


def read(data: bytes) -> Bitstream:
    """Parse and check the bytes of a file; raises `BitstreamError` with a one-sentence message."""
    all_sections = split(data)
    sections = [(number, payload) for number, payload in all_sections if number < FIRST_REMARK]
    if not sections or sections[0][0] != VIDEO:
        raise BitstreamError("section video is missing; the file is truncated, get it again")
    video, count = _read_video(sections[0][1])
    displays = (_read_display(payload) for number, payload in all_sections if number == DISPLAY)
    video = dataclasses.replace(video, display=next(filter(None, displays), None))
    rest = sections[1:]
    if rest and rest[0][0] == TIMESTAMPS:
        video = dataclasses.replace(video, timestamps_s=_read_timestamps(rest[0][1], video.frames))
        rest = rest[1:]
    segments = _read_segments(rest, video)
    if len(segments) != count or sum(segment.spec.frames for segment in segments) != video.frames:
        raise BitstreamError(
            f"the header announces {count} segments with {video.frames} frames, the file has {len(segments)} with "
            f"{sum(segment.spec.frames for segment in segments)}; the file is truncated, get it again"
        )
    names = [entry.name for segment in segments for entry in segment.videos]
    if len(set(names)) < len(names):
        raise BitstreamError("two of its videos have the same name; the file is damaged, get it again")
    return Bitstream(video, segments)


def section_bytes(data: bytes) -> dict[str, int]:
    """Bytes of the sections of each kind, heads included, and of the container itself; they add up to the file size."""
    sizes = {"container": len(MAGIC) + 1}
    for number, payload in split(data):
        name = SECTIONS.get(number, REMARKS)
        sizes[name] = sizes.get(name, 0) + _SECTION_HEAD.size + len(payload)
    return sizes


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Numbers and payloads of the sections, after checking their CRCs; raises `BitstreamError`."""
    file_version = version(data)
    if file_version != VERSION:
        raise BitstreamError(
            f"this file has format version {file_version}, this program reads versions 0 to {VERSION}; "
            "use a newer boostnerv release"
        )
    sections: list[tuple[int, bytes]] = []
    position = len(MAGIC) + 1
    running = zlib.crc32(data[:position])
    while position < len(data):
        if position + _SECTION_HEAD.size > len(data):
            raise BitstreamError(
                f"the file ends inside a section head at byte {position}; it is truncated, get it again"
            )
        number, length, crc = _SECTION_HEAD.unpack_from(data, position)
        if number not in SECTIONS and (number < FIRST_REMARK or not sections):
            raise BitstreamError(f"section {number} is unknown; a newer boostnerv may read it")
        position += _SECTION_HEAD.size
        if length > len(data) - position:
            raise BitstreamError(
                f"section {SECTIONS.get(number, number)} needs {length} bytes, {len(data) - position} are left; "
                "the file is truncated or damaged, get it again"
            )
        payload = data[position : position + length]
        if _crc(number, payload, running) != crc:
            raise BitstreamError(
                f"section {SECTIONS.get(number, number)} fails its CRC; the file is damaged, get it again"
            )
        sections.append((number, payload))
        position += length
        running = zlib.crc32(data[position - length - _SECTION_HEAD.size : position], running)
    return sections


def _unpack(fields: Sequence[Field], data: bytes, section: str) -> tuple[dict[str, Any], bytes]:
    """Values of the fields, and the bytes that follow them."""
    head = layout(fields)
    if len(data) < head.size:
        raise BitstreamError(f"section {section} is too short; the file is damaged, get it again")
    values = dict(zip((field.name for field in fields), head.unpack_from(data), strict=True))
    return values, data[head.size :]


def _read_video(data: bytes) -> tuple[Video, int]:
    values, rest = _unpack(VIDEO_FIELDS, data, "video")
    if rest:
        raise BitstreamError("section video is too long; the file is damaged, get it again")
    if not LEAST_FPS <= values["fps"] < FPS_LIMIT:
        raise BitstreamError(f"{values['fps']} frames per second is impossible; the file is damaged, get it again")
    limits = {
        "frames": LARGEST_FRAME_COUNT,
        "height": LARGEST_SIDE,
        "width": LARGEST_SIDE,
        "batch": LARGEST_BATCH,
        "segments": values["frames"],
    }
    for name, limit in limits.items():
        if not 1 <= values[name] <= limit:
            raise BitstreamError(f"{name} = {values[name]} is impossible; the file is damaged, get it again")
    count = values.pop("segments")
    return Video(**values | {"colour": _known(COLOURS, values["colour"], "colour profile")}), count


def _read_timestamps(data: bytes, frames: int) -> tuple[float, ...]:
    damaged = BitstreamError(f"section timestamps does not hold {frames} timestamps; the file is damaged, get it again")
    try:
        steps, end = read_numbers(data, 0, frames - 1, _MOST_TICK_BYTES)
    except ValueError as error:
        raise damaged from error
    if end != len(data):
        raise damaged
    ticks = itertools.accumulate(steps, initial=0)
    return tuple(tick / TICKS_PER_SECOND for tick in ticks)


def _read_display(data: bytes) -> Display | None:
    """The display remark, or None if this reader does not understand it: frames do not depend on it."""
    head = layout(DISPLAY_FIELDS)
    if len(data) != head.size:
        return None
    width, height, order, transfer, primaries = head.unpack(data)
    known = order in FIELD_ORDERS and transfer in TRANSFERS and primaries in PRIMARIES
    if not known or not width or not height:
        return None
    return Display(f"{width}:{height}", FIELD_ORDERS[order], TRANSFERS[transfer], PRIMARIES[primaries])


def _read_segments(sections: list[tuple[int, bytes]], video: Video) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    remaining = list(reversed(sections))

    def take(number: int) -> bytes:
        if not remaining or remaining[-1][0] != number:
            actual = SECTIONS[remaining[-1][0]] if remaining else "the end of the file"
            raise BitstreamError(
                f"section {SECTIONS[number]} should follow, {actual} does; the file is damaged, get it again"
            )
        return remaining.pop()[1]

    while remaining:
        segments.append(_read_segment(take, video))
    return tuple(segments)


def _read_segment(take: Callable[[int], bytes], video: Video) -> Segment:
    """A segment from the payloads of its sections, which `take` returns in file order by section number."""
    values, rest = _unpack(MODEL_FIELDS, take(MODEL), "model")
    entry = architectures_by_wire_id().get(values["architecture"])
    if entry is None:
        raise BitstreamError(f"architecture {values['architecture']} is unknown; a newer boostnerv may read it")
    quantizer = _known(QUANTIZERS, values["quantizer"], "quantiser")
    if not 1 <= values["frames"] <= video.frames:
        raise BitstreamError(
            f"a segment of {values['frames']} frames in a video of {video.frames} is impossible; "
            "the file is damaged, get it again"
        )
    shape: dict[str, Any] = {"frames": values["frames"], "height": video.height, "width": video.width}
    videos: tuple[OneOfMany, ...] = ()
    if entry.multi_video:
        videos = _read_videos(take(VIDEOS), values["frames"])
        shape["lengths"] = tuple(entry.frames for entry in videos)
    spec = _read_spec(rest, entry.spec, shape)
    return Segment(
        entry,
        spec,
        quantizer,
        weights=take(WEIGHTS),
        embeddings=take(EMBEDDINGS) if spec.embedding_shape is not None else b"",
        videos=videos,
        keyframes=take(KEYFRAMES) if spec.uses_keyframes else b"",
    )


def _read_videos(data: bytes, frames: int) -> tuple[OneOfMany, ...]:
    """The videos of a segment of `frames` frames; raises `BitstreamError` at the first impossible row."""
    damaged = BitstreamError("section videos does not match its segment; the file is damaged, get it again")
    if len(data) < _COUNT.size:
        raise damaged
    (count,) = _COUNT.unpack_from(data)
    if not 1 <= count <= frames:
        raise damaged
    videos: dict[str, OneOfMany] = {}
    left = frames
    try:
        with closing(_video_rows(data[_COUNT.size :])) as rows:
            for video in rows:
                possible = (
                    1 <= video.frames <= left and LEAST_FPS <= video.fps < FPS_LIMIT and is_video_name(video.name)
                )
                if not possible or video.name in videos or len(videos) == count:
                    raise damaged
                videos[video.name] = video
                left -= video.frames
    except (zlib.error, struct.error, UnicodeDecodeError) as error:
        raise damaged from error
    if left or len(videos) != count:
        raise damaged
    return tuple(videos.values())


def is_video_name(name: str) -> bool:
    """Whether a video of a multi-video model may have this name; it must be safe as a file name."""
    return bool(name) and name.isprintable() and "/" not in name and name not in (".", "..")


def _video_rows(data: bytes) -> Generator[OneOfMany]:
    """Rows of a deflated section, inflated in small pieces, as many equal rows deflate to a few bytes.

    Raises `zlib.error` unless the data is one complete stream, `struct.error` if it ends within a row.
    """
    head, inflate, rows = layout(ONE_OF_MANY_FIELDS), zlib.decompressobj(), b""
    while not inflate.eof:
        inflated = inflate.decompress(data, _INFLATED_AT_ONCE)
        data = inflate.unconsumed_tail
        if not (inflated or data or inflate.eof):
            raise zlib.error("the stream is cut off")
        rows += inflated
        position = 0
        while len(rows) - position >= head.size + LONGEST_NAME or (inflate.eof and position < len(rows)):
            length, fps, name_bytes = head.unpack_from(rows, position)
            position += head.size + name_bytes
            if position > len(rows):
                raise struct.error("the last row is cut off")
            yield OneOfMany(rows[position - name_bytes : position].decode(), length, fps)
        rows = rows[position:]
    if inflate.unused_data:
        raise zlib.error("data follows the stream")


def _known(names: dict[int, str], number: int, what: str) -> str:
    if number not in names:
        raise BitstreamError(f"{what} {number} is unknown; a newer boostnerv may read it")
    return names[number]


def _read_spec(data: bytes, kind: type[Spec], shape: dict[str, Any]) -> Spec:
    values = dict(shape)
    try:
        for field in spec_fields(kind):
            if field.type == "int":
                (values[field.name],) = struct.unpack_from("<I", data)
                data = data[4:]
            elif field.type == "float":
                (values[field.name],) = struct.unpack_from("<d", data)
                data = data[8:]
            else:
                values[field.name] = struct.unpack_from(f"<{data[0]}H", data, 1)
                data = data[1 + 2 * data[0] :]
        spec = kind(**values)
        check_spec(spec)
    except (struct.error, IndexError, OverflowError, UserError) as error:
        raise BitstreamError(
            f"the model description is invalid ({error}); the file is damaged, get it again"
        ) from error
    if data:
        raise BitstreamError("section model is too long; the file is damaged, get it again")
    return spec


def check_spec(spec: Spec) -> None:
    """Raise `UserError` for a spec outside the limits of the format."""
    for field in spec_fields(type(spec)):
        value = getattr(spec, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(0 < number <= LARGEST_WIDTH for number in numbers) or len(numbers) > LARGEST_STRIDES:
            raise UserError(f"{field.name} = {value}")
    if max(spec.padded) > 2 * LARGEST_SIDE:
        raise UserError(f"strides = {spec.strides}")
