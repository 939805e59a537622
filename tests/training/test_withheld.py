"""Inpainting and interpolation: what is withheld from training stays unknown to it, and is measured apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from boostnerv import steps
from boostnerv.config import ModelSettings, Training
from boostnerv.errors import UserError
from boostnerv.host.machine import Host
from boostnerv.models.architecture import VideoModel, crop_to_video, frame_time
from boostnerv.models.budget import decoder_parameters, stored_embeddings
from boostnerv.training.losses import psnr_db
from boostnerv.training.planning import planned_spec
from boostnerv.training.reconstruction import Reconstruction
from boostnerv.training.tasks import Inpainting, Interpolation, ResidentVideo, training_objective
from boostnerv.video.frames import manifest_path, write_frames
from boostnerv.video.masks import hidden_pixels
from tests.models.tiny import ALL, tiny_model
from tests.training.conftest import Train, train_job

CPU = torch.device("cpu")
NO_NOISE = torch.Generator()
INPAINTING = Training(epochs=1, loss={"l1": 1.0}, task="inpainting", mask="center")
INTERPOLATION = Training(epochs=1, loss={"l1": 1.0}, task="interpolation")


def pixels(frames: int = 5, height: int = 16, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def small(name: str, frames: int = 5) -> VideoModel:
    return tiny_model(name, frames=frames, height=16, width=20)


# --- inpainting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_hidden_pixels_change_nothing(name: str) -> None:
    hidden = hidden_pixels("center", 16, 20)
    seen, other = pixels(), pixels()
    other[:, hidden] = pixels(seed=1)[:, hidden]
    results = []
    for video in (seen, other):
        objective = training_objective(small(name), ResidentVideo(video, CPU), INPAINTING)
        assert isinstance(objective, Inpainting)
        loss = objective.fit(torch.tensor([1, 3]), NO_NOISE).loss
        loss.backward()
        gradients = [p.grad for p in objective.parameters() if p.grad is not None]
        results.append([loss.detach(), objective.reconstruct(torch.tensor([2])), *gradients])
        assert torch.equal(objective.target(torch.tensor([2])), ResidentVideo(video, CPU).batch(torch.tensor([2])))
    assert len(results[0]) > 4
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_what_is_made_in_the_hidden_part_costs_nothing() -> None:
    objective = training_objective(small("nerv"), ResidentVideo(pixels(), CPU), INPAINTING)
    assert isinstance(objective, Inpainting)
    made = torch.rand(1, 3, 16, 20).requires_grad_()
    objective.model.register_forward_hook(lambda *_: made)
    loss = (made * objective.visible - objective.video.batch(torch.tensor([0])) * objective.visible).abs().mean()
    loss.backward()
    assert made.grad is not None
    hidden = torch.from_numpy(hidden_pixels("center", 16, 20))
    assert (made.grad[:, :, hidden] == 0).all()
    assert (made.grad[:, :, ~hidden] != 0).any()
    assert torch.equal(objective.fit(torch.tensor([0]), NO_NOISE).loss, loss)


def test_the_psnr_of_training_is_that_of_what_is_seen() -> None:
    objective = training_objective(small("nerv"), ResidentVideo(pixels(), CPU), INPAINTING)
    indices = torch.tensor([0])
    made = objective.target(indices).clone()
    hidden = torch.from_numpy(hidden_pixels("center", 16, 20))
    made[:, :, hidden] = 1 - made[:, :, hidden]
    objective.model.register_forward_hook(lambda *_: made)
    fit = objective.fit(indices, NO_NOISE)
    assert psnr_db(fit.prediction, fit.target).item() == pytest.approx(90.0, abs=1e-3)


# --- interpolation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_odd_frames_are_made_from_their_neighbours(name: str) -> None:
    seen, other = pixels(), pixels()
    other[1::2] = pixels(seed=1)[1::2]
    results = []
    for video in (seen, other):
        objective = training_objective(small(name), ResidentVideo(video, CPU), INTERPOLATION)
        assert isinstance(objective, Interpolation)
        assert list(objective.trained_samples) == [0, 2, 4]
        results.append(objective.reconstruct(torch.arange(5)))
    assert torch.equal(*results)
    model = objective.model
    with torch.no_grad():
        frames = ResidentVideo(seen, CPU).batch(torch.tensor([2, 4]))
        embeddings = model.embed(frames)
        mean = None if embeddings is None else embeddings.mean(0, keepdim=True)
        expected = crop_to_video(model.decoder(frame_time(torch.tensor([3]), 5), mean), model.spec)
    assert torch.allclose(results[0][3:4], expected, atol=1e-6)


def test_odd_frames_are_not_trained_on(train: Train, tmp_path: Path) -> None:
    checkpoints = []
    for seed in (1, 2):
        video = pixels(frames=6, height=7, width=9)
        video[1::2] = pixels(frames=6, height=7, width=9, seed=seed)[1::2]
        video[5] = 0  # of an even number of frames the last is left out
        path = tmp_path / f"{seed}.npy"
        write_frames(video, path, dataset="own", video="clip", fps=25)
        result = train(train_job(task="interpolation"), folder=tmp_path / str(seed), frames=manifest_path(path))
        checkpoints.append(result)
    from safetensors.torch import load_file

    one, two = (load_file(result.checkpoint) for result in checkpoints)
    assert all(torch.equal(one[key], two[key]) for key in one)
    last = checkpoints[0].lines()[-2]
    assert last["step"] == 3 * 3
    assert {"psnr_db", "psnr_unseen_db"} <= set(last)


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_to_interpolate(frames: int) -> None:
    with pytest.raises(UserError, match=f"interpolation needs three frames or more, this video has {frames};"):
        planned_spec(train_job(task="interpolation"), frames, 7, 9)


def test_the_size_counts_the_embeddings_that_are_kept() -> None:
    # 132 Bunny frames at 3 M: the last is left out, 66 of 131 embeddings are kept.
    job = train_job(task="interpolation").model_copy(
        update={"model": ModelSettings(name="hnerv-boost", strides=(5, 2, 2, 2, 2), total_m=3.0)}
    )
    spec = planned_spec(job, 132, 720, 1280)
    assert spec.frames == 131
    kept = stored_embeddings("interpolation", spec)
    assert kept == 66 * 16 * 9 * 16
    from boostnerv.models.architecture import architecture

    assert decoder_parameters(architecture("hnerv-boost"), spec) + kept == pytest.approx(3e6, rel=0.01)
    assert stored_embeddings("regression", spec) == spec.embedding_parameters


# --- measured apart -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [{"task": "inpainting", "mask": "center"}, {"task": "interpolation"}, {}])
def test_every_split_is_measured(train: Train, tmp_path: Path, task: dict[str, str]) -> None:
    path = tmp_path / "clip.npy"
    video = pixels(frames=6)
    write_frames(video, path, dataset="own", video="clip", fps=25)
    result = train(train_job(**task), frames=manifest_path(path))
    identity = {"experiment": "x", "run": "r", "codec": "hnerv-boost", "size_label": "s", "seed": 1}
    output, csv = tmp_path / "quality.json", tmp_path / "frames.csv"
    job_files = steps.ModelEvaluationFiles(
        frames=manifest_path(path), model=result.checkpoint, train_log=result.log, output=output, frames_csv=csv
    )
    steps.evaluate_model(job_files, identity, Host("cpu", threads=1))
    point = json.loads(output.read_text())
    used = 5 if task.get("task") == "interpolation" else 6
    assert point["frames"] == used
    rows = csv.read_text().splitlines()
    assert len(rows) == used + 1
    assert point["psnr_db"] == pytest.approx(point["psnr_float_db"], abs=0.05)
    assert not {"file_bytes", "bpp"} & set(point)
    frame_db = [float(row.split(",")[1]) for row in rows[1:]]
    if used == 5:
        assert point["task"] == "interpolation"
        assert point["psnr_seen_db"] == pytest.approx(np.mean(frame_db[::2]))
        assert point["psnr_unseen_db"] == pytest.approx(np.mean(frame_db[1::2]))
    elif task:
        assert point["task"] == "inpainting-center"
        hidden = hidden_pixels("center", 16, 20)
        of_hidden, of_visible = (float(value) for value in rows[1].split(",")[3:])
        share = hidden.mean()
        mse = share * 10 ** (-of_hidden / 10) + (1 - share) * 10 ** (-of_visible / 10)
        assert -10 * np.log10(mse) == pytest.approx(frame_db[0], abs=1e-6)
        assert point["psnr_hidden_db"] != point["psnr_visible_db"]
    else:
        assert point["task"] == "regression"
        assert not [key for key in point if "seen" in key or "hidden" in key]


def test_only_regression_is_coded(train: Train, finetune: Train, tmp_path: Path) -> None:
    path = tmp_path / "clip.npy"
    write_frames(pixels(), path, dataset="own", video="clip", fps=25)
    result = train(train_job(task="interpolation"), frames=manifest_path(path))
    with pytest.raises(UserError, match="was trained for interpolation, and only regression is coded; measure it with"):
        finetune(result.checkpoint, frames=manifest_path(path))


def test_a_reconstruction_is_an_array_of_bytes() -> None:
    video = pixels()
    made = Reconstruction(small("hnerv"), video, Training(epochs=1, loss={"l1": 1.0}), CPU)
    assert (made.shape, made.ndim, made.size, len(made)) == ((5, 16, 20, 3), 4, video.size, 5)
    assert made.unseen_frames == ()
    part = made[1:3]
    assert (part.shape, part.dtype) == ((2, 16, 20, 3), np.uint8)
    assert np.array_equal(part, made[0:5][1:3])
