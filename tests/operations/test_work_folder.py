"""Links of DVC are found wherever its configuration says so; a lock is told whose it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boostnerv.operations.work_folder import Run, begin_run, dvc_link_problem, end_run, find_lock


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    for name in ("user", "system", "repository/.dvc", "repository/inside"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "repository"


def set_type(folder: Path, kinds: str, name: str = "config") -> None:
    (folder / name).write_text(
        f"[core]\n    remote = there\n['remote \"there\"']\n    url = /x\n[cache]\n    dir = /c\n    type = {kinds}\n"
    )


@pytest.mark.parametrize(
    ("place", "option"),
    [("repository/.dvc", ""), ("user", " --global"), ("system", " --system")],
)
@pytest.mark.parametrize("kinds", ["hardlink", "symlink", '"reflink,hardlink,copy"  # fast'])
def test_links_are_a_problem(repository: Path, place: str, option: str, kinds: str) -> None:
    set_type(repository.parent / place, kinds)
    for folder in (repository, repository / "inside"):
        problem = dvc_link_problem(folder)
        assert problem
        assert f"dvc config{option} --unset cache.type" in problem
        assert str(repository.parent / place) in problem


def test_the_local_file_has_an_option_of_its_own(repository: Path) -> None:
    set_type(repository / ".dvc", "hardlink", "config.local")
    assert "dvc config --local --unset cache.type" in str(dvc_link_problem(repository))


def test_what_is_nearer_wins(repository: Path) -> None:
    set_type(repository.parent / "system", "hardlink")
    set_type(repository / ".dvc", "reflink,copy")
    assert dvc_link_problem(repository) is None
    set_type(repository / ".dvc", "symlink", "config.local")
    assert dvc_link_problem(repository)


def test_no_links_no_problem(repository: Path) -> None:
    assert dvc_link_problem(repository) is None
    set_type(repository / ".dvc", "reflink,copy")
    assert dvc_link_problem(repository) is None
    (repository / ".dvc/config").write_text("no [ configuration")
    assert dvc_link_problem(repository) is None
    set_type(repository.parent / "user", "hardlink")
    assert dvc_link_problem(repository.parent) is None  # no repository of DVC


def lock(folder: Path, *files: str) -> None:
    (folder / ".snakemake/locks").mkdir(parents=True, exist_ok=True)
    (folder / ".snakemake/locks/0.output.lock").write_text("".join(f"{file}\n" for file in files))
    (folder / ".snakemake/locks/0.input.lock").write_text("clip/0.png\n")


def other_process(folder: Path, experiment: str, executor: str = "local") -> subprocess.Popen[str]:
    """A process that has begun a run and waits for its input to end."""
    code = f"from boostnerv.operations.work_folder import begin_run; from pathlib import Path; import sys; begin_run(\
Path(), {experiment!r}, ['--configfile', 'my file.yaml'], {executor!r}); print('begun', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    return process


def test_no_lock(tmp_path: Path) -> None:
    assert find_lock(tmp_path) is None
    begin_run(tmp_path, "demo", [], "local")
    assert find_lock(tmp_path) is None
    end_run(tmp_path, "demo")
    end_run(tmp_path, "demo")
    assert not list(tmp_path.glob(".snakemake/*"))


def test_a_lock_of_a_process_that_runs_and_of_one_that_was_killed(tmp_path: Path) -> None:
    lock(tmp_path, "results/demo/points.csv")
    process = other_process(tmp_path, "demo")
    with process:
        found = find_lock(tmp_path)
        assert found
        assert found.run
        assert found.run.pid == process.pid
        assert found.run.command == "snakemake --configfile 'my file.yaml'"
        assert "is still running; wait until it has ended" in found.sentence("snakemake")
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet collected
        assert found.run.is_running() is False
    sentence = found.sentence("snakemake -c 1")
    assert f"process {process.pid} of " in sentence
    assert "ended without clearing its lock; clear it with `snakemake -c 1 --unlock`" in sentence


def test_jobs_of_a_cluster_outlive_the_run(tmp_path: Path) -> None:
    lock(tmp_path, "results/demo/points.csv")
    with other_process(tmp_path, "demo", "slurm") as process:
        process.kill()
    found = find_lock(tmp_path)
    assert found
    assert "its jobs may still run: squeue --me" in found.sentence("snakemake")


def test_another_machine_and_another_boot(tmp_path: Path) -> None:
    begin_run(tmp_path, "demo", [], "local")
    lock(tmp_path, "results/demo/points.csv")
    mine = find_lock(tmp_path)
    assert mine
    assert mine.run
    assert mine.run.is_running() is True
    fields = vars(mine.run)
    assert Run(**{**fields, "boot_id": "another"}).is_running() is False
    assert Run(**{**fields, "started_ticks": 1}).is_running() is False
    away = Run(**{**fields, "host": "elsewhere"})
    assert away.is_running() is None
    assert "check there whether it is still running" in type(mine)(mine.files, mine.since, away).sentence("snakemake")


def test_a_lock_that_nobody_signed(tmp_path: Path) -> None:
    lock(tmp_path, "results/demo/points.csv")
    (tmp_path / ".snakemake/boostnerv-run-demo.json").write_text('{"pid": 3')
    found = find_lock(tmp_path)
    assert found
    assert found.run is None
    sentence = found.sentence("snakemake -c 1")
    assert "the owner of the lock is not recorded" in sentence
    assert "`snakemake -c 1 --unlock`" in sentence


def test_locks_of_other_files_are_no_concern(tmp_path: Path) -> None:
    lock(tmp_path, "results/demo/points.csv", "data/frames/bunny/bunny/a.json")
    begin_run(tmp_path, "demo", [], "local")
    assert find_lock(tmp_path, ["results/demo2/", "data/frames/bunny/bunny/b."]) is None
    found = find_lock(tmp_path, ["results/demo2/", "data/frames/bunny/bunny/a."])
    assert found
    assert found.files == {"data/frames/bunny/bunny/a.json"}
    assert found.run
