"""What a command used, apart from what its parent holds."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import numpy as np
import pytest

from boostnerv.evaluation.launched import Used, launched

MIB = 2**20


@pytest.fixture
def words() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def used(words: IO[bytes], code: str, fed: bytes = b"") -> Used:
    with launched([sys.executable, "-c", code], stderr=words, env=os.environ) as process:
        process.stdin.write(fed)
        process.stdin.close()
        return process.wait()


def test_memory_is_that_of_the_command_alone(words: IO[bytes]) -> None:
    held = np.ones(200 * MIB, np.uint8)
    small = used(words, "pass")
    large = used(words, f"x = b'1' * {100 * MIB}")
    assert held.sum() == 200 * MIB
    assert 2 * MIB < small.peak_memory_bytes < 60 * MIB
    assert 100 * MIB < large.peak_memory_bytes < 170 * MIB
    assert small.wall_s > 0


def test_input_words_and_exit_code_go_through(words: IO[bytes]) -> None:
    code = "import sys; data = sys.stdin.buffer.read(); sys.exit(f'{len(data)} bytes')"
    assert used(words, code, b"x" * 300_000).code == 1
    words.seek(0)
    assert words.read() == b"300000 bytes\n"
    assert used(words, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").code == -signal.SIGKILL


def test_a_command_that_reads_no_more_is_noticed(words: IO[bytes]) -> None:
    with launched([sys.executable, "-c", "pass"], stderr=words, env=os.environ) as process:
        with pytest.raises(BrokenPipeError):
            for _ in range(100):
                process.stdin.write(bytes(MIB))
        assert process.wait().code == 0


def test_leaving_the_block_ends_the_command(words: IO[bytes]) -> None:
    code = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
    with launched([sys.executable, "-c", code], stderr=words, env=os.environ):
        number = b""
        while not number.endswith(b"\n"):
            time.sleep(0.01)
            words.seek(0)
            number = words.read()
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)
