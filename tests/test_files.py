"""A final name always means a finished file."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from boostnerv import files
from boostnerv.errors import UserError
from tests.codec.tiny import encoded
from tests.disks import small_disk
from tests.models.tiny import tiny_model

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_appears_when_it_is_complete(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "deep" / "er" / "x.json"
    if old is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(old)
    with files.final(path) as temporary:
        assert temporary.parent == path.parent  # a rename, not a copy
        assert temporary.suffix == path.suffix
        temporary.write_bytes(b"new")
        assert (path.read_bytes() if path.exists() else None) == old
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "input/output error")])
@pytest.mark.parametrize("old", [None, b"old"])
def test_any_error_leaves_what_was_there(tmp_path: Path, error: BaseException, old: bytes | None) -> None:
    path = tmp_path / "x.bin"
    if old is not None:
        path.write_bytes(old)

    def write() -> None:
        with files.final(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if old is None else {"x.bin": old})


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.v2"
    for _ in range(2):  # as a new folder, and in place of an empty one
        with files.final_folder(path) as temporary:
            (temporary / "a").write_text("a")
            assert temporary.parent == path.parent
            assert not path.exists() or not any(path.iterdir())
        assert [entry.name for entry in path.iterdir()] == ["a"]
        assert list(path.parent.iterdir()) == [path]
        (path / "a").unlink()


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_any_error_leaves_no_folder(tmp_path: Path, error: BaseException) -> None:
    def write(path: Path) -> None:
        with files.final_folder(path) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "a").write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write(tmp_path / "x")
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_is_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with (
            pytest.raises(UserError, match=r"cannot write .*: .*; choose a writable output folder"),
            files.final_folder(path),
        ):
            pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    def write() -> None:
        with files.final(tmp_path / "x.bin") as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"x" * 100)

    with pytest.raises(UserError, match=r"no space left on the disk of .* while writing x\.bin: free some space"):
        write()
    assert list(tmp_path.iterdir()) == []
    assert Path("/dev/full").is_char_device()


def test_a_disk_that_fills_up_keeps_the_old_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        files.write_bytes(disk / "x.bin", b"old")
        with pytest.raises(UserError, match="no space left on the disk"):
            files.write_bytes(disk / "x.bin", bytes(1 << 20))
        assert [(path.name, path.read_bytes()) for path in disk.iterdir()] == [("x.bin", b"old")]


def test_decoding_onto_a_disk_that_is_too_small(tmp_path: Path) -> None:
    # In a process of its own: a write into a memory map of a full disk ends the process.
    stream = tmp_path / "x.bnv"
    stream.write_bytes(encoded(tiny_model("nerv-boost", frames=20, height=60, width=60)))
    with small_disk(tmp_path / "disk") as disk:
        arguments = [sys.executable, "-m", "boostnerv", "decode", str(stream), "-o", str(disk / "x.npy")]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert list(disk.iterdir()) == []
    assert done.returncode == 2
    sentence = r"boostnerv: .*/x\.npy takes 0\.0 GB for 20 frames of 60×60, and .*/disk has 0\.0 GB left: free .*\n"
    assert re.fullmatch(sentence, done.stderr)


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*: .*; choose a writable output folder"):
        files.write_text(tmp_path / "file" / "x.json", "{}")
    with pytest.raises(UserError, match=r"cannot write .*: .*; choose a writable output folder"):
        files.write_text(tmp_path / "file" / "deeper" / "x.json", "{}")


def test_a_name_that_is_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        files.write_text(tmp_path / "x.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match=r"cannot write .*: Permission denied; choose a writable output folder"):
            files.write_text(tmp_path / "x.json", "{}")
    finally:
        tmp_path.chmod(0o700)


def test_a_name_that_can_be_written_is_known_before(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "deeper" / "still" / "x.json")
    assert [path.name for path in tmp_path.rglob("*")] == ["deeper", "still"]
    (tmp_path / "file").touch()
    for name, reason in (("deeper", "Is a directory"), ("file/x", "File exists"), ("file/deeper/x", "Not a directory")):
        with pytest.raises(UserError, match=f"cannot write .*{name}: {reason}; choose a writable output folder"):
            files.check_writable(tmp_path / name)
    if os.geteuid():  # root may write everywhere
        (tmp_path / "deeper").chmod(0o500)
        with pytest.raises(UserError, match="cannot write .*: Permission denied"):
            files.check_writable(tmp_path / "deeper" / "x")


@pytest.mark.parametrize("mask", [0o022, 0o007, 0o077])
def test_files_are_as_readable_as_the_user_wants_them(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with files.final(tmp_path / "x") as temporary:
            temporary.chmod(0o600)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


@given(value=json_values)
def test_json_goes_there_and_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert json.loads(files.canonical_json(value)) == value


@given(st.dictionaries(st.text(), json_values, min_size=2), st.randoms())
def test_equal_values_have_one_text(value: dict[str, object], random: object) -> None:
    keys = list(value)
    random.shuffle(keys)  # type: ignore[attr-defined]
    other = {key: value[key] for key in keys}
    assert files.canonical_json(other) == files.canonical_json(value)
    assert files.sha256_of_value(other) == files.sha256_of_value(value)
    assert files.sha256_of_value({**value, "": object.__name__ + str(value)}) != files.sha256_of_value(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"psnr_db": value})
    assert list(tmp_path.iterdir()) == []


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(UserError, match=r"report .*x\.json does not exist; run the step that writes it"):
        files.read_json(path, "report")
    with pytest.raises(UserError, match=r"report .* cannot be read: Is a directory; check the path"):
        files.read_json(tmp_path, "report")
    for data in (b"", b"{", b"\xff"):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"report .*x\.json is not valid JSON .*; delete it and run its step again"):
            files.read_json(path, "report")


def test_known_hashes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_of_file(tmp_path / "x") == abc
    assert files.canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).map(os.fsencode)


@given(name=st.one_of(names, st.binary(min_size=1)).map(lambda name: name.translate(None, b"/\0")[:255]))
@example(b"x" * 255)
@example(("é" * 120 + ".bnv").encode())
@example(b"caf\xe9." + b"s" * 240)
@example(b"-a\n%03d: 'b\"")
def test_any_name_can_be_written(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    hypothesis.assume(name not in (b"", b".", b".."))
    folder = tmp_path_factory.mktemp("any")
    path = folder / os.fsdecode(name)
    with files.final(path) as temporary:
        assert re.fullmatch(rb"\..*\.[0-9a-f]{16}\.tmp(\..*)?", os.fsencode(temporary.name), re.DOTALL)
        assert len(os.fsencode(temporary.name)) <= 150
        assert temporary != files.temporary_path(path)  # nobody can foresee it
        temporary.write_bytes(name)
    assert os.listdir(os.fsencode(folder)) == [name]
    assert path.read_bytes() == name


def test_a_name_that_is_too_long_is_a_sentence(tmp_path: Path) -> None:
    for write in (files.check_writable, lambda path: files.write_text(path, "")):
        with pytest.raises(UserError, match=r"cannot write .*: the name is too long; choose a shorter one"):
            write(tmp_path / ("x" * 256))
    assert list(tmp_path.iterdir()) == []


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "foreseen")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".x.foreseen.tmp.json").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"cannot write .*x\.json: File exists"):
        files.write_text(tmp_path / "x.json", "{}")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"victim": "precious"}


@pytest.mark.parametrize("folder", [False, True])
def test_what_gets_its_name_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name.rpartition('.')[2]}")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        done.append(f"name {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    here = tmp_path / "here"
    here.mkdir()
    if folder:
        with files.final_folder(here / "x") as temporary:
            (temporary / "1.png").touch()
        assert done == ["fsync png", "fsync tmp", "name x", "fsync here"]
    else:
        files.write_bytes(here / "x.bin", b"")
        assert done == ["fsync bin", "name x.bin", "fsync here"]


def test_a_file_larger_than_the_limit_is_a_sentence(tmp_path: Path) -> None:
    code = """
