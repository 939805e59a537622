"""Results are published with DVC and pulled into clones: nothing is planned there, and then what has to be."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from boostnerv.config import load_dataset
from boostnerv.operations.records import KEPT
from boostnerv.video.datasets import source_path
from tests.conftest import Outcome

# One worker makes what the tests share.
pytestmark = pytest.mark.xdist_group("dvc")

ROOT = Path(__file__).parents[2]
VIDEOS = ("first", "second")
# One job of each a video, and one for all of them.
CHAIN = {"train", "finetune", "encode", "decode", "evaluate", "plot_runs"}
REPORT = {"collect", "tabulate", "plot", "page"}
TINY = {
    "name": "tiny",
    "own_videos": [{"path": f"data/raw/tiny/{video}.y4m", "name": video} for video in VIDEOS],
    "strides": [2, 2],
    "models": [{"name": "hnerv-boost", "total_m": [0.06]}],
    "training": {"epochs": 2, "loss": {"l1": 1.0}},
    "finetuning": {"epochs": 1, "loss": {"l1": 1.0}},
}
RUN = Path("results/tiny/first/hnerv-boost-0.06M")
SNAKEMAKE = ("snakemake", "--profile", "profiles/local", "--configfile", "config/tiny.yaml")


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """The package of a clone, and DVC's own state beside it instead of in the home."""
    state = {f"DVC_{name}": str(folder.parent / "dvc" / name) for name in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR")}
    who = {f"GIT_{role}_{key}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    common = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "SMK_ARGS": ""}
    return {**os.environ, **common, **state, **who, **changes}


def run(folder: Path, *command: str, code: int = 0, **changes: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, **changes), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def python(folder: Path, *arguments: str, code: int = 0) -> str:
    return run(folder, sys.executable, "-m", *arguments, code=code)


def planned(folder: Path) -> Counter[str]:
    """How many jobs of each rule a dry run would execute."""
    text = python(folder, *SNAKEMAKE, "--dry-run")
    if "Nothing to be done" in text:
        return Counter()
    table = text.split("Job stats:")[1].split("total")[0].splitlines()[3:]
    return Counter({line.split()[0]: int(line.split()[1]) for line in table if line.strip()}) - Counter(all=1)


def put_video(path: Path, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(16, 236, (8, 24 * 40 * 3 // 2), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    coded = b"".join(b"FRAME\n" + frame.tobytes() for frame in frames)
    path.write_bytes(b"YUV4MPEG2 W40 H24 F25:1 Ip A1:1 C420jpeg\n" + coded)


def put_repository(folder: Path) -> None:
    """This working tree as it is, with a tiny experiment instead of the demo."""
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in listed:
        if name and (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "bench/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "config/tiny.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "dvc.yaml").write_text((folder / "dvc.yaml").read_text().replace("demo", "tiny"))


def publish(folder: Path) -> None:
    """Run it with nothing but `dvc repro`, then push and commit."""
    put_repository(folder)
    for seed, video in enumerate(VIDEOS):
        put_video(folder / f"data/raw/tiny/{video}.y4m", seed)
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    python(folder, "dvc", "add", *(f"data/raw/tiny/{video}.y4m" for video in VIDEOS))
    python(folder, "dvc", "remote", "add", "--default", "folder", str(folder.parent / "remote"))
    # What is left of a training of other settings.
    (folder / RUN / "state/train-old").mkdir(parents=True)
    (folder / RUN / "state/train-old/state.pt").write_bytes(bytes(1000))
    python(folder, "dvc", "repro")
    python(folder, "dvc", "push")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "results")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published results, made once for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "published"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            publish(folder / "origin")
            (folder / "done").touch()
    return folder / "origin"


def clone(origin: Path, folder: Path) -> Path:
    run(ROOT, "git", "clone", "--quiet", str(origin), str(folder))
    return folder


@pytest.fixture(scope="module")
def pulled(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = clone(origin, tmp_path_factory.mktemp("pulled with space") / "clone")
    text = run(folder, "make", "--old-file", ".venv/.installed", "pull", PATH=path_of_the_environment())
    assert "pulled: results/tiny" in text
    return folder


@pytest.fixture(scope="module")
def with_frames(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which a value was changed, up to the frames that it needs."""
    folder = clone(origin, tmp_path_factory.mktemp("frames") / "clone")
    python(folder, "boostnerv", "pull", "tiny")
    assert planned(folder) == Counter()
    config = folder / "config/tiny.yaml"
    config.write_text(yaml.safe_dump({**TINY, "finetuning": {"epochs": 2, "loss": {"l1": 1.0}}}))
    assert planned(folder)["train"] == 2
    refused = python(folder, *SNAKEMAKE, code=2)
    assert f"{RUN}/model.safetensors, results/tiny/second/" in refused
    assert "would be made again for no other reason than that frames are missing" in refused
    (advice,) = re.findall(r"at its end, (.*)", refused)
    python(folder, *SNAKEMAKE, *advice.split())
    return folder


def path_of_the_environment() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.mark.slow
def test_a_bare_repro_runs_once_and_ends_clean(origin: Path) -> None:
    assert (origin / RUN / "video.bnv").stat().st_size > 0
    assert "didn't change, skipping" in python(origin, "dvc", "repro")
    assert run(origin, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_only_results_are_cached(origin: Path) -> None:
    lock = yaml.safe_load((origin / "dvc.lock").read_text())["stages"]["experiment@tiny"]
    (out,) = lock["outs"]
    assert out["path"] == "results/tiny"
    listed = json.loads((origin / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]).read_text())
    names = {entry["relpath"] for entry in listed}
    of_run = RUN.relative_to("results/tiny")
    assert {f"{of_run}/video.bnv", f"{of_run}/model.safetensors", "metrics.json", KEPT} <= names
    assert not [name for name in names if name.endswith(".npy") or "/state/" in name]
    assert (origin / RUN / "state/train-old/state.pt").exists()
    assert {dependency["path"] for dependency in lock["deps"]} == {
        "config/tiny.yaml", "Snakefile", "workflow", "boostnerv"
    }  # fmt: skip


@pytest.mark.slow
def test_nothing_is_planned_in_two_clones(pulled: Path, with_frames: Path) -> None:
    """In the second one it was seen before its settings changed."""
    assert planned(pulled) == Counter()
    assert "Nothing to be done" in python(pulled, "snakemake", "--dry-run", "--configfile", "config/tiny.yaml")
    assert (pulled / "data/raw/tiny/first.y4m").exists()
    assert not (pulled / "data/frames").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_nothing_is_planned_in_ten_clones(origin: Path, tmp_path: Path, number: int) -> None:
    folder = clone(origin, tmp_path / "clone")
    python(folder, "boostnerv", "pull")
    assert planned(folder) == Counter()


@pytest.mark.slow
def test_repro_in_a_clone_without_an_active_environment_changes_nothing(pulled: Path) -> None:
    """Snakemake is found in .venv; it has nothing to do, and the records are kept again as they were."""
    (pulled / ".venv").symlink_to(sys.prefix)
    system = os.defpath
    before = (pulled / "results/tiny" / KEPT).read_bytes()
    text = run(pulled, str(pulled / ".venv/bin/dvc"), "repro", "--force", PATH=system)
    assert "Nothing to be done" in text
    assert (pulled / "results/tiny" / KEPT).read_bytes() == before
    assert run(pulled, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_comment_replans_nothing(pulled: Path) -> None:
    sources = ("boostnerv/steps/fitting.py", "boostnerv/training/loop.py", "workflow/rules/training.smk")
    for name in (*sources, "config/tiny.yaml"):
        with open(pulled / name, "a") as file:
            file.write("# A comment.\n")
    try:
        assert planned(pulled) == Counter()
    finally:
        run(pulled, "git", "checkout", "--quiet", ".")


@pytest.mark.slow
def test_a_pixel_replans_the_chain_of_its_video(pulled: Path) -> None:
    source = pulled / "data/raw/tiny/second.y4m"
    before = source.read_bytes()
    source.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        jobs = planned(pulled)
        assert jobs == Counter({*CHAIN, *REPORT, "extract_frames", "preview_source"})
        text = python(pulled, *SNAKEMAKE, "--dry-run")
        assert "results/tiny/second/hnerv-boost-0.06M/model.safetensors" in text
        assert not re.search(r"output: results/tiny/first/", text)
        # Pulling again does not make it look as if it were the source of these results.
        assert "second.y4m is not what results/tiny were made from" in python(pulled, "boostnerv", "pull")
        assert planned(pulled) == jobs
    finally:
        source.write_bytes(before)
    assert planned(pulled) == Counter()


@pytest.mark.slow
def test_a_recipe_value_replans_what_depends_on_it(with_frames: Path) -> None:
    assert planned(with_frames) == Counter(dict.fromkeys(CHAIN - {"train"}, 2)) + Counter(REPORT)


@pytest.mark.slow
def test_a_raised_version_replans_its_step_and_what_follows(with_frames: Path) -> None:
    config, versions = with_frames / "config/tiny.yaml", with_frames / "boostnerv/versions.py"
    changed, code = config.read_text(), versions.read_text()
    config.write_text(yaml.safe_dump(TINY))
    try:
        assert planned(with_frames) == Counter()
        for step, follows in {"tabulate": set(), "evaluate": {"decode", "plot_runs", *REPORT}}.items():
            raised, count = re.subn(rf'("{step}": )(\d+)', lambda found: f"{found[1]}{int(found[2]) + 1}", code)
            assert count == 1
            versions.write_text(raised)
            each = {name: 1 if name in REPORT else 2 for name in {step, *follows}}
            assert planned(with_frames) == Counter(each)
    finally:
        config.write_text(changed)
        versions.write_text(code)


@pytest.mark.slow
def test_frames_of_another_version_replan_what_was_made_from_others(with_frames: Path) -> None:
    """They were made here, and their own record says that they are up to date."""
    config, (manifest, _) = with_frames / "config/tiny.yaml", sorted((with_frames / "data/frames").rglob("*.json"))
    changed, before = config.read_text(), manifest.read_text()
    config.write_text(yaml.safe_dump(TINY))
    try:
        manifest.write_text(before + "\n")
        name = str(manifest.relative_to(with_frames))
        assert f"{name} is not what" in python(with_frames, "boostnerv", "records", "restore", "results/tiny")
        assert planned(with_frames) == Counter({*CHAIN, *REPORT, "preview_source"})
        manifest.write_text(before)
        assert "is not what" not in python(with_frames, "boostnerv", "records", "restore", "results/tiny")
        assert planned(with_frames) == Counter()
    finally:
        config.write_text(changed)
        manifest.write_text(before)


@pytest.mark.slow
def test_results_of_ones_own_are_not_overwritten(with_frames: Path) -> None:
    """The run with other settings has left its plan; nothing else would say that results differ."""
    points = with_frames / "results/tiny/points.csv"
    before = points.read_bytes()
    points.write_text("mine\n")
    said = python(with_frames, "boostnerv", "pull", code=2)
    assert "there are other results here" in said
    assert "results/tiny/points.csv" in said
    assert "--force" not in said
    assert points.read_text() == "mine\n"
    points.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("remote", "sentence"),
    [
        (None, "no DVC remote is configured"),
        ("nowhere", "it cannot be reached, or the results were not pushed"),
        ("s3://no-bucket-of-ours/results", "it cannot be reached, or the results were not pushed"),
    ],
)
def test_without_a_remote_work_goes_on(origin: Path, tmp_path: Path, remote: str | None, sentence: str) -> None:
    folder = clone(origin, tmp_path / "clone")
    python(folder, "dvc", "remote", "remove", "folder")
    if remote:
        python(folder, "dvc", "remote", "add", "--default", "folder", remote)
    said = python(folder, "boostnerv", "pull", code=2)
    assert sentence in said
    assert "snakemake and dvc repro work without" in said
    assert "Traceback" not in said
    assert not (folder / "results").exists()
    if remote is None:
        assert "Running stage 'experiment@tiny'" in python(folder, "dvc", "repro", "--dry")


@pytest.mark.slow
def test_a_remote_without_the_sources_gives_the_results(origin: Path, tmp_path: Path) -> None:
    folder, remote = clone(origin, tmp_path / "clone"), tmp_path / "remote"
    shutil.copytree(origin.parent / "remote", remote)
    (source,) = yaml.safe_load((folder / "data/raw/tiny/second.y4m.dvc").read_text())["outs"]
    (remote / "files/md5" / source["md5"][:2] / source["md5"][2:]).unlink()
    python(folder, "dvc", "remote", "add", "--force", "--default", "folder", str(remote))
    said = python(folder, "boostnerv", "pull")
    assert "data/raw/tiny/second.y4m is not in the remote" in said
    assert (folder / "data/raw/tiny/first.y4m").exists()
    assert planned(folder) == Counter()


@pytest.mark.slow
def test_a_name_that_was_not_published(origin: Path) -> None:
    assert "did you mean 'tiny'?" in python(origin, "boostnerv", "pull", "tyni", code=2)


@pytest.mark.slow
def test_a_stage_that_is_gone(origin: Path, tmp_path: Path) -> None:
    folder = clone(origin, tmp_path / "clone")
    pipeline = folder / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("- tiny", "- demo"))
    assert "results of tiny are in a dvc.lock, but its dvc.yaml has no such stage" in python(
        folder, "boostnerv", "pull", code=2
    )


def test_nothing_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boost: Callable[..., Outcome]) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = boost("pull")
    assert outcome.code == 2
    assert "no results are published in this commit" in outcome.err


@pytest.mark.parametrize("damage", ["<<<<<<< HEAD\n", "- 1\n", "stages: 1\n", "\xff"])
def test_a_damaged_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boost: Callable[..., Outcome], damage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(damage, encoding="latin-1")
    outcome = boost("pull")
    assert outcome.code == 2
    assert "dvc.lock is not what DVC wrote" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
def test_metrics_are_shown_and_compared(pulled: Path) -> None:
    metrics = pulled / "results/tiny/metrics.json"
    before = metrics.read_text()
    shown = json.loads(before)
    (point,) = shown["first"].values()
    assert set(point) == {"bpp", "file_bytes", "psnr_db"}
    table = python(pulled, "dvc", "metrics", "show", "--json")
    assert json.loads(table.splitlines()[0])[""]["data"]["results/tiny/metrics.json"]["data"] == shown
    point["psnr_db"] += 1.0
    metrics.write_text(json.dumps(shown))
    try:
        compared = json.loads(python(pulled, "dvc", "metrics", "diff", "--json").splitlines()[0])
    finally:
        metrics.write_text(before)
    (change,) = compared["results/tiny/metrics.json"].values()
    assert change["diff"] == pytest.approx(1.0)


@pytest.mark.slow
def test_plots_open_without_a_network(pulled: Path) -> None:
    python(pulled, "dvc", "plots", "show")
    page = (pulled / "dvc_plots/index.html").read_text()
    assert "//" not in page.replace("</", "")
    images = re.findall(r'<img src="([^"]+)"', page)
    figures = {path.name for path in (pulled / "results/tiny/figures").iterdir()}
    assert len(images) == len(figures) > 0
    for image in images:
        assert (pulled / "dvc_plots" / image).stat().st_size > 0
    assert run(pulled, "git", "status", "--porcelain") == ""


def test_every_experiment_has_its_stage() -> None:
    root, others = (yaml.safe_load((ROOT / name).read_text()) for name in ("dvc.yaml", "config/dvc.yaml"))
    stages = [pipeline["stages"]["experiment"] for pipeline in (root, others)]
    names = [name for stage in stages for name in stage["foreach"]]
    experiments = {path.stem for path in (ROOT / "config").glob("*.yaml")} - {"dvc", "smoke"}
    assert Counter(names) == Counter(experiments)
    assert stages[1]["do"].pop("wdir") == ".."
    assert stages[0]["do"] == stages[1]["do"]
    for pipeline, stage, up in ((root, stages[0], ""), (others, stages[1], "../")):
        assert pipeline["metrics"] == [f"{up}results/{name}/metrics.json" for name in stage["foreach"]]
        assert pipeline["plots"] == [f"{up}results/{name}/figures" for name in stage["foreach"]]


def test_sources_that_are_fetched_are_versioned() -> None:
    expected = {}
    for name in ("bunny", "clips"):
        dataset = load_dataset(name)
        expected |= {f"{source_path(video, name)}.dvc": video.source.size_bytes for video in dataset.videos}
    found = {str(path.relative_to(ROOT)): path for path in (ROOT / "data/raw").glob("*/*.dvc")}
    assert set(expected) <= set(found)
    for name, size_bytes in expected.items():
        (out,) = yaml.safe_load(found[name].read_text())["outs"]
        assert (out["path"], out["size"]) == (Path(name).stem, size_bytes)


def test_no_results_are_published_yet_and_no_remote_is_preset() -> None:
    assert not list(ROOT.glob("*.lock")) + list((ROOT / "config").glob("*.lock"))
    assert "remote" not in (ROOT / ".dvc/config").read_text()
