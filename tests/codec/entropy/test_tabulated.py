"""A tabulated distribution produces the same stream as the distribution itself."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boostnerv.catalogue import entropy_model
from boostnerv.codec.entropy.entropy_models import BY_NAME
from boostnerv.codec.entropy.payloads import read_weights, write_weights
from boostnerv.codec.entropy.symbols import SymbolReader, SymbolWriter, tabulated

KINDS = constriction.stream.model


@pytest.mark.parametrize("family", [KINDS.QuantizedGaussian, KINDS.QuantizedLaplace])
@settings(max_examples=40)
@given(
    low=st.integers(-(1 << 19), 1 << 19),
    width=st.integers(1, 600),
    mean=st.floats(-0.5, 1.5),
    scale=st.floats(0.001, 3),
)
def test_the_same_stream_for_every_symbol(family: type, low: int, width: int, mean: float, scale: float) -> None:
    model = family(low, low + width, low + mean * width, scale * width)
    symbols = np.arange(low, low + width + 1, dtype=np.int32)
    plain, table = SymbolWriter(), SymbolWriter()
    plain.coded(symbols, model)
    table.coded(symbols - low, tabulated(model, low, low + width))
    assert plain.finish() == table.finish()
    reader = SymbolReader(plain.finish())
    assert (reader.coded(len(symbols), tabulated(model, low, low + width)) + low == symbols).all()
    reader.finish()


@pytest.mark.parametrize("choice", ["gaussian", "laplace"])
def test_tensors_with_and_without_a_table(choice: str) -> None:
    random = np.random.default_rng(0)
    codes = [np.rint(random.normal(-3, 4, size)).astype(np.int32) for size in ((50, 40, 3, 3), (70,))]
    data = write_weights(codes, np.array([2000, 2001]), choice)
    fitted = [BY_NAME[choice].candidates(tensor, "weights", 1)[0] for tensor in codes]
    parts = [fit.mean.item() for fit in fitted], [fit.scale.item() for fit in fitted]
    reach = max(fit.reach for fit in fitted)
    family = KINDS.QuantizedGaussian if choice == "gaussian" else KINDS.QuantizedLaplace
    # The stream is read without tables.
    reader = SymbolReader(data)
    assert [reader.integer(size) for size in (256, 16)] == [reach, entropy_model(choice).wire_id]
    for tensor, mean, scale in zip(codes, *parts, strict=True):
        reader.integers(1, 4096), reader.integers(1, 256), reader.integers(1, 4096)
        low, high = int(np.floor(mean - reach * scale)), int(np.ceil(mean + reach * scale)) + 1
        assert (reader.coded(tensor.size, family(low, high, mean, scale)) == tensor.ravel()).all()
    reader.finish()
    assert all(map(np.array_equal, read_weights(data, [tensor.shape for tensor in codes]).codes, codes))
