from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from boostnerv.errors import UserError
from boostnerv.training.state import SaveTimer, StateFolder, StopRequest
from tests.test_files import small_disk
from tests.training.conftest import Train, place


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state/train", "a")
    assert state.load() is None
    with state.locked():
        state.save({"step": 7, "weights": torch.arange(3.0), "records": [{"loss": 0.1}]})
        loaded = state.load()
    assert loaded is not None
    assert (loaded["step"], loaded["records"]) == (7, [{"loss": 0.1}])
    assert torch.equal(loaded["weights"], torch.arange(3.0))
    assert [path.name for path in (tmp_path / "state/train").iterdir()] == ["state.pt"]


def test_only_who_holds_the_folder_saves(tmp_path: Path) -> None:
    state = StateFolder(tmp_path, "a")
    with pytest.raises(AssertionError):
        state.save({"step": 1})
    with state.locked():
        (tmp_path / "lock").unlink()
        with pytest.raises(UserError, match="has taken over the training in .*, or its lock was deleted; leave it to"):
            state.save({"step": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("identity", ["b", ""])
def test_another_identity_is_refused(tmp_path: Path, identity: str) -> None:
    state = StateFolder(tmp_path / "s", "a")
    with state.locked():
        state.save({"step": 1})
    with pytest.raises(UserError, match=r"state\.pt belongs to another configuration, .* or delete .* to start again"):
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


def test_a_hangup_is_noted_as_often_as_it_comes() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal_number == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal_number is None
    finally:
        signal.signal(signal.SIGHUP, before)


# The disk is full at the end, in the index, in the middle.
@pytest.mark.parametrize("values", [16_000, 16_300, 100_000])
def test_a_full_disk_keeps_the_older_state(tmp_path: Path, values: int) -> None:
    with small_disk(tmp_path / "disk") as disk:
        state = StateFolder(disk / "state", "a")
        with state.locked():
            state.save({"step": 1})
            with pytest.raises(UserError, match=r"no space left on the disk of .* while writing state\.pt: free some"):
                state.save({"step": 2, "weights": torch.ones(values)})
            loaded = state.load()
        assert loaded is not None
        assert loaded["step"] == 1
        assert [path.name for path in (disk / "state").iterdir()] == ["state.pt"]
