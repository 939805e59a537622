"""The experiments of the papers, as files: what they resolve to, without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boostnerv.config import LearningRate, Run, load_experiment
from boostnerv.steps import check
from tests.conftest import Golden

CONFIG = Path(__file__).parents[1] / "config"
RECORDED = {"nerv-boost": "NeRV_Boost", "e-nerv-boost": "ENeRV_Boost", "hnerv-boost": "HNeRV_Boost", "hnerv": "HNeRV"}
LABELS = {"bunny": ("0.75M", "1.5M", "3M"), "uvg": ("3M", "5M", "10M", "15M")}
BOOSTED = ("nerv-boost", "e-nerv-boost", "hnerv-boost")
L2, FUSION = {"l2": 1.0}, {"l1": 42.0, "ms_ssim": 18.0, "frequency": 1.0}


def runs(experiment: str, video: str | None = None) -> dict[str, Run]:
    loaded = load_experiment(CONFIG / f"{experiment}.yaml")
    specs = {spec.name: spec for spec in loaded.video_specs()}
    return {run.name: run for run in loaded.runs(specs[video] if video else None)}


def recorded_counts(golden: Golden, dataset: str) -> dict[str, int]:
    """Total parameters of the original implementation, by run; its sizes are in the order of the labels."""
    counts = {}
    for ours, theirs in RECORDED.items():
        rows = sorted(
            (row for row in golden.sizes if (row["dataset"], row["model"]) == (dataset, theirs)),
            key=lambda row: row["size"],
        )
        for label, row in zip(LABELS[dataset], rows, strict=True):
            counts[f"{ours}-{label}"] = row["total_params"]
    return counts


# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", ["bunny-regression", "uvg-regression", "uvg-compression", "bunny-epochs"])
def test_counts_are_the_published_ones_on_every_video(golden: Golden, experiment: str) -> None:
    counts = recorded_counts(golden, experiment.split("-")[0])
    rows = check(load_experiment(CONFIG / f"{experiment}.yaml"), None)
    for row in rows:
        run = row["run"].partition("M")[0] + "M"
        # ShakeNDry has sizes of its own: with half as many frames the counts are near the recorded ones, not equal.
        tolerance = 0.02 if (row["video"], run) == ("ShakeNDry", "hnerv-5M") else 0.01
        assert row["params_total"] == pytest.approx(counts[run], rel=tolerance if row["frames"] == 300 else 0), row
        assert row["params_total"] == pytest.approx(float(run.split("-")[-1][:-1]) * 1e6, rel=0.03)


@pytest.mark.parametrize(
    ("experiment", "frames"),
    [("davis-inpainting-center", 1376), ("davis-inpainting-disperse", 1376), ("uvg-interpolation", 7 * 599 - 300)],
)
def test_counts_of_the_other_tasks(golden: Golden, experiment: str, frames: int) -> None:
    rows = check(load_experiment(CONFIG / f"{experiment}.yaml"), None)
    assert len(rows) == (20 if experiment.startswith("davis") else 7) * 4
    assert sum(row["frames"] for row in rows) == 4 * frames
    for row in rows:
        # The paper gives HNeRV-Boost the size 3 on DAVIS, which its formula overshoots.
        large = row["run"] == "hnerv-boost-3M" and experiment.startswith("davis")
        assert row["params_total"] == pytest.approx(3.4e6 if large else 3.0e6, rel=0.03), row
        if row["run"] in ("nerv-boost-3M", "e-nerv-boost-3M"):
            assert row["params_total"] == recorded_counts(golden, "uvg")[row["run"]]


@pytest.mark.parametrize("experiment", ["bunny-inpainting", "bunny-interpolation"])
def test_counts_of_the_tasks_on_bunny(experiment: str) -> None:
    rows = check(load_experiment(CONFIG / f"{experiment}.yaml"), None)
    assert [row["params_total"] for row in rows] == pytest.approx([1.5e6] * len(rows), rel=0.03)


def test_shakendry_has_sizes_of_its_own() -> None:
    def arguments(experiment: str, video: str | None) -> list[float | None]:
        found = runs(experiment, video).values()
        return [run.train.model.modelsize_m for run in found if run.train.model.name == "hnerv-boost"]

    for experiment in ("uvg-regression", "uvg-compression"):
        assert arguments(experiment, "Beauty") == arguments(experiment, None) == [2.8, 4.6, 9.1, 13.6]
        assert arguments(experiment, "ShakeNDry") == [2.75, 4.5, 9.05, 13.55]
        assert list(runs(experiment, "ShakeNDry")) == list(runs(experiment, "Beauty"))
    assert arguments("uvg-interpolation", "Beauty") == [2.75]
    assert arguments("uvg-interpolation", "ShakeNDry") == [2.7]


# --- recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "peaks", "task"),
    [
        ("bunny-regression", (3e-3, 1.5e-3, 3e-3, 1e-3), "regression"),
        ("bunny-epochs", (3e-3, 1.5e-3, 3e-3, 1e-3), "regression"),
        ("uvg-regression", (3e-3, 1.5e-3, 3e-3, 1e-3), "regression"),
        ("uvg-compression", (3e-3, 1.5e-3, 3e-3), "regression"),
        ("davis-inpainting-center", (3e-3, 1.5e-3, 3e-3, 5e-4), "inpainting-center"),
        ("davis-inpainting-disperse", (3e-3, 1.5e-3, 3e-3, 5e-4), "inpainting-disperse"),
        ("uvg-interpolation", (3e-3, 1e-3, 1e-3, 1e-3), "interpolation"),
        ("bunny-interpolation", (3e-3, 1e-3, 1e-3, 1e-3), "interpolation"),
    ],
)
def test_recipes(experiment: str, peaks: tuple[float, ...], task: str) -> None:
    rates = dict(zip((*BOOSTED, "hnerv"), peaks, strict=False))
    loaded = load_experiment(CONFIG / f"{experiment}.yaml")
    uvg_or_davis = not experiment.startswith("bunny")
    assert loaded.strides == ((5, 3, 2, 2, 2) if uvg_or_davis else (5, 2, 2, 2, 2))
    size = (1080, 1920) if uvg_or_davis else (720, 1280)
    assert (loaded.preparation.fit, loaded.preparation.height, loaded.preparation.width) == ("crop-center", *size)
    assert loaded.seeds == (1,)
    for run in loaded.runs():
        training, model = run.train.training, run.train.model
        plain = model.name == "hnerv"
        assert training.lr == LearningRate(peak=rates[model.name], shape="cosine", warmup=0.1, start=0.1)
        assert training.optimizer == ("adam" if plain else "adan")
        assert training.loss == (L2 if plain else FUSION)
        assert training.clip_norm == (1.0 if plain and "inpainting" in task else None)
        assert (training.batch_size, training.task_label) == (1, task)
        assert training.epochs == (int(run.name.split("-e")[-1]) if experiment == "bunny-epochs" else 300)
        assert model.options == ({"base": 1.05} if task == "interpolation" and not plain else {})
        assert (run.finetune is None) == (experiment != "uvg-compression")
    assert {run.train.model.name for run in loaded.runs()} == set(rates)


def test_compression_follows_regression() -> None:
    regression = runs("uvg-regression", "ShakeNDry")
    for name, run in runs("uvg-compression", "ShakeNDry").items():
        assert run.train == regression[name].train
        assert run.finetune is not None
        recipe = run.finetune.finetuning
        assert recipe.lr == LearningRate(peak=5e-4, shape="cosine", warmup=0.0, start=0.1)
        assert (recipe.epochs, recipe.target_bits, recipe.optimizer, recipe.loss) == (100, 4.0, "adan", FUSION)
        assert recipe.lambda_rate == (0.05 if name.startswith("hnerv") else 0.2)


def test_lengths_of_training() -> None:
    lengths = (300, 600, 1200, 1800, 2400, 3600, 4800)
    names = list(runs("bunny-epochs"))
    assert names == [f"{model}-1.5M-e{epochs}" for model in RECORDED for epochs in lengths]
    short = runs("bunny-regression")
    for model in RECORDED:
        assert runs("bunny-epochs")[f"{model}-1.5M-e300"].train == short[f"{model}-1.5M"].train


def test_inpainting_on_bunny_has_both_masks() -> None:
    found = runs("bunny-inpainting")
    assert set(found) == {f"{model}-1.5M-inpainting-{mask}" for model in RECORDED for mask in ("center", "disperse")}
    for mask in ("center", "disperse"):
        davis = runs(f"davis-inpainting-{mask}")
        for model in RECORDED:
            assert found[f"{model}-1.5M-inpainting-{mask}"].train.training == davis[f"{model}-3M"].train.training


def test_the_quick_tasks_are_three_of_33_small_frames() -> None:
    rows: list[dict[str, Any]] = check(load_experiment(CONFIG / "bunny-tasks-quick.yaml"), None)
    tasks = ("inpainting-center", "inpainting-disperse", "interpolation")
    assert [row["run"] for row in rows] == [
        f"{model}-0.3M-{task}" for model in ("hnerv-boost", "hnerv") for task in tasks
    ]
    assert {(row["frames"], row["height"], row["width"]) for row in rows} == {(33, 180, 320)}
    assert [row["params_total"] for row in rows] == pytest.approx([0.3e6] * 6, rel=0.02)
