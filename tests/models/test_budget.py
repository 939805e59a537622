from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boostnerv.config import ModelSettings
from boostnerv.errors import UserError
from boostnerv.models.architecture import architecture
from boostnerv.models.budget import decoder_parameters, resolve, total_parameters
from tests.models.tiny import ALL, PUBLISHED, tiny_model

CLIP = (16, 180, 320)  # frames, height, width


def sized(name: str, *, strides: tuple[int, ...] = (5, 2, 2), **choices: object) -> ModelSettings:
    return ModelSettings(name=name, strides=strides, **choices)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10)
@given(total_m=st.floats(0.5, 3.0))
def test_no_neighbouring_width_is_nearer_to_the_total(name: str, total_m: float) -> None:
    entry, spec = architecture(name), resolve(sized(name, total_m=total_m), *CLIP)

    def miss(fc_dim: int) -> float:
        return abs(total_parameters(entry, dataclasses.replace(spec, fc_dim=fc_dim)) - total_m * 1e6)

    assert miss(spec.fc_dim) <= min(miss(spec.fc_dim + 1), miss(max(spec.fc_dim - 1, 1)))


@pytest.mark.parametrize("name", ALL)
def test_counts_match_the_module(name: str) -> None:
    model = tiny_model(name)
    entry, spec = model.architecture, model.spec
    assert decoder_parameters(entry, spec) == sum(p.numel() for p in model.decoder.parameters())
    embeddings = 3 * 2 * 2 * 2 if name.startswith("hnerv") else 0  # frames × channels × grid
    assert total_parameters(entry, spec) == decoder_parameters(entry, spec) + embeddings


@pytest.mark.parametrize("size", [{"total_m": 0.01}, {"modelsize_m": 0.0001}])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_size_too_small_reports_the_narrowest_model(name: str, size: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"too few for .*: the narrowest has 0\.\d+ M; choose a larger size"):
        resolve(sized(name, **size), *CLIP)


def test_too_large_a_size() -> None:
    with pytest.raises(UserError, match="too many for nerv-boost; choose a smaller size"):
        resolve(sized("nerv-boost", total_m=1e6), *CLIP)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lower_widht": 3}, "model nerv-boost has no option 'lower_widht': did you mean 'lower_width'?"),
        ({"fc_dim": 3}, "has no option 'fc_dim'"),
        ({"strides": 3}, "has no option 'strides'"),
        ({"embedding_width": 3}, "has no option 'embedding_width'"),
        ({"lower_width": 2.5}, "option lower_width = 2.5 is not of type int"),
        ({"lower_width": "many"}, "option lower_width = 'many' is not of type int"),
        ({"reduce": "2"}, "option reduce = '2' is not of type float"),
        ({"reduce": 0}, "model setting reduce = 0.0 must be above zero"),
        ({"levels": -1}, "model setting levels = -1 must be above zero"),
        ({"levels": [1]}, "option levels = [1] is not of type int; correct it in options"),
        ({"stage_blocks": 2}, "option stage_blocks = 2 is not a list of whole numbers; correct it in options"),
        ({"stage_blocks": [1, 2]}, "stage_blocks = [1, 2] must have a number for each of the strides [5, 2, 2]"),
        ({"stage_blocks": [1, 0, 2]}, "model setting stage_blocks = (1, 0, 2) must be above zero"),
    ],
)
def test_options_are_checked(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(sized("nerv-boost", total_m=1.0, options=options), *CLIP)
    assert sentence in str(caught.value)


def test_options_reach_the_spec_with_their_types() -> None:
    spec = resolve(sized("hnerv-boost", total_m=0.5, options={"reduce": 2, "embedding_width": 8.0}), *CLIP)
    assert (spec.reduce, type(spec.reduce)) == (2.0, float)  # type: ignore[attr-defined]
    assert (spec.embedding_width, type(spec.embedding_width)) == (8, int)  # type: ignore[attr-defined]
    blocks = resolve(sized("hnerv-boost", total_m=0.5, options={"stage_blocks": [1, 2, 3]}), *CLIP)
    assert blocks.stage_blocks == (1, 2, 3)  # type: ignore[attr-defined]


def test_odd_sizes_are_padded_before_the_formula() -> None:
    padded = resolve(sized("hnerv-boost", modelsize_m=0.5), 16, 181, 333)
    divisible = resolve(sized("hnerv-boost", modelsize_m=0.5), 16, 200, 340)
    assert padded.padded == (200, 340)
    assert padded.fc_dim == divisible.fc_dim


@pytest.mark.parametrize("name", ALL)
def test_a_kernel_that_would_change_the_size_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="kernel_smallest"):
        resolve(sized(name, total_m=1.0, options={"kernel_smallest": 2}), *CLIP)
