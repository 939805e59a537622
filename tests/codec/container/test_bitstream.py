"""Containers: valid, damaged, and assembled from parts of several files."""

from __future__ import annotations

import dataclasses
import itertools
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boostnerv.codec.container import bitstream
from boostnerv.codec.container.bitstream import Bitstream, Video
from boostnerv.codec.entropy.payloads import write_embeddings
from boostnerv.errors import BitstreamError, UserError
from tests.codec.sections import EMBEDDINGS, MODEL, TIMESTAMPS, VIDEO, WEIGHTS, Sections, join, split
from tests.codec.tiny import file_of, opened, quantized, segment_of, small_file
from tests.examples import example_count
from tests.golden.streams import FILES as KINDS
from tests.models.tiny import ALL, PUBLISHED, tiny_model

FILES = {kind: make() for kind, make in KINDS.items()}
SMALL = [kind for kind, data in FILES.items() if len(data) < 4000]


@pytest.fixture(params=FILES)
def data(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]


def refused(data: bytes, sentence: str = "") -> None:
    with pytest.raises(BitstreamError) as caught:
        bitstream.read(data)
    assert re.search(sentence, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


# --- round trips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=example_count(10))
@given(
    frames=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    strides=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    fc_dim=st.integers(1, 9),
    fps=st.floats(0.01, 1000),
    batch=st.integers(1, 255),
)
def test_what_is_read_is_what_was_written(
    name: str, frames: int, height: int, width: int, strides: tuple[int, ...], fc_dim: int, fps: float, batch: int
) -> None:
    model = tiny_model(name, frames=frames, height=height, width=width, strides=strides, fc_dim=fc_dim)
    segment = segment_of(model)
    stream = bitstream.read(file_of([segment], fps=fps, batch=batch))
    assert stream == Bitstream(Video(frames, height, width, fps, "ffmpeg-default", batch), (segment,))
    fields = dataclasses.fields(model.spec)
    spec = stream.segments[0].spec
    assert [type(getattr(spec, f.name)) for f in fields] == [type(getattr(model.spec, f.name)) for f in fields]


def test_the_longest_video_and_the_largest_frame() -> None:
    stream = bitstream.read(FILES["nerv-boost"])
    spec = dataclasses.replace(stream.segments[0].spec, frames=1 << 24, height=1 << 15, width=1 << 15)
    video = dataclasses.replace(stream.video, frames=1 << 24, height=1 << 15, width=1 << 15)
    longest = Bitstream(video, (dataclasses.replace(stream.segments[0], spec=spec),))
    assert bitstream.read(bitstream.write(longest)) == longest


def test_writing_what_was_read_gives_the_same_bytes(data: bytes) -> None:
    assert bitstream.write(bitstream.read(data)) == data
    assert join(split(data)) == data


def test_sections_add_up_to_the_file(data: bytes) -> None:
    sizes = bitstream.section_bytes(data)
    assert sum(sizes.values()) == len(data)
    names = ["video", "timestamps", "model", "weights", "embeddings", "videos", "keyframes"]
    expected = dict.fromkeys(("container", *names), 0) | {"container": 4}
    for number, payload in split(data):
        expected[names[number - 1]] += 9 + len(payload)
    assert sizes == {name: size for name, size in expected.items() if size}


def test_layout_of_the_sections_of_several_segments() -> None:
    sections = split(FILES["segments"])
    assert [number for number, _ in sections] == [1, 2, 3, 4, 5, 3, 4]
    assert sections[0][1] == struct.pack("<IHHdBBI", 8, 9, 14, 25.0, 1, 2, 2)
    # Ticks of 1/90000 s from one frame to the next: 3600, 900, 6750, 0, 33750, 135000, 45000.
    assert sections[1][1].hex(" ") == "90 1c 84 07 de 34 00 d6 87 02 d8 9e 08 c8 df 02"
    assert struct.unpack_from("<HBI", sections[2][1]) == (6, 1, 5)
    assert struct.unpack_from("<HBI", sections[5][1]) == (1, 1, 3)


COMMON = struct.pack("<BHHI", 2, 3, 2, 4)  # two strides, 3 and 2; fc_dim
SPECS = {
    "nerv": (1, struct.pack("<dIIIId", 2.0, 2, 3, 3, 2, 1.25)),
    "e-nerv": (2, struct.pack("<dIIIIdII", 2.0, 2, 3, 3, 2, 1.25, 4, 2)),
    "hnerv": (3, struct.pack("<IIdIII", 2, 3, 1.2, 2, 1, 5)),
    "nerv-boost": (4, struct.pack("<dIIIIdII", 2.0, 2, 3, 3, 2, 1.25, 3, 2)),
    "e-nerv-boost": (5, struct.pack("<dIIIIdII", 2.0, 2, 3, 3, 2, 1.25, 4, 2)),
    "hnerv-boost": (6, struct.pack("<IIdIIIIdI", 2, 3, 1.2, 2, 1, 5, 2, 1.25, 2)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_layout_of_a_model(name: str) -> None:
    number, rest = SPECS[name]
    assert split(FILES[name])[1] == (MODEL, struct.pack("<HBI", number, 1, 5) + COMMON + rest)


def test_layout_of_a_section() -> None:
    data = FILES["nerv"]
    assert data[:4] == b"BNV\1"
    assert struct.unpack_from("<BI", data, 4) == (VIDEO, 4 + 2 + 2 + 8 + 1 + 1 + 4)
    assert split(FILES["min-max"])[1][1][2] == 2  # the quantiser


# --- timestamps -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 1 << 41), min_size=1, max_size=9))
@example([0, 127, 128, 16383, 16384])
def test_timestamps_come_back(ticks: list[int]) -> None:
    times = tuple(tick / 90_000 for tick in [0, *itertools.accumulate(ticks)])
    segment = segment_of(tiny_model("nerv", frames=len(times)))
    assert bitstream.read(file_of([segment], timestamps_s=times)).video.timestamps_s == times


def test_one_frame_has_no_differences() -> None:
    data = file_of([segment_of(tiny_model("nerv", frames=1))], timestamps_s=(0.0,))
    assert split(data)[1] == (TIMESTAMPS, b"")
    assert bitstream.read(data).video.timestamps_s == (0.0,)


@pytest.mark.parametrize("times", [(0.0, 0.1), (0.0, 0.1, 0.2, 0.3), (0.0, 0.2, 0.1), (0.0, float("nan"), 0.1)])
def test_timestamps_that_cannot_be_written(times: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"timestamps of the 3 frames do not fit the format.*constant rate"):
        file_of([segment_of(tiny_model("nerv", frames=3))], timestamps_s=times)


@pytest.mark.parametrize("payload", [b"", b"\1", b"\1\1\1", b"\1\x81", b"\1" + 6 * b"\x80" + b"\1"])
def test_timestamps_that_are_not_those_of_the_frames(payload: bytes) -> None:
    sections = split(file_of([segment_of(tiny_model("nerv", frames=3))]))
    assert bitstream.read(join([sections[0], (TIMESTAMPS, b"\1\1"), *sections[1:]]))
    refused(join([sections[0], (TIMESTAMPS, payload), *sections[1:]]), "section timestamps does not hold 3")


# --- limits of the format ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"frames": (1 << 24) + 1}, {"height": 32769}, {"width": 32769}])
def test_videos_that_do_not_fit(change: dict[str, int]) -> None:
    stream = bitstream.read(FILES["nerv"])
    with pytest.raises(UserError, match=r"does not fit the format.*cut or scale it"):
        bitstream.write(dataclasses.replace(stream, video=dataclasses.replace(stream.video, **change)))


@pytest.mark.parametrize("change", [{"strides": (1,) * 9}, {"fc_dim": 16385}, {"strides": (16385,)}])
def test_models_that_do_not_fit(change: dict[str, object]) -> None:
    stream = bitstream.read(FILES["nerv"])
    segment = stream.segments[0]
    changed = dataclasses.replace(segment, spec=dataclasses.replace(segment.spec, **change))
    with pytest.raises(UserError, match=r"the model \((strides|fc_dim) = .*\) does not fit the format"):
        bitstream.write(Bitstream(stream.video, (changed,)))


# --- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "choices", "setting"),
    [
        ("hnerv-boost", {"stage_blocks": (2, 1)}, "stage_blocks = [2, 1]"),
        ("nerv", {"stage_blocks": (2, 1)}, "stage_blocks = [2, 1]"),
        ("e-nerv", {"expansion": 2.0}, "expansion = 2.0"),
        ("nerv-boost", {"kernel_limit": 5}, "kernel_limit = 5"),
    ],
)
def test_decoders_that_the_format_cannot_describe(name: str, choices: dict[str, object], setting: str) -> None:
    with pytest.raises(UserError) as caught:
        file_of([segment_of(tiny_model(name, **choices))])
    assert str(caught.value) == (
        f"{name} has {setting}, which format version 1 of .bnv files does not store: it can be trained, evaluated and "
        "exported, but not coded; remove that option, or skip coding"
    )


def test_blocks_of_an_encoder_change_nothing_in_a_file() -> None:
    one, two = (tiny_model("hnerv-boost", encoder_blocks=blocks) for blocks in (1, 2))
    values = quantized(one)
    assert file_of([segment_of(two, values)]) == file_of([segment_of(one, values)])


def test_every_truncation_is_noticed(data: bytes) -> None:
    for length in range(len(data)):
        refused(data[:length])


def test_every_flipped_byte_is_noticed(data: bytes) -> None:
    masks = itertools.cycle((0x01, 0x80, 0xFF, 0x10))
    for position, mask in zip(range(len(data)), masks, strict=False):
        damaged = bytearray(data)
        damaged[position] ^= mask
        refused(bytes(damaged))


@given(st.data())
def test_random_damage_is_noticed(draw: st.DataObject) -> None:
    data = bytearray(FILES[draw.draw(st.sampled_from(list(FILES)))])
    start = draw.draw(st.integers(0, len(data)))
    stop = draw.draw(st.integers(start, min(len(data), start + 40)))
    data[start:stop] = draw.draw(st.binary(max_size=40))
    if bytes(data) not in FILES.values():
        refused(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    refused(data)
    refused(b"BNV\1" + data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a .bnv file"),
        (b"BNV", "not a .bnv file"),
        (b"\x89PNG\r\n\x1a\n", "not a .bnv file"),
        (b"BNV\x02", "format version 2, this program reads versions 0 to 1; use a newer boostnerv release"),
        (b"BNV\xff", "format version 255"),
        (b"BNV\1", "section video is missing; the file is truncated"),
        (b"BNV\1\x01\x00", "ends inside a section head at byte 4"),
        (b"BNV\1\x01\xff\xff\xff\xff\0\0\0\0", "section video needs 4294967295 bytes, 0 are left"),
        (b"BNV\1\x09\0\0\0\0\0\0\0\0", "section 9 is unknown; a newer boostnerv may read it"),
    ],
)
def test_files_of_other_formats(data: bytes, sentence: str) -> None:
    refused(data, re.escape(sentence))


@pytest.mark.parametrize("length", [0, 1, 1 << 16, (1 << 32) - 1])
def test_lengths_that_lie(data: bytes, length: int) -> None:
    position = 4
    for _, payload in split(data):
        lying = data[: position + 1] + struct.pack("<I", length) + data[position + 5 :]
        refused(lying)
        position += 9 + len(payload)


# --- sections of other files -----------------------------------------------------------------------------------


def runs(count: int) -> list[tuple[int, int]]:
    return list(itertools.combinations_with_replacement(range(count + 1), 2))


def bounds(data: bytes) -> list[int]:
    """Byte offset of the start of each section, and of the end of the last."""
    return list(itertools.accumulate((9 + len(payload) for _, payload in split(data)), initial=4))


def variant(kind: str) -> bytes:
    """A file like one of `FILES` with other weights."""
    if kind == "segments":
        size = {"height": 9, "width": 14, "strides": (3, 2), "fc_dim": 4}
        models = (tiny_model(name, seed=7, frames=frames, **size) for name, frames in (("hnerv-boost", 5), ("nerv", 3)))
        return file_of([segment_of(model) for model in models], batch=2, timestamps_s=tuple(k / 8 for k in range(8)))
    return small_file(kind)


@pytest.mark.parametrize(
    ("one", "other"),
    [("nerv", "nerv"), ("hnerv", "hnerv"), ("segments", "segments"), ("nerv", "nerv-boost"), ("segments", "hnerv")],
)
def test_sections_of_two_files_cannot_be_combined(one: str, other: str) -> None:
    """Any run of sections of one file replacing any run of another is refused, or gives one of the two files."""
    good, foreign = FILES[one], variant(other)
    originals = bitstream.read(good), bitstream.read(foreign)
    cuts, places = bounds(foreign), bounds(good)
    for start, stop in runs(len(cuts) - 1):
        for first, last in runs(len(places) - 1):
            data = good[: places[first]] + foreign[cuts[start] : cuts[stop]] + good[places[last] :]
            if data not in (good, foreign):
                refused(data)
            else:
                assert bitstream.read(data) in originals


@pytest.mark.parametrize("kind", SMALL)
def test_sections_of_a_file_stand_once_and_in_order(kind: str) -> None:
    """Sections are omitted, duplicated or moved without recomputing CRCs."""
    data = FILES[kind]
    cuts = bounds(data)
    parts = [data[start:stop] for start, stop in itertools.pairwise(cuts)]
    for start, stop in runs(len(parts)):
        for place in range(len(parts) + 1):
            doubled = parts[:place] + parts[start:stop] + parts[place:]
            kept = parts[:start] + parts[stop:]
            moved = kept[:place] + parts[start:stop] + kept[place:]
            for changed in (doubled, kept, moved):
                if changed != parts:
                    refused(data[:4] + b"".join(changed))


# --- impossible values behind correct CRCs ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
def test_sections_are_looked_for_in_order(kind: str) -> None:
    good = split(FILES[kind])
    for index in range(len(good)):
        if good[index][0] != TIMESTAMPS:
            refused(join(good[:index] + good[index + 1 :]), "missing|should follow|announces")
        refused(join([*good[: index + 1], good[index], *good[index + 1 :]]), "should follow|announces")
        if index:
            swapped = [*good[: index - 1], good[index], good[index - 1], *good[index + 1 :]]
            refused(join(swapped), "missing|should follow")
    refused(join([*good, (8, b"x")]), "section 8 is unknown; a newer boostnerv may read it")
    refused(join([*good, good[-1]]), "section model should follow, (weights|embeddings) does")


def test_embeddings_belong_to_models_that_have_them() -> None:
    nerv, hnerv = split(FILES["nerv"]), split(FILES["hnerv"])
    refused(join([*nerv, hnerv[-1]]), "section model should follow, embeddings does")
    refused(join(hnerv[:-1]), "section embeddings should follow, the end of the file does")


def changed(data: bytes, number: int, offset: int, layout: str, value: float) -> bytes:
    """The file with one value changed in its first section `number`."""
    sections = split(data)
    index = [other for other, _ in sections].index(number)
    payload = bytearray(sections[index][1])
    struct.pack_into(layout, payload, offset, value)
    sections[index] = number, bytes(payload)
    return join(sections)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "sentence"),
    [
        (0, "<I", 0, "frames = 0 is impossible"),
        (0, "<I", (1 << 24) + 1, "frames = 16777217 is impossible"),
        (0, "<I", 4, "a segment of 5 frames in a video of 4 is impossible"),
        (0, "<I", 6, "the header announces 1 segments with 6 frames, the file has 1 with 5"),
        (4, "<H", 0, "height = 0 is impossible"),
        (4, "<H", 32769, "height = 32769 is impossible"),
        (6, "<H", 65535, "width = 65535 is impossible"),
        (8, "<d", 0.0, "0.0 frames per second is impossible"),
        (8, "<d", float("nan"), "nan frames per second is impossible"),
        (8, "<d", float("inf"), "inf frames per second is impossible"),
        (8, "<d", -25.0, "-25.0 frames per second is impossible"),
        (16, "<B", 0, "colour profile 0 is unknown; a newer boostnerv may read it"),
        (17, "<B", 0, "batch = 0 is impossible"),
        (18, "<I", 0, "segments = 0 is impossible"),
        (18, "<I", 1 << 24, "segments = 16777216 is impossible"),
        (18, "<I", 2, "the header announces 2 segments with 5 frames, the file has 1 with 5"),
    ],
)
def test_impossible_videos(offset: int, layout: str, value: float, sentence: str) -> None:
    refused(changed(FILES["nerv-boost"], VIDEO, offset, layout, value), re.escape(sentence))


