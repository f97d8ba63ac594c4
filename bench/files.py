"""Files of results/: whole or not there, whoever dies in the middle; first wins where several may write."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

PLAIN = re.compile(r"\w[\w.+=,@-]{0,200}")
"""A name that is one file's, wherever it stands."""


class StoreError(Exception):
    """The results folder cannot be read or written as asked; the message names the place and the remedy."""


class WriteError(StoreError):
    """It cannot be written: the disk is full, or the folder read-only."""


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what cannot be written at `path`, and the remedy.  Raises WriteError for an OSError within."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: cannot write: {error.strerror or error}. "
            "Free some space or make the folder writable, or choose another with --results."
        ) from error


Content = bytes | Callable[[IO[bytes]], object]
"""What a file shall hold, or what writes it into the open file: large content is never held as a whole."""


def write_bytes(path: Path, content: Content) -> None:
    """Replace `path` atomically: temporary name, fsync, rename.  Raises StoreError."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _write_temporary(path, content)
        os.replace(temporary, path)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it.  Raises WriteError."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Replace `path` atomically by JSON (no NaN: a missing number is null)."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def publish(path: Path, content: Content) -> bool:
    """Create `path` with `content` unless it is there already; say whether this call created it."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _write_temporary(path, content)
        try:
            os.link(temporary, path)
            return True
        except FileExistsError:
            return os.stat(temporary).st_nlink == 2  # a file server may lose its reply and try again
        finally:
            temporary.unlink(missing_ok=True)


def publish_json(path: Path, content: Any) -> bool:
    """`publish` as JSON."""
    return publish(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _write_temporary(path: Path, content: Content) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def read_json(path: Path | str) -> dict[str, Any] | None:
    """Read a JSON object; None when it is absent, half-written or no object.

    Raises StoreError when it is there and cannot be read.
    """
    try:
        content = json.loads(_read(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot read: {error.strerror or error}.") from error
    return content if isinstance(content, dict) else None


def _read(path: Path | str) -> bytes:
    """Read a file; one that another host replaced under our hands (a file server says ESTALE) is opened anew."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    with open(path, "rb") as file:
        return file.read()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a torn line is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    with contextlib.suppress(ValueError):  # most files are whole: read at once, in half the time
        if all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
            found = json.loads(b"[" + b",".join(lines) + b"]")
            if len(found) == len(lines):
                return list(found)
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def plain(name: str) -> str:
    """Return `name` if it names one file in whatever folder it is looked up.  Raises StoreError."""
    if not PLAIN.fullmatch(name):
        raise StoreError(f"{name!a} is no name of a run, study, snapshot or score: it could leave the results folder.")
    return name
