"""Hostile files: they are refused with a sentence or decode to frames, at limited cost."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boostnerv.codec.container import bitstream
from boostnerv.codec.container.bitstream import Bitstream
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import Quantized, encode_segment, snap
from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import architecture, tensor_shapes
from tests.codec.sections import VIDEO, Sections, join, split
from tests.codec.tiny import file_of, opened, small_file
from tests.examples import example_count
from tests.golden.streams import FILES as KINDS
from tests.golden.streams import FOLDER
from tests.models.tiny import ALL

FILES = {kind: make() for kind, make in KINDS.items()} | {
    path.stem: path.read_bytes() for path in sorted(FOLDER.glob("v0-*.bnv"))
}
GOOD = {bytes(data) for data in FILES.values()}
# Not a measurement, but a limit for hanging tests.
DEADLINE = datetime.timedelta(seconds=20)
FEW = settings(max_examples=example_count(300), deadline=DEADLINE)
MANY = settings(max_examples=5000, deadline=DEADLINE, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def decode(data: bytes, folder: Path) -> list[np.ndarray] | None:
    """The first and last frame, after checking their shape; None for a file that is refused with one sentence."""
    try:
        video = opened(data, folder)
        for number in range(len(video.stream.segments)):
            _ = video.segment(number).weights, video.segment(number).embeddings
        frames = list(video.frames([0, len(video) - 1]))
    except BitstreamError as error:
        sentence = str(error)
        assert sentence.startswith(f"{folder}/video.bnv: ")
        assert "\n" not in sentence
        return None
    assert [frame.shape for frame in frames] == 2 * [(video.height, video.width, 3)]
    assert all(frame.dtype == np.uint8 for frame in frames)
    return frames


# --- damage in transit -------------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid file with bytes flipped, removed, inserted or replaced by those of another; CRCs are not updated."""
    kind = draw(st.sampled_from(list(FILES)))
    data = bytearray(FILES[kind])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        stop = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([1, 8, 1000])))))
        other = FILES[draw(st.sampled_from(list(FILES)))]
        how = draw(st.sampled_from(["flip", "cut", "put", "foreign", "truncate"]))
        if how == "flip" and data:
            data[start] ^= draw(st.integers(1, 255))
        elif how == "cut":
            del data[start:stop]
        elif how == "put":
            data[start:stop] = draw(st.binary(max_size=20))
        elif how == "foreign":
            data[start:stop] = other[start:stop]
        else:
            del data[start:]
    return kind, bytes(data)


def damage_is_refused(kind_and_data: tuple[str, bytes], folder: Path) -> None:
    kind, data = kind_and_data
    if data in GOOD:
        return
    if data[:4] == b"BNV\0" or kind.startswith("v0"):
        decode(data, folder)  # CRCs of version 0 cover single sections
    else:
        assert decode(data, folder) is None


@FEW
@given(kind_and_data=damaged())
def test_damage_is_refused(folder: Path, kind_and_data: tuple[str, bytes]) -> None:
    damage_is_refused(kind_and_data, folder)


@pytest.mark.slow
@MANY
@given(kind_and_data=damaged())
def test_much_damage_is_refused(folder: Path, kind_and_data: tuple[str, bytes]) -> None:
    damage_is_refused(kind_and_data, folder)


# --- correct CRCs --------------------------------------------------------------------------------------------------


