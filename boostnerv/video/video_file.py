"""Video files through ffmpeg: their properties, and their frames as 8-bit RGB, one by one.

ffprobe is not used. Every graph begins with the filter `showinfo`, which logs size, aspect, field flag and timestamp of
each decoded frame; codec and rotation come from the description of the input that ffmpeg logs before.

By default ffmpeg converts frames with its default flags, so that they equal the PNGs of ``ffmpeg -i FILE %04d.png``.
With a float profile ffmpeg outputs 4:4:4 planes at the source's depth, and `colour` converts them to RGB.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boostnerv.config import Preparation, RawVideo
from boostnerv.errors import UserError, nearest
from boostnerv.video import colour, ffmpeg
from boostnerv.video.colour import check_matrix
from boostnerv.video.info import (
    Geometry,
    SourceInfo,
    Timing,
    check_allowed,
    geometry,
    is_420,
    notes_of_times,
    timing,
)
from boostnerv.video.kinds import check_not_still, check_source, unreadable
from boostnerv.video.selection import WHOLE, Part, Selection, no_frames, select, select_at_rate
from boostnerv.video.streams import has_alpha, is_beside, shown_stream, specifier, turning
from boostnerv.video.unread import has_unread_recording, is_cut_y4m, is_y4m

_PROBED_FRAMES = 16

_FORMAT = re.compile(r"^Input #0, (\S+), from ")
_STREAM = re.compile(r"^ +Stream #(?P<stream>\d+:\d+).*?: Video: (?P<codec>\w+)(?P<rest>.*)$")
_AUDIO = re.compile(r"^ +Stream #\d+:\d+.*?: Audio: ")
_USED = re.compile(r"^ +Stream #(?P<stream>\d+:\d+) .*-> showinfo")
_DURATION = re.compile(r"^ +Duration: (?:(\d+):(\d+):(\d+\.\d+)|N/A)(?:, start: (-?\d+\.\d+))?")
# Called displaymatrix before ffmpeg 9.
_ROTATION = re.compile(r"^ +(?:Display Matrix|displaymatrix): rotation of (-?\d+(?:\.\d+)?) degrees")
_ALPHA = re.compile(r"^ +alpha_mode +: 1$", re.IGNORECASE)
_CLOCK = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_FRAME = re.compile(
    r"n: *\d+ pts: *(?P<pts>NOPTS|-?\d+) .*fmt:(?P<format>\S+)(?: cl:(?P<chroma>\S+))? .*"
    r"sar:(?P<sar>\d+/\d+) s:(?P<width>\d+)x(?P<height>\d+) i:(?P<field>\S)"
)
_COLOUR = re.compile(
    r"color_range:(?P<range>\S+) color_space:(?P<matrix>\S+) "
    r"color_primaries:(?P<primaries>\S+) color_trc:(?P<transfer>\S+)"
)
# The clock and the default rate that ffmpeg assigns to elementary streams, which have no container.
_CLOCK_OF_STREAMS, _RATE_OF_STREAMS = Fraction(1, 1_200_000), 25
_FIELD_ORDERS = {"T": "tff", "B": "bff"}

# Log lines that report lost pixels: ffmpeg conceals such damage and continues.
_DAMAGE = re.compile(
    r"corrupt decoded frame|corrupt input packet|error while decoding|error submitting packet|"
    r"error during demuxing|partial file|file ended prematurely|invalid data found|packet corrupt",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Shape:
    """Properties that must not change within a file."""

    width: int
    height: int
    sample_aspect: str


@dataclass
class _Reading:
    """Information from ffmpeg's log, collected line by line."""

    ticks: list[int | None] = field(default_factory=list)
    shape: _Shape | None = None
    pixel_format: str = ""
    chroma_location: str = "unknown"
    colours: dict[str, str] = field(default_factory=dict)
    time_base: Fraction = Fraction(0)
    rate: Fraction | None = None
    field_orders: dict[str, int] = field(default_factory=dict)  # order -> index of its first frame
    first_change: tuple[int, _Shape] | None = None  # index and shape of the first frame that differs
    streams: dict[str, tuple[str, str]] = field(default_factory=dict)  # number -> (codec, rest of the line)
    rotations: dict[str, float] = field(default_factory=dict)
    with_alpha: set[str] = field(default_factory=set)  # numbers of streams whose alpha is not decoded
    format: str = ""
    used: str = ""
    failure: str = ""
    has_audio: bool = False
    duration_s: float | None = None
    start_s: float = 0.0
    damage: str = ""

    def add(self, line: str) -> None:
        """Parse one line of the log.

        Up to the line that names the used stream ffmpeg describes the input, including metadata of the file. After
        it ffmpeg's threads write concurrently: a line may contain parts of two, the second without prefix and level.
        The parts parsed here are never split, so they are searched for anywhere in a line.
        """
        level, text = ffmpeg.split_line(line)
        if not self.used and level == "info":
            self._add_description(text)
            return
        if not self.damage and (damage := _DAMAGE.search(text)):
            self.damage = text[damage.start() :].strip()
        if match := _FRAME.search(text):
            self._add_frame(match)
        elif not self.colours and (match := _COLOUR.search(text)):
            self.colours = match.groupdict()
        elif not self.time_base and (match := _CLOCK.search(text)):
            base, rate = match.group(1, 2), match.group(3, 4)
            self.time_base = _fraction(*base) or Fraction(0)
            self.rate = _fraction(*rate)

    def _add_frame(self, match: re.Match[str]) -> None:
        index = len(self.ticks)
        self.ticks.append(None if match["pts"] == "NOPTS" else int(match["pts"]))
        shape = _Shape(int(match["width"]), int(match["height"]), _aspect(match["sar"]))
        if self.shape is None:
            self.shape, self.pixel_format = shape, match["format"]
            if match["chroma"] not in (None, "unspecified"):
                self.chroma_location = match["chroma"]
        elif shape != self.shape and self.first_change is None:
            self.first_change = (index, shape)
        if match["field"] in _FIELD_ORDERS:
            self.field_orders.setdefault(_FIELD_ORDERS[match["field"]], index)

    def _add_description(self, text: str) -> None:
        if match := _USED.match(text):
            self.used = match["stream"]
        elif match := _FORMAT.match(text):
            self.format = match[1]
        elif match := _STREAM.match(text):
            self.streams[match["stream"]] = (match["codec"], match["rest"])
        elif _AUDIO.match(text):
            self.has_audio = True
        elif match := _ROTATION.match(text):
            self.rotations[next(reversed(self.streams), "")] = float(match[1])
        elif _ALPHA.match(text):
            self.with_alpha.add(next(reversed(self.streams), ""))
        elif match := _DURATION.match(text):
            if match[1]:
                self.duration_s = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
            self.start_s = float(match[4] or 0)

    @property
    def codec(self) -> str:
        """The decoder of the used stream."""
        return self.streams.get(self.used, ("unknown", ""))[0]

    @property
    def rate_is_assumed(self) -> bool:
        """Whether the rate may be ffmpeg's default, as the file has no timestamps."""
        bare = self.time_base == _CLOCK_OF_STREAMS or self.format.endswith("_pipe")
        return bare and self.rate == _RATE_OF_STREAMS

    @property
    def videos(self) -> dict[str, str]:
        """The streams that may be the video: number -> ffmpeg's description."""
        return {
            number: rest for number, (codec, rest) in self.streams.items() if codec != "none" and not is_beside(rest)
        }

    def info(self) -> SourceInfo:
        """All properties; requires that at least one frame was read."""
        assert self.shape is not None
        _, rest = self.streams.get(self.used, ("", ""))
        rotation = self.rotations.get(self.used, 0.0)
        turned = round(rotation) % 180 == 90
        width, height = self.shape.width, self.shape.height
        return SourceInfo(
            codec=self.codec,
            pixel_format=self.pixel_format,
            bit_depth=ffmpeg.pixel_formats().get(self.pixel_format, 8),
            width=height if turned else width,
            height=width if turned else height,
            display_width=width,
            display_height=height,
            rotation_degrees=rotation,
            sample_aspect=self.shape.sample_aspect,
            field_order=_field_order(self.field_orders, rest),  # type: ignore[arg-type]
            fps=float(self.rate) if self.rate else None,
            duration_s=self.duration_s,
            chroma_location=self.chroma_location,
            **self.colours,
        )


