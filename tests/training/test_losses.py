from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostnerv.catalogue import LOSS_ALIASES, LOSS_TERMS
from boostnerv.errors import UserError
from boostnerv.training.losses import TERMS, check_frame_size, frame_losses, frequency
from tests.conftest import Golden


def test_every_published_loss_has_the_recorded_value(golden: Golden) -> None:
    recorded, tensors = golden.manifest["losses"]["values"], golden.tensors("losses")
    aliases = {name for name in LOSS_ALIASES if name.startswith("boosting-nerv/")}
    assert {f"boosting-nerv/{name.lower()}" for name in recorded} == aliases
    for name, values in recorded.items():
        terms = LOSS_ALIASES[f"boosting-nerv/{name.lower()}"]
        found = frame_losses(terms, tensors["pred"], tensors["target"])
        torch.testing.assert_close(found, torch.tensor(values[: len(found)]), rtol=1e-5, atol=0, msg=name)


@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_frequency_term_is_that_of_the_whole_transform(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(10 * height + width)
    x, y = torch.rand(2, 2, 3, height, width, generator=generator, dtype=torch.float64)
    spectra = [torch.view_as_real(torch.fft.fft2(image)) for image in (x, y)]
    expected = (spectra[0] - spectra[1]).abs().flatten(1).mean(1)
    torch.testing.assert_close(frequency(x, y), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (5, 8), (6, 7)])
def test_gradient_of_the_frequency_term(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, *size, generator=generator, dtype=torch.float64) for _ in range(2))
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda image: frequency(image, y), (x,))


def test_terms_are_those_with_a_description() -> None:
    assert set(TERMS) == set(LOSS_TERMS)
    assert all(set(terms) <= set(TERMS) for terms in LOSS_ALIASES.values())


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_zero_for_equal_frames_and_one_value_a_frame(term: str) -> None:
    frames = torch.rand(2, 3, 161, 170, generator=torch.Generator().manual_seed(1))
    assert TERMS[term](frames, frames).abs().max() <= 1e-6
    apart = torch.cat([TERMS[term](frames[k : k + 1], 1 - frames[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(TERMS[term](frames, 1 - frames), apart)
    assert (apart > 0).all()


def test_weights_count() -> None:
    x, y = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    assert frame_losses({"l1": 2.0, "l2": 4.0}, x, y).tolist() == [2 * 0.5 + 4 * 0.25]


def test_ms_ssim_needs_large_frames() -> None:
    terms = LOSS_ALIASES["boosting-nerv/fusion10_freq"]
    check_frame_size(terms, 161, 161)
    check_frame_size({"l1": 1.0}, 1, 1)
    with pytest.raises(UserError, match=r"ms_ssim needs frames with sides over 160 pixels, these have 160×300; choose"):
        check_frame_size(terms, 160, 300)
    smallest = torch.zeros(1, 3, 161, 161)
    frame_losses(terms, smallest, smallest)
    suggestion = LOSS_ALIASES["boosting-nerv/l1_ssim_freq"]
    check_frame_size(suggestion, 160, 300)


def test_both_papers_have_a_fusion6_of_their_own() -> None:
    assert LOSS_ALIASES["d-nerv/fusion6"] == {"l1": 0.7, "ssim": 0.3}
    assert LOSS_ALIASES["d-nerv/fusion19"] == {"l2": 1.0, "ssim": 0.03}
    assert "fusion6" not in LOSS_ALIASES
