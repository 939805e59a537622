from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from boostnerv.codec.entropy import symbols
from boostnerv.codec.entropy.symbols import CONSTRICTION, SymbolReader, SymbolWriter
from boostnerv.errors import BitstreamError

Gaussian = constriction.stream.model.QuantizedGaussian
numbers = st.integers(2, 1 << 24).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1), max_size=9))
)
pieces = st.lists(numbers, max_size=6)


def written(content: list[tuple[int, list[int]]]) -> bytes:
    writer = SymbolWriter()
    for size, values in content:
        writer.integers(values, size)
    return writer.finish()


@given(pieces)
@example([])
@example([(2, [])])
@example([(1 << 24, [0, (1 << 24) - 1])])
@example([(1 << 24, [0] * 9)])
def test_symbols_come_back_in_order_and_the_stream_ends(content: list[tuple[int, list[int]]]) -> None:
    data = written(content)
    assert len(data) % 4 == 0
    reader = SymbolReader(data)
    for size, values in content:
        assert reader.integers(len(values), size).tolist() == values
    reader.finish()


@given(pieces)
def test_a_stream_is_as_long_as_its_symbols_are_improbable(content: list[tuple[int, list[int]]]) -> None:
    writer = SymbolWriter()
    for size, values in content:
        writer.integers(values, size)
    # Intervals are whole units of 2^-24, so that a symbol may cost slightly more.
    ideal = sum(len(values) * -np.log2((1 << 24) // size / (1 << 24)) for size, values in content)
    assert writer.bits() <= ideal + 33  # the state of the coder may take a word
    assert 0 <= 8 * len(writer.finish()) - writer.bits() <= 32


def test_families_and_single_models_side_by_side() -> None:
    codes = np.arange(-5, 6, dtype=np.int32)
    means, scales = codes + 0.25, np.linspace(0.5, 9, 11)
    writer = SymbolWriter()
    writer.integers(3, 7)
    writer.coded(codes, Gaussian(-40, 40), means, scales)
    writer.coded(codes, Gaussian(-40, 40, 1.5, 3.0))
    writer.integers([6], 7)
    reader = SymbolReader(writer.finish())
    assert reader.integer(7) == 3
    assert reader.coded(11, Gaussian(-40, 40), means, scales).tolist() == codes.tolist()
    before = reader.bits_left()
    assert reader.coded(11, Gaussian(-40, 40, 1.5, 3.0)).tolist() == codes.tolist()
    assert 20 < before - reader.bits_left() < 60
    assert reader.integer(7) == 6
    reader.finish()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\1", "of 1 bytes is not a whole number of words"),
        (b"\1\2\3\4\5", "of 5 bytes is not a whole number of words"),
        (bytes(4), "ends in an empty word"),
        (b"\1\2\3\4\0\0\0\0", "ends in an empty word"),
    ],
)
def test_bytes_that_are_no_stream(data: bytes, sentence: str) -> None:
    with pytest.raises(BitstreamError, match=sentence):
        SymbolReader(data)


@given(pieces, st.integers(1, 2**32 - 1))
@example([(262145, [262144])], 1)  # so few bits that others fit in the state
def test_a_stream_that_goes_on_is_noticed(content: list[tuple[int, list[int]]], word: int) -> None:
    """The reader reaches an extra first word last, unless other symbols give the same words."""
    content = [*content, (1 << 24, [1, 1])]
    data = np.array([word], "<u4").tobytes() + written(content)
    reader = SymbolReader(data)
    read = [(size, reader.integers(len(values), size).tolist()) for size, values in content]
    if written(read) == data:
        return
    with pytest.raises(BitstreamError, match="data after its last code"):
        reader.finish()


@given(st.binary(max_size=40), st.integers(2, 1 << 24), st.integers(1, 9))
def test_garbage_gives_symbols_within_range_or_is_refused(data: bytes, size: int, count: int) -> None:
    try:
        reader = SymbolReader(data)
        numbers = reader.integers(count, size)
        codes = reader.coded(count, Gaussian(-9, 5, 0.5, 2.0))
    except BitstreamError:
        return
    assert ((numbers >= 0) & (numbers < size)).all()
    assert ((codes >= -9) & (codes <= 5)).all()


def test_another_constriction_causes_one_warning_and_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = [(5, [4, 0, 2])]
    data = written(content)
    monkeypatch.setattr(symbols, "version", lambda package: {"constriction": "0.4.2"}[package])
    symbols._warn_of_another_release.cache_clear()
    assert written(content) == data
    assert SymbolReader(data).integers(3, 5).tolist() == [4, 0, 2]
    assert capsys.readouterr().err == (
        f"constriction 0.4.2 is installed, .bnv files are written and tested with {CONSTRICTION}: if frames come out "
        f"wrong, install constriction=={CONSTRICTION}\n"
    )
    symbols._warn_of_another_release.cache_clear()


def test_the_pinned_constriction_causes_no_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(symbols, "version", lambda package: {"constriction": CONSTRICTION}[package])
    symbols._warn_of_another_release.cache_clear()
    assert SymbolReader(written([(5, [4])])).integers(1, 5).tolist() == [4]
    assert capsys.readouterr().err == ""
    symbols._warn_of_another_release.cache_clear()
