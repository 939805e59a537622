"""Files of multi-video models: names, clips, patches and keyframes, and their errors."""

from __future__ import annotations

import dataclasses
import re
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boostnerv.codec.container import bitstream
from boostnerv.codec.container.bitstream import Bitstream, OneOfMany, Segment, Video
from boostnerv.codec.decoder import VideoFile, build_decoder, render_clip
from boostnerv.codec.encoder import encode_segment, encode_slices_after_training, snap
from boostnerv.codec.keyframes.image_codecs import keyframe_codec
from boostnerv.codec.keyframes.keyframe_section import Keyframes, write_keyframes
from boostnerv.errors import BitstreamError
from boostnerv.models.architecture import VideoModel, architecture
from boostnerv.models.clips import ClipSpec
from tests.codec.container import page_reader
from tests.codec.sections import KEYFRAMES, MODEL, VIDEOS, join, split
from tests.codec.tiny import opened, quantized
from tests.models.tiny import MANY, tiny_clip_spec

NAMED = ("first", "zweites é")


def clip_model(name: str, **choices: Any) -> VideoModel:
    torch.manual_seed(1)
    spec = tiny_clip_spec(name, **choices)
    return VideoModel(architecture(name), spec)


def keyframes_of(spec: ClipSpec, codec: str = "webp") -> bytes:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (spec.height, spec.width, 3), np.uint8) for _ in range(spec.keyframe_starts[-1])]
    return write_keyframes(codec, keyframe_codec(codec).encode(images, 80))


def segment_of(model: VideoModel, *, slices: bool = False) -> Segment:
    spec = model.spec
    assert isinstance(spec, ClipSpec)
    if slices:
        weights = dict(model.decoder.named_parameters())
        segment, _ = encode_slices_after_training(model.architecture, spec, weights)
    else:
        segment = encode_segment(model.architecture, spec, snap(quantized(model, bits=8)))
    names = [NAMED[number] if number < len(NAMED) else f"v{number}" for number in range(len(spec.lengths))]
    videos = tuple(
        OneOfMany(name, frames, 25.0 + number)
        for number, (name, frames) in enumerate(zip(names, spec.lengths, strict=True))
    )
    keyframes = keyframes_of(spec) if spec.uses_keyframes else b""
    return dataclasses.replace(segment, videos=videos, keyframes=keyframes)


def file_of(*segments: Segment) -> bytes:
    spec = segments[0].spec
    frames = sum(segment.spec.frames for segment in segments)
    return bitstream.write(Bitstream(Video(frames, spec.height, spec.width, 25.0, "ffmpeg-default"), segments))


def refused(data: bytes, sentence: str) -> None:
    with pytest.raises(BitstreamError) as caught:
        bitstream.read(data)
    assert re.search(sentence, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


# --- contents -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANY)
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    grid=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    clip_frames=st.integers(2, 5),
    colour=st.tuples(*[st.integers(1, 10_000)] * 3),
)
def test_what_is_read_is_what_was_written(
    name: str, lengths: tuple[int, ...], grid: tuple[int, int], clip_frames: int, colour: tuple[int, ...]
) -> None:
    grids = {"patch_rows": grid[0], "patch_columns": grid[1], "height": 16, "width": 48}
    model = clip_model(name, lengths=lengths, clip_frames=clip_frames, mean_e4=colour, deviation_e4=colour, **grids)
    segment = segment_of(model)
    stream = bitstream.read(file_of(segment))
    assert stream.segments == (segment,)
    assert stream.segments[0].spec == model.spec


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("slices", [False, True])
def test_the_page_is_enough_to_find_everything(name: str, slices: bool) -> None:
    model = clip_model(name, height=16, width=16)
    segment = segment_of(model, slices=slices)
    named_payloads = page_reader.sections(file_of(segment))
    with_keyframes = name == "d-nerv"
    assert [kind for kind, _ in named_payloads] == [
        "video",
        "model",
        "videos",
        "weights",
        *["keyframes"] * with_keyframes,
    ]
    values, spec = page_reader.model(named_payloads[1][1])
    assert values == {"architecture": name, "quantizer": 3 if slices else 1, "frames": 8}
    assert {**spec, "frames": 8, "height": 16, "width": 16, "lengths": (5, 3)} == dataclasses.asdict(model.spec)
    assert page_reader.videos(named_payloads[2][1]) == [("first", 5, 25.0), ("zweites é", 3, 26.0)]
    if with_keyframes:
        codec, images = page_reader.keyframes(named_payloads[-1][1], 5)
        stored = Keyframes(segment.keyframes, 5, 16, 16)
        assert codec == 2
        assert images == [stored.coded(number) for number in range(5)]


def test_names_cost_little() -> None:
    model = clip_model("d-nerv-baseline", lengths=(3,) * 400)
    segment = segment_of(model)
    assert len(split(file_of(segment))[2][1]) < 4 * 400  # lengths, rates and names


