"""The ffmpeg binary: locating it, querying its capabilities, and running graphs of the ffmpeg-python package.

The binary comes with the package imageio-ffmpeg; the environment variable ``FFMPEG_BINARY`` selects another, of version
`OLDEST` or newer. ffprobe is not used, as imageio-ffmpeg does not include it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import IO, TYPE_CHECKING, Any

import ffmpeg
import imageio_ffmpeg

from boostnerv import files
from boostnerv.errors import UserError
from boostnerv.host import signals

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Graph = Any  # a node of the ffmpeg-python package, which has no types

OLDEST = (7, 1)
"""The oldest supported release: the first whose ``scale`` filter accepts the chroma location by name."""

NEEDED = ".".join(map(str, OLDEST))
"""`OLDEST` as text."""

SCALER_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Flags of swscale wherever planes are scaled or chroma is subsampled by explicit settings instead of its defaults."""

_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel")
_KEPT_LINES = 200
# Bytes in names that are not UTF-8: Python's surrogate escapes -> private-use characters of Unicode, and back.
_ESCAPE_TO_PRIVATE = {0xDC00 + byte: 0x10DC00 + byte for byte in range(128, 256)}
_PRIVATE_TO_ESCAPE = {private: escape for escape, private in _ESCAPE_TO_PRIVATE.items()}
_PREFIX = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?P<level>[a-z]+)\] ")
_PROBLEM_LEVELS = ("panic", "fatal", "error")
# Formats that open other files or URLs, run scripts, or render text or headerless bytes as pictures.
_NO_VIDEO_FORMATS = (
    *("avisynth", "concat", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp", "vapoursynth", "vobsub"),
    *("webm_dash_manifest", "adf", "bin", "idf", "tty", "xbin", "bitpacked", "rawvideo", "v210", "v210x"),
)
NOT_ALLOWED = "not on whitelist"
"""ffmpeg's message for a file in a format that `video_input` does not allow."""
# Log lines that only repeat that something went wrong.
_EMPTY_PHRASES = (
    "Conversion failed",
    "Error opening input file ",
    "Error opening output file",
    "Nothing was written into output file",
    "Error while opening encoder",
    "Task finished with error code",
    "Terminating thread with return code",
)


def binary() -> str:
    """Path of the ffmpeg binary; raises `UserError` if there is none or it is older than `OLDEST`."""
    named = os.environ.get("FFMPEG_BINARY")
    if named:
        program = shutil.which(named)
        if program is None:
            raise UserError(
                f"FFMPEG_BINARY names {named}, which is not a program here; correct the variable or unset it to "
                "use the ffmpeg of the package imageio-ffmpeg"
            )
        _check_version(program, "unset FFMPEG_BINARY to use the ffmpeg of the package imageio-ffmpeg, or name a newer")
        return program
    try:
        program = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UserError(
            "no ffmpeg found: install the package imageio-ffmpeg with its binary, or set FFMPEG_BINARY to one"
        ) from error
    _check_version(program, "install a newer imageio-ffmpeg, or set FFMPEG_BINARY to a newer ffmpeg")
    return program


def ffmpeg_version() -> str:
    """Version string of the binary, e.g. ``7.1``; every manifest records it."""
    return _version_of(binary())


def release(version: str) -> tuple[int, ...] | None:
    """The numbers of a version string such as ``7.0.2-static`` or ``n7.1``; None for builds between releases, which are
    named after a date or a commit (``N-109468-gd39b34123d``)."""
    match = re.match(r"n?(\d+(?:\.\d+)+)", version)
    return tuple(map(int, match[1].split("."))) if match else None


def _version_of(program: str) -> str:
    match = re.match(r"ffmpeg version (\S+)", _ask(program, "-version"))
    if match is None:
        raise UserError(f"{program} does not answer like ffmpeg; set FFMPEG_BINARY to an ffmpeg binary")
    return match[1]


@cache
def _check_version(program: str, remedy: str) -> None:
    """Raise `UserError` with the `remedy` for a release before `OLDEST`, whose own errors would blame the video."""
    version = _version_of(program)
    numbers = release(version)
    if numbers is not None and numbers < OLDEST:
        raise UserError(f"ffmpeg {program} has version {version}, and {NEEDED} or newer is needed; {remedy}")


def list_encoders() -> frozenset[str]:
    """Names of all encoders of the binary, e.g. ``libx264``."""
    return _list_codecs("-encoders")


def encoder_options(encoder: str) -> frozenset[str]:
    """Names of the options that an encoder has of its own, e.g. ``preset`` of ``libx264``."""
    return frozenset(re.findall(r"^  -(\S+) +<", _ask(binary(), "-h", f"encoder={encoder}"), re.MULTILINE))


def list_decoders() -> frozenset[str]:
    """Names of all decoders of the binary, e.g. ``hevc``."""
    return _list_codecs("-decoders")


def list_filters() -> frozenset[str]:
    """Names of all filters of the binary, e.g. ``libvmaf``."""
    return frozenset(re.findall(r"^ [TSC.]{2,3} (\S+) +\S+->\S+", _ask(binary(), "-filters"), re.MULTILINE))


def _list_codecs(question: str) -> frozenset[str]:
    return frozenset(re.findall(r"^ [VAS][.A-Z]{5} (\S+)", _table(binary(), question), re.MULTILINE))


def pixel_formats() -> dict[str, int]:
    """Pixel formats that the binary can convert from: name -> bits per sample."""
    rows = re.findall(r"^I[.A-Z]{4} (\S+) +\d+ +\d+ +(\d+(?:-\d+)*)", _table(binary(), "-pix_fmts"), re.MULTILINE)
    return {name: max(map(int, depths.split("-"))) for name, depths in rows}


def has_alpha(pixel_format: str) -> bool:
    """Whether a pixel format has an alpha component besides grey or three colours."""
    pattern = rf"^[.A-Z]{{5}} {re.escape(pixel_format)} +([24]) "
    return re.search(pattern, _table(binary(), "-pix_fmts"), re.MULTILINE) is not None


def frame_bytes(pixel_format: str, height: int, width: int) -> int:
    """Bytes of one raw frame, with ffmpeg's rounding of chroma planes for odd sizes."""
    source = ffmpeg.input(f"color=size={width}x{height}:rate=1", format="lavfi")
    return len(run(source.output("pipe:1", format="rawvideo", pix_fmt=pixel_format, vframes=1)).stdout)


# --- running a graph --------------------------------------------------------------------------------------


class FfmpegError(Exception):
    """ffmpeg failed; ``str(error)`` is the reason in a few words, for use in a `UserError`."""


@dataclass
class Log:
    """ffmpeg's log: the last lines, and the first lines that report a problem."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    problems: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Record one line of the log."""
        self.lines.append(line)
        if split_line(line)[0] in _PROBLEM_LEVELS and len(self.problems) < _KEPT_LINES:
            self.problems.append(line)


@dataclass(frozen=True)
class Finished:
    """Output and log of a graph that ran to its end."""

    stdout: bytes
    log: Log


@dataclass
class Process:
    """A running graph; `log` is complete once `finish` has returned."""

    popen: subprocess.Popen[bytes]
    log: Log
    reader: threading.Thread

    @property
    def stdout(self) -> IO[bytes]:
        """The stream that the graph writes to ``pipe:1``."""
        assert self.popen.stdout is not None
        return self.popen.stdout

    def feed(self, data: ReadableBuffer) -> None:
        """Write `data` to ``pipe:0`` of a graph started with `fed`; raises as `finish` if ffmpeg has ended."""
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(data)
        except BrokenPipeError as error:
            self.finish()
            raise FfmpegError("it ended before it had read everything") from error

    def finish(self) -> None:
        """Close the input and wait for ffmpeg; raises `FfmpegError` if it failed, `OSError` on a full disk."""
        self._close_input()
        code = self.popen.wait()
        self.reader.join()
        if code != 0:
            raise failure(code, self.log)

    def stop(self) -> None:
        """Kill ffmpeg if it is still running, and close its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
        self._close_input()
        self.stdout.close()
        self.popen.wait()
        self.reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()

    def _close_input(self) -> None:
        # A broken pipe is no news here: the exit code and the log say why ffmpeg ended.
        if self.popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.popen.stdin.close()


@contextlib.contextmanager
def running(graph: Graph, on_line: Callable[[str], None] | None = None, *, fed: bool = False) -> Iterator[Process]:
    """Start `graph`, which writes to ``pipe:1`` or a file; leaving the block stops it if it is still running.

    `on_line` receives every line of the log, from another thread. `fed` is for graphs that read from the pipe.
    """
    command = command_line(graph)
    process = None
    try:
        with signals.delayed():
            process = _started(command, on_line, fed)
        yield process
    finally:
        if process is not None:
            process.stop()


def _started(command: list[str], on_line: Callable[[str], None] | None, fed: bool) -> Process:
    stdin = subprocess.PIPE if fed else subprocess.DEVNULL
    popen = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    log = Log()
    reader = threading.Thread(target=_drain, args=(popen.stderr, log, on_line), daemon=True)
    reader.start()
    return Process(popen, log, reader)


def run(graph: Graph, stdin: bytes | None = None) -> Finished:
    """Run `graph` to its end with `stdin` on ``pipe:0``; raises as `Process.finish` if ffmpeg fails."""
    command = command_line(graph)
    source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    completed = subprocess.run(command, capture_output=True, check=False, **source)
    log = Log()
    for line in completed.stderr.decode("utf-8", "replace").splitlines():
        log.add(line)
    if completed.returncode != 0:
        raise failure(completed.returncode, log)
    return Finished(completed.stdout, log)


def failure(code: int, log: Log) -> FfmpegError | OSError:
    """The exception for an ffmpeg that ended with exit `code`: an `OSError` if the disk is full."""
    if code == -signal.SIGXFSZ:
        return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if code < 0:
        return FfmpegError(f"it was ended by {signal.Signals(-code).name}")
    for number in files.NO_ROOM:
        if any(os.strerror(number) in line for line in log.problems):
            return OSError(number, os.strerror(number))
    return FfmpegError(reason(log.problems or log.lines))


def reason(lines: Iterable[str]) -> str:
    """The first informative line of a log, without ffmpeg's prefixes and addresses."""
    texts = [text for line in lines if (text := split_line(line)[1].strip())]
    informative = [text for text in texts if not text.startswith(_EMPTY_PHRASES)]
    return (informative or texts or ["no reason given"])[0].rstrip(".!")


def split_line(line: str) -> tuple[str, str]:
    """(level, text) of a log line, without the prefix with the name and address of the component."""
    match = _PREFIX.match(line)
    return (match["level"], line[match.end() :]) if match else ("info", line)


def local_input(path: str | os.PathLike[str], **options: Any) -> Graph:
    """An input that is a local file, even if its name looks like a URL or an option."""
    return ffmpeg.input(local_file(path), **options)


def local_file(path: str | os.PathLike[str]) -> str:
    """The name of a local file in the inputs, outputs and options of a graph."""
    # ffmpeg-python only accepts UTF-8, so other bytes become private-use characters within a graph.
    return f"file:{os.fspath(path)}".translate(_ESCAPE_TO_PRIVATE)


def command_line(graph: Graph, level: str = "info") -> list[str]:
    """The command line of a graph that logs lines of `level` and above, each with its level."""
    compiled = ffmpeg.compile(graph.global_args(*_QUIET, f"level+{level}"), cmd=binary())
    return [str(argument).translate(_PRIVATE_TO_ESCAPE) for argument in compiled]


def video_input(path: str | os.PathLike[str], **options: Any) -> Graph:
    """As `local_input`, for an untrusted file: formats that open other files or run scripts are not allowed."""
    return local_input(path, protocol_whitelist="file", format_whitelist=",".join(_formats()), **options)


def outputs(*arguments: Graph | str, **options: Any) -> Graph:
    """Write several streams into one file, whose name is the last of the `arguments`."""
    return ffmpeg.output(*arguments, **options)


def _formats() -> list[str]:
    listed = re.findall(r"^ D[ .]{2} (\S+)", _table(binary(), "-demuxers"), re.MULTILINE)
    return [name for names in listed for name in names.split(",") if name not in _NO_VIDEO_FORMATS]


def input_from_pipe(**options: Any) -> Graph:
    """An input that `run` feeds with its `stdin`, or `Process.feed` piece by piece."""
    return ffmpeg.input("pipe:0", **options)


def _drain(stream: IO[bytes], log: Log, on_line: Callable[[str], None] | None) -> None:
    for raw in stream:
        line = raw.decode("utf-8", "replace").rstrip()
        log.add(line)
        if on_line is not None:
            on_line(line)


@cache
def _ask(program: str, *question: str) -> str:
    try:
        completed = subprocess.run(
            [program, "-hide_banner", *question], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{program} cannot be run ({error}); set FFMPEG_BINARY to an ffmpeg binary") from error
    return completed.stdout.decode("utf-8", "replace")


def _table(program: str, question: str) -> str:
    """The rows of one of ffmpeg's lists, below its legend."""
    return re.split(r"^\s*-+$", _ask(program, question), maxsplit=1, flags=re.MULTILINE)[-1]
