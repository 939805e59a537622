from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from boostnerv.errors import UserError
from boostnerv.training.state import SaveTimer, StateFolder, StopRequest
from tests.training.conftest import Train, place, train_job

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write('{"host": "elsewhere", "pid": 4711}')
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state/train", "a")
    assert state.load() is None
    with state.locked():
        state.save({"step": 7, "weights": torch.arange(3.0), "records": [{"loss": 0.1}]})
        loaded = state.load()
    assert loaded is not None
    assert (loaded["step"], loaded["records"]) == (7, [{"loss": 0.1}])
    assert torch.equal(loaded["weights"], torch.arange(3.0))
    state.remove()
    assert not (tmp_path / "state").exists()
    assert tmp_path.exists()


def test_a_folder_with_the_state_of_another_step_stays(tmp_path: Path) -> None:
    first, second = (StateFolder(tmp_path / "state" / name, "a") for name in ("train", "finetune"))
    with first.locked(), second.locked():
        first.remove()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["finetune"]


@pytest.mark.parametrize("identity", ["b", ""])
def test_another_identity_is_refused(tmp_path: Path, identity: str) -> None:
    with StateFolder(tmp_path / "s", "a").locked():
        StateFolder(tmp_path / "s", "a").save({"step": 1})
    with pytest.raises(UserError, match=r"state\.pt belongs to another configuration .* or delete .* to start again"):
        StateFolder(tmp_path / "s", identity).load()


@pytest.mark.parametrize("data", [b"", b"no state", b"PK\x03\x04 cut off"])
def test_a_state_that_cannot_be_read(tmp_path: Path, train: Train, data: bytes) -> None:
    folder = place(tmp_path, "train").state
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"state\.pt cannot be read \(.*\); delete .*train to start again"):
        train()
    assert (folder / "state.pt").read_bytes() == data


def test_a_state_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"trap": Trap()}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="cannot be read"):
        StateFolder(tmp_path, "a").load()
    assert not (tmp_path / "sprung").exists()


def test_a_folder_in_use_names_its_holder(tmp_path: Path, train: Train) -> None:
    result = place(tmp_path, "train")
    result.state.mkdir(parents=True)
    arguments = [sys.executable, "-c", HOLD, str(result.state / "lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"is in use by another process \(.*elsewhere.*4711.*\); wait for it"):
            train()
        assert not result.checkpoint.exists()
    train()  # the lock went with its holder
    assert result.checkpoint.exists()


def test_the_lock_names_this_process(tmp_path: Path) -> None:
    state = StateFolder(tmp_path, "a")
    for _ in range(2):
        with state.locked():
            assert f'"pid": {os.getpid()}' in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text().count("pid") == 1


def test_a_finished_training_leaves_nothing_behind(train: Train, tmp_path: Path) -> None:
    train(train_job(epochs=1), save_every_s=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl", "train.safetensors"]


def test_a_second_signal_acts_as_it_would_have() -> None:
    noticed: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: noticed.append(number))
    try:
        with StopRequest() as stop:
            assert stop.signal_number is None
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signal_number == signal.SIGUSR1
            assert noticed == []
            os.kill(os.getpid(), signal.SIGUSR1)
            assert noticed == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_saves_are_not_too_frequent() -> None:
    timer = SaveTimer(1e6)
    assert not timer.due()
    timer = SaveTimer(0)
    assert timer.due()
    assert timer.due()
