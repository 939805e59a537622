"""A training that was interrupted ends with the same bytes as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from boostnerv.codec.keyframes.keyframe_files import open_keyframes
from boostnerv.config import FinetuneJob, TrainJob, parse
from boostnerv.errors import InterruptedBySignal, UserError
from boostnerv.files import canonical_json
from boostnerv.progress import silent
from boostnerv.training.run import train_video
from boostnerv.training.setting import TrainingData, TrainingMachine
from boostnerv.video.collections import open_collection
from tests import many
from tests.models.tiny import ALL
from tests.training.conftest import Result, Train, finetune_job, place, train_job, write_clip

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Three epochs of four steps: the first step, mid-epoch, at an epoch's end, behind an evaluation, the last but one.
STEPS = (1, 2, 4, 8, 11)


class Killed(BaseException):
    """The process is gone: nothing is saved any more."""


def kill_at(step: int) -> object:
    def progress(done: int, note: str = "") -> None:
        if done == step:
            raise Killed

    return progress


def signal_at(step: int, number: signal.Signals) -> object:
    sent = []

    def progress(done: int, note: str = "") -> None:
        if done == step and not sent:
            sent.append(done)
            os.kill(os.getpid(), number)

    return progress


def same(found: Result, expected: Result) -> None:
    assert found.checkpoint.read_bytes() == expected.checkpoint.read_bytes()
    assert found.records() == expected.records()
    assert found.is_kept()


def interrupted(result: Result) -> None:
    """The state is there and no result is."""
    assert (result.state / "state.pt").exists()
    assert not result.checkpoint.exists()
    assert not result.log.exists()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("step", STEPS)
def test_a_signal_at_any_step(name: str, step: int, train: Train, uninterrupted: Train, tmp_path: Path) -> None:
    job = train_job(name)
    whole = uninterrupted(job)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(InterruptedBySignal) as caught:
        train(job, progress=signal_at(step, signal.SIGTERM))
    assert caught.value.signal_number == signal.SIGTERM
    assert str(caught.value) == (
        f"stopped by SIGTERM in epoch {(step - 1) // 4 + 1} of 3; the state is saved, run the same command to resume"
    )
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    interrupted(place(tmp_path, "train"))

    steps: list[int] = []
    same(train(job, progress=lambda done, note="": steps.append(done)), whole)
    assert steps[:2] == [step, step + 1]  # it went on, it did not begin again


# Its bases are found anew every ten steps; the first step only looks at the gradients.
@pytest.mark.parametrize("step", [1, 2, 9, 10, 11])
def test_the_fast_recipe_goes_on_too(step: int, train: Train, uninterrupted: Train, tmp_path: Path) -> None:
    job = train_job(recipe="fast")
    whole = uninterrupted(job)
    with pytest.raises(InterruptedBySignal):
        train(job, progress=signal_at(step, signal.SIGTERM))
    same(train(job), whole)


@pytest.mark.parametrize("number", SIGNALS)
def test_all_signals_that_ask_to_stop(number: signal.Signals, train: Train) -> None:
    with pytest.raises(InterruptedBySignal, match=f"stopped by {number.name}"):
        train(progress=signal_at(3, number))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("step", [1, 5, 7])
def test_fine_tuning_goes_on_too(
    name: str,
    step: int,
    uninterrupted: Train,
    finetune: Train,
    uninterrupted_finetuning: Train,
    tmp_path: Path,
) -> None:
    trained = uninterrupted(train_job(name)).checkpoint
    whole = uninterrupted_finetuning(trained)
    with pytest.raises(InterruptedBySignal):
        finetune(trained, progress=signal_at(step, signal.SIGTERM))
    interrupted(place(tmp_path, "finetune"))
    same(finetune(trained), whole)


def test_a_signal_in_the_last_step_comes_too_late(train: Train, uninterrupted: Train, tmp_path: Path) -> None:
    whole = uninterrupted()
    same(train(progress=signal_at(12, signal.SIGTERM)), whole)


@pytest.mark.parametrize("step", [2, 7, 12])
def test_a_kill_loses_the_steps_since_the_last_save_and_no_bit(
    step: int, train: Train, uninterrupted: Train, tmp_path: Path
) -> None:
    whole = uninterrupted()
    with pytest.raises(Killed):
        train(save_every_s=0, progress=kill_at(step))
    interrupted(place(tmp_path, "train"))
    steps: list[int] = []
    same(train(progress=lambda done, note="": steps.append(done)), whole)
    assert steps[:2] == [step - 1, step]  # saved behind the step before


def test_a_kill_before_the_first_save_begins_again(train: Train, uninterrupted: Train, tmp_path: Path) -> None:
    whole = uninterrupted()
    with pytest.raises(Killed):
        train(progress=kill_at(5))
    assert not (place(tmp_path, "train").state / "state.pt").exists()
    same(train(), whole)


def test_many_interruptions(train: Train, uninterrupted: Train, tmp_path: Path) -> None:
    whole = uninterrupted()
    for step in (1, 3, 4, 9):
        with pytest.raises(InterruptedBySignal):
            train(progress=signal_at(step, signal.SIGUSR1))
    same(train(), whole)


def test_the_state_of_other_settings_is_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(InterruptedBySignal):
        train(progress=signal_at(3, signal.SIGTERM))
    before = (tmp_path / "state/train/state.pt").read_bytes()
    for other in (train_job(seed=2), train_job(epochs=4), train_job("nerv-boost")):
        with pytest.raises(UserError, match="belongs to another configuration, another video or another version"):
            train(other)
    with pytest.raises(UserError, match="belongs to another configuration, another video"):
        train(frames=write_clip(tmp_path, seed=9))
    assert (tmp_path / "state/train/state.pt").read_bytes() == before


def test_fine_tuning_of_another_checkpoint_is_another_fine_tuning(
    train: Train, finetune: Train, tmp_path: Path
) -> None:
    first, second = (train(train_job(seed=seed), folder=tmp_path / str(seed)).checkpoint for seed in (1, 2))
    with pytest.raises(InterruptedBySignal):
        finetune(first, progress=signal_at(3, signal.SIGTERM))
    with pytest.raises(UserError, match="belongs to another configuration"):
        finetune(second)


def test_the_live_log_tells_of_finished_epochs_only(train: Train, tmp_path: Path) -> None:
    with pytest.raises(InterruptedBySignal):
        train(progress=signal_at(9, signal.SIGTERM))
    live = tmp_path / "state/train/log.jsonl"
    assert [json.loads(line)["epoch"] for line in live.read_text().splitlines()] == [1, 2]


# --- the command in a process of its own ------------------------------------------------------------------------


def command(verb: str, frames: Path, job: TrainJob | FinetuneJob, result: Result, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "boostnerv", verb, "--frames", str(frames)),
        *("--settings", canonical_json(job.model_dump(mode="json")), "--state", str(result.state)),
        *("--output", str(result.checkpoint), "--log", str(result.log), "--device", "cpu", "--threads", "1", *more),
    ]


def stop_while_running(arguments: list[str], result: Result, number: signal.Signals) -> tuple[int, str]:
    """Start the command, send a signal after its first epoch; returns exit code and stderr."""
    live = result.state / "log.jsonl"
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 60
            while not (live.exists() and live.stat().st_size):
                assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
                assert time.monotonic() < until
                time.sleep(0.005)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, errors


def test_commands_that_are_stopped_and_run_again(
    clip: Path, train: Train, uninterrupted: Train, finetune: Train, tmp_path: Path
) -> None:
    job, second_job = train_job(epochs=40), finetune_job(epochs=30)
    whole = uninterrupted(job)
    result = place(tmp_path, "train")
    arguments = command("train", clip, job, result)
    code, errors = stop_while_running(arguments, result, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM == 143
    assert "boostnerv: stopped by SIGTERM in epoch" in errors
    assert "Traceback" not in errors
    interrupted(result)
    subprocess.run(arguments, check=True, capture_output=True)
    same(result, whole)

    trained, result = result.checkpoint, place(tmp_path, "finetune")
    arguments = command("finetune", clip, second_job, result, "--model", str(trained))
    code, errors = stop_while_running(arguments, result, signal.SIGUSR1)
    assert code == 128 + signal.SIGUSR1
    assert "boostnerv: stopped by SIGUSR1 in epoch" in errors
    interrupted(result)
    whole = finetune(trained, second_job, folder=tmp_path / "whole")
    same(finetune(trained, second_job), whole)  # here this process goes on


def test_what_the_user_did_wrong_is_a_sentence_and_exit_code_two(clip: Path, tmp_path: Path) -> None:
    arguments = command("train", clip, train_job(), place(tmp_path, "train"))
    arguments[arguments.index("--settings") + 1] = '{"model": {"name": "hnerv-bost"}}'
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("boostnerv: --settings: ")
    assert "unknown model 'hnerv-bost': did you mean 'hnerv-boost'?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# --- many videos, read ahead -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d-nerv", "d-nerv-baseline"])
def test_a_training_on_many_videos_goes_on_too(name: str, tmp_path: Path) -> None:
    many.write_videos(tmp_path)
    videos = open_collection(many.gather(tmp_path))
    keyframes = open_keyframes(many.code_keyframes(videos.path, tmp_path / "keyframes.json"))
    job = parse(TrainJob, many.train_job(name, epochs=3), "job")

    def train(folder: str, progress: object = silent) -> Result:
        result = place(tmp_path / folder, "train")
        machine = TrainingMachine(torch.device("cpu"), 1e9, progress)  # type: ignore[arg-type]
        train_video(TrainingData(videos, keyframes if name == "d-nerv" else None), job, result.outputs, machine)
        return result

    whole = train("whole")
    # Six clips of four patches in batches of four: six steps an epoch.
    for step in (1, 6, 8, 17):
        with pytest.raises(InterruptedBySignal):
            train(str(step), signal_at(step, signal.SIGTERM))
        interrupted(place(tmp_path / str(step), "train"))
        steps: list[int] = []
        same(train(str(step), lambda done, note="", steps=steps: steps.append(done)), whole)
        assert steps[:2] == [step, step + 1]
        assert "prefetcher" not in {thread.name for thread in threading.enumerate()}
