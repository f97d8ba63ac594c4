"""What is made once for a reference set and kept: extractor weights, features, statistics, floors.

A file is an .npz without pickle, named by what it is made from, with the checksum of its arrays inside.  Processes
that find it missing at the same time make the same content; the first to publish wins.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.setting import digest
from bench.store import publish, write_bytes

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


def kept(cache: Path, kind: str, content: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that `content` (JSON-able: all that they depend on) names; make and keep them if need be.

    They lie in `<cache>/<kind>/<digest of content>.npz`.  A file that fails its checksum is made anew, with a
    warning.  Raises what `make` raises, and StoreError when the cache cannot be written.
    """
    path = cache / kind / f"{digest(content, 24)}.npz"
    found = _read(path)
    if found is not None:
        return found
    torn = path.exists()
    if torn:
        log.warning("%s: damaged; made again", path)
    made = make()
    packed = _pack(made)
    if torn:
        write_bytes(path, packed)
    elif not publish(path, packed):
        return _read(path) or made
    return made


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hashed.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{**arrays, "sha256": np.array(_checksum(arrays))})
    return buffer.getvalue()


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        said = str(arrays.pop("sha256"))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return arrays if said == _checksum(arrays) else None
