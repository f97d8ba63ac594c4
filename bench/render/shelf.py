"""Figures kept from build to build: what is drawn from the same data by the same code is not drawn again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from bench.files import read_json, write_bytes
from bench.render.part import Drawn
from bench.render.save import Stamp, figure_bytes, page_svg
from bench.setting import digest

FILE = ".figures.json"
"""In the report's folder: by figure, what it was drawn from, its SVG within the page, and digests of its files."""


class Shelf:
    """The figures of one report.

    What an earlier build drew is taken where everything that it was drawn from is the same; `save` keeps the figures
    that this build has shown, and forgets all others.  A damaged entry, or a file that is not as it was written, is as
    good as none.
    """

    def __init__(self, folder: Path, *, again: bool = False) -> None:
        """again: draw each figure, whatever was kept."""
        self._folder = folder
        self._earlier = {} if again else _entries(folder / FILE)
        self._shown: dict[str, dict[str, Any]] = {}

    def svg(self, drawn: Drawn) -> str:
        """The figure as it stands within the page."""
        entry = self._entry(drawn)
        if "svg" not in entry:
            entry["svg"] = page_svg(drawn.sketch.figure, drawn.id)
        return str(entry["svg"])

    def size(self, drawn: Drawn) -> tuple[float, float]:
        """Width and height in inches."""
        entry = self._entry(drawn)
        if "size" not in entry:
            entry["size"] = [float(inches) for inches in drawn.sketch.figure.get_size_inches()]
        width, height = entry["size"]
        return width, height

    def files(self, drawn: Drawn, stamp: Stamp) -> dict[str, bytes]:
        """The figure in its forms for print, with the stamp in its metadata: path → bytes."""
        return {f"figures/{drawn.id}.{form}": self._file(drawn, form, drawn.stamped(stamp)) for form in drawn.forms}

    def save(self) -> None:
        """Keep what this build has shown.  Raises StoreError."""
        kept = {name: {"entry": entry, "check": digest(entry)} for name, entry in self._shown.items()}
        write_bytes(self._folder / FILE, json.dumps(kept, sort_keys=True).encode())

    def _entry(self, drawn: Drawn) -> dict[str, Any]:
        if drawn.id not in self._shown:
            known = self._earlier.get(drawn.id, {})
            same = known.get("key") == drawn.sketch.key
            self._shown[drawn.id] = known if same else {"key": drawn.sketch.key, "files": {}}
        return self._shown[drawn.id]

    def _file(self, drawn: Drawn, form: str, stamp: Stamp) -> bytes:
        files, said = self._entry(drawn)["files"], digest([stamp.title, stamp.words()])
        known = files.get(form, {})
        if known.get("stamp") == said:
            with contextlib.suppress(OSError):
                written = (self._folder / "figures" / f"{drawn.id}.{form}").read_bytes()
                if _sha256(written) == known["sha256"]:
                    return written
        made = figure_bytes(drawn.sketch.figure, form, stamp)
        files[form] = {"stamp": said, "sha256": _sha256(made)}
        return made


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Those that are as they were saved."""
    found = {}
    for name, kept in (read_json(path) or {}).items():
        entry = kept.get("entry") if isinstance(kept, dict) else None
        if isinstance(entry, dict) and digest(entry) == kept.get("check"):
            found[name] = entry
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
