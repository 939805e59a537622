"""Files that are good, damaged and hostile."""

from __future__ import annotations

import dataclasses
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boostnerv.codec import bitstream
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.encoder import encode
from boostnerv.errors import BitstreamError, UserError
from tests.codec.container import join, split
from tests.codec.tiny import encoded, opened, quantized, small_file
from tests.models.tiny import NAMES, tiny_model

FILES = {name: small_file(name) for name in NAMES}
HEADER, SIDE, WEIGHTS, EMBEDDINGS = 1, 2, 3, 4


@pytest.fixture(params=NAMES)
def data(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def refused(data: bytes, sentence: str = "") -> None:
    with pytest.raises(BitstreamError) as caught:
        bitstream.read(data, "x.bnv")
    assert str(caught.value).startswith("x.bnv: ")
    assert re.search(sentence, str(caught.value)), caught.value


# --- what a file says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(
    frames=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    strides=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    fc_dim=st.integers(1, 9),
    fps=st.floats(0.01, 1000),
)
def test_the_header_that_is_read_is_the_one_written(
    name: str, frames: int, height: int, width: int, strides: tuple[int, ...], fc_dim: int, fps: float
) -> None:
    model = tiny_model(name, frames=frames, height=height, width=width, strides=strides, fc_dim=fc_dim)
    data = encode(model.architecture, model.spec, quantized(model), fps=fps, colour="ffmpeg-default").data
    found = bitstream.read(data).header
    assert found == bitstream.Header(model.architecture, model.spec, fps, "ffmpeg-default")
    fields = dataclasses.fields(model.spec)
    assert [type(getattr(found.spec, f.name)) for f in fields] == [type(getattr(model.spec, f.name)) for f in fields]


def test_the_longest_video_and_the_largest_frame() -> None:
    stream = bitstream.read(FILES["nerv-boost"])
    spec = dataclasses.replace(stream.header.spec, frames=1 << 24, height=1 << 15, width=1 << 15)
    longest = dataclasses.replace(stream, header=dataclasses.replace(stream.header, spec=spec))
    assert bitstream.read(bitstream.write(longest)).header.spec == spec


def test_writing_what_was_read_gives_the_same_bytes(data: bytes) -> None:
    assert bitstream.write(bitstream.read(data)) == data
    assert join(split(data)) == data


def test_sections_add_up_to_the_file(data: bytes) -> None:
    sizes = bitstream.section_bytes(data)
    assert sum(sizes.values()) == len(data)
    names = ["header", "side", "weights", "embeddings"]
    assert sizes == {"container": 4, **{names[n - 1]: 9 + len(payload) for n, payload in split(data).items()}}


def test_layout_of_the_header_and_side_information() -> None:
    model = tiny_model("hnerv-boost", frames=3)
    sections = split(encoded(model).data)
    fixed = struct.unpack_from("<HBBdBB", sections[HEADER])
    assert fixed[:4] == (6, 1, 1, 25.0)
    spec = sections[HEADER][struct.calcsize("<HBBdBB") :]
    assert struct.unpack_from("<III", spec) == (3, 5, 6)  # frames, height, width
    assert struct.unpack_from("<BHH", spec, 12) == (2, 2, 2)  # two strides
    tensors = sum(1 for _ in model.decoder.parameters())
    assert len(sections[SIDE]) == 4 * tensors + 2 + 4 + 4 + 3 * 2
    assert len(sections[WEIGHTS]) % 4 == len(sections[EMBEDDINGS]) % 4 == 0


# --- damage ---------------------------------------------------------------------------------------------------


def test_every_truncation_is_noticed(data: bytes) -> None:
    for length in range(len(data)):
        refused(data[:length])


def test_every_flipped_byte_is_noticed(data: bytes) -> None:
    for position in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            refused(bytes(damaged))