# --- frames -------------------------------------------------------------------------------------------------


def rendered(segment: Segment, model: VideoModel) -> list[NDArray[np.uint8]]:
    """All frames, clip by clip, computed by a network with the weights of the file."""
    spec = segment.spec
    assert isinstance(spec, ClipSpec)
    stored = (
        Keyframes(segment.keyframes, spec.keyframe_starts[-1], spec.height, spec.width) if segment.keyframes else None
    )
    weights = [tensor.detach().numpy() for tensor in model.decoder.parameters()]
    network = build_decoder(model.architecture, spec, weights, torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    clips = [
        render_clip(network, spec, clip, stored.decode(spec.keyframes_around(clip)) if stored else None)
        for clip in spec.clips
    ]
    torch.set_num_threads(threads)
    return [frame for clip in clips for frame in clip]


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("slices", [False, True])
def test_any_frames_in_any_order_on_any_threads(name: str, slices: bool, tmp_path: Path) -> None:
    model = clip_model(name, height=32, width=48, patch_rows=2, patch_columns=3, lengths=(5, 4), clip_frames=3)
    segment = segment_of(model, slices=slices)
    video = opened(file_of(segment), tmp_path)
    with torch.no_grad():
        for parameter, values in zip(model.decoder.parameters(), video.segment(0).weights.values(), strict=True):
            parameter.copy_(torch.from_numpy(np.array(values)).view(parameter.shape))
    expected = rendered(segment, model)
    assert len(expected) == len(video) == 9
    assert video.videos == {"first": (range(5), 25.0), "zweites é": (range(5, 9), 26.0)}
    np.testing.assert_array_equal(list(video.frames()), expected)
    order = [8, 0, 4, 5, 2, 2]
    np.testing.assert_array_equal(list(video.frames(order)), [expected[index] for index in order])
    np.testing.assert_array_equal(video[6], expected[6])
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        np.testing.assert_array_equal(list(VideoFile(video.path).frames()), expected)
    torch.set_num_threads(threads)


def test_patches_stand_where_they_were_cut() -> None:
    """With a network that returns its first keyframe, every patch ends up in its place."""
    spec = tiny_clip_spec("d-nerv", height=16, width=24, patch_rows=2, patch_columns=3, lengths=(3,), clip_frames=3)

    class Echo(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, index: torch.Tensor, keyframes: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
            return keyframes[:, :, :1].transpose(1, 2).expand(-1, spec.clip_frames, -1, -1, -1)

    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    frames = render_clip(Echo(), spec, spec.clips[0], [image, image[::-1]])
    np.testing.assert_array_equal(frames, np.stack([image] * 3))


def test_segments_of_either_kind_stand_side_by_side(tmp_path: Path) -> None:
    many, other = clip_model("d-nerv", height=16, width=16), clip_model("d-nerv-baseline", height=16, width=16)
    renamed = tuple(OneOfMany(f"other {entry.name}", entry.frames, 5.0) for entry in segment_of(other).videos)
    segments = [segment_of(many), dataclasses.replace(segment_of(other), videos=renamed)]
    video = opened(file_of(*segments), tmp_path)
    assert [*video.videos] == ["first", "zweites é", "other first", "other zweites é"]
    assert video.videos["other zweites é"] == (range(13, 16), 5.0)
    frames = list(video.frames())
    np.testing.assert_array_equal(list(video.frames([15, 0, 8])), [frames[15], frames[0], frames[8]])


# --- errors -------------------------------------------------------------------------------------------------

ROW = struct.Struct("<IdB")


def described(*videos: tuple[int, float, bytes], count: int | None = None) -> bytes:
    rows = b"".join(ROW.pack(frames, fps, len(name)) + name for frames, fps, name in videos)
    return struct.pack("<I", len(videos) if count is None else count) + zlib.compress(rows)


DAMAGED = {
    "none": b"",
    "no count": b"\x02\x00",
    "not deflated": struct.pack("<I", 2) + b"nothing",
    "cut off": described((5, 25.0, b"a"), (3, 25.0, b"b"))[:-5],
    "more behind": described((5, 25.0, b"a"), (3, 25.0, b"b")) + b"x",
    "more inside": described((5, 25.0, b"a"), (3, 25.0, b"b"), count=1),
    "too many": described((5, 25.0, b"a"), count=2),
    "huge": described((5, 25.0, b"a"), count=1 << 31),
    "sum": described((5, 25.0, b"a"), (4, 25.0, b"b")),
    "zero": described((8, 25.0, b"a"), (0, 25.0, b"b")),
    "twice": described((5, 25.0, b"a"), (3, 25.0, b"a")),
    "rate": described((5, 0.0, b"a"), (3, 25.0, b"b")),
    "not a number": described((5, float("nan"), b"a"), (3, 25.0, b"b")),
    "no text": described((5, 25.0, b"\xff"), (3, 25.0, b"b")),
    "no name": described((5, 25.0, b""), (3, 25.0, b"b")),
    "a bell": described((5, 25.0, b"\x07"), (3, 25.0, b"b")),
    "a path": described((5, 25.0, b"../a"), (3, 25.0, b"b")),
    "the folder": described((5, 25.0, b"."), (3, 25.0, b"b")),
    "too slow": described((5, 1e-9, b"a"), (3, 25.0, b"b")),
    "cut off in a row": struct.pack("<I", 2) + zlib.compress(ROW.pack(5, 25.0, 1) + b"a" + ROW.pack(3, 25.0, 2) + b"b"),
    "a bomb": struct.pack("<I", 2) + zlib.compress(bytes(1 << 22)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_impossible_videos_of_a_segment(case: str) -> None:
    sections = split(file_of(segment_of(clip_model("d-nerv"))))
    changed = [(number, DAMAGED[case] if number == VIDEOS else payload) for number, payload in sections]
    refused(join(changed), "section videos does not match its segment; the file is damaged, get it again")


def test_equal_videos_are_refused_at_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal rows deflate to almost nothing; only the first of them are inflated."""
    rows = 200_000
    row = ROW.pack(1, 25.0, 1) + b"a"
    data = struct.pack("<I", rows) + zlib.compress(row * rows, 9)
    inflated = []
    all_rows = bitstream._video_rows

    def counted(data: bytes) -> Iterator[OneOfMany]:
        for video in all_rows(data):
            inflated.append(video)
            yield video

    monkeypatch.setattr(bitstream, "_video_rows", counted)
    with pytest.raises(BitstreamError, match="section videos does not match its segment"):
        bitstream._read_videos(data, rows)
    assert len(inflated) == 2


def test_frames_that_are_claimed_take_no_memory(tmp_path: Path) -> None:
    spec = tiny_clip_spec("d-nerv", lengths=(1 << 24,), clip_frames=1)
    model = VideoModel(architecture("d-nerv"), spec)
    segment = encode_segment(model.architecture, spec, snap(quantized(model)))
    claimed = dataclasses.replace(segment, videos=(OneOfMany("v", 1 << 24, 25.0),), keyframes=b"\x01")
    decoder = opened(file_of(claimed), tmp_path).segment(0)
    tracemalloc.start()
    with pytest.raises(BitstreamError, match="section keyframes is too short for 16777216 images"):
        _ = decoder.keyframes
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_names_stand_once_in_a_file() -> None:
    segment = segment_of(clip_model("d-nerv-baseline"))
    refused(file_of(segment, segment), "two of its videos have the same name")


@pytest.mark.parametrize("number", [VIDEOS, KEYFRAMES])
def test_sections_that_are_missing_or_not_wanted(number: int) -> None:
    sections = split(file_of(segment_of(clip_model("d-nerv"))))
    refused(join([section for section in sections if section[0] != number]), "section (videos|keyframes) should follow")
    twice = [
        repeated for section in sections for repeated in ([section, section] if section[0] == number else [section])
    ]
    refused(join(twice), "should follow|announces")
    baseline = split(file_of(segment_of(clip_model("d-nerv-baseline"))))
    payload = next(payload for kind, payload in sections if kind == number)
    if number == KEYFRAMES:
        refused(join([*baseline, (KEYFRAMES, payload)]), "section model should follow, keyframes does")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[: len(data) // 2], "section keyframes: .* claims [0-9]+ bytes|is too short"),
        (lambda data: b"\x63" + data[1:], "keyframe codec 99 is unknown; a newer boostnerv may read it"),
        (
            lambda data: data.replace(b"WEBPVP8 ", b"WEBPVP8X"),
            "section keyframes: .*; the file is damaged, get it again",
        ),
        (lambda data: b"", "section keyframes is too short for 5 images"),
    ],
)
def test_damaged_keyframes(damage: Any, sentence: str, tmp_path: Path) -> None:
    sections = split(file_of(segment_of(clip_model("d-nerv", height=16, width=16))))
    changed = [(number, damage(payload) if number == KEYFRAMES else payload) for number, payload in sections]
    video = opened(join(changed), tmp_path)
    with pytest.raises(BitstreamError) as caught:
        list(video.frames())
    assert str(video.path) in str(caught.value)
    assert re.search(sentence, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_a_grid_that_does_not_divide_is_refused() -> None:
    sections = split(file_of(segment_of(clip_model("d-nerv-baseline", height=16, width=16, patch_rows=2))))
    model = next(payload for number, payload in sections if number == MODEL)
    # Architecture, quantiser, frames, strides, fc_dim and clip_frames precede patch_rows.
    place = 7 + 1 + 2 * 2 + 4 + 4
    assert struct.unpack_from("<I", model, place) == (2,)
    changed = model[:place] + struct.pack("<I", 3) + model[place + 4 :]
    refused(join([(number, changed if number == MODEL else payload) for number, payload in sections]), "do not divide")
