"""The plan of an experiment: names of files, inputs and options, without a process of Snakemake."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from boostnerv.config import Cluster, Experiment, VideoSpec, parse
from boostnerv.errors import UserError
from boostnerv.workflow.plan import (
    Plan,
    finetune_log_option,
    keyframes_option,
    load,
    once,
    planes_option,
    settings_line,
)
from boostnerv.workflow.resources import UNKNOWN_SHAPE, JobResources, one_gpu

SOURCE = {"kind": "local", "candidates": ["{name}.mp4"], "download": "https://example.org"}


@pytest.fixture(autouse=True)
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small video, a large one, and one whose size nobody knows."""
    videos: list[dict[str, Any]] = [
        {"name": "small", "source": SOURCE, "frames": 100, "height": 72, "width": 128},
        {"name": "large", "source": SOURCE, "frames": 600, "height": 1080, "width": 1920},
        {"name": "unknown", "source": SOURCE},
    ]
    (tmp_path / "config/datasets").mkdir(parents=True)
    (tmp_path / "config/datasets/mine.yaml").write_text(yaml.safe_dump({"name": "mine", "videos": videos}))
    monkeypatch.chdir(tmp_path)


def plan(cluster: dict[str, Any] | None = None, **settings: Any) -> Plan:
    values = {
        "name": "tiny",
        "dataset": "mine",
        "videos": ["small", "large"],
        "models": [{"name": "hnerv-boost", "total_m": [3]}],
        "training": {"epochs": 300},
        **settings,
    }
    return Plan(parse(Cluster, cluster or {}, "cluster"), parse(Experiment, values, "experiment"))


def job(video: str, run: str = "hnerv-boost-3M", **names: str) -> Any:
    return SimpleNamespace(video=video, run=run, **names)


MANY = {"models": [{"name": "d-nerv", "fc_dim": {"S": 20}, "strides": [5, 2]}], "finetuning": None}


def test_the_experiment_of_the_config_or_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(
        yaml.safe_dump({"name": "a", "dataset": "mine", "anchors": [{"codec": "x264", "qualities": [30]}]})
    )
    assert load({}, tmp_path / "demo.yaml").experiment.name == "a"
    config = {
        "name": "b",
        "dataset": "mine",
        "models": [{"name": "nerv", "total_m": [1]}],
        "cluster": {"max_mem_mb": 9},
    }
    loaded = load(config, tmp_path / "demo.yaml")
    assert (loaded.experiment.name, loaded.cluster.max_mem_mb) == ("b", 9)
    with pytest.raises(UserError, match="unknown key 'gpu_styl': did you mean 'gpu_style'"):
        load({"cluster": {"gpu_styl": "gpus"}}, tmp_path / "demo.yaml")
    with pytest.raises(UserError, match="has no video 'smal': did you mean 'small'"):
        plan(videos=["smal"])


def test_unknown_names_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="experiment 'tiny' has no 'smal': did you mean 'small'"):
        plan().manifest(job("smal")) and plan().runs["smal"]
    with pytest.raises(UserError, match="has no 'hnerv-boost-4M': did you mean 'hnerv-boost-3M'"):
        plan().run_of(job("small", "hnerv-boost-4M"))


def test_files_of_runs() -> None:
    tiny = plan(anchors=[{"codec": "x264", "qualities": [20, 30]}])
    assert tiny.all_results() == [
        "results/tiny/small/hnerv-boost-3M/quality.json",
        "results/tiny/large/hnerv-boost-3M/quality.json",
    ]
    assert len(tiny.all_anchor_results()) == 4
    assert tiny.results_of(job("small")) == [
        "results/tiny/small/hnerv-boost-3M/quality.json",
        "results/tiny/anchors/small/x264-q20.json",
        "results/tiny/anchors/small/x264-q30.json",
    ]
    assert tiny.files_of_results(job("small"))[:2] == [
        "results/tiny/small/hnerv-boost-3M/video.bnv",
        "results/tiny/small/hnerv-boost-3M/frames.csv",
    ]
    assert tiny.previews()[:2] == [
        "results/tiny/previews/small/source.mp4",
        "results/tiny/previews/small/hnerv-boost-3M.mp4",
    ]
    assert tiny.curve_label("results/tiny/small/hnerv-boost-3M/train.jsonl") == "small hnerv-boost-3M"
    assert plan(videos=["small"]).curve_label("results/tiny/small/a/train.jsonl") == "a"
    assert plan(finetuning=None).all_results()[0].endswith("model-quality.json")
    assert tiny.state("train")(job("small")).startswith("results/tiny/small/hnerv-boost-3M/state/train-")
    assert tiny.manifest(job("small")).startswith("data/frames/mine/small/")


