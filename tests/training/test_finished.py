"""A training that finished is found, and nothing else is taken for it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from boostnerv.config import TrainJob
from boostnerv.errors import InterruptedBySignal, UserError
from boostnerv.training import run
from boostnerv.training.finished import forget_finished, keep, take
from boostnerv.versions import STEP_VERSIONS
from tests.training.conftest import Result, Train, finetune_job, place, train_job, write_clip
from tests.training.test_resume import command, signal_at

FOUND = "{0.checkpoint}: found finished in {0.state}, nothing is trained again\n"


def never(done: int, note: str = "") -> None:
    raise AssertionError("nothing is trained")


def contents(result: Result) -> tuple[bytes, bytes]:
    return result.checkpoint.read_bytes(), result.log.read_bytes()


def forget_outputs(result: Result) -> None:
    """As Snakemake does before it runs a job again."""
    result.checkpoint.unlink()
    result.log.unlink()


@pytest.fixture
def trained(train: Train) -> Result:
    return train(train_job(epochs=1))


def test_a_training_is_found(trained: Result, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(trained)
    assert trained.is_kept()
    assert trained.checkpoint.stat().st_nlink == trained.log.stat().st_nlink == 2
    forget_outputs(trained)
    os.utime(trained.state / "finished.safetensors", (0, 0))
    for _ in range(2):  # the outputs are there the second time
        train(train_job(epochs=1), progress=never)
        assert contents(trained) == before
        assert capfd.readouterr().err == FOUND.format(trained)
    assert trained.is_kept()
    # No copy, and newer than what it was made of.
    assert trained.checkpoint.samefile(trained.state / "finished.safetensors")
    assert trained.checkpoint.stat().st_mtime > time.time() - 3600


def test_a_fine_tuning_is_found_by_its_checkpoint(trained: Result, train: Train, finetune: Train) -> None:
    tuned = finetune(trained.checkpoint, finetune_job(epochs=1))
    before = contents(tuned)
    forget_outputs(tuned)
    forget_outputs(trained)
    train(train_job(epochs=1), progress=never)
    assert contents(finetune(trained.checkpoint, finetune_job(epochs=1), progress=never)) == before
    # That of another checkpoint is another one.
    other = train(train_job(epochs=1, seed=2), folder=tuned.state.parents[1] / "other")
    with pytest.raises(AssertionError, match="nothing is trained"):
        finetune(other.checkpoint, finetune_job(epochs=1), progress=never)


@pytest.mark.parametrize("job", [train_job(epochs=1, seed=2), train_job(epochs=2), train_job("nerv-boost", epochs=1)])
def test_one_of_other_settings_is_not(job: TrainJob, trained: Result, train: Train, tmp_path: Path) -> None:
    before, expected = contents(trained), train(job, folder=tmp_path / "alone")
    train(job)
    assert trained.checkpoint.read_bytes() == expected.checkpoint.read_bytes()
    assert trained.is_kept()
    # The one that was kept before is kept no more.
    with pytest.raises(AssertionError, match="nothing is trained"):
        train(train_job(epochs=1), progress=never)
    (trained.state / "good.pt").unlink()
    assert contents(train(train_job(epochs=1)))[0] == before[0]


def test_one_of_another_video_is_not(trained: Result, train: Train, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nothing is trained"):
        train(train_job(epochs=1), frames=write_clip(tmp_path, seed=9), progress=never)


def test_one_of_another_version_is_not_and_no_state_is(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, stopped = tmp_path / "finished", tmp_path / "stopped"
    train(train_job(epochs=1), folder=finished)
    with pytest.raises(InterruptedBySignal):
        train(folder=stopped, progress=signal_at(3, 15))
    monkeypatch.setattr(run, "STEP_VERSIONS", {**STEP_VERSIONS, "train": STEP_VERSIONS["train"] + 1})
    with pytest.raises(AssertionError, match="nothing is trained"):
        train(train_job(epochs=1), folder=finished, progress=never)
    with pytest.raises(UserError, match="belongs to .* another version of this step"):
        train(folder=stopped)


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    """What a process that writes in place would do to it, and to the output that it is."""

    def write(folder: Path) -> None:
        with open(folder / name, "r+b") as file:
            file.truncate(100)

    return write


@pytest.mark.parametrize(
    "damage",
    [
        *(lose("finished.json"), lose("finished.jsonl"), lose("finished.safetensors")),
        *(cut("finished.json"), cut("finished.jsonl"), cut("finished.safetensors")),
    ],
)
def test_one_that_is_half_kept_is_made_again(damage: Callable[[Path], None], trained: Result, train: Train) -> None:
    before = trained.checkpoint.read_bytes()
    damage(trained.state)
    steps: list[int] = []
    train(train_job(epochs=1), progress=lambda done, note="": steps.append(done))
    assert steps[:4] == [1, 2, 3, 4]
    assert trained.checkpoint.read_bytes() == before
    assert trained.is_kept()


def test_an_output_that_is_written_again_is_another_file(trained: Result, train: Train, tmp_path: Path) -> None:
    before, aside = contents(trained), tmp_path / "aside"
    trained.state.rename(aside)
    train(train_job(epochs=1, seed=2))
    assert trained.checkpoint.read_bytes() != before[0]
    assert ((aside / "finished.safetensors").read_bytes(), (aside / "finished.jsonl").read_bytes()) == before


def test_outputs_on_another_disk_are_copied(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        model, log = tmp_path / "model.safetensors", tmp_path / "train.jsonl"
        model.write_bytes(b"weights")
        log.write_bytes(b"{}\n")
        keep(Path(name), "a", model, log)
        model.unlink()
        log.unlink()
        assert not take(Path(name), "b", model, log)
        assert not model.exists()
        assert take(Path(name), "a", model, log)
        assert (model.read_bytes(), log.read_bytes()) == (b"weights", b"{}\n")


def test_a_second_process_waits_and_takes_the_result(clip: Path, train: Train, tmp_path: Path) -> None:
    job = train_job(epochs=20)
    whole, result = train(job, folder=tmp_path / "whole"), place(tmp_path, "train")
    arguments = command("train", clip, job, result)
    first = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (result.state / "lock").exists():
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    second = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    errors = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), errors
    assert FOUND.format(result) in errors[1]
    assert FOUND.format(result) not in errors[0]
    assert result.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert result.records() == whole.records()
    assert result.is_kept()


def test_kept_results_are_forgotten_where_the_outputs_are(tmp_path: Path) -> None:
    def kept(name: str, step: str) -> Path:
        run, folder = tmp_path / "video" / name, tmp_path / "video" / name / "state" / step
        folder.mkdir(parents=True)
        outputs = run / f"{step}.safetensors", run / f"{step}.jsonl"
        for output in outputs:
            output.write_text(step)
        keep(folder, "a", *outputs)
        return folder

    whole, lost, held, open_ = (kept(name, "train") for name in ("whole", "lost", "held", "open"))
    tuned = kept("whole", "finetune")
    (lost.parents[1] / "train.jsonl").unlink()
    (held / "lock").write_text("")
    (open_.parent / "finetune").mkdir()
    (open_.parent / "finetune" / "state.pt").write_text("")
    forget_finished(tmp_path)
    assert not whole.parent.exists()
    assert not tuned.exists()
    assert (whole.parents[1] / "train.safetensors").read_text() == "train"
    assert (lost / "finished.jsonl").read_text() == "train"
    assert (held / "finished.json").exists()
    assert [path.name for path in open_.parent.iterdir()] == ["finetune"]
    forget_finished(tmp_path / "no such experiment")
