"""Records of a real run of Snakemake are kept, put back, and seen again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from boostnerv.errors import UserError
from boostnerv.files import sha256_of_file
from boostnerv.operations.records import KEPT, METADATA, keep, read, record_path, restore
from tests.workflow.forked import run_snakemake

LONG = "/".join(["folder" * 12] * 5)
RESULTS = Path("results/x")
SNAKEFILE = f"""
rule all:
    input: "results/x/last.txt", "results/x/{LONG}/long.txt", "results/other/o.txt"

rule first:
    input: "data/source.txt"
    output: "data/made.txt"
    shell: "cp {{input}} {{output}}"

rule last:
    input: "data/made.txt"
    output: "results/x/last.txt", "results/x/{LONG}/long.txt"
    log: "results/x/logs/last.log"
    benchmark: "results/x/logs/last.benchmark.tsv"
    params: number=config["number"]
    shell: "cp {{input}} {{output[0]}} 2> {{log}}; cp {{input}} {{output[1]}}"

rule other:
    output: "results/other/o.txt"
    shell: "touch {{output}}"
"""


BROKEN = (
    1,
    {},
    {"input": "x"},
    {"input": [1]},
    {"input": [], "log": [1]},
    {"input": [], "input_checksums": [1]},
    {"input": [], "input_checksums": {"x": 1}},
)
OUTSIDE = ("results/x/../../../victim", "/results/x/victim")


def snakemake(*arguments: str) -> str:
    done = run_snakemake(["--cores", "1", *arguments])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def plan(number: int = 1) -> str:
    return snakemake("--dry-run", "--config", f"number={number}")


def metadata() -> dict[Path, object]:
    return {path: json.loads(path.read_text()) for path in METADATA.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "data").mkdir()
    (folder / "data/source.txt").write_text("source")
    snakemake("--directory", str(folder), "--snakefile", str(folder / "Snakefile"), "--config", "number=1")
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, as the current folder."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_records_stand_where_they_are_expected(here: Path) -> None:
    outputs = ["data/made.txt", "results/x/last.txt", f"results/x/{LONG}/long.txt", "results/other/o.txt"]
    assert {record_path(output) for output in outputs} == set(metadata())
    assert len(record_path(outputs[2]).relative_to(METADATA).parts) > 1


def test_they_are_kept_and_put_back(here: Path) -> None:
    before = metadata()
    assert keep(RESULTS) == 3
    kept = (RESULTS / KEPT).read_bytes()
    assert list(read(RESULTS)) == ["data/made.txt", f"results/x/{LONG}/long.txt", "results/x/last.txt"]
    keep(RESULTS)
    assert (RESULTS / KEPT).read_bytes() == kept
    shutil.rmtree(METADATA)
    assert restore(RESULTS) == []
    del before[record_path("results/other/o.txt")]
    assert metadata() == before


def test_a_changed_param_is_seen_again(here: Path) -> None:
    keep(RESULTS)
    shutil.rmtree(METADATA)
    assert "Nothing to be done" in plan(number=2)
    restore(RESULTS)
    assert "Nothing to be done" in plan()
    assert "Params have changed" in plan(number=2)


def test_a_changed_source_is_returned_and_planned(here: Path) -> None:
    keep(RESULTS)
    source = Path("data/source.txt")
    shutil.rmtree("data")
    assert restore(RESULTS) == []
    source.parent.mkdir()
    source.write_text("source")
    assert restore(RESULTS) == []
    assert "Nothing to be done" in plan()
    source.write_text("another")
    os.utime(source, (10**9, 10**9))
    assert restore(RESULTS) == ["data/source.txt"]
    assert "rule first" in plan()


def test_an_intermediate_file_with_other_bytes_is_returned_and_planned(here: Path) -> None:
    """It was made here, as by another version of its rule, and its own record says that it is up to date."""
    keep(RESULTS)
    made, before = Path("data/made.txt"), Path("data/made.txt").read_bytes()
    os.utime("data/source.txt", (10**9, 10**9))
    made.write_text("of another version")
    assert restore(RESULTS) == ["data/made.txt"]
    planned = plan()
    assert "rule last" in planned
    assert "rule first" not in planned
    made.write_bytes(before)
    assert restore(RESULTS) == []
    assert "Nothing to be done" in plan()


def test_a_source_may_lie_anywhere(here: Path) -> None:
    source = here.parent / "own.txt"
    source.write_text("own")
    keep(RESULTS)
    checksums = {str(source): sha256_of_file(source), "../own.txt": "sha256:0", str(here): "0"}
    entry = {"output": "results/x/last.txt", "record": {"input": list(checksums), "input_checksums": checksums}}
    (RESULTS / KEPT).write_text(json.dumps(entry))
    assert restore(RESULTS) == ["../own.txt"]


def test_what_is_here_keeps_its_own_record(here: Path) -> None:
    """The file in data/ was made here; how, only its own record says."""
    keep(RESULTS)
    own = record_path("data/made.txt")
    own.write_text("{}")
    restore(RESULTS)
    assert own.read_text() == "{}"
    Path("data/made.txt").unlink()
    restore(RESULTS)
    assert json.loads(own.read_text())["rule"] == "first"


def test_results_get_one_time(here: Path) -> None:
    keep(RESULTS)
    state = RESULTS / "video/run/state/lock"
    state.parent.mkdir(parents=True)
    state.touch()
    names = ("last.txt", f"{LONG}/long.txt", "logs/last.log", "logs/last.benchmark.tsv")
    for path in (state, *(RESULTS / name for name in names)):
        os.utime(path, (10**9, 10**9))
    before = time.time_ns()
    restore(RESULTS)
    (at,) = {(RESULTS / name).stat().st_mtime_ns for name in names}
    assert state.stat().st_mtime == 10**9
    assert at >= before - 10**9
    assert Path("results/other/o.txt").stat().st_mtime_ns < at


def test_other_files_and_broken_records_are_passed_over(here: Path) -> None:
    (METADATA / "notes.txt").write_text("mine")
    (METADATA / "===").write_text("{}")
    record_path("results/x/cut.txt").write_text('{"rule": "la')
    for number, broken in enumerate(BROKEN):
        record_path(f"results/x/{number}.txt").write_text(json.dumps(broken))
    for output in OUTSIDE:
        record_path(output).write_text(json.dumps({"input": []}))
    assert keep(RESULTS) == 3


def test_records_that_snakemake_lost_are_kept(here: Path) -> None:
    keep(RESULTS)
    kept = (RESULTS / KEPT).read_bytes()
    long = record_path(f"results/x/{LONG}/long.txt")
    long.unlink()
    assert keep(RESULTS) == 3
    assert (RESULTS / KEPT).read_bytes() == kept
    shutil.rmtree(METADATA)
    assert keep(RESULTS) == 3
    assert (RESULTS / KEPT).read_bytes() == kept
    METADATA.mkdir()
    record_path("data/made.txt").write_text(json.dumps({"input": [], "rule": "newer"}))
    (RESULTS / "last.txt").unlink()
    assert keep(RESULTS) == 2
    assert read(RESULTS)["data/made.txt"]["rule"] == "newer"
    assert "results/x/last.txt" not in read(RESULTS)


def test_marks_of_unfinished_results_are_removed(here: Path) -> None:
    keep(RESULTS)
    marks = METADATA.with_name("incomplete")
    outputs = ["results/x/last.txt", f"results/x/{LONG}/long.txt", "results/other/o.txt"]
    paths = [marks / record_path(output).relative_to(METADATA) for output in outputs]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert "rule last" in snakemake("--dry-run", "--rerun-incomplete", "--config", "number=1")
    restore(RESULTS)
    assert [path.exists() for path in paths] == [False, False, True]
    paths[2].unlink()
    assert "Nothing to be done" in plan()


def test_cleaning_leaves_the_records(tmp_path: Path) -> None:
    for name in ("metadata/x", "incomplete/x", "log/x", "locks/x"):
        (tmp_path / ".snakemake" / name).parent.mkdir(parents=True)
        (tmp_path / ".snakemake" / name).touch()
    makefile = Path(__file__).parents[2] / "Makefile"
    for _ in range(2):
        subprocess.run(["make", "--quiet", "--file", makefile, "clean"], cwd=tmp_path, check=True)
        assert {path.name for path in (tmp_path / ".snakemake").iterdir()} == {"metadata", "incomplete"}


def test_mistakes(here: Path) -> None:
    with pytest.raises(UserError, match="there is no record of results/y"):
        keep(Path("results/y"))
    with pytest.raises(UserError, match="does not exist; whoever made these results"):
        restore(RESULTS)
    entries = [{"output": "x"}, {"record": {"input": []}}, *({"output": "x", "record": record} for record in BROKEN)]
    for damaged in ("{", "[1]\n", "\xff", *map(json.dumps, entries)):
        (RESULTS / KEPT).write_text(damaged, encoding="latin-1")
        with pytest.raises(UserError, match=r"is damaged .*; pull it again"):
            restore(RESULTS)


@pytest.mark.parametrize("output", OUTSIDE)
def test_an_output_outside_the_repository_is_refused(here: Path, output: str) -> None:
    before = metadata()
    (RESULTS / KEPT).write_text(json.dumps({"output": output, "record": {"input": []}}))
    with pytest.raises(UserError, match=f"{output} is outside the repository"):
        restore(RESULTS)
    assert metadata() == before
