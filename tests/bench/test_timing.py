"""Turns are taken fairly, and the bare coder codes what the package codes."""

from __future__ import annotations

import numpy as np
import pytest

from bench.entropy_speed import bare_decode, bare_encode, pieces_of_weights, temporal_pieces
from bench.timing import Spread, interleaved, machine, ratio
from boostnerv.codec.entropy.entropy_models import BY_NAME, TemporalParameters
from boostnerv.codec.entropy.payloads import write_embeddings, write_weights


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 5.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)
    assert Spread(2.0, 1.25, 3.5).text(".2f") == "2.00 (1.25–3.50)"


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio([1.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == Spread(2.0, 1.5, 2.5)


def test_actions_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_the_machine_and_the_versions() -> None:
    assert machine("numpy")["numpy"] == np.__version__


@pytest.mark.parametrize("name", ["gaussian", "gaussian-channel", "laplace"])
def test_the_bare_coder_codes_the_same_weights(name: str) -> None:
    random = np.random.default_rng(0)
    codes = [np.rint(random.normal(0, 9, shape)).astype(np.int32) for shape in ((40, 50), (40,))]
    pieces = pieces_of_weights(codes, [name] * 2)
    words = bare_encode(pieces)
    assert np.array_equal(np.concatenate(bare_decode(words, pieces)), np.concatenate([c.ravel() for c in codes]))
    # What the package writes besides is parameters: a few bytes a location.
    extra_bytes = len(write_weights(codes, np.array([2000, 2000]), name)) - 4 * len(words)
    assert 0 < extra_bytes < 8 + 4 * len(pieces)


def test_the_bare_coder_codes_the_same_embeddings() -> None:
    codes = np.rint(np.random.default_rng(0).normal(0, 1, (20, 2, 3, 3)).cumsum(0)).astype(np.int32)
    found = []
    for parameters in BY_NAME["temporal"].candidates(codes, "embeddings", 16):
        assert isinstance(parameters, TemporalParameters)
        pieces = temporal_pieces(parameters, codes)
        words = bare_encode(pieces)
        assert np.array_equal(np.concatenate(bare_decode(words, pieces)), codes.ravel())
        found.append(4 * len(words))
    assert 0 < len(write_embeddings(codes, 2000, 0, 16, "temporal")) - min(found) < 150
