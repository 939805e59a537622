"""Streams of anchors: made and decoded by ffmpeg, or by programs of their own.

`boostnerv.catalogue.ANCHORS` has a row for each anchor. Where it names an encoder of ffmpeg, RGB frames or planes are
piped into one ffmpeg process. Where it names a program, ffmpeg writes planes to a temporary file for it; where it names
a decoder too, ffmpeg converts the planes that the decoder wrote.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy.typing as npt

from boostnerv.catalogue import ANCHORS, AnchorEntry, Program
from boostnerv.config import Anchor
from boostnerv.errors import UserError, nearest
from boostnerv.evaluation.launched import Used, launched
from boostnerv.evaluation.round_trip import OF_FULL_CHROMA, RoundTrip
from boostnerv.progress import Progress
from boostnerv.video.colour import stream_tags
from boostnerv.video.ffmpeg import (
    SCALER_FLAGS,
    FfmpegError,
    command_line,
    encoder_options,
    ffmpeg_version,
    list_encoders,
    local_file,
    local_input,
    reason,
    run,
)
from boostnerv.video.planes import Planes

GOP_FRAMES = 256
"""Largest distance between key frames; a multiple of 32, which VVenC asks for."""

_OF_ALL_ENCODERS = ("threads", "bsf:v")  # options of ffmpeg itself


@dataclass(frozen=True)
class StreamFormat:
    """Planes as a stream has them: pixel format, (height, width) after padding, rate and number of frames."""

    pixel_format: str
    size: tuple[int, int]
    fps: float
    frames: int

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return 10 if self.pixel_format.endswith("10le") else 8

    def raw_input(self, path: Path) -> Any:
        """Planes without a header as an input of ffmpeg."""
        height, width = self.size
        return local_input(path, f="rawvideo", pix_fmt=self.pixel_format, s=f"{width}x{height}", r=self.fps)


@dataclass(frozen=True)
class Coding:
    """How one stream of an anchor is made and decoded; `fed` are the planes that are coded instead of RGB."""

    anchor: Anchor
    quality: int
    threads: int
    stream: StreamFormat
    conversion: RoundTrip = OF_FULL_CHROMA
    fed: Planes | None = None

    @property
    def entry(self) -> AnchorEntry:
        """The row of the catalogue."""
        return entry_of(self.anchor)

    @property
    def has_own_decoder(self) -> bool:
        """Whether a program decodes, not ffmpeg."""
        return self.entry.program is not None and bool(self.entry.program.decode)

    def planes_node(self, muxer: str, path: Path, **options: Any) -> Any:
        """The graph of ffmpeg from its standard input, RGB or planes, to planes in `path`, or to a coded stream."""
        height, width = self.stream.size
        fed = self.fed
        pixel_format = "rgb24" if fed is None else fed.manifest.pixel_format
        source = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt=pixel_format, s=f"{width}x{height}", r=self.stream.fps)
        filters = (
            self.conversion.to_planes(self.stream.pixel_format)
            if fed is None
            else same_colours(fed, self.stream.pixel_format)
        )
        return source.output(local_file(path), vf=filters, **options, fps_mode="passthrough", f=muxer)

    def decoding_graph(self, stream: Path, filters: str) -> Any:
        """Decoding by ffmpeg, and the work of `filters`; the frames go nowhere."""
        source = local_input(stream, f=self.entry.stream_format, threads=self.threads)
        return source.output("pipe:1", f="null", fps_mode="passthrough", vf=filters)


def entry_of(anchor: Anchor) -> AnchorEntry:
    """The row of the catalogue; raises `UserError` for an unknown name."""
    if anchor.codec not in ANCHORS:
        raise UserError(f"unknown anchor '{anchor.codec}': {nearest(anchor.codec, ANCHORS)}")
    return ANCHORS[anchor.codec]


def preset_of(anchor: Anchor) -> str:
    """The preset that the encoder is given."""
    return anchor.preset or entry_of(anchor).preset


def pixel_format_of(anchor: Anchor) -> str:
    """What the encoder is given: as the experiment says, in 10 bits where the codec has no 8 (VVenC)."""
    formats, in_10_bits = entry_of(anchor).pixel_formats, f"{anchor.pixel_format}10le"
    only_in_10_bits = anchor.pixel_format not in formats and in_10_bits in formats
    return in_10_bits if only_in_10_bits else anchor.pixel_format


def check_encoder(anchor: Anchor) -> None:
    """Raise `UserError` where the encoder of an anchor is missing, or does not take the options it is given."""
    entry = entry_of(anchor)
    if entry.program is not None:
        for command in filter(None, (entry.program.encode, entry.program.decode)):
            _program_path(command[0], anchor.codec)
        return
    available = list_encoders()
    if entry.library not in available:
        usable = sorted(name for name, other in ANCHORS.items() if other.library in available)
        raise UserError(
            f"this ffmpeg ({ffmpeg_version()}) has no encoder {entry.library}, which anchor "
            f"'{anchor.codec}' needs; it can do: {', '.join(usable) or 'none of the anchors'}. Set "
            "FFMPEG_BINARY to one that has it, or take the anchor out of the experiment"
        )
    known = encoder_options(entry.library)
    for option in (entry.preset_option, entry.quality_option, *entry.options):
        if option not in known and option not in _OF_ALL_ENCODERS:
            raise UserError(
                f"encoder {entry.library} of this ffmpeg takes no option '{option}', which anchor '{anchor.codec}' "
                f"gives it: {nearest(option, known)} Correct its row in boostnerv/catalogue.py, or set FFMPEG_BINARY"
            )


@functools.cache
def encoder_version(codec: str) -> str:
    """Versions of ffmpeg and of the encoder behind `codec`, e.g. ``ffmpeg 7.1, libx265 4.1``.

    A library says its version only while it encodes, so one grey frame is coded.
    """
    entry = ANCHORS[codec]
    if entry.program is not None:
        name, printed = entry.program.version[0], _printed(entry.program.version, codec)
    else:
        name, printed = entry.library, _printed_by_library(entry)
    match = re.search(entry.version_pattern, printed)
    return f"ffmpeg {ffmpeg_version()}, {name} {match[1]}" if match else f"ffmpeg {ffmpeg_version()}, {name}"


def encode_stream(
    coding: Coding, pictures: Iterator[npt.NDArray[Any]], path: Path, name: str, progress: Progress
) -> tuple[Used, str]:
    """Code `pictures` (RGB, or the planes that are fed) into `path`; returns what the encoder used, and its command
    with `name` in place of the path. Raises `UserError` with the words of an encoder that fails."""
    height, width = coding.stream.size
    subject = f"{coding.anchor.codec} on {coding.stream.frames} frames of {height}x{width}"
    if coding.entry.program is not None:
        return _encode_by_program(coding, coding.entry.program, pictures, (path, name), progress)
    entry, threads = coding.entry, str(coding.threads)
    options = {
        "c:v": entry.library,
        entry.preset_option: preset_of(coding.anchor),
        entry.quality_option: coding.quality,
        "g": GOP_FRAMES,
        **{option: value.format(threads=threads) for option, value in entry.options.items()},
        **(coding.conversion.tags() if coding.fed is None else _tags_of(coding.fed)),
    }
    graph = coding.planes_node(entry.stream_format, path, **options)
    return _piped(graph, pictures, subject, progress), _readable(graph, {path: name})


def decode_stream(coding: Coding, stream: Path, raw: Path, filters: str) -> tuple[str, float]:
    """Decode `stream` and write what `filters` make of its frames to `raw`; returns the command and its wall time in
    seconds. Raises `UserError` where it cannot be decoded."""
    start = time.perf_counter()
    with _planes_of(coding, stream) as (source, names, command):
        graph = source.output(local_file(raw), vf=filters, fps_mode="passthrough", f="rawvideo")
        try:
            run(graph)
        except FfmpegError as error:
            raise UserError(f"ffmpeg cannot decode {stream.name} of {coding.anchor.codec}: {error}") from error
        decode_s = time.perf_counter() - start
        return " && ".join([*command, _readable(graph, {**names, stream: stream.name, raw: raw.name})]), decode_s


def same_colours(planes: Planes, pixel_format: str) -> str:
    """Filters that change the depth of planes where `pixel_format` has another, and nothing else."""
    conversion, tags = planes.manifest.conversion, _tags_of(planes)
    names = {"color_matrix": conversion.matrix, "range": conversion.range, "chroma_loc": conversion.chroma_location}
    kept = ":".join(f"in_{name}={value}:out_{name}={value}" for name, value in names.items())
    # Without it the planes are taken for BT.601 and converted to what the encoder is told of their matrix.
    stated = f"setparams=range={tags['color_range']}:colorspace={tags['colorspace']}"
    return f"{stated},scale={kept}:flags={SCALER_FLAGS},format={pixel_format},{stated}"


def _tags_of(planes: Planes) -> dict[str, str]:
    """What a stream of planes says of their colours; the preparation says no primaries and transfer."""
    conversion = planes.manifest.conversion
    return stream_tags(conversion.matrix, conversion.range)


@contextmanager
def _planes_of(coding: Coding, stream: Path) -> Iterator[tuple[Any, dict[Path, str], list[str]]]:
    """The decoded planes as an input of ffmpeg, with names for temporary files, and commands that came before."""
    program = coding.entry.program
    if program is None or not program.decode:
        yield local_input(stream, f=coding.entry.stream_format, threads=coding.threads), {}, []
        return
    with tempfile.TemporaryDirectory(dir=stream.parent, prefix=".planes-") as folder:
        planes = Path(folder) / "decoded.yuv"
        command = _filled_in(program.decode, coding, stream, planes)
        _run_program(command, f"decode {stream.name}", coding.anchor.codec)
        yield (
            coding.stream.raw_input(planes),
            {planes: planes.name},
            [_plain(command, {stream: stream.name, planes: planes.name})],
        )


def _encode_by_program(
    coding: Coding,
    program: Program,
    pictures: Iterator[npt.NDArray[Any]],
    target: tuple[Path, str],
    progress: Progress,
) -> tuple[Used, str]:
    """Convert to planes, and code these; the time is that of both, the memory that of the encoder."""
    path, name = target
    subject = f"code {coding.stream.frames} frames of {coding.stream.size[0]}x{coding.stream.size[1]}"
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".planes-") as folder:
        planes = Path(folder) / f"planes.{program.input_format}"
        muxer = {"yuv": "rawvideo", "y4m": "yuv4mpegpipe"}[program.input_format]
        # Y4M of more than 8 bits is an extension, which both ends know.
        graph = coding.planes_node(muxer, planes, strict=-1)
        converting = _piped(graph, pictures, coding.anchor.codec, progress)
        command = _filled_in(program.encode, coding, planes, path)
        used = _run_program(command, subject, coding.anchor.codec)
        if not path.stat().st_size:
            raise UserError(f"{command[0]} wrote nothing for anchor '{coding.anchor.codec}'; run it by hand: {command}")
    names = {planes: planes.name, path: name}
    text = f"{_readable(graph, names)} && {_plain(command, names)}"
    return Used(used.code, converting.wall_s + used.wall_s, used.peak_memory_bytes), text


def _filled_in(template: Sequence[str], coding: Coding, source: Path, target: Path) -> list[str]:
    """The command of a template."""
    height, width = coding.stream.size
    program = _program_path(template[0], coding.anchor.codec)
    values = {
        "input": source,
        "output": target,
        "width": width,
        "height": height,
        "fps": max(1, round(coding.stream.fps)),
        "frames": coding.stream.frames,
        "quality": coding.quality,
        "preset": preset_of(coding.anchor),
        "bits": coding.stream.bits,
        "gop": GOP_FRAMES,
        "threads": coding.threads,
        "home": Path(program).resolve().parent.parent,
    }
    return [template[0], *(part.format_map(values) for part in template[1:])]


def _program_path(program: str, codec: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise UserError(
            f"anchor '{codec}' needs the program {program}, which is not in PATH; install it, or take the anchor out "
            "of the experiment"
        )
    return path


def _run_program(command: Sequence[str], task: str, codec: str) -> Used:
    """Run a program; raises `UserError` with its last words where it fails."""
    _program_path(command[0], codec)
    with tempfile.TemporaryFile() as words:
        with launched(command, stderr=words, env=os.environ, stdout=words) as process:
            process.stdin.close()
            used = process.wait()
        if used.code:
            words.seek(0)
            lines = [line.strip() for line in words.read().decode(errors="replace").splitlines() if line.strip()]
            raise UserError(
                f"{command[0]} could not {task} (exit code {used.code}): {lines[-1] if lines else 'without a word'}; "
                f"check the preset and quality of anchor '{codec}', and the version of the program"
            )
    return used


def _printed(command: Sequence[str], codec: str) -> str:
    """What a command prints, whatever its exit code."""
    path = _program_path(command[0], codec)
    try:
        done = subprocess.run(
            [path, *command[1:]], capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{shlex.join(command)} does not answer ({error}); install {command[0]} anew") from error
    return (done.stdout + done.stderr).decode(errors="replace")


def _printed_by_library(entry: AnchorEntry) -> str:
    grey = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt="gray", s="64x64")
    options = {"pix_fmt": entry.pixel_formats[0], "c:v": entry.library, "f": entry.stream_format}
    try:
        done = run(grey.output("pipe:1", **options), stdin=bytes(64 * 64))
    except FfmpegError as error:
        raise UserError(f"encoder {entry.library} of this ffmpeg does not work: {error}") from error
    # x264 and x265 write it into the stream, the others into the log.
    return done.stdout.decode("latin-1") + "\n".join(done.log.lines)


def _readable(graph: Any, names: Mapping[Path, str]) -> str:
    """The command of a graph as a line to read and repeat, with names in place of this machine's paths."""
    arguments = [str(argument) for argument in ffmpeg.compile(graph)]
    for path, name in names.items():
        arguments = [name if argument == local_file(path) else argument for argument in arguments]
    return shlex.join(arguments)


