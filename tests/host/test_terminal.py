"""What the command says where it cannot be said as usual: closed or full streams, odd encodings, broken disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boostnerv import cli
from boostnerv.errors import system_sentence
from tests.codec.tiny import encoded
from tests.conftest import Outcome
from tests.models.tiny import tiny_model

MAIN = "from boostnerv.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file whose name is no UTF-8."""
    folder = tmp_path_factory.mktemp("names")
    (folder / os.fsdecode(b"caf\xe9.bnv")).write_bytes(encoded(tiny_model("nerv", frames=2)))
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-c", MAIN, *arguments]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_are_printed_in_every_encoding(encoding: str, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.bnv")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    done = subprocess.run(command("info", name), cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    # Where the encoding is ASCII, click takes it for a mistake, and has ways of its own.
    assert done.stdout.startswith(b"caf?.bnv: " if encoding == "ascii" else b"caf\\udce9.bnv: ")
    done = subprocess.run(
        command("info", "none-" + name), cwd=folder, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"boostnerv: ")
    assert b"none-caf\\udce9.bnv" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_json_names_are_those_of_the_files(folder: Path) -> None:
    done = subprocess.run(
        command("info", "--json", os.fsdecode(b"caf\xe9.bnv")), cwd=folder, capture_output=True, check=True
    )
    assert os.fsencode(json.loads(done.stdout)["file"]) == b"caf\xe9.bnv"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_a_sentence(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("--help"), stdout=full, stderr=subprocess.PIPE, env=environment, text=True, check=False
        )
    assert done.returncode == 2
    reason = "No space left on device"
    assert (
        done.stderr
        == f"boostnerv: the standard output cannot be written ({reason}); free some space, or send it elsewhere\n"
    )


def test_a_reader_that_has_enough_ends_the_command_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command("--help"), stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_closed_streams_are_no_files(folder: Path) -> None:
    """What opens next must not get their numbers: a child would write into it."""
    script = (
        "import os; from boostnerv.host.terminal import prepare_streams; prepare_streams(); os._exit(os.open('x', 577))"
    )
    shell = ["sh", "-c", f'"{sys.executable}" -c "{script}" <&- >&- 2>&-']
    assert subprocess.run(shell, cwd=folder, check=False).returncode == 3


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.EIO, "Input/output error", "a\nb"),
            r"a\x0ab cannot be used (Input/output error); check the path",
        ),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "a and b cannot be used (Invalid link); check the path"),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "a system call failed (Too many open files); remove the cause",
        ),
        (
            UnicodeEncodeError("utf-8", "x\udce9", 1, 2, "surrogates not allowed"),
            r"'x\udce9' is not valid in the required encoding",
        ),
    ],
)
def test_errors_of_the_system_are_sentences(
    error: Exception, sentence: str, boost: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    outcome: Outcome = boost("info")  # type: ignore[operator]
    assert outcome.code == 2
    assert outcome.err.startswith(f"boostnerv: {sentence}")
    assert outcome.err.count("\n") == 1


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(KeyError, match="a defect"):
        cli.main()


def test_the_file_that_was_being_written_is_named() -> None:
    error = OSError(errno.EIO, "Input/output error")
    error.add_note("while writing x.npy")
    assert system_sentence(error).startswith("a system call failed while writing x.npy (Input/output error);")
