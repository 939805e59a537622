"""Writing and reading files so that a file under its final name is always complete.

Every writer uses `final`, or `final_folder` for a folder of files: it yields a temporary name in the same folder and
renames it on success, after the content has reached the disk. On any error, including a full disk or a signal, the
temporary file is removed and nothing appears under the final name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from boostnerv.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or quota."""

LONGEST_NAME_BYTES = 255
"""Limit for a file name on nearly every file system."""

_KEPT_CHARACTERS = 16
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
"""Error numbers of file systems without fsync, and of folders that cannot be read."""


@contextlib.contextmanager
def final(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of an empty temporary file beside `path`, renamed to `path` if the block ends without an error.

    Raises `UserError` if the folder is not writable or the disk is full.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        with in_sentences(path):
            _check_replaceable(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = _create(temporary)
            yield temporary
            # Some writers create files that only their owner can read.
            os.chmod(temporary, mode)
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def final_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, renamed to `path` if the block ends without an error.

    An empty folder of that name is replaced. Raises `UserError` as `final` does.
    """
    path = Path(path).absolute()
    temporary = temporary_path(path)
    try:
        with in_sentences(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            for written in temporary.rglob("*"):
                _sync(written)
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder and its contents; it is renamed first, so that no partial folder is visible."""
    removed = temporary_path(path)
    with contextlib.suppress(OSError):
        os.replace(path, removed)
    shutil.rmtree(removed, ignore_errors=True)


def temporary_path(path: Path) -> Path:
    """An unpredictable hidden name beside `path`, of at most 150 bytes however long the name of `path` is.

    It keeps the suffix of `path`, by which some writers choose the format, unless the suffix is long.
    """
    suffix = path.suffix if len(path.suffix) <= _KEPT_CHARACTERS else ""
    return path.parent / f".{path.stem[:_KEPT_CHARACTERS]}.{secrets.token_hex(8)}.tmp{suffix}"


def free_space(path: Path) -> tuple[Path, int]:
    """The nearest existing folder above `path`, and the free bytes on its disk."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return folder, shutil.disk_usage(folder).free


def readable(path: str | os.PathLike[str]) -> str:
    """A path as text that can be written as UTF-8: other bytes become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _create(temporary: Path) -> int:
    """Create an empty file, which must not exist, not even as a link; returns the mode that the umask gives it."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to disk, so that it survives a loss of power."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def _check_replaceable(path: Path) -> None:
    """Raise an error if `path` is a folder, device or pipe, which a file must not replace."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is a device or a pipe; choose the name of a file")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise `UserError` if `path` is not writable, before any work is done; creates its folder."""
    path = Path(path)
    with in_sentences(path):
        _check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def check_distinct(written: Iterable[Path | None], read: Iterable[Path | None]) -> None:
    """Raise `UserError` if a file to be `written` is one of those `read`, under any name or link, lies directly in a
    folder that is read, or is to be written twice."""
    outputs = [path for path in written if path is not None]
    for output in outputs:
        for source in read:
            if source is not None and (_is_same(output, source) or _is_inside(output, source)):
                raise UserError(f"{output} is {source} itself, or part of it, which is read: choose another output")
    for number, output in enumerate(outputs):
        for other in outputs[:number]:
            if os.path.realpath(output) == os.path.realpath(other):
                raise UserError(
                    f"{output} and {other} are the same file, to be written twice: choose another name for one"
                )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist yet
        return os.path.realpath(one) == os.path.realpath(other)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether `file` exists directly in `folder`."""
    return folder.is_dir() and file.is_file() and _is_same(file.parent, folder)


@contextlib.contextmanager
def in_sentences(path: Path) -> Iterator[None]:
    """Convert system errors of writing `path` to `UserError`, if a user can do something about them."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise UserError(
                f"no space left on the disk of {path.parent} while writing {path.name}: free some space there "
                "or choose another output folder, then run the command again"
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"cannot write {path}: the name is too long; choose a shorter one") from error
        if error.errno == errno.EFBIG:
            raise UserError(
                f"cannot write {path}: files of this size are not allowed; raise the limit (ulimit -f), or choose "
                "an output folder on another disk"
            ) from error
        kinds = PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError
        if isinstance(error, kinds) or error.errno == errno.EROFS:
            raise UserError(f"cannot write {path}: {error.strerror}; choose a writable output folder") from error
        error.add_note(f"while writing {path}")
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data`; the file appears once it is complete."""
    with final(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8; the file appears once it is complete.

    Bytes of file names that are not UTF-8 are written as escapes, as the command prints them.
    """
    with final(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON with sorted keys: equal values give equal bytes. Raises `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], what: str = "file") -> Any:
    """Read JSON; raises `UserError`, which calls the file `what`, if it is missing or invalid."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{what} {path} does not exist; run the step that writes it, or check the path") from error
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{what} {path} is not valid JSON ({error}); delete it and run its step again") from error


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of_value(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`; identifies a configuration."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