EXTREMES = st.sampled_from([0, 1, 2, 15, 16, 63, 64, 127, 128, 254, 255])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Sections changed, truncated, duplicated, moved or taken from another file, with correct CRCs."""
    names = [kind for kind, data in FILES.items() if len(data) < 4000 or draw(st.integers(0, 3)) == 0]
    data = FILES[draw(st.sampled_from(names))]
    sections = split(data)
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, sections)
    return join(sections, version=data[3])


def _mutate(draw: st.DrawFn, sections: Sections) -> None:
    if not sections:
        return
    # The first bytes determine how the rest is read.
    index = min(draw(st.integers(0, len(sections) - 1)), draw(st.integers(0, len(sections) - 1)))
    number, payload = sections[index]
    how = draw(st.sampled_from(["bytes", "bytes", "bytes", "head", "resize", "foreign", "leave out", "double", "swap"]))
    if how in ("bytes", "head") and payload:
        changed = bytearray(payload)
        reach = min(len(changed), 48) if how == "head" else len(changed)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, reach - 1))] = draw(EXTREMES | st.integers(0, 255))
        sections[index] = number, bytes(changed)
    elif how == "resize":
        change = draw(st.sampled_from([-40, -8, -4, -1, 1, 4, 8, 40]))
        more = draw(st.binary(min_size=1, max_size=max(change, 1)))
        sections[index] = number, payload[:change] if change < 0 else payload + more
    elif how == "foreign":
        other = split(FILES[draw(st.sampled_from(list(FILES)))])
        sections[index] = draw(st.sampled_from(other))
    elif how == "leave out":
        del sections[index]
    elif how == "double":
        sections.insert(index, sections[index])
    else:
        place = draw(st.integers(0, len(sections) - 1))
        sections[index], sections[place] = sections[place], sections[index]


@settings(FEW, max_examples=example_count(1700))
@given(data=mutated())
def test_hostile_files_are_refused_or_decode_to_something(folder: Path, data: bytes) -> None:
    decode(data, folder)


@pytest.mark.slow
@settings(MANY, max_examples=10_000)
@given(data=mutated())
def test_many_hostile_files_are_refused_or_decode_to_something(folder: Path, data: bytes) -> None:
    decode(data, folder)


# --- excessive specs take neither time nor memory -----------------------------------------------------------------


NUMBERS = st.sampled_from([1, 2, 3, 5, 255, 1000, 4096, 16384])
SIDES = st.sampled_from([1, 7, 500, 2000, 1 << 15])


@st.composite
def specs(draw: st.DrawFn) -> bytes:
    """A small file with values as large as the fields allow."""
    stream = bitstream.read(small_file(draw(st.sampled_from(ALL))))
    segment = stream.segments[0]
    changes: dict[str, object] = {}
    for field in bitstream.spec_fields(type(segment.spec)):
        if draw(st.integers(0, 3)):
            continue
        if field.type == "int":
            value: object = draw(NUMBERS)
            changes[field.name] = value - 1 + value % 2 if field.name.startswith("kernel") else value
        elif field.type == "float":
            changes[field.name] = draw(st.sampled_from([5e-324, 1e-9, 0.5, 1.0, 1.5, 16384.0]))
        else:
            changes[field.name] = tuple(draw(st.lists(st.sampled_from([1, 2, 4, 16384]), min_size=1, max_size=8)))
    frames = draw(st.sampled_from([1, 3, 1000, 1 << 24]))
    size = {"frames": frames, "height": draw(SIDES), "width": draw(SIDES)}
    video = dataclasses.replace(stream.video, batch=draw(st.sampled_from([1, 255])), **size)
    spec = dataclasses.replace(segment.spec, **size, **changes)
    return _unchecked(Bitstream(video, (dataclasses.replace(segment, spec=spec),)))


def _unchecked(stream: Bitstream) -> bytes:
    """The bytes of a file with numbers that `bitstream.write` refuses."""
    segment = stream.segments[0]
    sections = bitstream._head(stream.video, len(stream.segments))
    sections += [(bitstream.MODEL, bitstream._write_model(segment)), (bitstream.WEIGHTS, segment.weights)]
    if segment.spec.embedding_shape is not None:
        sections.append((bitstream.EMBEDDINGS, segment.embeddings))
    return bitstream.join(sections)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@settings(FEW, max_examples=example_count(50))
@given(data=specs())
def test_specs_out_of_proportion_are_refused_or_decode(folder: Path, data: bytes) -> None:
    decode(data, folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@settings(MANY, max_examples=1000)
@given(data=specs())
def test_many_specs_out_of_proportion_are_refused_or_decode(folder: Path, data: bytes) -> None:
    decode(data, folder)


# The largest models still accepted: many pixels, steps, multiplications or codes.
LIMITS = [
    ("hnerv", {"height": 1850, "width": 1850, "strides": (4, 4), "frames": 1}),
    ("hnerv", {"height": 1900, "width": 1900, "strides": (16,), "frames": 1, "lower_width": 1, "fc_dim": 1}),
    ("hnerv", {"height": 100, "width": 90, "strides": (1, 1), "frames": 1, "lower_width": 100, "fc_dim": 100}),
    ("hnerv", {"height": 1 << 15, "width": 1 << 15, "strides": (256, 128), "frames": 1}),
    ("hnerv-boost", {"height": 640, "width": 640, "strides": (2, 2, *6 * (1,))}),
    ("nerv-boost", {"height": 60, "width": 60, "strides": 8 * (1,), "fc_dim": 1, "levels": 16384, "stem_width": 20}),
    ("e-nerv", {"height": 50, "width": 50, "strides": (1, 1), "frames": 1}),
    ("nerv", {"height": 60, "width": 60, "strides": (1,), "fc_dim": 5, "levels": 40}),
]
PROGRAM = """
import resource, sys
import torch
from boostnerv.codec.decoder import VideoFile
from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import architectures_by_wire_id
from boostnerv.models.work import decoding_work