@pytest.mark.parametrize(
    ("offset", "layout", "value", "sentence"),
    [
        (0, "<H", 65535, "architecture 65535 is unknown; a newer boostnerv may read it"),
        (2, "<B", 9, "quantiser 9 is unknown; a newer boostnerv may read it"),
        (3, "<I", 0, "a segment of 0 frames"),
        (3, "<I", 1 << 31, "a segment of 2147483648 frames"),
        (7, "<B", 0, "invalid"),  # no strides
        (7, "<B", 200, "invalid"),
        (8, "<H", 0, "strides"),
        (8, "<H", 65535, "strides"),
        (12, "<I", 0, "fc_dim = 0"),
        (12, "<I", 1 << 20, "fc_dim = 1048576"),
        (16, "<d", float("nan"), "reduce = nan"),
        (16, "<d", -1.0, "reduce = -1.0"),
        (16, "<d", float("inf"), "reduce = inf"),
        (28, "<I", 4, "kernel_smallest = 4 must be odd"),
    ],
)
def test_impossible_models(offset: int, layout: str, value: float, sentence: str) -> None:
    refused(changed(FILES["nerv-boost"], MODEL, offset, layout, value), re.escape(sentence))


def test_more_stages_than_any_model_has() -> None:
    sections: Sections = split(FILES["nerv"])
    payload = sections[1][1]
    many = payload[:7] + struct.pack("<B9H", 9, *(1,) * 9) + payload[12:]
    refused(join([sections[0], (MODEL, many), *sections[2:]]), re.escape("strides = (1, 1, 1, 1, 1, 1, 1, 1, 1)"))


