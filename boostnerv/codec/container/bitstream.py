"""The ``.bnv`` container, version 1: what every byte of a file is. ``docs/format.md`` is made from these tables.

All numbers are little-endian. A file is ``BNV``, a version byte and sections; each section is ``id u8, length u32,
CRC-32 u32, payload``. The CRC is of every byte of the file before the section, of its head without the CRC, and of its
payload: a section cannot be damaged, left out, or taken from another file without notice. In order:

    1 video        once: what belongs to the whole video
    2 timestamps   at most once: when each frame is shown, where the rate varies
    then for each segment of the video, a run of frames with a model of its own:
    3 model        the architecture and its spec
    6 videos       names and lengths, for models of many videos
    4 weights      the coded tensors of the decoder
    5 embeddings   the coded embeddings of the frames, for models that have them
    7 keyframes    images between which clips lie, for models that need them

Sections of numbers from 128 on are remarks: they may stand anywhere behind the first section, count for the CRCs, and
are passed over by readers that do not know them. Nothing that frames depend on may stand there. One is known:

    128 display    how frames are meant to be shown, where that is not as progressive SDR of square pixels

Nothing is executed or unpickled, and every length is compared with the bytes at hand before memory is taken. Version 1
is frozen: what comes later comes under new numbers, of sections or of what fields name; this reader refuses those it
does not know, remarks excepted.
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
# How codes become numbers, and by which coder the codes are stored.
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
_FOLLOWING = ("frames", "height", "width", "lengths")  # fields of a spec that follow from the video and its segments


@dataclass(frozen=True)
class Field:
    """A number of a section: its name, its type as `struct` calls it, and what it says."""

    name: str
    code: str
    meaning: str


def layout(fields: Sequence[Field]) -> struct.Struct:
    """Fields one after the other, little-endian, without gaps."""
    return struct.Struct("<" + "".join(field.code for field in fields))


VIDEO_FIELDS = (
    Field("frames", "I", "frames of the video, T"),
    Field("height", "H", "height of the video in pixels, H; models may make more, which is cut off below"),
    Field("width", "H", "width of the video in pixels, W; models may make more, which is cut off on the right"),
    Field("fps", "d", "frames per second; the mean where timestamps follow"),
    Field("colour", "B", "profile by which the source became RGB"),
    Field("batch", "B", "frames that the exact decoder computes together, from the first of a segment on"),
    Field("segments", "I", "how many segments follow"),
)
MODEL_FIELDS = (
    Field("architecture", "H", "the model"),
    Field("quantizer", "B", "how codes become numbers"),
    Field("frames", "I", "frames of the segment"),
)
DISPLAY_FIELDS = (
    Field("aspect_width", "I", "width of a pixel in units of `aspect_height`, above 0"),
    Field("aspect_height", "I", "height of a pixel, above 0"),
    Field("field_order", "B", "which field of a frame is first in time"),
    Field("transfer", "B", "transfer function of R, G and B; `unknown` for SDR"),
    Field("primaries", "B", "primaries of R, G and B"),
)
ONE_OF_MANY_FIELDS = (
    Field("frames", "I", "frames of the video"),
    Field("fps", "d", "its frames per second"),
    Field("name", "B", "length in bytes of its name, UTF-8, which follows"),
)


@dataclass(frozen=True)
class Display:
    """How frames are meant to be shown. Colour names are ffmpeg's; those of SDR are not told apart from ``unknown``."""

    sample_aspect: str = "1:1"  # width to height of a pixel
    field_order: str = "progressive"
    transfer: str = "unknown"
    primaries: str = "unknown"


@dataclass(frozen=True)
class Video:
    """What belongs to the whole video. `timestamps_s` counts from the first frame; None at a constant rate.

    `display` is a remark, None for progressive SDR of square pixels.
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
    """One of the videos of a segment whose model is of many."""

    name: str
    frames: int
    fps: float


@dataclass(frozen=True)
class Segment:
    """A run of frames with a model of its own; `weights`, `embeddings` and `keyframes` are payloads, still coded.

    `videos` are those of a model of many, in order.
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
        """Bytes of its payloads."""
        return len(self.weights) + len(self.embeddings) + len(self.keyframes)


