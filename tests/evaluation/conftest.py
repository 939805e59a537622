from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from boostnerv.evaluation import decode_speed


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Frames this small gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def brief_decode_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed of a decoder is measured in one round of copies, where it is not what the test is about."""
    monkeypatch.setattr(decode_speed, "_ENOUGH_S", 1e-9)
