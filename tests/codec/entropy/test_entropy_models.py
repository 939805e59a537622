"""Entropy models: their parameters fit the fields of a file and survive a round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boostnerv.catalogue import ENTROPY_MODELS, Role
from boostnerv.codec.entropy.entropy_models import BY_NAME, BY_WIRE_ID, MODELS, Codes, models_of, support
from boostnerv.codec.entropy.estimates import coded_bits
from boostnerv.codec.entropy.symbols import SymbolReader, SymbolWriter
from boostnerv.errors import BitstreamError
from tests.codec.entropy.test_payloads import codes_of

LARGEST = 1 << 19
ROLES: list[tuple[str, Role]] = [(entry.name, role) for entry in ENTROPY_MODELS for role in entry.roles]


def test_names_and_numbers_of_files() -> None:
    numbers = {entry.name: entry.wire_id for entry in ENTROPY_MODELS}
    assert numbers.items() >= {"gaussian": 1, "gaussian-channel": 2, "laplace": 3, "temporal": 4}.items()
    assert len(BY_NAME) == len(BY_WIRE_ID) == len(MODELS) == len(ENTROPY_MODELS)
    assert list(BY_NAME) == [entry.name for entry in ENTROPY_MODELS]
    assert [model.name for model in models_of("weights")][:3] == ["gaussian", "gaussian-channel", "laplace"]
    assert BY_NAME["temporal"] in models_of("embeddings")
    assert BY_NAME["temporal"] not in models_of("weights")


@pytest.mark.parametrize(("name", "role"), ROLES)
@settings(max_examples=40)
@given(codes=st.tuples(*[st.integers(1, 5)] * 4).flatmap(codes_of), group=st.integers(1, 6))
def test_parameters_are_read_as_they_were_written(name: str, role: Role, codes: Codes, group: int) -> None:
    """Codes coded with the encoder's parameters decode with the parameters that are read back."""
    model = BY_NAME[name]
    for parameters in model.candidates(codes, role, group):
        assert 1 <= parameters.reach <= 255
        writer = SymbolWriter()
        parameters.write(writer)
        starts = range(0, len(codes), group) if role == "embeddings" else [0]
        length = group if role == "embeddings" else len(codes)
        for first in starts:
            parameters.encode(writer, codes[first : first + length], first, parameters.reach)
        reader = SymbolReader(writer.finish())
        read_parameters = model.read(reader, codes.shape, role)
        for first in starts:
            part = codes[first : first + length]
            assert np.array_equal(read_parameters.decode(reader, part.shape, first, parameters.reach), part)
        reader.finish()


def test_ordinary_tensors_cost_what_the_published_count_says() -> None:
    noise = np.random.default_rng(0)
    for real in (noise.normal(0.3, 70, (50, 100)), noise.normal(-2, 9, (10, 30))):
        codes = np.rint(real).astype(np.int32)
        writer = SymbolWriter()
        (parameters,) = BY_NAME["gaussian"].candidates(codes, "weights", 1)
        parameters.write(writer)
        parameters.encode(writer, codes, 0, parameters.reach)
        best = coded_bits(codes.ravel(), float(real.mean()), float(real.std(ddof=1)))
        assert writer.bits() <= 1.005 * best + 20 + 32  # the cost of snapping, and σ and μ


def test_more_frames_than_a_stream_can_hold_take_no_memory() -> None:
    for name in ("gaussian", "laplace"):
        with pytest.raises(BitstreamError, match="parameters of an entropy model end too early"):
            BY_NAME[name].read(SymbolReader(b"\1\2\3\4"), (1 << 40, 1, 1, 1), "embeddings")


@pytest.mark.parametrize("role", ["weights", "embeddings"])
@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_the_least_frames_and_the_farthest_locations_can_be_read(name: str, role: Role) -> None:
    for codes in (np.zeros((300, 1, 1, 1)), np.linspace(-LARGEST, LARGEST, 300)[:, None, None, None]):
        writer = SymbolWriter()
        BY_NAME[name].candidates(codes.astype(np.int32), role, 16)[0].write(writer)
        BY_NAME[name].read(SymbolReader(writer.finish()), codes.shape, role)


@pytest.mark.parametrize(("name", "role"), ROLES)
@given(data=st.binary(min_size=4, max_size=64), reach=st.integers(0, 255))
def test_any_parameters_decode_or_are_refused(name: str, role: Role, data: bytes, reach: int) -> None:
    shape = (2, 3, 2, 2)
    try:
        reader = SymbolReader(data[: len(data) // 4 * 4])
        codes = BY_NAME[name].read(reader, shape, role).decode(reader, shape, 0, reach)
    except BitstreamError:
        return
    assert codes.shape == shape
    assert np.abs(codes).max() <= LARGEST + 1


def test_a_support_is_finite_and_has_two_codes_at_least() -> None:
    one = np.ones(1)
    assert support(3.0 * one, 2.0 * one, 0) == (3, 4)
    assert support(0.5 * one, 2.0 * one, 3) == (-6, 8)
    assert support(0.0 * one, 1e9 * one, 255) == (-LARGEST, LARGEST + 1)
    assert support(np.array([-5.0, 5.0]), np.array([1.0, 2.0]), 2) == (-7, 10)
    for mean in (-1e9, 1e9):
        with pytest.raises(BitstreamError, match="a mean beyond the largest code is impossible"):
            support(mean * one, one, 3)