def test_a_multi_video_model_stands_under_the_name_of_the_data_set() -> None:
    many = plan(**MANY)
    assert many.all_videos == "mine"
    assert many.has_multi_video_runs
    whole = job("mine", "d-nerv-S")
    assert many.manifest(whole) == f"{many.collection}.json"
    assert many.pixels(whole) == [f"{many.frames.format(video=video)}.npy" for video in ("small", "large")]
    assert str(many.keyframes_of(whole)).startswith("data/keyframes/mine/")
    assert many.planes_of(".json") == []
    cut = plan(**MANY, clips={"patches": {"height": 36, "width": 64}})
    assert cut.of_all(".npy")(None)[0].endswith("-36x64.npy")
    assert many.results_of(whole) == ["results/tiny/mine/d-nerv-S/model-quality.json"]


def test_runs_after_training_take_the_model_of_another() -> None:
    tiny = plan(models=[{"name": "hnerv", "total_m": [3], "post_training": {}}])
    assert tiny.quantized_after_training == ["hnerv-3M-post-training"]
    after = job("small", "hnerv-3M-post-training")
    assert tiny.trained("model.safetensors")(after) == "results/tiny/small/hnerv-3M/model.safetensors"
    assert tiny.finetune_log(after) == []
    assert tiny.finetune_log(job("small", "hnerv-3M")) == "results/tiny/small/hnerv-3M/finetune.jsonl"
    assert len(tiny.train_logs()) == 2


def test_missing_sources_and_their_sentences(tmp_path: Path) -> None:
    tiny = plan()
    assert list(tiny.missing) == ["small.mp4", "large.mp4"]
    assert "https://example.org" in str(tiny.missing_sentence(SimpleNamespace(missing="small.mp4")))
    (tmp_path / "data/raw/mine").mkdir(parents=True)
    (tmp_path / "data/raw/mine/small.mp4").write_bytes(b"x")
    there = plan()
    assert list(there.missing) == ["large.mp4"]
    assert there.source_inputs(lambda file: True)(job("small")) == ["data/raw/mine/small.mp4"]
    # Of what cannot be an input a state is in the settings.
    assert there.source_inputs(lambda file: False)(job("small")) == []
    known, other = (there.extract_settings(lambda file, can=can: can)(job("small")) for can in (True, False))
    assert '"state"' not in known
    assert '"state"' in other


def test_own_videos_that_look_like_options(tmp_path: Path) -> None:
    tiny = plan(dataset=None, videos=[], own_videos=[{"path": "-dash.mp4", "name": "dash"}])
    assert tiny.source_argument(job("dash")) == "./-dash.mp4"
    assert list(tiny.missing) == ["dash"]
    frames = Path(tiny.frames.format(video="dash"))
    frames.parent.mkdir(parents=True)
    for suffix in (".npy", ".json"):
        frames.with_name(frames.name + suffix).touch()
    assert plan(dataset=None, videos=[], own_videos=[{"path": "-dash.mp4", "name": "dash"}]).missing == {}