architectures_by_wire_id()
torch.set_num_threads(2)
torch.rand(64, 64) @ torch.rand(64, 64)
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 30), resource.RLIM_INFINITY))
for path in sys.argv[1:]:
    try:
        video = VideoFile(path)
        for frame in video.frames(range(min(len(video), 4))):
            assert frame.shape == (video.height, video.width, 3)
    except BitstreamError as error:
        print("refused", error)
    else:
        print("decoded", path)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address spaces are limited on Linux only")
def test_a_small_file_takes_no_gigabyte(tmp_path: Path) -> None:
    """Decodes in a process limited to 1 GiB more than it has after all imports."""
    paths = [tmp_path / f"{number}.bnv" for number in range(len(LIMITS))]
    for path, (name, changes) in zip(paths, LIMITS, strict=True):
        path.write_bytes(zeros(name, changes))
        assert path.stat().st_size < 2048
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    outcomes = [line.split()[0] for line in done.stdout.splitlines()]
    assert len(outcomes) == len(LIMITS)
    assert outcomes.count("decoded") >= 4, done.stdout


def zeros(name: str, changes: dict[str, object]) -> bytes:
    """A file whose weights are all zero, which cost nothing however many there are."""
    entry = architecture(name)
    spec = dataclasses.replace(bitstream.read(small_file(name)).segments[0].spec, **changes)
    weights = {key: torch.zeros(shape) for key, shape in tensor_shapes(entry, spec).items()}
    shape = spec.embedding_shape
    embeddings = torch.zeros(spec.frames, *shape) if shape else None
    values = Quantized(weights, [0.01] * len(weights), embeddings, 0.01, 0.0)
    return file_of([encode_segment(entry, spec, snap(values), entropy_model="gaussian")])


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_many_segments_take_only_what_is_asked_for(tmp_path: Path, count: int) -> None:
    sections = split(small_file("nerv"))
    frames, height, width, fps, colour, batch, _ = struct.unpack("<IHHdBBI", sections[0][1])
    head = struct.pack("<IHHdBBI", frames * count, height, width, fps, colour, batch, count)
    segments = itertools.chain(*itertools.repeat(sections[1:], count))
    (tmp_path / "x.bnv").write_bytes(bitstream.join([(VIDEO, head), *segments]))
    video = VideoFile(tmp_path / "x.bnv")
    assert len(video) == frames * count
    assert np.array_equal(video[-1], video[2])
