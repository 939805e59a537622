"""Settings: what is refused and with which sentence, what a run is called, what its identity is."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from boostnerv.catalogue import LOSS_ALIASES, LOSS_TERMS
from boostnerv.config import (
    DatasetSpec,
    Experiment,
    Finetuning,
    LearningRate,
    ModelSettings,
    Preparation,
    Training,
    TrainJob,
    VideoSpec,
    config_hash,
    load_dataset,
    load_experiment,
    model_names,
    parse,
)
from boostnerv.config.keys_page import keys_page
from boostnerv.errors import UserError, nearest
from boostnerv.files import canonical_json

CONFIG = Path(__file__).parents[1] / "config"
GOOD: dict[str, Any] = {
    "name": "x",
    "dataset": "bunny",
    "models": [{"name": "nerv-boost", "total_m": [0.2]}],
    "training": {"epochs": 2},
}


def experiment(**changes: Any) -> Experiment:
    """Parse the smallest good experiment with `changes`; None takes a key away."""
    return parse(Experiment, {k: v for k, v in {**GOOD, **changes}.items() if v is not None}, "experiment x")


def with_model(**changes: Any) -> dict[str, Any]:
    return {"models": [{k: v for k, v in {**GOOD["models"][0], **changes}.items() if v is not None}]}


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        # keys
        ({"trainin": {}}, "unknown key 'trainin': did you mean 'training'?"),
        ({"training": {"epochs": 2, "los": 1}}, "unknown key 'training.los': did you mean 'loss'?"),
        ({"training": {"epochs": 2, "lr": {"peek": 1}}}, "unknown key 'training.lr.peek': did you mean 'peak'?"),
        (with_model(nam="x"), "unknown key 'models.0.nam': did you mean 'name'?"),
        ({"training": {}}, "'training.epochs' is missing"),
        ({"name": None}, "'name' is missing"),
        (with_model(name=None), "'models.0.name' is missing"),
        # names
        ({"name": "a b"}, "'name': string should match pattern"),
        ({"name": "../x"}, "'name': string should match pattern"),
        (with_model(name="nerv-bost"), "'models.0.name': unknown model 'nerv-bost': did you mean 'nerv-boost'?"),
        (
            {"training": {"epochs": 2, "loss": "boosting-nerv/fusion11_freq"}},
            "'training.loss': unknown loss 'boosting-nerv/fusion11_freq': did you mean 'boosting-nerv/fusion10_freq'?",
        ),
        (
            {"finetuning": {"loss": {"l3": 1}}},
            "'finetuning.loss': unknown loss term 'l3': did you mean 'l2'?",
        ),
        ({"anchors": [{"codec": "x266", "qualities": [1]}]}, "'anchors.0.codec': input should be 'x264', 'x265'"),
        # numbers
        ({"training": {"epochs": 0}}, "'training.epochs': input should be greater than 0 (given: 0)"),
        ({"training": {"epochs": "many"}}, "'training.epochs': input should be a valid integer"),
        ({"training": {"epochs": 2, "lr": {"peak": -1}}}, "'training.lr.peak': input should be greater than 0"),
        ({"training": {"epochs": 2, "lr": {"peak": math.inf}}}, "'training.lr.peak': input should be a finite number"),
        ({"training": {"epochs": 2, "lr": {"peak": math.nan}}}, "'training.lr.peak'"),
        ({"finetuning": {"target_bits": math.inf}}, "'finetuning.target_bits': input should be a finite number"),
        ({"training": {"epochs": 2, "loss": {"l1": math.nan}}}, "'training.loss.l1': input should be a finite number"),
        ({"training": {"epochs": 2, "loss": {"l1": 0}}}, "'training.loss': the loss has no term with a weight"),
        ({"training": {"epochs": 2, "loss": {}}}, "'training.loss': the loss has no term with a weight"),
        (with_model(total_m=[math.inf]), "'models.0.total_m.0': input should be a finite number"),
        (with_model(total_m=[-1]), "'models.0': model 'nerv-boost': a size must be above zero"),
        ({"strides": [0, 1]}, "'strides': every stride is at least 1"),
        (with_model(strides=[-2]), "'models.0.strides': every stride is at least 1"),
        ({"strides": []}, "'strides': "),
        ({"seeds": []}, "'seeds': "),
        ({"seeds": [-1]}, "'seeds.0': input should be greater than or equal to 0"),
        ({"seeds": [1 << 63]}, "'seeds.0': input should be less than 4294967296"),
        # tasks
        (
            {"training": {"epochs": 2, "task": "inpaint"}},
            "'training.task': input should be 'regression', 'inpainting' or 'interpolation' (given: 'inpaint')",
        ),
        (
            {"training": {"epochs": 2, "task": "inpainting", "mask": "centre"}},
            "'training.mask': input should be 'center' or 'disperse' (given: 'centre')",
        ),
        ({"training": {"epochs": 2, "task": "inpainting"}}, "'training': task: inpainting needs a mask"),
        ({"training": {"epochs": 2, "mask": "center"}}, "the other tasks have none"),
        (
            {"training": {"epochs": 2, "task": "interpolation"}},
            "task: interpolation is measured on the model as trained, only regression is coded; set finetuning: null",
        ),
        # keys that exclude or need each other
        ({"dataset": None}, "give either dataset or own_videos"),
        ({"own_videos": [{"path": "a"}]}, "give either dataset or own_videos"),
        (
            {"dataset": None, "own_videos": [{"path": "a"}], "videos": ["a"]},
            "videos names videos of a dataset; for paths use own_videos",
        ),
        ({"models": []}, "nothing to do: neither models nor anchors"),
        (
            with_model(total_m=None),
            "'models.0': model 'nerv-boost' needs sizes: one of total_m, modelsize_m and fc_dim",
        ),
        (with_model(modelsize_m={"S": 1}), "model 'nerv-boost' needs sizes: one of total_m, modelsize_m and fc_dim"),
        (with_model(fc_dim={"S": 1}), "model 'nerv-boost' needs sizes: one of total_m, modelsize_m and fc_dim"),
        (with_model(total_m=None, fc_dim={"S": 0}), "'models.0': model 'nerv-boost': a size must be above zero"),
        ({"preparation": {"height": 3}}, "'preparation': height and width go together; give both or neither"),
        ({"preparation": {"fit": "resize"}}, "'preparation': fit: resize needs height and width"),
        (
            {"preparation": {"height": 3, "width": 3}},
            "'preparation': height and width need fit: crop-center, crop-top-left, resize or crop-resize",
        ),
        # runs
        (with_model(total_m=[1, 1.0]), "run 'nerv-boost-1M' stands twice; every model and size may appear once"),
        ({"models": GOOD["models"] * 2}, "run 'nerv-boost-0.2M' stands twice"),
        ({"seeds": [1, 1]}, "run 'nerv-boost-0.2M-s1' stands twice"),
        (with_model(total_m=None, modelsize_m={"a/b": 1}), "'models.0.modelsize_m.a/b"),
        (with_model(epochs=[2, 2]), "run 'nerv-boost-0.2M' stands twice"),
        (with_model(epochs=[2, 3, 2]), "run 'nerv-boost-0.2M-e2' stands twice"),
        (with_model(epochs=[0]), "'models.0.epochs.0': input should be greater than 0"),
        (
            with_model(epochs=[2], training={"epochs": 3}),
            "'models.0': model 'nerv-boost': give either epochs or training.epochs",
        ),
        (with_model(gpu=2), "models.0.gpu: a batch of 1 cannot be shared by 2 processes; raise training.batch_size"),
        # sizes that differ for one video
        (
            with_model(total_m=None, modelsize_m={"3M": 1}, modelsize_m_for={"bunny": {"3": 1}}),
            "'models.0': modelsize_m_for.bunny: modelsize_m has no size '3': did you mean '3M'?",
        ),
        (
            with_model(modelsize_m_for={"bunny": {"0.2M": 1}}),
            "'models.0': modelsize_m_for.bunny: modelsize_m has no size '0.2M': nothing is valid here",
        ),
        (
            with_model(total_m=None, modelsize_m={"3M": 1}, modelsize_m_for={"bunny": {"3M": 0}}),
            "'models.0': modelsize_m_for.bunny: a size must be above zero",
        ),
        # keys of training that differ for one model
        (
            with_model(training={"epochz": 1}),
            "unknown key 'models.0.training.epochz': did you mean 'epochs'?",
        ),
        (
            with_model(training={"lr": {"peek": 1}}),
            "unknown key 'models.0.training.lr.peek': did you mean 'peak'?",
        ),
        (with_model(finetuning={"epochs": 0}), "'models.0.finetuning.epochs': input should be greater than 0"),
        (
            with_model(training={"loss": "boosting-nerv/l3"}),
            "'models.0.training.loss': unknown loss 'boosting-nerv/l3'",
        ),
    ],
)
def test_a_mistake_is_one_sentence_that_says_where(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment(**changes)
    text = str(caught.value)
    assert text.startswith("experiment x: ")
    assert sentence in text
    assert "\n" not in text
    assert "pydantic" not in text


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        experiment(trainin={}, training={"epochs": 0}, name="a b")
    assert all(part in str(caught.value) for part in ("'trainin'", "'training.epochs'", "'name'"))


@pytest.mark.parametrize("size", [{}, {"total_m": 1.0, "modelsize_m": 1.0}, {"total_m": 1.0, "fc_dim": 3}])
def test_a_model_has_exactly_one_size(size: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give exactly one of total_m, modelsize_m and fc_dim"):
        parse(ModelSettings, {"name": "nerv-boost", "strides": [2], **size}, "model")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "experiment file .* does not exist; check the path"),
        ("a: [", r"is not valid YAML at line \d.*; correct it there"),
        ("a: 1\nb: :\n  - c: d: e", r"is not valid YAML at line \d.*; correct it there"),
        ("- a", "must hold keys and values; see config/README.md"),
        ("", "must hold keys and values"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}\n", r"is not valid YAML at line 2 \(key 'c' stands twice\); correct it there"),
    ],
)
def test_files_that_are_no_experiments(tmp_path: Path, text: str | bytes | None, sentence: str) -> None:
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=sentence):
        load_experiment(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "x.yaml", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"experiment file .*; check the path"):
            load_experiment(path)


# --- data sets ----------------------------------------------------------------------------------------------


def test_names_of_data_sets_and_videos(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown data set 'buny': did you mean 'bunny'\? .* config/datasets/buny\.yaml"
    ):
        experiment(dataset="buny").dataset_spec(tmp_path)
    with pytest.raises(UserError, match=r"data set 'bunny' has no video 'bunnny': did you mean 'bunny'\?"):
        experiment(videos=["bunnny"]).video_specs(tmp_path)
    assert [video.name for video in experiment(videos=["bunny"]).video_specs(tmp_path)] == ["bunny"]


def test_a_data_set_of_your_own(tmp_path: Path) -> None:
    video = {"name": "a", "source": {"kind": "path", "path": "a.mp4"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "videos": [video]}))
    assert load_dataset("mine", tmp_path).video("a").source.path == "a.mp4"  # type: ignore[union-attr]
    path.write_text(yaml.safe_dump({"name": "other", "videos": [video]}))
    with pytest.raises(UserError, match="calls itself 'other'; name and file name must agree"):
        load_dataset("mine", tmp_path)
    path.write_text(yaml.safe_dump({"name": "mine", "videos": [video, video]}))
    with pytest.raises(UserError, match="video name 'a' stands twice in data set 'mine'; rename one"):
        load_dataset("mine", tmp_path)
    listed = {"file": "list.txt", "candidates": ["{path}"], "download": "x"}
    for both in ({}, {"videos": []}, {"videos": [video], "video_list": listed}):
        path.write_text(yaml.safe_dump({"name": "mine", **both}))
        with pytest.raises(UserError, match="data set 'mine' needs either videos or video_list"):
            load_dataset("mine", tmp_path)
    for key, value in (("file", "../list.txt"), ("candidates", ["/{path}"])):
        path.write_text(yaml.safe_dump({"name": "mine", "video_list": {**listed, key: value}}))
        with pytest.raises(UserError, match="candidate '.*' must be a path below the folder"):
            load_dataset("mine", tmp_path)


def test_a_video_has_several_names(tmp_path: Path) -> None:
    spec = experiment(dataset="uvg", videos=["ReadySetGo", "Beauty"]).video_specs(tmp_path)
    assert [video.name for video in spec] == ["ReadySteadyGo", "Beauty"]
    assert load_dataset("uvg").video("ReadySteadyGo") == spec[0]
    with pytest.raises(UserError, match=r"has no video 'ReadySetGoo': did you mean 'ReadySetGo'\?"):
        experiment(dataset="uvg", videos=["ReadySetGoo"]).video_specs(tmp_path)
    with pytest.raises(UserError, match="experiment 'x' names video 'ReadySetGo' twice; name it once under videos"):
        experiment(dataset="uvg", videos=["ReadySetGo", "ReadySteadyGo"]).video_specs(tmp_path)
    source = {"kind": "path", "path": "a.mp4"}
    videos = [{"name": "a", "source": source}, {"name": "b", "aliases": ["a"], "source": source}]
    with pytest.raises(UserError, match="video name 'a' stands twice in data set 'd'; rename one"):
        parse(DatasetSpec, {"name": "d", "videos": videos}, "data set d")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"kind": "local", "candidates": ["a"]}, "'videos.0.source.local.download' is missing"),
        ({"kind": "local", "candidates": [], "download": "x"}, "'videos.0.source.local.candidates'"),
        (
            {"kind": "local", "candidates": ["../a.mp4"], "download": "x"},
            "candidate '../a.mp4' must be a path below the folder of the data set",
        ),
        ({"kind": "local", "candidates": ["/a.mp4"], "download": "x"}, "candidate '/a.mp4' must be a path below"),
        ({"kind": "ftp"}, "'videos.0.source': input tag 'ftp'"),
        ({"path": "x"}, "'videos.0.source': unable to extract tag using discriminator 'kind'"),
        ({"kind": "path", "pth": "x"}, "did you mean 'path'?"),
        ({"kind": "wheel", "requirement": "a>=1", "member": "m", "size_bytes": 1, "sha256": "0" * 64}, "requirement"),
        ({"kind": "wheel", "requirement": "a==1", "member": "m", "size_bytes": 1, "sha256": "0"}, "sha256"),
    ],
)
def test_sources_that_are_none(source: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(DatasetSpec, {"name": "d", "videos": [{"name": "a", "source": source}]}, "data set d")
    assert sentence in str(caught.value)


def test_own_videos_get_names_that_tell_them_apart() -> None:
    paths = ["a/Clip 1.mp4", "b/Clip 1.mp4", "übung.mov", "..."]
    specs = experiment(dataset=None, own_videos=[{"path": path} for path in paths]).video_specs()
    names = [spec.name for spec in specs]
    assert names[0].startswith("clip-1-")
    assert len(set(names)) == len(paths)
    assert all(VideoSpec.model_validate(spec.model_dump()) for spec in specs)
    named = experiment(dataset=None, own_videos=[{"path": "a.mp4", "name": "mine"}])
    assert [spec.name for spec in named.video_specs()] == ["mine"]


@pytest.mark.parametrize(
    ("videos", "sentence"),
    [
        ([{"path": "a.mp4"}, {"path": "a.mp4"}], "own video 'a.mp4' stands twice; remove one, or give each a name"),
        ([{"path": "a.mp4"}, {"path": "x/../a.mp4"}], "own video 'a.mp4' stands twice"),
        ([{"path": "a.mp4", "name": "b"}, {"path": str(Path("a.mp4").absolute())}], "a.mp4' stands twice"),
        ([{"path": "a.mp4", "name": "v"}, {"path": "b.mp4", "name": "v"}], "the name 'v' is that of 2 own videos"),
        ([{"path": "a.mp4", "name": "v" * 129}], "is longer than 128 characters; choose a shorter one"),
    ],
)
def test_own_videos_that_stand_twice(videos: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment(dataset=None, own_videos=videos)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_source_under_two_names_is_two_videos() -> None:
    videos = [{"path": "a.mp4", "name": "one"}, {"path": "./a.mp4", "name": "two"}]
    specs = experiment(dataset=None, own_videos=videos).video_specs()
    assert [spec.name for spec in specs] == ["one", "two"]


def test_names_of_own_videos_leave_room_for_what_is_called_after_them() -> None:
    (first, second) = experiment(
        dataset=None, own_videos=[{"path": "n" * 251 + ".mp4"}, {"path": "n" * 250 + "m.mp4"}]
    ).video_specs()
    assert first.name != second.name
    assert len(first.name) == len(second.name) == 127


# --- preparations -------------------------------------------------------------------------------------------

sides = st.integers(1, 5000)
preparations = st.builds(
    lambda size, fit, first, count, **rest: Preparation(
        **({"fit": fit, "height": size[0], "width": size[1]} if fit != "source" else {}),
        first_frame=first,
        frame_count=count,
        **rest,
    ),
    st.tuples(sides, sides),
    st.sampled_from(["source", "crop-center", "crop-top-left", "resize", "crop-resize"]),
    st.integers(0, 20),
    st.none() | st.integers(1, 20),
    fps=st.none() | st.floats(0.001, 1000),
    interlaced=st.sampled_from(["refuse", "keep", "deinterlace"]),
    sample_aspect=st.sampled_from(["refuse", "keep", "square"]),
    hdr=st.sampled_from(["refuse", "keep"]),
)


@given(preparations, preparations)
def test_two_preparations_never_share_a_tag(first: Preparation, second: Preparation) -> None:
    assume(first != second)
    assert first.tag != second.tag


@given(preparations)
def test_a_tag_is_a_file_name(preparation: Preparation) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", preparation.tag)


def test_a_tag_as_the_design_shows_it() -> None:
    preparation = Preparation(fit="crop-center", height=720, width=1280)
    assert preparation.tag == "720x1280-crop-center-ffmpeg"
    assert Preparation().tag == "source-ffmpeg"
    preparation = Preparation(fit="crop-resize", height=256, width=320, fps=2, first_frame=3, frame_count=8)
    assert preparation.tag == "256x320-crop-resize-2fps-f3-8-ffmpeg"
    assert Preparation(fps=29.97).tag == "source-29.97fps-ffmpeg"


# --- runs ---------------------------------------------------------------------------------------------------


@given(
    totals=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    labels=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,4}", fullmatch=True), min_size=1, max_size=3),
)
def test_run_names_are_unique_or_the_experiment_is_refused(
    totals: list[float], seeds: list[int], labels: list[str]
) -> None:
    models = [
        {"name": "nerv-boost", "total_m": totals},
        {"name": "hnerv-boost", "modelsize_m": dict.fromkeys(labels, 1.0)},
    ]
    try:
        runs = experiment(models=models, seeds=seeds).runs()
    except UserError as error:
        assert "stands twice" in str(error)  # noqa: PT017  (either outcome is right)
        assert len(set(totals)) < len(totals) or len(set(seeds)) < len(seeds) or len(totals) > 1
        return
    names = [run.name for run in runs]
    assert len(set(names)) == len(names) == (len(totals) + len(set(labels))) * len(seeds)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)


def test_runs_carry_what_differs() -> None:
    found = experiment(
        models=[
            {
                "name": "hnerv-boost",
                "total_m": [1.5, 0.75],
                "training": {"lr": {"peak": 1e-3}, "batch_size": 2},
                "finetuning": {"lambda_rate": 0.2},
                "strides": [2, 2],
                "options": {"lower_width": 6},
            },
            {"name": "nerv-boost", "modelsize_m": {"3M": 1.65}},
        ],
        training={"epochs": 2, "lr": {"peak": 3e-3, "warmup": 0.2}},
        seeds=[1, 2],
        strides=[5, 2],
    )
    runs = {run.name: run for run in found.runs()}
    assert list(runs) == [
        *("hnerv-boost-1.5M-s1", "hnerv-boost-1.5M-s2", "hnerv-boost-0.75M-s1", "hnerv-boost-0.75M-s2"),
        *("nerv-boost-3M-s1", "nerv-boost-3M-s2"),
    ]
    first, last = runs["hnerv-boost-1.5M-s2"], found.run("nerv-boost-3M-s1")
    assert first.train.seed == first.finetune.seed == 2
    assert first.train.training.lr == LearningRate(peak=1e-3, warmup=0.2)  # the rest of the schedule stays
    assert (first.train.training.batch_size, last.train.training.batch_size) == (2, 1)
    assert (first.finetune.finetuning.lambda_rate, last.finetune.finetuning.lambda_rate) == (0.2, 0.05)
    assert first.train.model == ModelSettings(
        name="hnerv-boost", strides=(2, 2), total_m=1.5, options={"lower_width": 6}
    )
    assert last.train.model == ModelSettings(name="nerv-boost", strides=(5, 2), modelsize_m=1.65)
    with pytest.raises(UserError, match="experiment 'x' has no run 'nerv-boost-3M-s3': did you mean 'nerv-boost-3M-s"):
        found.run("nerv-boost-3M-s3")


def test_a_seed_is_part_of_the_name_only_where_it_varies() -> None:
    assert [run.name for run in experiment().runs()] == ["nerv-boost-0.2M"]


def test_a_length_of_training_is_part_of_the_name_only_where_it_varies() -> None:
    (one,) = experiment(**with_model(epochs=[7])).runs()
    assert (one.name, one.train.training.epochs) == ("nerv-boost-0.2M", 7)
    models = [
        {"name": "nerv-boost", "total_m": [0.2], "epochs": [300, 600], "training": {"lr": {"peak": 1.0}}},
        {"name": "hnerv-boost", "total_m": [0.3]},
    ]
    found = experiment(models=models, seeds=[1, 2]).runs()
    assert [run.name for run in found] == [
        *("nerv-boost-0.2M-e300-s1", "nerv-boost-0.2M-e300-s2", "nerv-boost-0.2M-e600-s1", "nerv-boost-0.2M-e600-s2"),
        *("hnerv-boost-0.3M-e2-s1", "hnerv-boost-0.3M-e2-s2"),
    ]
    assert [run.train.training.epochs for run in found] == [300, 300, 600, 600, 2, 2]
    assert {run.train.training.lr.peak for run in found[:4]} == {1.0}


def test_a_task_is_part_of_the_name_only_where_it_varies() -> None:
    masks = [{"mask": "center"}, {"mask": "disperse"}, {"task": "interpolation", "mask": None}]
    models = [{"name": "nerv-boost", "total_m": [0.2], "training": change} for change in masks]
    training = {"epochs": 2, "task": "inpainting", "mask": "center"}

    def names(number: int) -> list[str]:
        settings = {**GOOD, "models": models[:number], "training": training, "finetuning": None}
        return [run.name for run in parse(Experiment, settings, "experiment x").runs()]

    labels = ("inpainting-center", "inpainting-disperse", "interpolation")
    assert names(3) == [f"nerv-boost-0.2M-{label}" for label in labels]
    assert names(1) == ["nerv-boost-0.2M"]


def test_the_older_pipeline_is_a_run_of_its_own_behind_the_one_it_codes() -> None:
    model = with_model(name="hnerv", epochs=[10, 20], post_training={"weight_bits": 6})
    older = experiment(**model, seeds=[1, 2])
    assert [run.name for run in older.runs()] == [
        f"hnerv-0.2M{pipeline}-e{epochs}-s{seed}"
        for epochs in (10, 20)
        for seed in (1, 2)
        for pipeline in ("", "-post-training")
    ]
    usual, run = older.runs()[2:4]
    assert (run.trained_as, usual.trained_as) == (usual.name, "")
    assert run.train == usual.train
    assert (run.codec, usual.codec) == ("hnerv-post-training", "hnerv")
    assert run.finetune is None
    assert usual.post_training is None
    assert run.post_training is not None
    assert (run.post_training.weight_bits, run.post_training.embedding_bits) == (6, 6)
    assert run.coded
    assert usual.coded
    # Where nothing is fine-tuned it codes all the same, and the model is measured as trained beside it.
    measured, coded = parse(Experiment, {**GOOD, **with_model(post_training={}), "finetuning": None}, "x").runs()
    assert (measured.coded, coded.coded) == (False, True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"post_training": {"bits": 6}}, "unknown key 'models.0.post_training.bits'"),
        ({"post_training": {"weight_bits": 17}}, "'models.0.post_training.weight_bits'"),
        ({"post_training": {"embedding_bits": 1}}, "'models.0.post_training.embedding_bits'"),
        (
            {"post_training": {}, "training": {"task": "interpolation"}, "finetuning": {}},
            "models.0.post_training: only regression is coded, not task: interpolation",
        ),
    ],
)
def test_an_older_pipeline_that_cannot_be(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        experiment(**with_model(**changes))


def test_a_size_may_be_a_width() -> None:
    loaded = experiment(models=[{"name": "d-nerv", "fc_dim": {"XS": 107, "S": 166}}])
    found = {run.name: (run.size_label, run.train.model.fc_dim) for run in loaded.runs()}
    assert found == {"d-nerv-XS": ("XS", 107), "d-nerv-S": ("S", 166)}


def test_a_size_may_differ_for_a_video() -> None:
    model = {
        "name": "hnerv-boost",
        "modelsize_m": {"3M": 2.8, "5M": 4.6},
        "modelsize_m_for": {"ShakeNDry": {"3M": 2.75}, "ReadySetGo": {"5M": 4.7}},
    }
    loaded = experiment(dataset="uvg", models=[model])
    videos = {video.name: video for video in loaded.video_specs()}

    def sizes(video: str | None) -> dict[str, float | None]:
        return {run.name: run.train.model.modelsize_m for run in loaded.runs(videos[video] if video else None)}

    assert sizes("Beauty") == sizes(None) == {"hnerv-boost-3M": 2.8, "hnerv-boost-5M": 4.6}
    assert sizes("ShakeNDry") == {"hnerv-boost-3M": 2.75, "hnerv-boost-5M": 4.6}
    assert sizes("ReadySteadyGo") == {"hnerv-boost-3M": 2.8, "hnerv-boost-5M": 4.7}
    assert loaded.run("hnerv-boost-3M", videos["ShakeNDry"]).train.model.modelsize_m == 2.75
    wrong = experiment(dataset="uvg", models=[{**model, "modelsize_m_for": {"ShakeNDri": {"3M": 1.0}}}])
    with pytest.raises(UserError, match=r"data set 'uvg' has no video 'ShakeNDri': did you mean 'ShakeNDry'\?"):
        wrong.video_specs()


def test_videos_share_their_runs_unless_they_have_sizes_of_their_own() -> None:
    models = [{"name": "nerv", "modelsize_m": {"S": 1, "M": 2}, "modelsize_m_for": {"ReadySetGo": {"M": 3}}}]
    found = parse(Experiment, {"name": "x", "dataset": "uvg", "models": models}, "x")
    videos = found.video_specs()
    runs = found.runs_by_video(videos)
    assert list(runs) == [video.name for video in videos]
    assert all(runs[video.name] == found.runs(video) for video in videos)
    assert runs["Beauty"] is runs["Jockey"]
    assert [run.train.model.modelsize_m for run in runs["ReadySteadyGo"]] == [1, 3]


# --- identity -----------------------------------------------------------------------------------------------


def shuffled(value: Any, draw: st.DataObject) -> Any:
    if isinstance(value, dict):
        keys = draw.draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@given(st.data())
def test_identity_does_not_depend_on_the_order_of_keys(draw: st.DataObject) -> None:
    value = yaml.safe_load((CONFIG / "demo.yaml").read_text())
    other = parse(Experiment, shuffled(value, draw), "x")
    assert config_hash(other) == config_hash(parse(Experiment, value, "x"))
    assert [config_hash(run.train) for run in other.runs()] == [
        config_hash(run.train) for run in parse(Experiment, value, "x").runs()
    ]


def test_identity_depends_on_every_setting() -> None:
    def job(**changes: Any) -> TrainJob:
        training = Training(epochs=2, **changes.pop("training", {}))
        return TrainJob(model=ModelSettings(name="nerv-boost", strides=(2,), total_m=1.0), training=training, **changes)

    changed = [
        job(),
        job(seed=2),
        job(training={"batch_size": 2}),
        job(training={"loss": {"l1": 1.0}}),
        job(training={"lr": LearningRate(peak=1.0)}),
        job(training={"clip_norm": 1.0}),
    ]
    assert len({config_hash(each) for each in changed}) == len(changed)
    assert config_hash(job()) == config_hash(job(training={"loss": "boosting-nerv/fusion10_freq"}))


def test_settings_survive_the_way_to_a_step_and_back() -> None:
    for run in load_experiment(CONFIG / "demo.yaml").runs():
        assert parse(TrainJob, json.loads(canonical_json(run.train.model_dump(mode="json"))), "x") == run.train


@pytest.mark.parametrize("settings", [Preparation(), Finetuning(), experiment(), experiment().runs()[0].train])
def test_settings_do_not_change(settings: Any) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(type(settings).model_fields)), "x")


# --- names and pages ------------------------------------------------------------------------------------------


def test_published_losses() -> None:
    assert Training(epochs=1).loss == {"l1": 42.0, "ms_ssim": 18.0, "frequency": 1.0}
    for alias, terms in LOSS_ALIASES.items():
        assert Training(epochs=1, loss=alias).loss == dict(terms)
        assert set(terms) <= set(LOSS_TERMS)


def test_every_experiment_of_the_repository_loads(tmp_path: Path) -> None:
    files = sorted(set(CONFIG.glob("*.yaml")) - {CONFIG / "dvc.yaml"})
    assert files
    for file in files:
        loaded = load_experiment(file)
        assert loaded.name == file.stem
        assert loaded.runs() or loaded.anchors
        # The videos of some data sets are named by a file that comes with them.
        listed = loaded.dataset_spec().video_list
        if listed is not None:
            path = tmp_path / loaded.dataset_spec().name / listed.file
            with pytest.raises(UserError, match=re.escape(f"needs the list of its videos, {path}, which is missing")):
                loaded.video_specs(root=tmp_path)
            path.parent.mkdir(parents=True)
            path.write_text("Class/v_Class_g01_c01.avi 1\n")
        assert loaded.video_specs(root=tmp_path)


def test_the_page_of_keys_is_in_step() -> None:
    page = CONFIG / "README.md"
    assert page.read_text(encoding="utf-8") == keys_page(), "run: make docs"


def test_the_command_that_writes_the_page_writes_this_page(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    subprocess.run([sys.executable, "-m", "boostnerv.config.keys_page"], cwd=tmp_path, check=True)
    assert (tmp_path / "config/README.md").read_text(encoding="utf-8") == keys_page()


def test_the_page_of_keys_is_readable() -> None:
    page = keys_page()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert len(rows) > 70
    for row in rows:
        key, kind, default, meaning = (cell.strip() for cell in row.strip("|").split("|"))
        assert re.fullmatch(r"`\w+`", key)
        assert kind.count("[") == kind.count("]")
        assert not re.search(r"Optional|Annotated|FieldInfo|boostnerv|\(", kind), row
        assert default
        assert meaning.endswith("."), row
    assert all(f"`{name}`" in page for name in (*model_names(), *LOSS_ALIASES, *LOSS_TERMS))


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("bunnny", ["bunny", "uvg"], "did you mean 'bunny'?"),
        ("zzz", ["b", "a"], "valid: a, b"),
        ("zzz", [], "nothing is valid here"),
        (
            "zzz",
            [f"{index:02}" for index in range(22)],
            "valid: " + ", ".join(f"{i:02}" for i in range(20)) + ", and 2 more",
        ),
    ],
)
def test_hints(name: str, valid: list[str], hint: str) -> None:
    assert nearest(name, valid) == hint