@dataclass(frozen=True)
class Bitstream:
    """A parsed file."""

    video: Video
    segments: tuple[Segment, ...]


# --- writing -------------------------------------------------------------------------------------------------


def write(stream: Bitstream) -> bytes:
    """Serialise to the bytes of a file; raises `UserError` for what the format cannot hold."""
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
    """Bytes of a file before its segments."""
    return len(join(_head(video, 1)))


def coded_bytes(segment: Segment) -> int:
    """Bytes of a file of one segment, without those of its videos and keyframes."""
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
    """Bytes of a file of these sections, whatever they hold."""
    data = bytearray(MAGIC + bytes([VERSION]))
    running = zlib.crc32(data)
    for number, payload in sections:
        head, running = _section_head(number, payload, running)
        data += head + payload
    return bytes(data)


def _section_head(number: int, payload: bytes, running: int) -> tuple[bytes, int]:
    """The head of a section, and the CRC of all bytes up to its end, given that of all before."""
    crc = _crc(number, payload, running)
    head = _SECTION_HEAD.pack(number, len(payload), crc)
    return head, zlib.crc32(payload, zlib.crc32(head, running))


def _crc(number: int, payload: bytes, running: int) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<BI", number, len(payload)), running))


def _check_fits(stream: Bitstream) -> None:
    video = stream.video
    if max(video.height, video.width) > LARGEST_SIDE or video.frames > LARGEST_FRAME_COUNT:
        raise UserError(
            f"a video of {video.frames} frames of {video.height}×{video.width} does not fit the format, which ends at "
            f"{LARGEST_FRAME_COUNT} frames and sides of {LARGEST_SIDE}; cut or scale it"
        )
    if not 1 <= video.batch <= LARGEST_BATCH or sum(each.spec.frames for each in stream.segments) != video.frames:
        raise ValueError(f"batch {video.batch} is none, or the segments do not have the video's {video.frames} frames")
    if not LEAST_FPS <= video.fps < FPS_LIMIT:
        raise UserError(
            f"{video.fps:g} frames per second do not fit the format, which has {LEAST_FPS:g} to {FPS_LIMIT:g}; convert "
            "the video to another rate"
        )
    if video.timestamps_s is not None and not _rises(video.timestamps_s, video.frames):
        raise UserError(
            f"the timestamps of the {video.frames} frames do not fit the format: there must be one a frame that is "
            "never before the last one; convert the video to a constant rate"
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
    """Differences in ticks of 1/90000 s."""
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
    """How many, then all in one deflated run: names are much alike."""
    assert isinstance(segment.spec, ClipSpec)
    if tuple(video.frames for video in segment.videos) != segment.spec.lengths:
        raise ValueError("the videos of a segment have the lengths of its spec")
    rows = []
    for video in segment.videos:
        name = video.name.encode()
        if not (1 <= len(name) <= LONGEST_NAME and is_video_name(video.name)):
            raise UserError(
                f"the video name '{video.name}' is no printable one of 1 to {LONGEST_NAME} bytes without '/'; choose "
                "another"
            )
        rows.append(_pack(ONE_OF_MANY_FIELDS, {"frames": video.frames, "fps": video.fps, "name": len(name)}) + name)
    return _COUNT.pack(len(rows)) + zlib.compress(b"".join(rows), level=9)


def spec_fields(kind: type[Spec]) -> list[dataclasses.Field[Any]]:
    """The fields of a spec that a file stores; the others follow from the video, the segment and its videos, or have
    their default."""
    return [field for field in dataclasses.fields(kind) if field.name not in _FOLLOWING and is_stored(field)]


def check_storable(entry: Architecture, spec: Spec) -> None:
    """Raise `UserError` for a decoder that the format cannot describe, as fields that it does not store differ."""
    for name, value in spec.unstored_choices(of_encoder=False).items():
        said = list(value) if isinstance(value, tuple) else value
        raise UserError(
            f"{entry.name} has {name} = {said}, which format version {VERSION} of .bnv files does not store: it can be "
            "trained, evaluated and exported, not coded; leave that option out, or the coding"
        )


def _write_spec(spec: Spec) -> bytes:
    """Fields in the order of the class: ``int`` u32, ``float`` f64, ``tuple[int, ...]`` u8 count and u16 each."""
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
    return next(number for number, known in names.items() if known == name)


# --- reading -------------------------------------------------------------------------------------------------


def version(data: bytes) -> int:
    """The version of a file's format; raises `BitstreamError` for bytes that are no ``.bnv`` file."""
    if data[: len(MAGIC)] != MAGIC or len(data) < len(MAGIC) + 1:
        raise BitstreamError("this is not a .bnv file (it does not begin with BNV); check the path")
    return data[len(MAGIC)]


def read(data: bytes) -> Bitstream:
    """Parse and check the bytes of a file; raises `BitstreamError` in one sentence."""
    everything = split(data)
    sections = [(number, payload) for number, payload in everything if number < FIRST_REMARK]
    if not sections or sections[0][0] != VIDEO:
        raise BitstreamError("section video is missing; the file is truncated, get it again")
    video, count = _read_video(sections[0][1])
    displays = (_read_display(payload) for number, payload in everything if number == DISPLAY)
    video = dataclasses.replace(video, display=next(filter(None, displays), None))
    rest = sections[1:]
    if rest and rest[0][0] == TIMESTAMPS:
        video = dataclasses.replace(video, timestamps_s=_read_timestamps(rest[0][1], video.frames))
        rest = rest[1:]
    segments = _read_segments(rest, video)
    if len(segments) != count or sum(segment.spec.frames for segment in segments) != video.frames:
        raise BitstreamError(
            f"{count} segments with {video.frames} frames are announced, {len(segments)} with "
            f"{sum(segment.spec.frames for segment in segments)} are there; the file is truncated, get it again"
        )
    names = [each.name for segment in segments for each in segment.videos]
    if len(set(names)) < len(names):
        raise BitstreamError("two of its videos have one name; the file is damaged, get it again")
    return Bitstream(video, segments)


def section_bytes(data: bytes) -> dict[str, int]:
    """Bytes of all sections of a kind, their heads included, and of the container itself; they add up to the file."""
    sizes = {"container": len(MAGIC) + 1}
    for number, payload in split(data):
        name = SECTIONS.get(number, REMARKS)
        sizes[name] = sizes.get(name, 0) + _SECTION_HEAD.size + len(payload)
    return sizes


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Numbers and payloads of the sections, their CRCs checked."""
    found = version(data)
    if found != VERSION:
        raise BitstreamError(
            f"this file has format version {found}, this program reads versions 0 to {VERSION}; "
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
            raise BitstreamError(f"section {number} is not known here; a newer boostnerv may know it")
        position += _SECTION_HEAD.size
        if length > len(data) - position:
            raise BitstreamError(
                f"section {SECTIONS.get(number, number)} wants {length} bytes, {len(data) - position} are left; "
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
    """Values of the fields, and the bytes behind them."""
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
        raise BitstreamError(f"{values['fps']} frames per second cannot be; the file is damaged, get it again")
    limits = {
        "frames": LARGEST_FRAME_COUNT,
        "height": LARGEST_SIDE,
        "width": LARGEST_SIDE,
        "batch": LARGEST_BATCH,
        "segments": values["frames"],
    }
    for name, limit in limits.items():
        if not 1 <= values[name] <= limit:
            raise BitstreamError(f"{values[name]} for {name} cannot be; the file is damaged, get it again")
    count = values.pop("segments")
    return Video(**values | {"colour": _known(COLOURS, values["colour"], "colour profile")}), count


def _read_timestamps(data: bytes, frames: int) -> tuple[float, ...]:
    damaged = BitstreamError(
        f"section timestamps does not hold those of {frames} frames; the file is damaged, get it again"
    )
    try:
        steps, end = read_numbers(data, 0, frames - 1, _MOST_TICK_BYTES)
    except ValueError as error:
        raise damaged from error
    if end != len(data):
        raise damaged
    ticks = itertools.accumulate(steps, initial=0)
    return tuple(tick / TICKS_PER_SECOND for tick in ticks)


def _read_display(data: bytes) -> Display | None:
    """The remark, None where it is not one that this reader knows: frames do not depend on it."""
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
    left = list(reversed(sections))

    def take(number: int) -> bytes:
        if not left or left[-1][0] != number:
            found = SECTIONS[left[-1][0]] if left else "the end of the file"
            raise BitstreamError(
                f"section {SECTIONS[number]} should follow, {found} does; the file is damaged, get it again"
            )
        return left.pop()[1]

    while left:
        segments.append(_read_segment(take, video))
    return tuple(segments)


def _read_segment(take: Callable[[int], bytes], video: Video) -> Segment:
    """A segment of the payloads that `take` gives, one after the other."""
    values, rest = _unpack(MODEL_FIELDS, take(MODEL), "model")
    entry = architectures_by_wire_id().get(values["architecture"])
    if entry is None:
        raise BitstreamError(f"architecture {values['architecture']} is not known here; a newer boostnerv may know it")
    quantizer = _known(QUANTIZERS, values["quantizer"], "quantiser")
    if not 1 <= values["frames"] <= video.frames:
        raise BitstreamError(
            f"a segment of {values['frames']} frames in a video of {video.frames} cannot be; "
            "the file is damaged, get it again"
        )
    shape: dict[str, Any] = {"frames": values["frames"], "height": video.height, "width": video.width}
    videos: tuple[OneOfMany, ...] = ()
    if entry.multi_video:
        videos = _read_videos(take(VIDEOS), values["frames"])
        shape["lengths"] = tuple(each.frames for each in videos)
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
    """The videos of a segment of so many frames, refused at the first row that cannot be."""
    damaged = BitstreamError("section videos does not describe those of its segment; the file is damaged, get it again")
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
    """Whether one of many videos may have this name, which may become that of a file."""
    return bool(name) and name.isprintable() and "/" not in name and name not in (".", "..")


def _video_rows(data: bytes) -> Generator[OneOfMany]:
    """Rows of a deflated section, inflated a little at a time: equal ones take next to no bytes.

    Raises `zlib.error` for data that is no whole stream, `struct.error` where it ends within a row.
    """
    head, inflate, rows = layout(ONE_OF_MANY_FIELDS), zlib.decompressobj(), b""
    while not inflate.eof:
        more = inflate.decompress(data, _INFLATED_AT_ONCE)
        data = inflate.unconsumed_tail
        if not (more or data or inflate.eof):
            raise zlib.error("the stream is cut off")
        rows += more
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
        raise BitstreamError(f"{what} {number} is not known here; a newer boostnerv may know it")
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
            f"the model description is not possible ({error}); the file is damaged, get it again"
        ) from error
    if data:
        raise BitstreamError("section model is too long; the file is damaged, get it again")
    return spec


def check_spec(spec: Spec) -> None:
    """Raise `UserError` for a spec that no encoder writes."""
    for field in spec_fields(type(spec)):
        value = getattr(spec, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(0 < number <= LARGEST_WIDTH for number in numbers) or len(numbers) > LARGEST_STRIDES:
            raise UserError(f"{field.name} = {value}")
    if max(spec.padded) > 2 * LARGEST_SIDE:
        raise UserError(f"strides = {spec.strides}")