@given(st.data())
def test_random_damage_is_noticed(draw: st.DataObject) -> None:
    data = bytearray(FILES[draw.draw(st.sampled_from(NAMES))])
    start = draw.draw(st.integers(0, len(data)))
    stop = draw.draw(st.integers(start, min(len(data), start + 40)))
    data[start:stop] = draw.draw(st.binary(max_size=40))
    if bytes(data) not in FILES.values():
        refused(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    refused(data)
    refused(b"BNV\0" + data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a .bnv file"),
        (b"BNV", "not a .bnv file"),
        (b"\x89PNG\r\n\x1a\n", "not a .bnv file"),
        (b"BNV\x01", "format version 1, this program reads version 0; use the boostnerv release that wrote it"),
        (b"BNV\0", "section header is missing"),
        (b"BNV\0\x01\x00", "ends inside a section head at byte 4"),
        (b"BNV\0\x01\xff\xff\xff\xff\0\0\0\0", "section header wants 4294967295 bytes, 0 are left"),
    ],
)
def test_files_that_are_none(data: bytes, sentence: str) -> None:
    refused(data, sentence)


def test_sections_stand_in_order_once_each(data: bytes) -> None:
    good = split(data)
    for number in good:
        refused(join({n: payload for n, payload in good.items() if n != number}))
    refused(join({SIDE: good[SIDE], HEADER: good[HEADER], WEIGHTS: good[WEIGHTS]}), "unexpected section 1")
    refused(join(good) + join({WEIGHTS: b""})[4:], "unexpected section 3")
    refused(join({**good, 5: b"x"}), "unexpected section 5")
    refused(data + b"\0", "ends inside a section head")


def test_embeddings_belong_to_models_that_have_them() -> None:
    nerv, hnerv = split(FILES["nerv"]), split(FILES["hnerv"])
    refused(join({**nerv, EMBEDDINGS: hnerv[EMBEDDINGS]}), "embeddings section does not fit the architecture")
    del hnerv[EMBEDDINGS]
    refused(join(hnerv), "embeddings section does not fit the architecture")


# --- well-formed and impossible: the CRCs are right -------------------------------------------------------------


def with_header(data: bytes, offset: int, layout: str, value: float) -> bytes:
    sections = split(data)
    header = bytearray(sections[HEADER])
    struct.pack_into(layout, header, offset, value)
    return join({**sections, HEADER: bytes(header)})


@pytest.mark.parametrize(
    ("offset", "layout", "value", "sentence"),
    [
        (0, "<H", 65535, "architecture 65535 is not known here; a newer boostnerv may know it"),
        (2, "<B", 9, "entropy model 9 is not known here"),
        (3, "<B", 0, "colour profile 0 is not known here"),
        (4, "<d", 0.0, "0.0 frames per second cannot be"),
        (4, "<d", float("nan"), "nan frames per second cannot be"),
        (4, "<d", float("inf"), "inf frames per second cannot be"),
        (14, "<I", 0, "frames = 0"),
        (14, "<I", (1 << 24) + 1, "frames = 16777217"),
        (18, "<I", 0, "height = 0"),
        (18, "<I", 1 << 31, "height = 2147483648"),
        (22, "<I", 1 << 31, "width = 2147483648"),
        (26, "<B", 0, "is not possible"),  # no strides
        (26, "<B", 200, "is not possible"),
        (27, "<H", 0, "strides"),
        (27, "<H", 65535, "strides"),
        (31, "<I", 0, "fc_dim = 0"),
        (31, "<I", 1 << 20, "fc_dim = 1048576"),
        (35, "<d", float("nan"), "reduce = nan"),
        (35, "<d", -1.0, "reduce = -1.0"),
    ],
)
def test_impossible_headers(offset: int, layout: str, value: float, sentence: str) -> None:
    refused(with_header(FILES["nerv-boost"], offset, layout, value), re.escape(sentence))


@pytest.mark.parametrize("reduce", [5e-324, 1e-300, 1e-17])
def test_a_header_whose_widths_grow_without_bound(reduce: float) -> None:
    sections = split(FILES["hnerv-boost"])
    position = sections[HEADER].index(struct.pack("<d", 1.2))
    refused(with_header(FILES["hnerv-boost"], position, "<d", reduce))
    refused(with_header(FILES["nerv-boost"], 35, "<d", reduce))


