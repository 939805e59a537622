"""The experiments of the papers, as files: what they resolve to, without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boostnerv.catalogue import LOSS_ALIASES
from boostnerv.config import RAW, Experiment, LearningRate, LocalSource, PostTraining, Run, load_experiment, parse
from boostnerv.errors import UserError
from boostnerv.evaluation.metrics import ms_ssim_missing
from boostnerv.models.architecture import architecture
from boostnerv.models.budget import decoder_parameters
from boostnerv.models.clips import keyframes_of
from boostnerv.steps import check
from boostnerv.training.planning import planned_clip_spec
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


def test_blocks_that_no_file_stores_are_planned_only_where_nothing_is_coded() -> None:
    given: dict[str, Any] = {
        "name": "blocks",
        "dataset": "bunny",
        "strides": [5, 2, 2, 2, 2],
        "models": [{"name": "hnerv-boost", "total_m": [1.5], "options": {"stage_blocks": [1, 1, 1, 1, 2]}}],
        "training": {"epochs": 1},
    }
    coded = {"epochs": 1, "target_bits": 4}
    with pytest.raises(UserError, match=r"hnerv-boost has stage_blocks = \[1, 1, 1, 1, 2\], which format version 1"):
        check(parse(Experiment, given | {"finetuning": coded}, "x"), None)
    (row,) = check(parse(Experiment, given | {"finetuning": None}, "x"), None)
    assert row["params_total"] == pytest.approx(1.5e6, rel=0.01)
    given["models"][0]["options"] = {"stage_blocks": [1, 1, 2, 2, 2]}  # the published ones, in words
    assert len(check(parse(Experiment, given | {"finetuning": coded}, "x"), None)) == 1


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


# --- many videos in one model -------------------------------------------------------------------------------


def clip_counts(golden: Golden, dataset: str) -> dict[str, int]:
    """Parameters of the original implementation of D-NeRV, by run."""
    ours = {"D-NeRV": "d-nerv", "NeRV": "d-nerv-baseline"}
    rows = [row for row in golden.clip_sizes if row["dataset"] == dataset]
    return {f"{ours[row['model']]}-{row['size']}": row["params"] for row in rows}


def test_all_of_uvg_in_one_model(golden: Golden) -> None:
    rows = check(load_experiment(CONFIG / "dnerv-uvg.yaml"), None)
    counts = clip_counts(golden, "uvg")
    assert len(counts) == 5
    coded = {f"{name}-post-training": count for name, count in counts.items()}
    assert {row["run"]: row["params_total"] for row in rows} == counts | coded
    # Seven videos of 600 frames, ShakeNDry of 300; patches of 256×320 are what the strides make.
    assert {(row["video"], row["frames"], row["height"], row["width"]) for row in rows} == {
        ("7 videos", 6 * 600 + 300, 1024, 1920)
    }
    assert {(row["padded_height"], row["padded_width"]) for row in rows} == {(256, 320)}


UCF101 = (
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1",
    "YoYo/v_YoYo_g25_c05.avi 101",
    "",
    "Punch/v_Punch_g08_c02.avi 71",
)


def test_videos_of_ucf101_are_those_of_its_list(
    golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment(CONFIG / "dnerv-ucf101.yaml")
    with pytest.raises(UserError, match=r"needs the list of its videos, data/raw/ucf101-train/ucfTrainTestlist/train"):
        check(experiment, None)
    folder = RAW / "ucf101-train"
    (folder / "ucfTrainTestlist").mkdir(parents=True)
    (folder / "ucfTrainTestlist" / "trainlist01.txt").write_text("\n".join(UCF101))
    videos = experiment.video_specs()
    assert [video.name for video in videos] == ["v_ApplyEyeMakeup_g08_c01", "v_YoYo_g25_c05", "v_Punch_g08_c02"]
    assert isinstance(videos[1].source, LocalSource)
    assert videos[1].source.candidates == ("UCF-101/YoYo/v_YoYo_g25_c05.avi", "YoYo/v_YoYo_g25_c05.avi")
    # Lengths are not known before extraction, so that nothing is planned; widths have the published counts.
    assert check(experiment, None) == []
    counts = clip_counts(golden, "ucf101")
    assert len(counts) == 6
    found = {}
    for run in experiment.runs():
        spec = planned_clip_spec(run.train, {"long": 15, "short": 2}, 256, 320, (1, 1))
        found[run.name] = decoder_parameters(architecture(run.train.model.name), spec)
    assert found == counts | {f"{name}-post-training": count for name, count in counts.items()}
    keyframes = [run.keyframes for run in experiment.runs()]
    assert {each.bpp for each in keyframes if each} == {0.2056}
    assert sum(each is None for each in keyframes) == 6


def test_recipes_of_d_nerv() -> None:
    published = {"optimizer": "adamw", "batch_size": 32, "lr": LearningRate(peak=5e-4, warmup=0.2, start=0.1)}
    for name, epochs, loss in (("dnerv-uvg", 1600, "d-nerv/fusion6"), ("dnerv-ucf101", 800, "d-nerv/fusion19")):
        loaded = load_experiment(CONFIG / f"{name}.yaml")
        assert loaded.clips.frames == 8
        for run in loaded.runs():
            training = run.train.training
            assert (training.epochs, training.loss) == (epochs, dict(LOSS_ALIASES[loss]))
            assert {key: getattr(training, key) for key in published} == published
            assert run.of_many
            assert run.finetune is None
            assert bool(run.trained_as) == (run.post_training == PostTraining(quantizer="slices"))
        assert sum(bool(run.trained_as) for run in loaded.runs()) == len(loaded.runs()) // 2


def test_keyframes_of_uvg_have_the_published_bits() -> None:
    experiment = load_experiment(CONFIG / "dnerv-uvg.yaml")
    count = sum(len(keyframes_of(video.frames or 0, 8)) for video in experiment.video_specs())
    assert count == 495
    found = {run.size_label: run.keyframes.bpp for run in experiment.runs() if run.keyframes}
    for label, published_mbit in {"XS": 88.39, "S": 88.39, "M": 123.2, "L": 175.1, "XL": 254.7}.items():
        bpp = found[label]
        assert bpp is not None
        assert bpp * count * 1024 * 1920 / 1e6 == pytest.approx(published_mbit, rel=1e-3)


def test_the_quick_clips_are_three_of_40_small_frames() -> None:
    rows: list[dict[str, Any]] = check(load_experiment(CONFIG / "dnerv-quick.yaml"), None)
    names = ("d-nerv-S", "d-nerv-M", "d-nerv-baseline-S", "d-nerv-baseline-M")
    assert [row["run"] for row in rows] == [run for name in names for run in (name, f"{name}-post-training")]
    assert {(row["video"], row["frames"], row["height"], row["width"]) for row in rows} == {("3 videos", 120, 256, 320)}


def test_small_frames_have_no_loss_of_five_scales() -> None:
    carphone = {
        "name": "small",
        "dataset": "clips",
        "videos": ["carphone"],
        "preparation": {"sample_aspect": "keep", "frame_count": 16},
        "strides": [4, 2, 2],
        "finetuning": None,
    }
    for models in ([{"name": "d-nerv-baseline", "fc_dim": {"S": 8}}], [{"name": "nerv", "total_m": [0.2]}]):
        with pytest.raises(UserError, match="ms_ssim needs frames with sides over 160 pixels, these have 144×176"):
            check(parse(Experiment, {**carphone, "models": models}, "experiment"), None)
        plain = {"loss": "d-nerv/fusion6", "epochs": 1}
        (row,) = check(parse(Experiment, {**carphone, "models": models, "training": plain}, "experiment"), None)
        assert (row["height"], row["width"], row["frames"]) == (144, 176, 16)
    assert ms_ssim_missing(144, 176) is not None