import resource, sys
from boostnerv import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_bytes(sys.argv[1], bytes(2000))
except errors.UserError as error:
    print(error)
"""
    files.write_bytes(tmp_path / "x", b"old")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x"], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"cannot write .*x: files of this size are not allowed; raise the limit .*\n", done.stdout)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(UserError, match="cannot write /dev/null: it is a device or a pipe; choose the name of a file"):
        files.write_text("/dev/null", "{}")
    assert Path("/dev/null").is_char_device()


def test_outputs_are_no_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("a.mkv", "images/1.png", "other"):
        (tmp_path / name).write_text(name)
    Path("link").symlink_to("a.mkv")
    os.link("a.mkv", "hard")
    inputs = [Path("a.mkv"), Path("images"), None]
    same = [Path("a.mkv"), tmp_path / "a.mkv", Path("images/../a.mkv"), Path("link"), Path("hard"), Path("images")]
    for output in (*same, Path("images/1.png")):
        with pytest.raises(UserError, match=f"{output} is .* itself, or part of it, which is read: choose another"):
            files.check_distinct([None, output], inputs)
    files.check_distinct([Path("other"), Path("new"), Path("images/2.png"), None], inputs)
    with pytest.raises(UserError, match=r"\./other and .*/other are the same file, to be written twice"):
        files.check_distinct([tmp_path / "other", Path("./images/../other")], inputs)
