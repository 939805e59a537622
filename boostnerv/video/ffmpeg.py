"""The ffmpeg binary: which one, what it can do, and how the graphs of the ffmpeg-python package are run.

The binary comes with the package imageio-ffmpeg; the environment variable ``FFMPEG_BINARY`` names another, of version
`OLDEST` or newer. Nothing here needs ffprobe, which that package does not carry.
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
"""The oldest release that will do: the first whose ``scale`` takes the place of chroma by its name."""

NEEDED = ".".join(map(str, OLDEST))
"""`OLDEST` as text."""

SCALER_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Flags of swscale wherever it scales planes or subsamples chroma on our terms."""

_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel")
_KEPT_LINES = 200
# Bytes of names that are no UTF-8, as Python has them in a text, and as private characters of Unicode.
_HIDDEN_BYTES = {0xDC00 + byte: 0x10DC00 + byte for byte in range(128, 256)}
_SHOWN_BYTES = {hidden: shown for shown, hidden in _HIDDEN_BYTES.items()}
_PREFIX = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?P<level>[a-z]+)\] ")
_PROBLEM_LEVELS = ("panic", "fatal", "error")
# Formats that open other files or addresses, run scripts, or make pictures of text or of bytes without a header.
_NO_VIDEO_FORMATS = (
    *("avisynth", "concat", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp", "vapoursynth", "vobsub"),
    *("webm_dash_manifest", "adf", "bin", "idf", "tty", "xbin", "bitpacked", "rawvideo", "v210", "v210x"),
)
NOT_ALLOWED = "not on whitelist"
"""What ffmpeg says of a file of a format that `video_input` does not allow."""
# Lines that only repeat that something went wrong.
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
    """Path of the ffmpeg binary; raises `UserError` where there is none, or only one older than `OLDEST`."""
    named = os.environ.get("FFMPEG_BINARY")
    if named:
        program = shutil.which(named)
        if program is None:
            raise UserError(
                f"FFMPEG_BINARY names {named}, which is no program here; correct the variable or unset it to "
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
    """The binary's own version text, e.g. ``7.1``; a part of every manifest."""
    return _version_of(binary())


def release(version: str) -> tuple[int, ...] | None:
    """The numbers of a version text such as ``7.0.2-static`` or ``n7.1``; None for builds between releases, which are
    called by a date or a commit (``N-109468-gd39b34123d``)."""
    match = re.match(r"n?(\d+(?:\.\d+)+)", version)
    return tuple(map(int, match[1].split("."))) if match else None


def _version_of(program: str) -> str:
    match = re.match(r"ffmpeg version (\S+)", _ask(program, "-version"))
    if match is None:
        raise UserError(f"{program} does not answer like ffmpeg; set FFMPEG_BINARY to an ffmpeg binary")
    return match[1]


@cache
def _check_version(program: str, remedy: str) -> None:
    """Raise `UserError` with the `remedy` for a release before `OLDEST`, which would blame the video for its lacks."""
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
    """Name -> bits per sample of all pixel formats that the binary can convert from."""
    rows = re.findall(r"^I[.A-Z]{4} (\S+) +\d+ +\d+ +(\d+(?:-\d+)*)", _table(binary(), "-pix_fmts"), re.MULTILINE)
    return {name: max(map(int, depths.split("-"))) for name, depths in rows}


def has_alpha(pixel_format: str) -> bool:
    """Whether a pixel format has alpha: beside grey or beside three colours."""
    pattern = rf"^[.A-Z]{{5}} {re.escape(pixel_format)} +([24]) "
    return re.search(pattern, _table(binary(), "-pix_fmts"), re.MULTILINE) is not None


def frame_bytes(pixel_format: str, height: int, width: int) -> int:
    """Bytes of one raw frame, chroma planes of odd sizes rounded as ffmpeg rounds them."""
    source = ffmpeg.input(f"color=size={width}x{height}:rate=1", format="lavfi")
    return len(run(source.output("pipe:1", format="rawvideo", pix_fmt=pixel_format, vframes=1)).stdout)


# --- running a graph --------------------------------------------------------------------------------------


class FfmpegError(Exception):
    """ffmpeg ended with an error; ``str(error)`` is its reason in a few words, for a `UserError`."""


@dataclass
class Log:
    """What ffmpeg said: the last lines, and the first of those that are problems."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    problems: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Keep `line`, one of the log."""
        self.lines.append(line)
        if split_line(line)[0] in _PROBLEM_LEVELS and len(self.problems) < _KEPT_LINES:
            self.problems.append(line)


@dataclass(frozen=True)
class Finished:
    """Output of a graph that ran to its end."""

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
        """What the graph writes to ``pipe:1``."""
        assert self.popen.stdout is not None
        return self.popen.stdout

    def feed(self, data: ReadableBuffer) -> None:
        """Write `data` to ``pipe:0`` of a graph that was started `fed`; raises as `finish` where ffmpeg has ended."""
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(data)
        except BrokenPipeError as error:
            self.finish()
            raise FfmpegError("it ended before it had read everything") from error

    def finish(self) -> None:
        """End the input and wait for the end; raises `FfmpegError` where ffmpeg failed, `OSError` on a full disk."""
        self._close_input()
        code = self.popen.wait()
        self.reader.join()
        if code != 0:
            raise failure(code, self.log)

    def stop(self) -> None:
        """End ffmpeg at once where it still runs, and close its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
        self._close_input()
        self.stdout.close()
        self.popen.wait()
        self.reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()

    def _close_input(self) -> None:
        # What could not be written any more does not matter: the exit code and the log tell why.
        if self.popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.popen.stdin.close()


@contextlib.contextmanager
def running(graph: Graph, on_line: Callable[[str], None] | None = None, *, fed: bool = False) -> Iterator[Process]:
    """Start `graph`, whose output goes to ``pipe:1`` or a file; leaving the block stops what still runs.

    `on_line` gets every line of the log, from another thread. A graph with an input from the pipe is `fed`.
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
    """Run `graph` to its end with `stdin` on ``pipe:0``; raises as `Process.finish` where ffmpeg fails."""
    command = command_line(graph)
    source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(command, capture_output=True, check=False, **source)
    log = Log()
    for line in done.stderr.decode("utf-8", "replace").splitlines():
        log.add(line)
    if done.returncode != 0:
        raise failure(done.returncode, log)
    return Finished(done.stdout, log)


def failure(code: int, log: Log) -> FfmpegError | OSError:
    """What to raise for an ffmpeg that ended with exit `code`; an `OSError` where it met a full disk."""
    if code == -signal.SIGXFSZ:
        return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if code < 0:
        return FfmpegError(f"it was ended by {signal.Signals(-code).name}")
    for number in files.NO_ROOM:
        if any(os.strerror(number) in line for line in log.problems):
            return OSError(number, os.strerror(number))
    return FfmpegError(reason(log.problems or log.lines))


def reason(lines: Iterable[str]) -> str:
    """The first line of a log that says something, without ffmpeg's prefixes and addresses."""
    texts = [text for line in lines if (text := split_line(line)[1].strip())]
    telling = [text for text in texts if not text.startswith(_EMPTY_PHRASES)]
    return (telling or texts or ["no reason given"])[0].rstrip(".!")


def split_line(line: str) -> tuple[str, str]:
    """(level, text) of a log line, without the prefix that names the part of ffmpeg and its address."""
    match = _PREFIX.match(line)
    return (match["level"], line[match.end() :]) if match else ("info", line)


def local_input(path: str | os.PathLike[str], **options: Any) -> Graph:
    """An input that is a file here, even where its name looks like a URL or an option."""
    return ffmpeg.input(local_file(path), **options)


def local_file(path: str | os.PathLike[str]) -> str:
    """A file here, as inputs, outputs and options of a graph name it."""
    # The ffmpeg-python package has no names that are no UTF-8, so that such bytes are private characters in a graph.
    return f"file:{os.fspath(path)}".translate(_HIDDEN_BYTES)


def command_line(graph: Graph, level: str = "info") -> list[str]:
    """The command of a graph, whose log has lines of a level and graver ones."""
    # Each line carries its level, so that errors can be told from information.
    compiled = ffmpeg.compile(graph.global_args(*_QUIET, f"level+{level}"), cmd=binary())
    return [str(argument).translate(_SHOWN_BYTES) for argument in compiled]


def video_input(path: str | os.PathLike[str], **options: Any) -> Graph:
    """As `local_input`, for a file that someone else made: it is read by none of the formats that open other files."""
    return local_input(path, protocol_whitelist="file", format_whitelist=",".join(_formats()), **options)


def outputs(*arguments: Graph | str, **options: Any) -> Graph:
    """Several streams into one file, whose name is the last of the `arguments`."""
    return ffmpeg.output(*arguments, **options)


def _formats() -> list[str]:
    listed = re.findall(r"^ D[ .]{2} (\S+)", _table(binary(), "-demuxers"), re.MULTILINE)
    return [name for names in listed for name in names.split(",") if name not in _NO_VIDEO_FORMATS]


def input_from_pipe(**options: Any) -> Graph:
    """An input that `run` feeds with its `stdin`, or `Process.feed` bit by bit."""
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
        done = subprocess.run(
            [program, "-hide_banner", *question], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{program} does not run ({error}); set FFMPEG_BINARY to an ffmpeg binary") from error
    return done.stdout.decode("utf-8", "replace")


def _table(program: str, question: str) -> str:
    """The rows below the legend of one of ffmpeg's lists."""
    return re.split(r"^\s*-+$", _ask(program, question), maxsplit=1, flags=re.MULTILINE)[-1]
