"""Sections ``weights`` and ``embeddings``: any codes under any entropy model, their cost, and damage."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boostnerv.catalogue import entropy_model
from boostnerv.codec.entropy.entropy_models import BY_NAME, Codes, models_of
from boostnerv.codec.entropy.payloads import Embeddings, check_choice, read_weights, write_embeddings, write_weights
from boostnerv.codec.entropy.symbols import SymbolReader, SymbolWriter
from boostnerv.codec.quantizers.grids import STEP_GRID
from boostnerv.errors import BitstreamError, UserError

LARGEST = 1 << 19
OF_WEIGHTS = [model.name for model in models_of("weights")]
OF_EMBEDDINGS = [model.name for model in models_of("embeddings")]


@st.composite
def codes_of(draw: st.DrawFn, shape: tuple[int, ...]) -> Codes:
    """Any codes: equal, narrow or wide, with single outliers, or with one channel or frame unlike the others."""
    centre = draw(st.sampled_from([0, 1, -7, LARGEST, -LARGEST]) | st.integers(-LARGEST, LARGEST))
    spread = draw(st.sampled_from([0, 1, 5, 200, LARGEST]))
    noise = np.random.default_rng(draw(st.integers(0, 9)))
    codes = centre + np.rint(noise.normal(0, spread, shape)).astype(np.int64)
    kind = draw(st.sampled_from(["none", "outlier", "channel", "row"]))
    far = draw(st.sampled_from([-LARGEST, 0, LARGEST]))
    if kind == "outlier":
        codes.reshape(-1)[draw(st.integers(0, codes.size - 1))] = far
    elif kind == "channel" and len(shape) > 1:
        codes[:, draw(st.integers(0, shape[1] - 1))] = far
    elif kind == "row":
        codes[draw(st.integers(0, shape[0] - 1))] = far
    return np.clip(codes, -LARGEST, LARGEST).astype(np.int32)


@st.composite
def tensors(draw: st.DrawFn) -> list[Codes]:
    sides = st.integers(1, 7)
    shapes = draw(st.lists(st.lists(sides, min_size=1, max_size=4).map(tuple), min_size=1, max_size=4))
    return [draw(codes_of(shape)) for shape in shapes]


@st.composite
def embeddings(draw: st.DrawFn) -> Codes:
    return draw(codes_of((draw(st.integers(1, 9)), *(draw(st.integers(1, 4)) for _ in range(3)))))


def assert_equal(ours: list[Codes], theirs: list[Codes]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.int32
        assert a.shape == b.shape
        assert np.array_equal(a, b)


# --- weights -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(tensors(), st.integers(0, STEP_GRID.levels - 1))
@example([np.full((1,), LARGEST, np.int32)], 0)
@example([np.full((5, 3), -LARGEST, np.int32)], STEP_GRID.levels - 1)
@example([np.array([[-LARGEST, LARGEST], [0, 0]], np.int32), np.zeros((1, 1), np.int32)], 0)
@example([np.array([0] * 4000 + [100], np.int32), np.array([-LARGEST, LARGEST], np.int32)], 0)
def test_any_weights_come_back_and_auto_is_never_larger(codes: list[Codes], step: int) -> None:
    steps = (step + 1023 * np.arange(len(codes))) % STEP_GRID.levels
    sizes = []
    for choice in (*OF_WEIGHTS, "auto"):
        data = write_weights(codes, steps, choice)
        weights = read_weights(data, [tensor.shape for tensor in codes])
        assert_equal(weights.codes, codes)
        assert weights.step_index.tolist() == steps.tolist()
        assert choice == "auto" or set(weights.models) == {choice}
        assert 0 <= weights.side_bits <= 8 * len(data)
        sizes.append(len(data))
    assert sizes[-1] == min(sizes)


def test_tensors_have_models_of_their_own_where_that_is_smaller() -> None:
    noise = np.random.default_rng(0)
    normal = np.rint(noise.normal(0, 40, (60, 60))).astype(np.int32)
    peaked = np.rint(noise.laplace(0, 40, (60, 60))).astype(np.int32)
    rows = np.rint(noise.normal(0, 2.0 ** (np.arange(40)[:, None] / 3), (40, 300))).astype(np.int32)
    codes, steps = [normal, peaked, rows], np.array([5, 6, 7])
    data = write_weights(codes, steps)
    weights = read_weights(data, [tensor.shape for tensor in codes])
    assert weights.models == ("gaussian", "laplace", "gaussian-channel")
    assert_equal(weights.codes, codes)
    assert len(data) < min(len(write_weights(codes, steps, name)) for name in OF_WEIGHTS)


def test_a_model_of_embeddings_leaves_weights_to_the_published_one() -> None:
    codes, steps = [np.arange(9, dtype=np.int32)], np.array([5])
    assert write_weights(codes, steps, "temporal") == write_weights(codes, steps, "gaussian")


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_layout_of_weights(name: str) -> None:
    codes = [np.array([[3, -1], [0, 2]], np.int32), np.array([7], np.int32)]
    for choice in (name, "auto"):
        data = write_weights(codes, np.array([100, 4095]), choice)
        reader = SymbolReader(data)
        reach, number = reader.integer(256), reader.integer(16)
        assert 1 <= reach <= 255
        assert number == (0 if choice == "auto" and number == 0 else number)
        assert choice == "auto" or number == entropy_model(name).wire_id
        assert reader.integer(4096) == 100


def test_side_information_of_the_published_model() -> None:
    """δ, σ and μ of a tensor take four bytes, σ and μ of a frame two, in addition to the fixed heads."""
    noise = np.random.default_rng(0)
    for count in (1, 10, 150):
        codes = [np.rint(noise.normal(3, 50, (40, 5, 3, 3))).astype(np.int32) for _ in range(count)]
        weights = read_weights(write_weights(codes, np.full(count, 7), "gaussian"), [(40, 5, 3, 3)] * count)
        # Padding to words and the state of the coder take at most two words.
        assert weights.side_bits <= 8 + 4 + 32 * count + 64
    for frames in (1, 10, 150):
        codes = np.rint(noise.normal(3, 50, (frames, 4, 3, 3))).astype(np.int32)
        writer = SymbolWriter()
        BY_NAME["gaussian"].candidates(codes, "embeddings", 16)[0].write(writer)
        assert writer.bits() <= 21 + 16 * frames + 32
        data = write_embeddings(codes, 7, -3, 16, "gaussian")
        groups = math.ceil(frames / 16)
        assert Embeddings(data, codes.shape).side_bits <= 8 * (13 + 4 * groups + 2 * frames) + 64


@pytest.mark.parametrize("change", ["cut byte", "cut word", "more", "empty word", "none"])
@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_damaged_weights(name: str, change: str) -> None:
    codes = [np.rint(np.random.default_rng(0).normal(0, 30, (20, 9))).astype(np.int32)]
    data = write_weights(codes, np.array([5]), name)
    cut = {"cut byte": data[:-1], "cut word": data[4:], "none": b""}
    changed = cut | {"more": data + data, "empty word": data + bytes(4)}
    with pytest.raises(BitstreamError):
        read_weights(changed[change], [(20, 9)])


def test_entropy_models_that_weights_do_not_have() -> None:
    for number, sentence in ((4, "entropy model temporal cannot code weights"), (9, "entropy model 9 is unknown")):
        writer = SymbolWriter()
        writer.integers([3], 256)
        writer.integers([number], 16)
        writer.integers([5], 4096)
        with pytest.raises(BitstreamError, match=sentence):
            read_weights(writer.finish(), [(3,)])


def test_shapes_take_no_memory_before_the_bytes_are_there() -> None:
    for shape in ((1 << 20, 1 << 20), (1 << 40,), (1, 1 << 30), (1 << 15,)):
        with pytest.raises(BitstreamError, match=r"claims \d+ codes in \d+ channels in 12 bytes"):
            read_weights(bytes(12), [shape])


def test_codes_that_are_all_equal_may_be_many() -> None:
    """They cost nothing, and the decoder reads what the encoder writes."""
    codes = [np.zeros((1 << 10, 1 << 10), np.int32)]
    data = write_weights(codes, np.array([5]), "gaussian")
    assert len(data) <= 16
    assert_equal(read_weights(data, [(1 << 10, 1 << 10)]).codes, codes)
    frames = np.zeros((600, 16, 9, 16), np.int32)
    payload = write_embeddings(frames, 5, 0, 16)
    assert len(payload) < 400
    assert not Embeddings(payload, frames.shape).codes(37).any()


# --- embeddings ----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    embeddings(),
    st.sampled_from([1, 2, 3, 4, 16, 255]),
    st.integers(0, STEP_GRID.levels - 1),
    st.integers(-(2**31), 2**31 - 1),
)
@example(np.full((1, 1, 1, 1), LARGEST, np.int32), 1, 0, 0)
@example(np.full((5, 1, 1, 1), -LARGEST, np.int32), 2, 4095, -1)
@example(np.array([LARGEST, -LARGEST] * 4, np.int32).reshape(8, 1, 1, 1), 3, 0, 0)
@example(np.array([LARGEST, -LARGEST] * 4, np.int32).reshape(1, 8, 1, 1), 255, 0, 0)
@example(np.array([0] * 63 + [LARGEST], np.int32).reshape(4, 4, 2, 2), 16, 0, 0)
def test_any_embeddings_come_back_and_auto_is_never_larger(codes: Codes, group: int, step: int, offset: int) -> None:
    sizes = []
    for choice in (*OF_EMBEDDINGS, "auto"):
        data = write_embeddings(codes, step, offset, group, choice)
        section = Embeddings(data, codes.shape)
        assert (section.step_index, section.offset_index, section.group) == (step, offset, group)
        assert section.groups == math.ceil(len(codes) / group)
        assert choice in ("auto", section.model_name)
        assert 0 < section.side_bits <= 8 * len(data)
        # In any order, as groups are independent.
        parts = {number: section.codes(number) for number in reversed(range(section.groups))}
        assert_equal([np.concatenate([parts[number] for number in range(section.groups)])], [codes])
        sizes.append(len(data))
    assert sizes[-1] == min(sizes)


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_layout_of_embeddings(name: str) -> None:
    codes = np.rint(np.random.default_rng(0).normal(0, 30, (7, 2, 3, 3))).astype(np.int32)
    data = write_embeddings(codes, 300, -70000, 3, name)
    step, offset, model, reach, group, words = struct.unpack_from("<HiBBBI", data)
    assert (step, offset, model, group) == (300, -70000, entropy_model(name).wire_id, 3)
    assert 1 <= reach <= 255
    lengths = struct.unpack_from("<3I", data, 13)
    assert len(data) == 13 + 12 + 4 * (words + sum(lengths))
    parameters = SymbolReader(data[25 : 25 + 4 * words])
    BY_NAME[name].read(parameters, codes.shape, "embeddings")
    parameters.finish()


def test_prediction_pays_where_frames_are_alike() -> None:
    noise = np.random.default_rng(0)
    walk = np.cumsum(noise.normal(0, 2, (32, 4, 5, 5)), axis=0) + noise.normal(0, 60, (1, 4, 5, 5))
    codes = np.rint(walk).astype(np.int32)
    sizes = {name: len(write_embeddings(codes, 5, 0, 16, name)) for name in OF_EMBEDDINGS}
    assert sizes["temporal"] < 0.8 * min(size for name, size in sizes.items() if name != "temporal")
    assert len(write_embeddings(codes, 5, 0, 16)) == sizes["temporal"]
    # Prediction restarts in every group, which has a cost.
    assert sizes["temporal"] < len(write_embeddings(codes, 5, 0, 2, "temporal"))


def good() -> tuple[bytes, tuple[int, ...]]:
    codes = np.rint(np.random.default_rng(0).normal(0, 30, (7, 2, 3, 3))).astype(np.int32)
    return write_embeddings(codes, 300, -70000, 3, "gaussian"), codes.shape


@pytest.mark.parametrize(
    ("offset", "layout", "value", "sentence"),
    [
        (0, "<H", 4096, "its quantiser or entropy model is invalid"),
        (6, "<B", 0, "entropy model 0 is unknown"),
        (6, "<B", 9, "entropy model 9 is unknown; a newer boostnerv may read it"),
        (8, "<B", 0, "its quantiser or entropy model is invalid"),
        (8, "<B", 1, "its streams claim"),
        (8, "<B", 7, "its streams claim"),
        (9, "<I", 0, "its streams claim"),
        (9, "<I", (1 << 32) - 1, "its streams claim"),
        (13, "<I", (1 << 32) - 1, "its streams claim"),
    ],
)
def test_damaged_embeddings_have_a_sentence(offset: int, layout: str, value: int, sentence: str) -> None:
    data, shape = good()
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, value)
    with pytest.raises(BitstreamError, match=sentence):
        Embeddings(bytes(changed), shape)


def test_truncated_embeddings_and_ones_of_another_shape() -> None:
    data, shape = good()
    for length in range(len(data)):
        with pytest.raises(BitstreamError, match="too short|its streams claim"):
            Embeddings(data[:length], shape)
    for other in ((4, *shape[1:]), (10, *shape[1:]), (7, 1 << 30, 3, 3), (1 << 24, 1, 1, 1)):
        with pytest.raises(BitstreamError, match="too short|its streams claim|claims"):
            Embeddings(data, other)


def test_streams_end_with_their_codes() -> None:
    data, _ = good()
    for other in ((7, 1, 3, 3), (7, 2, 3, 4)):
        with pytest.raises(BitstreamError):
            embeddings = Embeddings(data, other)
            [embeddings.codes(number) for number in range(embeddings.groups)]


def test_unknown_choices_have_a_sentence() -> None:
    check_choice("auto")
    with pytest.raises(UserError, match="unknown entropy model 'temporary': did you mean 'temporal'"):
        check_choice("temporary")
