"""Golden files for all tests, the command in this process, one thread, and a patient hypothesis."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.examples import PROFILES

if TYPE_CHECKING:
    from torch import Tensor

for name, profile in PROFILES.items():
    hypothesis.settings.register_profile(name, profile)
# `make test-all` asks for --hypothesis-profile thorough.
hypothesis.settings.load_profile("quick")


class Golden:
    """The golden files: the folder ``BOOSTNERV_GOLDEN``, else the part of it that is in git."""

    def __init__(self) -> None:
        committed = Path(__file__).resolve().parent / "golden"
        self.folder = Path(os.environ.get("BOOSTNERV_GOLDEN", committed)).resolve()
        self.reduced = self.folder == committed

    def tensors(self, name: str, *, whole: bool = False) -> dict[str, Tensor]:
        """Tensors of ``NAME.safetensors``; skips the test where only the full set has it, or the `whole` of it."""
        from safetensors.torch import load_file

        path = self.folder / f"{name}.safetensors"
        if self.reduced and (whole or not path.exists()):
            part = f"{path.name} is" if not path.exists() else f"the whole of {path.name} is"
            pytest.skip(f"{part} in the full golden set only: `make test-all` sets BOOSTNERV_GOLDEN to it")
        return load_file(path)

    @property
    def manifest(self) -> dict[str, Any]:
        return self._json("manifest.json")

    @property
    def sizes(self) -> list[dict[str, Any]]:
        return self._json("sizes.json")

    @property
    def clip_sizes(self) -> list[dict[str, Any]]:
        return self._json("dnerv_sizes.json")

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def boost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process, as its entry point does."""
    from boostnerv import cli

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["boostnerv", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much where cores are shared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