def _plain(command: Sequence[str], names: Mapping[Path, str]) -> str:
    """A program's command as a line, with names in place of this machine's paths."""
    texts = {os.fspath(path): name for path, name in names.items()}
    return shlex.join(texts.get(argument, argument) for argument in command)


def _piped(graph: Any, pictures: Iterable[npt.NDArray[Any]], subject: str, progress: Progress) -> Used:
    """Pipe all pictures into `graph`; returns what its process used. `UserError` with its words if it failed."""
    command = command_line(graph.overwrite_output(), "error")
    # Its words go to a file: a full pipe that nobody reads would stop it.
    with tempfile.TemporaryFile() as words:
        with launched(command, stderr=words, env=os.environ | {"SVT_LOG": "1"}) as process:
            _feed(process.stdin, pictures, progress)
            used = process.wait()
        if used.code:
            words.seek(0)
            lines = words.read().decode(errors="replace").splitlines()
            raise UserError(
                f"ffmpeg could not encode {subject}: {reason(lines)}; check the anchor's preset, and "
                "whether frames of this size suit the codec"
            )
    return used


def _feed(pipe: IO[bytes], pictures: Iterable[npt.NDArray[Any]], progress: Progress) -> None:
    try:
        for done, picture in enumerate(pictures, start=1):
            pipe.write(picture.tobytes())
            progress(done, "encoding")
        pipe.close()
    except BrokenPipeError:
        # ffmpeg gave up; its exit code and its own words are looked at by `_piped`.
        return
