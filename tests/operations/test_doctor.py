"""Findings say what is wrong and what to do: versions, folder, and a cluster whose answers differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boostnerv.codec.entropy.symbols import CONSTRICTION
from boostnerv.config import Cluster
from boostnerv.operations import doctor
from boostnerv.operations.cluster import Profile, parse_config, parse_nodes, parse_records
from tests.conftest import Outcome
from tests.operations.test_cluster import CONFIG, NODES, PARTITION
from tests.video.test_ffmpeg import of_version


@pytest.mark.parametrize(
    ("version", "wanted", "holds"),
    [
        ("2.13.0+cpu", ">=2.11", True),
        ("2.9", ">=2.11", False),
        ("9.27.1", ">=9.9,<10", True),
        ("9.27.1", "<10,>=9.9", True),
        ("10.0", ">=9.9,<10", False),
        ("0.5.0", "==0.5.0", True),
        ("0.5", "==0.5.0", True),
        ("0.5.1", "==0.5.0", False),
        ("3.0rc1", ">=3", True),
        ("1.0", "!=1.0", False),
        ("1.0", "", True),
    ],
)
def test_versions(version: str, wanted: str, holds: bool) -> None:
    assert doctor.within(version, wanted) is holds


@pytest.mark.parametrize(("installed", "said"), [(CONSTRICTION, False), (None, False), ("0.4.2", True)])
def test_another_constriction_is_noted(installed: str | None, said: bool) -> None:
    found = doctor._examine_coder(installed)
    assert [(each.mark, each.about) for each in found] == [("note", "constriction")] * said
    assert all(f"constriction {installed} " in each.says and f"with {CONSTRICTION}" in each.says for each in found)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [(30, 30), ("30", 30), ("2h", 120), ("1d", 1440), ("1d 12h", 2160), ("90m", 90), (None, None), ("", None)],
)
def test_runtimes(text: object, minutes: int | None) -> None:
    assert doctor.runtime_min(text) == minutes


def profile(status_command: str | None = None, **resources: object) -> Profile:
    return Profile(Path("slurm/config.yaml"), "slurm", status_command, resources)


def config(**changes: str) -> dict[str, str]:
    return {**parse_config(CONFIG), **changes}


def test_without_accounting_squeue_is_needed() -> None:
    wrong, age = doctor.examine_status_command(profile(), config())
    assert (wrong.mark, wrong.remedy) == ("wrong", "slurm-status-command: squeue")
    assert "wait forever" in wrong.says
    assert age.mark == "ok"
    assert doctor.examine_status_command(profile("sacct"), config())[0].mark == "wrong"
    assert {finding.mark for finding in doctor.examine_status_command(profile("squeue"), config())} == {"ok"}


def test_squeue_must_remember_long_enough() -> None:
    for text, mark in (("60 sec", "wrong"), ("119", "wrong"), ("120 sec", "ok"), ("1 hour", "ok"), ("5 min", "ok")):
        findings = doctor.examine_status_command(profile("squeue"), config(minjobage=text))
        assert [finding.mark for finding in findings] == ["ok", mark], text


def test_accounting_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = config(accountingstoragetype="accounting_storage/slurmdbd", minjobage="60 sec")
    sacct = tmp_path / "sacct"
    monkeypatch.setenv("PATH", str(tmp_path))
    sacct.write_text("#!/bin/sh\nexit 0\n")
    sacct.chmod(0o755)
    (found,) = doctor.examine_status_command(profile(), kept)
    assert found.mark == "ok"
    sacct.write_text("#!/bin/sh\necho 'sacct: error: Problem talking to the database' >&2\nexit 1\n")
    wrong, age = doctor.examine_status_command(profile(), kept)
    assert (wrong.mark, age.mark) == ("wrong", "wrong")
    assert "Problem talking to the database" in wrong.says


def with_cluster(**settings: Any) -> Profile:
    return dataclasses.replace(profile(slurm_partition="gpu"), cluster=Cluster(**settings))


def test_how_gpus_are_asked_for() -> None:
    nodes, gpus, gres, none = parse_nodes(NODES), *(with_cluster(gpu_style=style) for style in ("gpus", "gres", "none"))
    assert "gpu_style: gpus" in doctor.examine_gpu_style(gpus, config(), nodes).says
    assert "models: a100, a100_1g.5gb, v100" in doctor.examine_gpu_style(gpus, config(), nodes).says
    for select in ("select/cons_res", "select/linear"):
        older = config(selecttype=select, grestypes="nvme,gpu")
        found = doctor.examine_gpu_style(gpus, older, nodes)
        assert (found.mark, found.remedy) == ("wrong", 'config: ["cluster={gpu_style: gres}"]')
        assert doctor.examine_gpu_style(gres, older, nodes).mark == "ok"
    found = doctor.examine_gpu_style(gpus, config(grestypes="(null)"), nodes)
    assert (found.mark, "no GPUs" in found.says) == ("wrong", True)
    assert doctor.examine_gpu_style(none, config(grestypes="(null)"), nodes).mark == "ok"


def test_no_job_asks_for_more_time_than_there_is() -> None:
    nodes = [row for row in parse_nodes(NODES) if row.partition == "gpu"]
    (limit_min,) = {row.limit_min for row in nodes}
    assert limit_min is not None
    for asked_min, mark in ((None, "wrong"), (limit_min + 1, "wrong"), (limit_min, "ok")):
        (found,) = doctor.examine_max_runtime(with_cluster(max_runtime_min=asked_min), nodes)
        assert found.mark == mark, asked_min
        assert mark == "ok" or found.remedy == f'config: ["cluster={{max_runtime_min: {limit_min}}}"]'
    unlimited = [dataclasses.replace(row, limit_min=None) for row in nodes]
    assert doctor.examine_max_runtime(with_cluster(), unlimited) == []


def test_partitions_and_default_resources() -> None:
    nodes = parse_nodes(NODES)
    *listed, chosen = doctor.examine_partitions(profile(slurm_partition="gpu", runtime="1d", mem_mb=1000), nodes)
    assert [finding.mark for finding in listed] == ["ok", "ok", "note", "ok"]  # all nodes of mig are down
    assert "gpu: 11 nodes, 11 up, with 4 × a100, 2 × v100 each" in listed[1].says.replace(
        "2 × v100, 4 × a100", "4 × a100, 2 × v100"
    )
    assert "no time limit" in listed[2].says
    assert chosen.mark == "ok"
    without = doctor.examine_partitions(profile(slurm_partition="cpu"), nodes)[-1]
    assert (without.mark, without.remedy) == ("note", "default-resources: slurm_partition: gpu (or mig, tiny)")
    assert "default one: gpu" in doctor.examine_partitions(profile(), nodes)[-1].says
    for resources, says in (
        ({"slurm_partition": "gpuu"}, "no partition 'gpuu'"),
        ({"slurm_partition": "gpu", "runtime": "2d"}, "wants 2880 minutes"),
        ({"slurm_partition": "tiny", "mem_mb": "30000"}, "wants 30000 MB"),
    ):
        wrong = doctor.examine_partitions(profile(**resources), nodes)[-1]
        assert wrong.mark == "wrong"
        assert says in wrong.says
        assert wrong.remedy


def test_memory_of_jobs_that_name_none() -> None:
    partitions = parse_records(PARTITION)
    assert doctor.examine_memory(profile(mem_mb=1000), config(), partitions).mark == "ok"
    wrong = doctor.examine_memory(profile(slurm_partition="gpu"), config(), partitions)
    assert wrong.mark == "wrong"
    assert "all of a node" in wrong.says
    limited = parse_records(PARTITION.replace("DefMemPerNode=UNLIMITED", "DefMemPerCPU=4000"))
    assert doctor.examine_memory(profile(slurm_partition="gpu"), config(), limited).mark == "note"
    assert doctor.examine_memory(profile(), config(defmempercpu="4000"), partitions).mark == "note"


def test_time_to_save() -> None:
    assert doctor.examine_kill_wait(profile(), config()).mark == "note"
    assert doctor.examine_kill_wait(profile(), config(killwait="30 sec")).mark == "ok"
    assert doctor.examine_kill_wait(profile(), {}).mark == "ok"
    assert doctor.examine_kill_wait(profile(slurm_extra="'--signal=USR1@60'"), config()).mark == "ok"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_machine(folder: Path, boost: Callable[..., Outcome]) -> None:
    outcome = boost("doctor")
    assert outcome.code == 0, outcome
    for part in ("python", "torch", "CPU threads", "ffmpeg", "libx264", "libvmaf", "GiB free", "memory", "snakemake"):
        assert part in outcome.out, outcome.out
    findings = json.loads(boost("doctor", "--json").out)
    assert {finding["mark"] for finding in findings} <= {"ok", "note"}


def test_links_and_locks_are_wrong(folder: Path, boost: Callable[..., Outcome]) -> None:
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[cache]\n    type = hardlink\n")
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/locks/0.output.lock").write_text("results/demo/points.csv\n")
    outcome = boost("doctor", "--json")
    assert outcome.code == 1
    wrong = {finding["about"]: finding for finding in json.loads(outcome.out) if finding["mark"] == "wrong"}
    assert set(wrong) == {"dvc", "lock"}
    assert wrong["dvc"]["remedy"].startswith("run: dvc config --unset cache.type")
    assert "--unlock" in wrong["lock"]["remedy"]


def test_an_ffmpeg_that_is_none(folder: Path, boost: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFMPEG_BINARY", "no-such-program")
    outcome = boost("doctor")
    assert outcome.code == 1
    assert "wrong  ffmpeg      FFMPEG_BINARY names no-such-program" in outcome.out


@pytest.mark.parametrize(
    ("version", "mark", "says", "remedy"),
    [
        ("7.0.2-static", "wrong", "has version 7.0.2-static, and 7.1 or newer is needed", "unset FFMPEG_BINARY"),
        ("N-109468-gd39b34123d", "note", "N-109468-gd39b34123d, ", "of unknown age; set FFMPEG_BINARY"),
        ("7.1.5-0+deb13u1", "ok", "7.1.5-0+deb13u1, ", ""),
    ],
)
def test_the_version_of_ffmpeg(
    version: str,
    mark: str,
    says: str,
    remedy: str,
    folder: Path,
    boost: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FFMPEG_BINARY", str(of_version(folder / "my-ffmpeg", version)))
    outcome = boost("doctor", "--json")
    assert outcome.code == (1 if mark == "wrong" else 0)
    (finding,) = (each for each in json.loads(outcome.out) if each["about"] == "ffmpeg")
    assert finding["mark"] == mark
    assert says in finding["says"]
    assert str(folder / "my-ffmpeg") in finding["says"]
    assert "7.1 or newer" in finding["says"]
    assert remedy in finding["remedy"]
    assert bool(finding["remedy"]) == (mark != "ok")


def test_a_machine_without_slurm(folder: Path, boost: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    outcome = boost("doctor", "--cluster")
    assert outcome.code == 1
    assert "there is no profile slurm/config.yaml" in outcome.out
    assert "sbatch is not on this machine" in outcome.out