@pytest.mark.parametrize("change", [-1, 1, 4])
@pytest.mark.parametrize("index", [0, 1])
def test_video_and_model_have_one_length(data: bytes, index: int, change: int) -> None:
    sections = split(data)
    index = index and [number for number, _ in sections].index(MODEL)
    number, payload = sections[index]
    sections[index] = number, payload[:change] if change < 0 else payload + bytes(change)
    refused(join(sections), "too short|too long|invalid")


def test_segments_may_not_exceed_the_video() -> None:
    segment = segment_of(tiny_model("hnerv", frames=2))
    sections = split(file_of([segment, segment]))
    assert [number for number, _ in sections] == [VIDEO, *2 * [MODEL, WEIGHTS, EMBEDDINGS]]
    for frames, count in ((3, 2), (5, 2), (4, 3), (4, 1), (2, 1)):
        payload = struct.pack("<IHHdBBI", frames, 5, 6, 25.0, 1, 1, count)
        refused(join([(VIDEO, payload), *sections[1:]]), f"{count} segments with {frames} frames, the file has 2 with")


@pytest.mark.parametrize("changes", [{"batch": 0}, {"batch": 256}, {"frames": 2}])
def test_what_no_reader_takes_is_not_written(changes: dict[str, int]) -> None:
    stream = bitstream.read(small_file("nerv"))
    with pytest.raises(ValueError, match="is invalid, or the segments do not add up to"):
        bitstream.write(dataclasses.replace(stream, video=dataclasses.replace(stream.video, **changes)))


@pytest.mark.parametrize("group", [0, 256])
def test_a_group_that_does_not_fit(group: int) -> None:
    with pytest.raises(ValueError, match=f"a group of {group} frames does not fit the format"):
        write_embeddings(np.zeros((4, 1, 1, 1), np.int32), 2000, 0, group)


@pytest.mark.parametrize("number", [128, 255])
def test_remarks_are_passed_over_wherever_they_stand(number: int, tmp_path: Path) -> None:
    data = FILES["hnerv"]
    good, frames = split(data), [frame.tobytes() for frame in opened(data, tmp_path).frames()]
    for place in range(1, len(good) + 1):
        remarked = join([*good[:place], (number, b"said later"), *good[place:]])
        video = opened(remarked, tmp_path)
        assert [frame.tobytes() for frame in video.frames()] == frames
        assert video.section_bytes == bitstream.section_bytes(data) | {"remarks": 9 + len(b"said later")}
        damaged = bytearray(remarked)
        damaged[remarked.index(b"said later")] ^= 1
        refused(bytes(damaged), f"section {number} fails its CRC")
    refused(join([(number, b""), *good]), f"section {number} is unknown")