def test_options_of_commands() -> None:
    inputs = SimpleNamespace(planes="a b.json", keyframes=[], finetune_log="x.jsonl")
    assert planes_option(None, inputs) == "--planes 'a b.json'"
    assert keyframes_option(None, inputs) == ""
    assert finetune_log_option(None, inputs) == "--finetune-log x.jsonl"
    assert plan().vmaf_option == ""
    assert plan(evaluation={"vmaf": True}).vmaf_option == "--vmaf"
    assert plan(**MANY).statistics_options == ""


def test_settings_are_one_line_computed_once() -> None:
    calls = []
    counted = once(lambda spec: calls.append(spec) or len(calls))
    spec = parse(VideoSpec, {"name": "a", "source": SOURCE}, "video")
    same = spec.model_copy()
    assert [counted(spec), counted(spec), counted(same)] == [1, 1, 2]
    assert settings_line(spec).startswith("{")
    assert "\n" not in settings_line(spec)


def test_very_many_figures_are_asked_for_by_their_first() -> None:
    tiny = plan()
    assert set(tiny.figures) <= set(tiny.wanted_figures)
    assert plan(finetuning=None, models=[], anchors=[{"codec": "x264", "qualities": [30]}]).figures


def test_resources_grow_with_pixels_epochs_and_attempts() -> None:
    tiny = plan()
    resources = JobResources(tiny)
    memory, minutes = resources.training_memory("train"), resources.share("train")
    assert memory(job("large"), 1) > memory(job("small"), 1)
    assert memory(job("large"), 2) == 2 * memory(job("large"), 1)
    assert minutes(job("large"), 1) > minutes(job("small"), 1) == 15
    longer = JobResources(plan(training={"epochs": 600})).share("train")
    assert longer(job("large"), 1) == pytest.approx(2 * minutes(job("large"), 1), abs=1)
    assert (resources.training_threads(job("small")), resources.training_threads(job("large"))) == (1, 4)
    # 600 frames of full HD are 3.7 GB.
    assert memory(job("large"), 1) > 2 * 3732
    assert resources.frames_mb(job("large")) == 3733


def test_a_cluster_limits_time_and_trainings_give_way_first() -> None:
    limited = JobResources(plan({"max_runtime_min": 60, "max_mem_mb": 1000}))
    steps = ("train", "finetune", "encode", "decode", "evaluate")
    minutes = {step: limited.share(step)(job("large"), 1) for step in steps}
    assert 30 <= sum(minutes.values()) <= 60
    assert min(minutes.values()) >= 1
    assert limited.training_memory("train")(job("large"), 1) == 1000
    assert limited.minutes(limited.extraction_seconds)(job("large"), 9) == 60


@pytest.mark.parametrize(
    ("cluster", "names"),
    [
        ({}, {"gpu"}),
        ({"gpu_model": "a100"}, {"gpu", "gpu_model"}),
        ({"gpu_style": "gres", "gpu_model": "a100"}, {"gres"}),
        ({"gpu_style": "none"}, set()),
    ],
)
def test_gpus_are_asked_for_in_the_way_of_the_cluster(cluster: dict[str, Any], names: set[str]) -> None:
    resources = JobResources(plan(cluster))
    assert set(resources.gpus(one_gpu)) == names
    if "gres" in names:
        assert resources.beside_gpus()["gres"](job("small")) == "gpu:a100:1"
    several = plan(
        cluster, models=[{"name": "hnerv-boost", "total_m": [3], "gpu": 2}], training={"epochs": 3, "batch_size": 2}
    )
    assert set(JobResources(several).gpus(one_gpu)) == names | ({"nodes"} if names else set())


def test_sizes_are_read_from_the_frames_once_they_are_there(tmp_path: Path) -> None:
    tiny = plan(videos=["unknown"])
    resources = JobResources(tiny)
    assert resources.shape(job("unknown")) == UNKNOWN_SHAPE
    assert not resources.is_known("unknown")
    manifest = Path(tiny.frames.format(video="unknown") + ".json")
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"frames": 3, "height": 20, "width": 30}')
    assert resources.shape(job("unknown")) == (3, 20, 30)
    assert resources.is_known(tiny.all_videos)
