"""Files of version 0, which can be read but no longer written."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.codec.container import bitstream, version0
from boostnerv.codec.decoder import VideoFile
from boostnerv.codec.entropy.payloads import Embeddings, read_weights
from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import tensor_shapes
from tests.codec.sections import join, split
from tests.codec.tiny import opened
from tests.golden.streams import paths
from tests.models.tiny import IN_VERSION_0

FILES = {name: paths(name, 0)[0].read_bytes() for name in IN_VERSION_0}
HEADER, SIDE, WEIGHTS, EMBEDDINGS = 1, 2, 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def refused(data: bytes, sentence: str = "") -> None:
    with pytest.raises(BitstreamError) as caught:
        version0.read(data)
    assert re.search(sentence, str(caught.value)), caught.value


@pytest.mark.parametrize("name", IN_VERSION_0)
def test_metadata_of_an_old_file(name: str) -> None:
    file, recorded = paths(name, 0)
    video = VideoFile(file)
    frames, height, width, _ = np.load(recorded).shape
    assert (video.version, len(video), video.height, video.width) == (0, frames, height, width)
    assert (video.fps, video.timestamps_s, video.stream.video.batch) == (25.0, None, 1)
    assert [segment.architecture.name for segment in video.stream.segments] == [name]
    assert sum(video.section_bytes.values()) == video.file_bytes == len(FILES[name])
    sections = ["header", "side", "weights", "embeddings"][: len(split(FILES[name]))]
    assert list(video.section_bytes) == ["container", *sections]


@pytest.mark.parametrize("name", IN_VERSION_0)
def test_rewriting_an_old_file_preserves_codes_and_frames(name: str, folder: Path) -> None:
    stream = version0.read(FILES[name])
    rewritten = bitstream.read(bitstream.write(stream))
    assert rewritten == stream
    frames = list(opened(FILES[name], folder).frames())
    rewritten_frames = opened(bitstream.write(stream), folder).frames()
    assert all(np.array_equal(a, b) for a, b in zip(rewritten_frames, frames, strict=True))


@pytest.mark.parametrize("name", IN_VERSION_0)
def test_steps_of_an_old_file(name: str) -> None:
    """δ equals the side information, in the order of the tensors."""
    sections = dict(split(FILES[name]))
    (segment,) = version0.read(FILES[name]).segments
    shapes = [tuple(shape) for shape in tensor_shapes(segment.architecture, segment.spec).values()]
    weights = read_weights(segment.weights, shapes)
    words = np.frombuffer(sections[SIDE], "<u4", len(shapes))
    assert weights.step_index.tolist() == (words >> 20).tolist()
    if segment.spec.embedding_shape is not None:
        embeddings = Embeddings(segment.embeddings, (segment.spec.frames, *segment.spec.embedding_shape))
        step, offset = struct.unpack_from("<Hi", sections[SIDE], 4 * len(shapes))
        assert (embeddings.step_index, embeddings.offset_index) == (step, offset)


# --- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IN_VERSION_0)
def test_truncations_and_flips_are_noticed(name: str) -> None:
    data = FILES[name]
    for position in range(4, len(data), 1 if len(data) < 3000 else 97):
        refused(data[:position])
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        refused(bytes(damaged))


@pytest.mark.parametrize("name", IN_VERSION_0)
def test_sections_stand_in_order_once_each(name: str) -> None:
    good = split(FILES[name])
    for index in range(len(good)):
        refused(join(good[:index] + good[index + 1 :], version=0), "missing|should follow|does not fit")
        refused(join([*good[: index + 1], good[index], *good[index + 1 :]], version=0), "unexpected")
    refused(join(good[::-1], version=0), "unexpected")
    refused(join([*good, (5, b"x")], version=0), "section 5 at byte .* unexpected")


def test_embeddings_belong_to_models_that_have_them() -> None:
    nerv, hnerv = split(FILES["nerv"]), split(FILES["hnerv"])
    refused(join([*nerv, hnerv[-1]], version=0), "section model should follow, embeddings does")


@pytest.mark.parametrize(
    ("offset", "layout", "value", "sentence"),
    [
        (0, "<H", 65535, "architecture 65535 is unknown"),
        (2, "<B", 9, "entropy model 9 is unknown"),
        (3, "<B", 0, "colour profile 0 is unknown"),
        (4, "<d", 0.0, "0.0 frames per second is impossible"),
        (14, "<I", 0, "frames = 0 is impossible"),
        (14, "<I", (1 << 24) + 1, "frames = 16777217 is impossible"),
        (18, "<I", 0, "height = 0 is impossible"),
        (18, "<I", 1 << 31, "a frame of 2147483648×22 is impossible"),
        (22, "<I", 1 << 31, "a frame of 15×2147483648 is impossible"),
        (26, "<B", 0, "is invalid"),
        (31, "<I", 1 << 20, "fc_dim = 1048576"),
        (35, "<d", float("nan"), "reduce = nan"),
        (35, "<d", 5e-324, "the header describes an impossible model"),
        (31, "<I", 16000, "claims|does not fit"),
    ],
)
def test_impossible_headers(offset: int, layout: str, value: float, sentence: str) -> None:
    sections = split(FILES["nerv-boost"])
    header = bytearray(sections[0][1])
    struct.pack_into(layout, header, offset, value)
    refused(join([(HEADER, bytes(header)), *sections[1:]], version=0), sentence)


@pytest.mark.parametrize("change", [-1, 1, 4])
@pytest.mark.parametrize("number", [HEADER, SIDE])
@pytest.mark.parametrize("name", IN_VERSION_0)
def test_header_and_side_have_one_length(name: str, number: int, change: int) -> None:
    sections = split(FILES[name])
    payload = sections[number - 1][1]
    sections[number - 1] = number, payload[:change] if change < 0 else payload + bytes(change)
    refused(join(sections, version=0), "too short|too long|does not fit|invalid|impossible")


@pytest.mark.parametrize("name", IN_VERSION_0)
def test_codes_end_with_their_streams(name: str) -> None:
    sections = split(FILES[name])
    for index in range(2, len(sections)):
        number, payload = sections[index]
        for changed in (payload[:-1], payload[4:], payload + b"\1\0\0\0"):
            refused(join([*sections[:index], (number, changed), *sections[index + 1 :]], version=0))


@pytest.mark.parametrize("words", [0x00000000, 0xFFFFFFFF, 0xFFFFF7FF, 0xFFFFF800, 0x000FF7FF])
@pytest.mark.parametrize("name", IN_VERSION_0)
def test_extreme_side_information(name: str, words: int, folder: Path) -> None:
    sections = split(FILES[name])
    word_count = len(sections[1][1]) // 4
    side = np.full(word_count, words, "<u4").tobytes() + sections[1][1][4 * word_count :]
    decodes_or_is_refused(join([sections[0], (SIDE, side), *sections[2:]], version=0), folder)


@given(st.data())
def test_damage_behind_a_right_crc(folder: Path, draw: st.DataObject) -> None:
    sections = split(FILES[draw.draw(st.sampled_from(IN_VERSION_0))])
    index = draw.draw(st.integers(0, len(sections) - 1))
    number, payload = sections[index]
    changed = bytearray(payload)
    for _ in range(draw.draw(st.integers(1, 4))):
        changed[draw.draw(st.integers(0, len(changed) - 1))] = draw.draw(st.integers(0, 255))
    sections[index] = number, bytes(changed)
    decodes_or_is_refused(join(sections, version=0), folder)


def decodes_or_is_refused(data: bytes, folder: Path) -> None:
    try:
        video = opened(data, folder)
    except BitstreamError:
        return
    if video.height * video.width <= 1 << 14:
        try:
            assert video[0].shape == (video.height, video.width, 3)
        except BitstreamError:
            return
