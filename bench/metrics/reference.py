"""What is made once for a reference set and kept: extractor weights, features, statistics, floors.

A file is an .npz without pickle, named by what it is made from, with the checksum of its arrays inside.  Processes
that find it missing at the same time make the same content; the first to publish wins.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.files import publish, write_bytes
from bench.setting import digest

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


def kept(cache: Path | None, kind: str, content: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that `content` (JSON-able: all that they depend on) names; make and keep them if need be.

    They lie in `<cache>/<kind>/<digest of content>.npz`; without a cache they are made and not kept.  A file that
    fails its checksum is made anew, with a warning.  Raises what `make` raises, and StoreError when the cache cannot
    be written.
    """
    if cache is None:
        return make()
    path = cache / kind / f"{digest(content, 24)}.npz"
    found = _read(path)
    if found is not None:
        return found
    torn = path.exists()
    if torn:
        log.warning("%s: damaged; made again", path)
    made = make()
    if torn:
        write_bytes(path, partial(_write, made))
    elif not publish(path, partial(_write, made)):
        return _read(path) or made
    return made


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        hashed.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hashed.update(array.reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def _write(arrays: Mapping[str, NDArray[Any]], file: IO[bytes]) -> None:
    np.savez(file, allow_pickle=False, **{**arrays, "sha256": np.array(_checksum(arrays))})


def _read(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        said = str(arrays.pop("sha256"))
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile):
        return None
    return arrays if said == _checksum(arrays) else None
