"""How far an experiment is: beside a real training that runs, is stopped and is killed, and on folders made for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from boostnerv.config import Experiment, Run, config_hash, load_experiment
from boostnerv.files import canonical_json
from boostnerv.operations import status
from boostnerv.operations.status import (
    Overview,
    Standing,
    duration_text,
    lines_text,
    look,
    looks,
    summary_text,
    table_runs,
)
from boostnerv.training.lease import hold
from tests.conftest import Outcome
from tests.models.tiny import OPTIONS
from tests.training.conftest import write_clip

NAME = "hnerv-boost-0.0013M"
EPOCHS = 100_000


def write_experiment(folder: Path, **changes: Any) -> Path:
    settings = {
        "name": "tiny",
        "own_videos": [{"path": "clip.mp4", "name": "clip"}, {"path": "other.mp4", "name": "other"}],
        "strides": [2, 2],
        "models": [{"name": "hnerv-boost", "total_m": [0.0013], "options": OPTIONS["hnerv-boost"]}],
        "training": {"epochs": EPOCHS, "loss": {"l1": 1.0}, "eval_every_epochs": 2},
        "finetuning": {"epochs": EPOCHS, "loss": {"l1": 1.0}},
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return load_experiment(write_experiment(tmp_path))


def first_run(experiment: Experiment) -> Run:
    return experiment.runs()[0]


def state_folder(folder: Path, experiment: Experiment, step: str = "train", video: str = "clip") -> Path:
    run = first_run(experiment)
    job = run.train if step == "train" else run.finetune
    assert job is not None
    return folder / "results/tiny" / video / run.name / "state" / f"{step}-{config_hash(job)[:12]}"


def put(folder: Path, video: str, **files: Any) -> Path:
    """Files of a run by name, their last dot as ``__``: values as JSON, lists as lines of it, and text."""
    run = folder / "results/tiny" / video / NAME
    for name, content in files.items():
        path = run / ".".join(name.rsplit("__", 1)).replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = content if isinstance(content, list) else [content]
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return run


def record(epoch: int, wall_s: float, **values: float) -> dict[str, float]:
    return {"epoch": epoch, "wall_s": wall_s, "train_psnr_db": 10.0 + epoch, **values}


def put_state(state: Path, *records: dict[str, float] | str) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / "good.pt").write_bytes(b"")
    lines = (line if isinstance(line, str) else json.dumps(line) + "\n" for line in records)
    (state / "log.jsonl").write_text("".join(lines))


def standing(found: Overview, video: str = "clip") -> Standing:
    (one,) = (each for each in found.runs if each.video == video)
    return one


def epoch_of(one: Standing, state: str) -> int | None:
    """The epoch of a run in this state."""
    return one.epoch if one.state == state else None


def wait_for(look_again: Callable[[], bool]) -> None:
    for _ in range(600):
        if look_again():
            return
        time.sleep(0.1)
    raise AssertionError("nothing happened in a minute")


@contextmanager
def training(folder: Path, experiment: Experiment) -> Iterator[subprocess.Popen[str]]:
    """`boostnerv train` of the first run, as its rule calls it, some epochs under way."""
    before = epoch_of(standing(look(experiment, folder)), "stopped") or 0
    state = state_folder(folder, experiment)
    run = state.parent.parent
    frames = folder / "clip.json"
    command = [
        sys.executable, "-m", "boostnerv", "train", "--frames", frames if frames.exists() else write_clip(folder),
        "--settings", canonical_json(first_run(experiment).train.model_dump(mode="json")), "--state", state,
        "--output", run / "model.safetensors", "--log", run / "train.jsonl", "--threads", "1",
    ]  # fmt: skip
    log = run / "logs/train.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as stderr:
        process = subprocess.Popen(list(map(str, command)), stderr=stderr, text=True)
    try:
        wait_for(lambda: (epoch_of(standing(look(experiment, folder)), "running") or 0) > before + 3)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_real_training_is_seen_to_run_to_stop_and_to_die(tmp_path: Path, experiment: Experiment) -> None:
    assert look(experiment, tmp_path).counts == {"done": 0, "running": 0, "stopped": 0, "failed": 0, "waiting": 2}

    with training(tmp_path, experiment) as process:
        found = look(experiment, tmp_path)
        one = standing(found)
        assert (one.state, one.step, one.epochs) == ("running", "training", EPOCHS)
        assert 3 < (one.epoch or 0) < EPOCHS
        assert 0 < (one.psnr_db or 0) < 60
        assert one.holder
        assert one.holder.pid == process.pid
        # The other video is expected to take as long.
        assert 0 < (one.left_s or 0) < (found.left_s or 0)
        assert found.counts["waiting"] == 1

        process.send_signal(signal.SIGTERM)
        process.wait(60)
        stopped = standing(look(experiment, tmp_path))
        assert (stopped.state, stopped.holder, stopped.problem) == ("stopped", None, "")
        assert (stopped.epoch or 0) >= (one.epoch or 0)
        assert look(experiment, tmp_path).left_s is None

    with training(tmp_path, experiment) as process:
        again = standing(look(experiment, tmp_path))
        assert again.state == "running"
        assert (again.epoch or 0) > (stopped.epoch or 0)
        process.kill()
        process.wait()
        # Its lock is there still, and its process is known to be gone.
        assert (state_folder(tmp_path, experiment) / "lock").exists()
        assert standing(look(experiment, tmp_path)).state == "stopped"


def test_holders_that_are_silent_for_six_beats_are_gone(tmp_path: Path, experiment: Experiment) -> None:
    state = state_folder(tmp_path, experiment)
    put_state(state, record(10, 5.0))
    with hold(state, 1000.0):
        lock = state / "lock"
        assert standing(look(experiment, tmp_path)).state == "running"
        for old_s, expected in ((5900, "running"), (6100, "stopped")):
            os.utime(lock, (time.time() - old_s,) * 2)
            assert standing(look(experiment, tmp_path)).state == expected
    # Another machine's lock, of a job; one that says nothing; and none.
    holder = {"host": "node3", "boot": "x", "pid": 7, "job": "12", "since": "", "token": "t", "beat_s": 10.0}
    lock.write_text(json.dumps(holder))
    assert "node3, job 12" in lines_text(look(experiment, tmp_path))
    lock.write_text("?")
    assert standing(look(experiment, tmp_path)).state == "stopped"
    lock.unlink()
    assert standing(look(experiment, tmp_path)).state == "stopped"


def test_a_run_goes_through_its_steps(tmp_path: Path, experiment: Experiment) -> None:
    def seen() -> tuple[Any, ...]:
        one = standing(look(experiment, tmp_path))
        return one.state, one.step, one.percent, one.psnr_db

    assert seen() == ("waiting", "training", 0, None)
    put(tmp_path, "clip", model__safetensors="", train__jsonl=[record(1, 1.0), {"finished": True, "psnr_db": 30.5}])
    assert seen() == ("waiting", "fine-tuning", 50, 30.5)
    put_state(state_folder(tmp_path, experiment, "finetune"), record(EPOCHS // 2, 1.0, psnr_db=31.25))
    with hold(state_folder(tmp_path, experiment, "finetune")):
        assert seen() == ("running", "fine-tuning", 75, 31.25)
    assert seen() == ("stopped", "fine-tuning", 75, 31.25)
    put(tmp_path, "clip", finetuned__safetensors="")
    assert seen() == ("waiting", "coding", 99, 30.5)
    run = put(tmp_path, "clip", logs__encode__log="coding: 3/16 frames")
    assert seen()[:2] == ("running", "coding")
    os.utime(run / "logs/encode.log", (0, 0))
    assert seen()[:2] == ("waiting", "coding")
    put(tmp_path, "clip", encode__json={}, decode__json={})
    assert seen()[:2] == ("waiting", "measuring")
    put(tmp_path, "clip", quality__json={"psnr_db": 31.0})
    assert seen() == ("done", "", 100, 31.0)


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ("boostnerv: the loss is not finite in epoch 3; run it again with a lower training.lr.peak", "failed"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "failed"),
        ("KeyError: 'frames'\n", "failed"),
        (
            "boostnerv: stopped by SIGTERM in epoch 3 of 9; the state is saved, run the same command to resume",
            "stopped",
        ),
        ("train: 30/400 steps, 1.00/s, 370 s left · 20.00 dB, loss 0.100", "stopped"),
        ("", "stopped"),
    ],
)
def test_what_the_log_of_a_training_ends_with(tmp_path: Path, experiment: Experiment, last: str, state: str) -> None:
    put_state(state_folder(tmp_path, experiment), record(3, 1.0))
    put(tmp_path, "clip", logs__train__log=["train: 1/400 steps", last])
    one = standing(look(experiment, tmp_path))
    assert one.state == state
    assert one.problem == (last.strip().removeprefix("boostnerv: ") if state == "failed" else "")
    # Whoever holds it has begun again.
    with hold(state_folder(tmp_path, experiment)):
        assert standing(look(experiment, tmp_path)).state == "running"


def test_failed_before_there_was_a_state(tmp_path: Path, experiment: Experiment) -> None:
    put(tmp_path, "clip", logs__train__log="boostnerv: choose a larger size")
    assert standing(look(experiment, tmp_path)).state == "failed"
    put(tmp_path, "clip", model__safetensors="", finetuned__safetensors="", logs__encode__log="ValueError: no")
    one = standing(look(experiment, tmp_path))
    assert (one.state, one.step, one.problem) == ("failed", "coding", "ValueError: no")


def test_states_of_other_settings_and_of_finished_trainings_count_for_nothing(
    tmp_path: Path, experiment: Experiment
) -> None:
    state = state_folder(tmp_path, experiment)
    put_state(state.with_name("train-000000000000"), record(5, 1.0))
    state.mkdir()
    (state / "finished.json").write_text("{}")
    one = standing(look(experiment, tmp_path))
    assert (one.state, one.epoch) == ("waiting", None)


def test_the_time_left_follows_the_latest_epochs(tmp_path: Path) -> None:
    settings = {"epochs": 100, "loss": {"l1": 1.0}}
    experiment = load_experiment(write_experiment(tmp_path, training=settings, finetuning=settings))
    state = state_folder(tmp_path, experiment)
    event = {"event": "return", "reason": "", "from_epoch": 21}
    half = json.dumps(record(31, 99.0))[:10]
    put_state(state, record(10, 80.0), record(20, 90.0), json.dumps(event) + "\n", record(30, 100.0), half)
    with hold(state):
        found = look(experiment, tmp_path)
        # A second an epoch: 70 of training and 100 of fine-tuning are left, and 200 of the other video.
        assert standing(found).left_s == pytest.approx(170)
        assert found.left_s == pytest.approx(370)
        other = state_folder(tmp_path, experiment, video="other")
        put_state(other, record(50, 100.0))
        with hold(other):
            assert look(experiment, tmp_path).left_s == pytest.approx((170 + 300) / 2)
        # One that is stopped waits for its turn.
        assert look(experiment, tmp_path).left_s == pytest.approx(170 + 300)


def test_runs_of_other_kinds(tmp_path: Path) -> None:
    models = [
        {"name": "hnerv", "total_m": [0.3], "post_training": {}},
        {"name": "d-nerv", "fc_dim": {"S": 8}, "post_training": {}},
    ]
    anchors = [{"codec": "x264", "qualities": [20, 30]}]
    experiment = load_experiment(write_experiment(tmp_path, models=models, finetuning=None, anchors=anchors))
    names = ["hnerv-0.3M", "hnerv-0.3M-post-training"]
    found = look(experiment, tmp_path)
    assert [(each.video, each.run) for each in found.runs] == [
        *[(video, name) for video in ("clip", "other") for name in names],
        ("own", "d-nerv-S"),
        ("own", "d-nerv-S-post-training"),
    ]
    assert [each.step for each in found.runs] == ["training", "coding"] * 3
    folder = tmp_path / "results/tiny"
    for name in (
        "clip/hnerv-0.3M/model.safetensors",
        "clip/hnerv-0.3M/model-quality.json",
        "anchors/clip/x264-q30.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    found = look(experiment, tmp_path)
    assert found.counts["done"] == 1
    assert (found.anchors_done, found.anchors) == (1, 4)
    assert summary_text(found) == "tiny: 1 of 6 runs done, 5 waiting; 1 of 4 anchors"


def test_the_command_shows_and_refuses(tmp_path: Path, experiment: Experiment, boost: Callable[..., Outcome]) -> None:
    file = tmp_path / "tiny.yaml"
    put_state(state_folder(tmp_path, experiment), record(1000, 100.0, psnr_db=21.5))
    with hold(state_folder(tmp_path, experiment)):
        shown = boost("status", file, "--folder", tmp_path)
        printed = boost("status", file, "--folder", tmp_path, "--json")
    assert shown.code == 0
    first, second, last = shown.out.splitlines()
    assert first.split()[:4] == ["clip", NAME, "running", "training"]
    assert all(part in first for part in ("1000/100000", "21.50 dB", f"process {os.getpid()}"))
    assert second.split()[:4] == ["other", NAME, "waiting", "training"]
    assert last.startswith("tiny: 0 of 2 runs done, 1 running, 1 waiting; about")
    values = json.loads(printed.out)
    assert values["counts"]["running"] == 1
    assert values["runs"][0]["holder"]["pid"] == os.getpid()
    assert not values["complete"]
    refused = boost("status", file, "--folder", tmp_path / "nowhere")
    assert refused.code == 2
    assert "nowhere does not exist; give the one in which the workflow runs" in refused.err
    assert boost("status", tmp_path / "none.yaml").code == 2


def test_watching_ends_when_all_is_done(tmp_path: Path, experiment: Experiment, boost: Callable[..., Outcome]) -> None:
    seen = looks(experiment, tmp_path, 0.01)
    assert next(seen).counts["waiting"] == 2
    finished = {f"{name}__safetensors": "" for name in ("model", "finetuned")}
    reports = {f"{name}__json": {"psnr_db": 30} for name in ("encode", "decode", "quality")}
    for video in ("clip", "other"):
        put(tmp_path, video, **finished, **reports)
    assert [found.complete for found in seen] == [True]
    done = boost("status", tmp_path / "tiny.yaml", "--folder", tmp_path, "--watch", "0.1")
    assert done.out.splitlines()[-1] == "tiny: 2 of 2 runs done"


def test_of_many_runs_a_screen_shows_those_that_matter() -> None:
    runs = [Standing("clip", str(number), "waiting") for number in range(100)]
    runs += [Standing("clip", "a", "running"), Standing("clip", "b", "failed"), Standing("clip", "c", "done")]
    assert [each.run for each in table_runs(runs)] == ["b", "a"]
    assert table_runs(runs[:10]) == runs[:10]
    found = Overview("tiny", tuple(runs), 0, 0, None)
    with (console := Console(width=100)).capture() as captured:
        console.print(status.table(found))
    assert "and 101 more runs" in captured.get()
    assert "tiny: 1 of 103 runs done, 1 running, 1 failed, 100 waiting" in captured.get()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min"), (5460, "1 h 31 min"), (200_000, "2 days 7 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