def probe_clip(path: Path, raw: RawVideo | None = None) -> SourceInfo:
    """Properties of a video file, from its first frames; raises `UserError` if it has none."""
    check_raw(path, raw)
    return _read_start(path, raw).info()


def has_audio(path: Path) -> bool:
    """Whether a video file has sound; raises `UserError` if it has no video."""
    return _read_start(path, None).has_audio


def start_s(path: Path) -> tuple[float, float]:
    """(start of the earliest stream, time of the first frame) of a file, in seconds of its own clock.

    Both are equal for sound without pictures, or with a cover. Raises `UserError` for a file with neither video nor
    sound.
    """
    sound_start_s = _start_of_sound_alone(path)
    if sound_start_s is not None:
        return sound_start_s, sound_start_s
    reading = _read_start(path, None)
    first = float((reading.ticks[0] or 0) * reading.time_base)
    return min(reading.start_s, first), first


@dataclass
class ClipDecoder:
    """Prepared frames of a video file. `frames` can be read once; `timing` and `notes` are valid after that."""

    path: Path
    preparation: Preparation
    raw: RawVideo | None
    part: Part
    info: SourceInfo
    geometry: Geometry
    total: int | None
    selection: Selection
    notes: list[str]
    stream: str  # ffmpeg's specifier of the video stream
    _reading: _Reading

    @property
    def expected(self) -> int | None:
        """Number of frames that `frames` will yield, None if it is only known after reading."""
        return self.selection.count

    def frames(self) -> Generator[npt.NDArray[np.uint8]]:
        """Yield uint8 RGB [height, width, 3], every frame a new array; raises `UserError` for a damaged file."""
        height, width = self.decoded_size()
        converted = self.conversion if colour.is_float(self.preparation.colour) else None
        if converted is None:
            pictures = self._pictures(self._rgb_graph(), (height, width, 3), np.dtype(np.uint8))
        else:
            stored = colour.sample_type(self.info.bit_depth)
            pictures = self._pictures(self._full_chroma_graph(converted), (3, height, width), stored)
        with contextlib.closing(pictures):
            for picture in pictures:
                if converted is not None:
                    picture = colour.yuv_to_rgb(picture, converted.matrix, converted.range, self.info.bit_depth)
                yield self.geometry.window.of(picture)

    def planes(self) -> Generator[tuple[colour.Samples, colour.Samples, colour.Samples]]:
        """Yield Y [height, width], U and V [height/2, width/2] of a source that `has_420`, in codes of its bit depth.

        All sizes and crop offsets must be even. Read instead of `frames`; raises the same.
        """
        assert self.conversion is not None
        height, width = self.decoded_size()
        stored, window = colour.sample_type(self.info.bit_depth), self.geometry.window
        graph = self._planes_graph(self.conversion)
        with contextlib.closing(self._pictures(graph, (height * 3 // 2, width), stored)) as pictures:
            for picture in pictures:
                y, u, v = colour.split_420(picture)
                yield window.of(y), window.halved.of(u), window.halved.of(v)

    @property
    def has_420(self) -> bool:
        """Whether the source is YUV 4:2:0."""
        return is_420(self.info)

    @property
    def conversion(self) -> colour.Conversion | None:
        """How YUV is converted to RGB; None if the source is not YUV."""
        return colour.conversion(self.info, self.preparation.colour)

    def _pictures(self, graph: ffmpeg.Graph, shape: tuple[int, ...], stored: np.dtype[Any]) -> Generator[Any]:
        """Yield the selected pictures of the output of `graph`, every one a new array of `shape` and dtype `stored`."""
        indices = self.selection.indices()
        next_index = next(indices, None)
        count = 0
        try:
            with ffmpeg.running(graph, self._reading.add) as process:
                while (picture := read_picture(process, shape, stored)) is not None:
                    while next_index == count:
                        yield picture
                        next_index = next(indices, None)
                    count += 1
                process.finish()
        except ffmpeg.FfmpegError as error:
            raise UserError(f"{self.path} cannot be decoded ({error}); check that it plays") from error
        self._check_reading(count)

    def timing(self) -> Timing:
        """Presentation times of the frames, from the timestamps in the file."""
        if self.preparation.fps is not None:
            return Timing(self.preparation.fps, None)
        first, reading = self.selection.first, self._reading
        result, notes = timing(reading.ticks[first : self.selection.end], reading.time_base, reading.rate, first)
        self.notes += [note for note in notes if note not in self.notes]
        return result

    def _progressive(self) -> ffmpeg.Graph:
        """The decoded frames, deinterlaced if the preparation asks for it."""
        stream = _input(self.path, self.raw)[self.stream].filter("showinfo", checksum=0)
        if self.preparation.interlaced == "deinterlace" and self.info.interlaced:
            stream = stream.filter("bwdif", mode="send_frame", parity=self.info.field_order, deint="all")
        return stream

    def _rgb_graph(self) -> ffmpeg.Graph:
        stream = self._progressive()
        if window := self.geometry.before:
            # Chroma has fewer samples than luma, so the crop is exact only in RGB.
            stream = stream.filter("format", "rgb24").filter(
                "crop", window.width, window.height, window.left, window.top
            )
        if self.geometry.scaled:
            height, width = self.geometry.scaled
            stream = stream.filter("scale", width, height, flags="bicubic")
        return self._limited(stream, "rgb24")

    def _full_chroma_graph(self, converted: colour.Conversion) -> ffmpeg.Graph:
        stream, pixel_format = self._progressive(), colour.planar_format("444", self.info.bit_depth)
        if window := self.geometry.before:
            # Chroma has fewer samples than luma, so the crop is exact only in 4:4:4.
            stream = planes_of(stream, converted, pixel_format).filter(
                "crop", window.width, window.height, window.left, window.top
            )
        return self._limited(planes_of(stream, converted, pixel_format, self.geometry.scaled), pixel_format)

    def _planes_graph(self, converted: colour.Conversion) -> ffmpeg.Graph:
        stream, bits = self._progressive(), self.info.bit_depth
        if window := self.geometry.before:
            stream = planes_of(stream, converted, colour.planar_format("444", bits)).filter(
                "crop", window.width, window.height, window.left, window.top
            )
        pixel_format = colour.planar_format("420", bits)
        return self._limited(planes_of(stream, converted, pixel_format, self.geometry.scaled), pixel_format)

    def _limited(self, stream: ffmpeg.Graph, pixel_format: str) -> ffmpeg.Graph:
        """Raw frames up to the last one that is needed."""
        # The filter `trim` would restart its count if the colours of a file change midway.
        limit = {"vframes": self.selection.end} if self.selection.end else {}
        return _output(stream, format="rawvideo", pix_fmt=pixel_format, **limit)

    def decoded_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that ffmpeg outputs."""
        before = self.geometry.before
        unscaled = (before.height, before.width) if before else (self.info.display_height, self.info.display_width)
        return self.geometry.scaled or unscaled

    def _check_reading(self, count: int) -> None:
        """Raise `UserError` for problems detected while reading; `count` frames were read, including skipped ones."""
        preparation, reading = self.preparation, self._reading
        first, end = self.selection.first, self.selection.end
        if reading.damage:
            raise damaged(self.path, reading.damage)
        if count < (end or first + 1) and preparation.fps is None:
            select(self.path, preparation, self.part, count)
        if reading.first_change and reading.first_change[0] < count:
            index, shape = reading.first_change
            raise UserError(
                f"{self.path} changes at frame {index} from {_described(reading.shape)} to "
                f"{_described(shape)}: cut it there, or use only the earlier frames with preparation.frame_count"
            )
        late = [index for index in reading.field_orders.values() if first <= index < count]
        if late and not self.info.interlaced and preparation.interlaced != "keep":
            raise UserError(
                f"{self.path} is interlaced from frame {min(late)} on, not before: cut it there, or set "
                "preparation.interlaced to keep"
            )
        if count > len(reading.ticks) or (count < len(reading.ticks) if end is None else count < end):
            raise UserError(
                f"{self.path} has {len(reading.ticks)} frames, of which {count} passed the filters, as its "
                "properties change midway: convert it to a file with constant properties"
            )


def open_clip(path: Path, preparation: Preparation, raw: RawVideo | None = None, part: Part = WHOLE) -> ClipDecoder:
    """Open the video, a `part` of a file; raises `UserError` if it is unreadable or `preparation` does not allow it.

    If the preparation lowers the frame rate, the file is first decoded once to collect its timestamps.
    """
    check_raw(path, raw)
    start = _read_start(path, raw)
    info, stream = start.info(), specifier(start.used)
    check_allowed(info, preparation, path)
    check_matrix(info, path)
    notes = [*_notes(info, preparation), *_notes_of_file(path, info, start)]
    if preparation.fps is None:
        total = None if raw is None else path.stat().st_size // _raw_frame_bytes(path, raw)
        selection = select(path, preparation, part, total)
    else:
        reading = _read_log(_input(path, raw)[stream], part.end)
        if reading.failure:
            raise unreadable(path, reading.failure)
        if reading.damage:
            raise damaged(path, reading.damage)
        # Filters may see one frame more than is written.
        ticks = reading.ticks[: part.end]
        total = len(ticks)
        clock, _ = timing(ticks[part.first :] or [0], start.time_base, start.rate)
        notes += notes_of_times(ticks[part.first :], part.first)
        selection = select_at_rate(path, preparation, part, total, clock)
    if raw is None and preparation.frame_count is None and part.end is None:
        notes += _notes_of_end(path, info)
    return ClipDecoder(
        path=path,
        preparation=preparation,
        raw=raw,
        part=part,
        info=info,
        geometry=geometry(info, preparation, path),
        total=total,
        selection=selection,
        notes=notes,
        stream=stream,
        _reading=_Reading(),
    )


def check_raw(path: Path, raw: RawVideo | None) -> None:
    """Raise `UserError` if the layout `raw` is missing, not applicable, unknown or does not divide the file."""
    if raw is None and path.suffix.lower() == ".yuv":
        raise UserError(
            f"{path} has no header: give its layout under raw (width, height, pixel_format, fps), "
            "e.g. raw: {width: 1920, height: 1080, pixel_format: yuv420p, fps: 120}"
        )
    if raw is None:
        return
    if raw.pixel_format not in (formats := ffmpeg.pixel_formats()):
        raise UserError(f"unknown pixel_format '{raw.pixel_format}' of {path}: {_hint(raw, formats)}")
    size_bytes, frame_bytes = path.stat().st_size, _raw_frame_bytes(path, raw)
    if size_bytes % frame_bytes:
        if not _read_log(_input(path, None)["V:0"], 1).failure:
            raise UserError(f"{path} stores its own layout: remove raw, which is for headerless files")
        raise UserError(
            f"{path} has {size_bytes} bytes, which is not a multiple of {frame_bytes} bytes, the size of a frame "
            f"({raw.width}x{raw.height} {raw.pixel_format}): correct raw, or get an intact file if it is truncated"
        )


def planes_of(
    stream: ffmpeg.Graph, converted: colour.Conversion, pixel_format: str, size: tuple[int, int] | None = None
) -> ffmpeg.Graph:
    """Convert to planar YUV `pixel_format`, scaled to `size` (height, width) if given, without colour conversion."""
    names = {"color_matrix": converted.matrix, "range": converted.range, "chroma_loc": converted.chroma_location}
    kept = {f"{side}_{name}": value for side in ("in", "out") for name, value in names.items()}
    target = (size[1], size[0]) if size else ()
    return stream.filter("scale", *target, flags=ffmpeg.SCALER_FLAGS, **kept).filter("format", pixel_format)


def damaged(path: str | Path, damage: str) -> UserError:
    """The error for a file with lost pixels; `damage` is ffmpeg's message."""
    return UserError(
        f"{path} is damaged ({damage.rstrip('.')}): get an intact copy, or accept ffmpeg's repair with "
        f"`ffmpeg -i {Path(path).name} -c:v ffv1 repaired.mkv` and use that file"
    )


# --- details ----------------------------------------------------------------------------------------------


def _input(path: Path, raw: RawVideo | None) -> ffmpeg.Graph:
    if raw is None:
        return ffmpeg.video_input(path)
    size = (raw.width, raw.height)
    return ffmpeg.local_input(
        path, format="rawvideo", pixel_format=raw.pixel_format, video_size=size, framerate=raw.fps
    )


def _output(stream: ffmpeg.Graph, **options: str | int) -> ffmpeg.Graph:
    """Output every frame once, whatever its timestamp, and no metadata, whose text could be mistaken for log lines."""
    return stream.output("pipe:1", fps_mode="passthrough", map_metadata=-1, **options)


def _read_start(path: Path, raw: RawVideo | None) -> _Reading:
    """Decode the first frames of a file's video and collect what the log says about them and the file."""
    check_source(path)
    source = _input(path, raw)
    reading = _read_log(source[specifier("")], _PROBED_FRAMES, own_clock=True)
    videos = reading.videos
    number = shown_stream(path, videos) if len(videos) > 1 else next(iter(videos), reading.used)
    if number != reading.used:
        reading = _read_log(source[specifier(number)], _PROBED_FRAMES, own_clock=True)
    if reading.failure:
        raise unreadable(path, reading.failure)
    if reading.shape is None:
        raise no_frames(path)
    if raw is None and (len(reading.ticks) == 1 or reading.codec == "mjpeg"):
        check_not_still(path, len(reading.ticks))
    return reading


def _start_of_sound_alone(path: Path) -> float | None:
    """Start of a file of sound without pictures, in seconds of its own clock; None for any other file."""
    reading = _Reading()
    # ffmpeg's description of the input is enough, so nothing is read (t=0).
    graph = ffmpeg.local_input(path)["a"].output("pipe:1", format="null", c="copy", t=0)
    try:
        with ffmpeg.running(graph, reading.add) as process:
            process.finish()
    except ffmpeg.FfmpegError:
        # There is no sound, or the file is defective, which is reported when it is read as video.
        return None
    has_pictures = any("(attached pic)" not in rest for _, rest in reading.streams.values())
    return None if has_pictures else reading.start_s


def _read_log(stream: ffmpeg.Graph, frames: int | None, *, own_clock: bool = False) -> _Reading:
    """Decode `frames` frames, or all, and collect what the log says about them, or the reason of a failure.

    Timestamps are unchanged with `own_clock`; otherwise they are shifted by ffmpeg, as when frames are extracted.
    """
    limit = {"vframes": frames} if frames else {}
    graph = _output(stream.filter("showinfo", checksum=0), format="null", **limit)
    reading = _Reading()
    try:
        with ffmpeg.running(graph.global_args("-copyts") if own_clock else graph, reading.add) as process:
            process.finish()
    except ffmpeg.FfmpegError as error:
        reading.failure = str(error)
    return reading


def read_picture(process: ffmpeg.Process, shape: tuple[int, ...], stored: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """Read the next raw picture of `shape` and dtype `stored` from ffmpeg, None at the end."""
    picture = np.empty(shape, stored)
    view = picture.view(np.uint8).data.cast("B")
    filled = 0
    # One read may return less than a frame: a pipe holds 64 KiB.
    while filled < len(view) and (count := process.stdout.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    return picture if filled == len(view) else None


def _raw_frame_bytes(path: Path, raw: RawVideo) -> int:
    try:
        return ffmpeg.frame_bytes(raw.pixel_format, raw.height, raw.width)
    except ffmpeg.FfmpegError as error:
        raise UserError(
            f"frames of {raw.width}x{raw.height} {raw.pixel_format} are not possible ({error}); correct raw of {path}"
        ) from error


def _hint(raw: RawVideo, formats: dict[str, int]) -> str:
    # Listing all names would be hundreds.
    hint = nearest(raw.pixel_format, formats)
    return hint if hint.startswith("did") else "yuv420p, yuv422p, yuv444p and yuv420p10le are the usual ones"


def _notes(info: SourceInfo, preparation: Preparation) -> list[str]:
    notes = []
    if info.bit_depth > 8:
        how = "ffmpeg rounded them" if preparation.colour == "ffmpeg-default" else "they were rounded"
        notes.append(f"the source has {info.bit_depth} bits per sample; {how} to 8-bit RGB")
    if info.interlaced:
        treated = preparation.interlaced == "deinterlace"
        notes.append("deinterlaced by bwdif, one frame for each frame" if treated else "interlaced, kept as is")
    if info.aspect != 1:
        treated = preparation.sample_aspect == "square"
        notes.append("scaled to square pixels" if treated else f"pixel aspect {info.sample_aspect} kept as is")
    if info.is_hdr:
        notes.append(f"HDR values (transfer {info.transfer}) kept as they are")
    return notes


def _notes_of_file(path: Path, info: SourceInfo, start: _Reading) -> list[str]:
    """Notes on properties that no preparation setting affects."""
    notes = []
    is_rotated = start.used in start.rotations
    if is_rotated and (note := turning(path, start.used, info.rotation_degrees, (info.height, info.width))):
        notes.append(note)
    if start.used in start.with_alpha or has_alpha(path, start.used, info.codec, info.pixel_format):
        notes.append("alpha is dropped")
    if start.rate_is_assumed:
        notes.append(f"the file has no times of frames; {_RATE_OF_STREAMS} frames per second are assumed")
    if len(start.videos) > 1:
        notes.append(f"video stream {start.used} of {len(start.videos)} is used")
    return notes


def _notes_of_end(path: Path, info: SourceInfo) -> list[str]:
    """Notes on frames missing at the end of a video that is used to its last frame."""
    notes = []
    if is_y4m(path) and is_cut_y4m(path, ffmpeg.frame_bytes(info.pixel_format, info.height, info.width)):
        notes.append("the last frame is cut off and left out")
    if has_unread_recording(path):
        notes.append("another recording is joined to the file, whose frames ffmpeg leaves out, all or some; split it")
    return notes


def _field_order(orders: dict[str, int], stream_line: str) -> str:
    """Field order from the frames' flags, else from the container ("top first" is the display order)."""
    if orders:
        return min(orders, key=lambda order: orders[order])
    if re.search(r"[,(] ?(top first|bottom coded first \(swapped\))", stream_line):
        return "tff"
    if re.search(r"[,(] ?(bottom first|top coded first \(swapped\))", stream_line):
        return "bff"
    return "progressive"


def _described(shape: _Shape | None) -> str:
    assert shape is not None
    return f"{shape.height}x{shape.width} with pixel aspect {shape.sample_aspect}"


def _aspect(text: str) -> str:
    ratio = _fraction(*text.split("/"))
    return f"{ratio.numerator}:{ratio.denominator}" if ratio else "1:1"


def _fraction(numerator: str, denominator: str) -> Fraction | None:
    """None for ffmpeg's unknown values: 0/1, 0/0 and 1/0."""
    return Fraction(int(numerator), int(denominator)) if int(numerator) and int(denominator) else None