@pytest.mark.parametrize("change", [-1, 1, 4])
@pytest.mark.parametrize("number", [HEADER, SIDE])
def test_header_and_side_have_one_length(data: bytes, number: int, change: int) -> None:
    sections = split(data)
    payload = sections[number]
    changed = payload[:change] if change < 0 else payload + bytes(change)
    refused(join({**sections, number: changed}))


def test_no_memory_is_taken_for_codes_that_cannot_be_there(tmp_path: Path) -> None:
    model = tiny_model("nerv-boost", fc_dim=3)
    stream = bitstream.read(encoded(model).data)
    spec = dataclasses.replace(model.spec, height=30000, width=30000, fc_dim=10000)
    header = dataclasses.replace(stream.header, spec=spec)
    video = opened(bitstream.write(dataclasses.replace(stream, header=header)), tmp_path)
    with pytest.raises(BitstreamError, match=r"claims \d+ codes in \d+ bytes"):
        _ = video.weight_codes


@settings(max_examples=200)
@given(st.data())
def test_hostile_files_are_refused_or_decode_to_something(folder: Path, draw: st.DataObject) -> None:
    """Damage behind a right CRC: no crash, no other error, no memory for what is not there."""
    sections = split(FILES[draw.draw(st.sampled_from(NAMES))])
    number = draw.draw(st.sampled_from([HEADER, HEADER, SIDE, SIDE, *sections]))
    payload = bytearray(sections[number])
    for _ in range(draw.draw(st.integers(1, 4))):
        position = draw.draw(st.integers(0, len(payload) - 1))
        payload[position] = draw.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    decode_anything(join({**sections, number: bytes(payload)}), folder)


@pytest.mark.parametrize("words", [0x00000000, 0xFFFFFFFF, 0xFFFFF7FF, 0xFFFFF800, 0x000FF7FF])
def test_extreme_side_information(data: bytes, words: int, folder: Path) -> None:
    sections = split(data)
    whole = len(sections[SIDE]) // 4
    side = np.full(whole, words, "<u4").tobytes() + sections[SIDE][4 * whole :]
    decode_anything(join({**sections, SIDE: side}), folder)


def decode_anything(data: bytes, folder: Path) -> None:
    try:
        video = opened(data, folder)
        codes = [*video.weight_codes, *video.embedding_codes]
        if max(video.spec.padded) < 200:
            assert video[0].shape == (video.spec.height, video.spec.width, 3)
    except BitstreamError as error:
        assert str(error).startswith(str(folder))  # noqa: PT017  (either outcome is right)
    else:
        assert all(values.dtype == np.int32 for values in codes)


# --- files on a disk --------------------------------------------------------------------------------------------


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: No such file or directory; check the path"):
        VideoFile(tmp_path / "missing.bnv")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory; check the path"):
        VideoFile(tmp_path)


def test_the_sentence_names_the_file(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BitstreamError, match=r"video\.bnv: .*truncated"):
        opened(data[:-1], tmp_path)


def test_damaged_codes_name_file_and_section(tmp_path: Path) -> None:
    sections = split(FILES["hnerv-boost"])
    video = opened(join({**sections, EMBEDDINGS: sections[EMBEDDINGS] + b"\1\0\0\0"}), tmp_path)
    with pytest.raises(BitstreamError, match=r"video\.bnv: section embeddings: .*behind its last code"):
        list(video.frames())


def test_estimated_bits_are_those_of_the_stored_moments() -> None:
    result = encoded(tiny_model("hnerv-boost", fc_dim=40), quantized(tiny_model("hnerv-boost", fc_dim=40), bits=8))
    parts = split(result.data)
    coded = 8 * (len(parts[WEIGHTS]) + len(parts[EMBEDDINGS]))
    assert result.estimated_bits <= coded + 1  # 1e-5 on every probability makes the estimate a little low
    assert coded <= 1.01 * result.estimated_bits + 2 * 64
