"""The baseline computes what our models compute, so that their speeds can be compared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from bench import train_speed
from bench.baseline import baseline_of, fusion10_freq
from bench.train_speed import Case, largest_difference, moving_picture
from boostnerv.catalogue import LOSS_ALIASES
from boostnerv.models.architecture import build_model, frame_time
from boostnerv.models.budget import resolve
from boostnerv.training.losses import frame_losses


@pytest.mark.parametrize(("name", "total_m"), [("hnerv-boost", 0.12), ("e-nerv-boost", 0.55)])
def test_the_baseline_is_our_model(name: str, total_m: float) -> None:
    case = Case(name, total_m, 180)
    model = build_model(name, resolve(case.settings, 16, case.height, case.width), seed=1)
    plain = baseline_of(model)
    frames = torch.from_numpy(moving_picture(2, case.height, case.width)[1:]).permute(0, 3, 1, 2) / 255
    t = frame_time(torch.tensor([3]), 16)
    ours, theirs = model(t, frames), plain(frames, t)
    assert (ours - theirs).abs().max() < 1e-4
    terms = LOSS_ALIASES["boosting-nerv/fusion10_freq"]
    loss, other = frame_losses(terms, ours, frames).mean(), fusion10_freq(theirs, frames)
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)
    loss.backward()
    other.backward()
    ours, theirs = model.decoder.head.weight.grad, plain.head_layer.weight.grad
    assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


@pytest.mark.parametrize(
    ("cloned", "sentence"),
    [
        (True, "the authors' code imports einops, which is not installed: pip install einops\n"),
        (False, "is no clone of the authors' code: git clone https://github.com/Xinjie-Q/Boosting-NeRV, and give that"),
    ],
)
def test_what_the_authors_code_needs_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cloned: bool,
    sentence: str,
) -> None:
    for name in ("model_hnerv", "model_enerv") if cloned else ():
        (tmp_path / f"{name}.py").write_text("import einops\n")
    monkeypatch.setitem(sys.modules, "einops", None)
    monkeypatch.setattr(sys, "argv", ["train_speed", "--original", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        train_speed.main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_loss_curves_are_compared_step_by_step() -> None:
    assert largest_difference([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
