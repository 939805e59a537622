"""Writing and reading files so that a final name always means a finished file.

Every writer goes through `final`, or `final_folder` for a folder of files: it hands out a temporary name in the same
folder and renames on success; on any error, a full disk included, what is temporary is removed and nothing appears
under the final name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boostnerv.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors that a full disk gives."""


@contextlib.contextmanager
def final(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which becomes `path` when the block ends without an error.

    Raises `UserError` where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        with in_sentences(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            # Some writers make files that only their owner can read.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def final_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which becomes `path` when the block ends without an error.

    An empty folder of that name is replaced. Raises `UserError` as `final` does.
    """
    path = Path(path).absolute()
    temporary = _temporary(path)
    try:
        with in_sentences(path):
            # A killed process of this number may have left one.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise `UserError` where no file `path` can be written, before the work for it; its folder is made."""
    path = Path(path)
    with in_sentences(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


@contextlib.contextmanager
def in_sentences(path: Path) -> Iterator[None]:
    """Turn what the system says of writing `path` into a `UserError`, where a user can do something about it."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise UserError(
                f"no space left on the disk of {path.parent} while writing {path.name}: free some space there "
                "or choose another output folder, then run the command again"
            ) from error
        kinds = PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError
        if isinstance(error, kinds) or error.errno == errno.EROFS:
            raise UserError(f"cannot write {path}: {error.strerror}; choose a writable output folder") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data`; the file appears when all of it is written."""
    with final(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8; the file appears when all of it is written."""
    with final(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON with sorted keys: equal values give equal bytes. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], what: str = "file") -> Any:
    """Read JSON; a missing or broken file is a `UserError` that calls it `what`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{what} {path} does not exist; run the step that writes it, or check the path") from error
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{what} {path} is not valid JSON ({error}); delete it and run its step again") from error


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of_value(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`; the identity of a configuration."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
