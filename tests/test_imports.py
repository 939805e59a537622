"""Imports point one way, and a command pays only for the packages it uses."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import boostnerv
from boostnerv.config import model_names
from tests.codec.tiny import encoded
from tests.models.tiny import tiny_model

PACKAGE = Path(boostnerv.__file__).parent
BASE = ("errors", "catalogue", "versions", "progress", "provenance", "files", "host")
# What each part may import besides itself; left to right, and `interop` beside `training`.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "catalogue": (),
    "versions": (),
    "progress": (),
    "provenance": (),
    "files": ("errors",),
    "host": ("errors", "provenance"),
    "config": BASE,
    "video": (*BASE, "config"),
    "models": (*BASE, "config"),
    "codec": (*BASE, "config", "video", "models"),
    "interop": (*BASE, "config", "models", "codec"),
    "training": (*BASE, "config", "video", "models", "codec"),
    "evaluation": (*BASE, "config", "video", "models", "codec"),
    "report": (*BASE, "config", "video", "evaluation"),
    "compression": (*BASE, "config", "video", "models", "codec", "training", "evaluation"),
    "operations": (*BASE, "config", "video", "codec", "training", "evaluation"),
}
ABOVE = {"steps", "workflow", "cli", "__main__", "__init__"}  # they may import everything below
CORE = {"config", "video", "models", "codec", "interop", "training", "evaluation"}
# Neither the core nor the modules below it know how they are orchestrated or drawn.
FOREIGN_TO_CORE = {"snakemake", "dvc", "pandas", "matplotlib", "plotly", "typer"}
WITHOUT_TORCH = {*BASE, "config", "video", "report", "operations", "cli", "__main__", "__init__"}
# Modules of those parts that ask torch for devices, when they are called.
ASKING_TORCH = {PACKAGE / "host/devices.py", PACKAGE / "operations/doctor.py"}


def part(path: Path) -> str:
    """``codec`` for ``codec/entropy.py``, ``files`` for ``files.py``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_point_one_way(path: Path) -> None:
    here = part(path)
    assert here in ALLOWED or here in ABOVE, f"{here} has no place in the order yet"
    names = imports(path)
    ours = {name.split(".")[1] for name in names if name.startswith("boostnerv.")}
    assert "boostnerv" not in names
    if here in ALLOWED:
        assert ours <= {here, *ALLOWED[here]}
    else:
        assert "cli" not in ours or here == "__main__"
        assert "steps" not in ours or here in ("cli", "steps", "workflow")
    foreign = {name.split(".")[0] for name in names}
    if here in {*BASE, *CORE, "operations"}:
        assert not foreign & FOREIGN_TO_CORE
    if here in WITHOUT_TORCH and path not in ASKING_TORCH:
        assert "torch" not in foreign


def test_nothing_in_the_order_imports_what_stands_behind_it() -> None:
    order = list(ALLOWED)
    assert all(order.index(name) < order.index(here) for here, names in ALLOWED.items() for name in names)


def test_the_order_names_what_there_is() -> None:
    assert {part(path) for path in FILES} == {*ALLOWED, *ABOVE}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["", ".cli", ".config", ".steps", ".operations.status", ".workflow.checks"])
def test_parsing_a_workflow_or_a_command_does_not_load_torch(name: str) -> None:
    heavy = {"torch", "pandas", "matplotlib", "plotly", "snakemake", "constriction", "safetensors"}
    assert not loaded_by(f"import boostnerv{name}") & heavy


def test_bd_rates_load_their_package_only_when_one_is_computed() -> None:
    loaded = loaded_by("import boostnerv.evaluation.bd_rate, boostnerv.report.bd_table, boostnerv.report.tables")
    assert not loaded & {"bjontegaard", "scipy", "matplotlib"}


def test_reading_frames_does_not_load_torch() -> None:
    assert "torch" not in loaded_by("import boostnerv.video.frames, boostnerv.video.datasets")


def test_forgetting_finished_trainings_does_not_load_torch() -> None:
    assert not loaded_by("import boostnerv.training.finished") & {"torch", "numpy", "safetensors"}


def test_no_two_modules_share_a_name() -> None:
    stems = Counter(path.stem for path in FILES if path.stem not in ("__init__", "__main__"))
    assert [name for name, count in stems.items() if count > 1] == []


def test_the_verb_decode_loads_nothing_of_training_or_report(tmp_path: Path) -> None:
    file = tmp_path / "tiny.bnv"
    file.write_bytes(encoded(tiny_model("nerv-boost")))
    code = f"""
import sys
from boostnerv.cli import app
app(["decode", {str(file)!r}, "-o", {str(tmp_path / "tiny.npy")!r}], standalone_mode=False)
print(*sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    ours = [name for name in done.stdout.split() if name.startswith("boostnerv.")]
    assert {name.split(".")[1] for name in ours}.isdisjoint({"training", "report", "interop", "operations"})
    assert len(ours) < 95, sorted(ours)


def test_decoding_does_not_load_training_or_video() -> None:
    code = "import boostnerv, boostnerv.codec.decoder"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], check=True, capture_output=True, text=True
    )
    ours = {name.split(".")[1] for name in done.stdout.split() if name.startswith("boostnerv.")}
    assert ours == {"errors", "files", "catalogue", "config", "models", "codec"}


def test_only_a_training_loads_its_optimizers() -> None:
    assert not loaded_by("import boostnerv.training.run") & {"pytorch_optimizer", "sympy", "tensorboard"}


def test_a_model_is_called_as_its_file() -> None:
    stems = {path.stem for path in (PACKAGE / "models/zoo").glob("*.py")} - {"__init__"}
    assert set(model_names()) == {stem.replace("_", "-") for stem in stems}
