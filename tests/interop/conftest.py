from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from boostnerv import cli


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with one sentence and exit code 2 and leave no file; returns the sentence."""

    def run(*arguments: object, output: Path) -> str:
        before = set(output.parent.iterdir())
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["boostnerv", *map(str, arguments), "-o", str(output)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert ended.value.code == 2
        assert re.fullmatch(r"boostnerv: [^\n]+\n", captured.err), captured.err
        assert captured.out == ""
        assert set(output.parent.iterdir()) == before
        return captured.err

    return run
