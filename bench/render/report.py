"""The report of a study, rebuilt only when something that it says has changed.

Imports neither pandas nor matplotlib until there is something to build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.design import Design
from bench.files import read_json
from bench.render import freshness
from bench.store import Store


def build(design: Design, store: Store, reports: Path, *, again: bool = False, reload_s: int | None = None) -> Path:
    """Bring results/studies/<study>/{runs,summary}.csv and reports/<study>/ up to date; return the page's path.

    again: build even when nothing has changed, and draw each figure anew.  reload_s: the page loads itself anew after
    so many seconds, for a report that is watched.  Raises table.ProtocolError when unlike scores would stand in one
    table, StoreError when a file cannot be written.
    """
    page = freshness.report_folder(design, reports) / "index.html"
    if not again and freshness.up_to_date(design, store, reports, reload_s):
        return page
    before = freshness.inputs(design, store, reload_s)
    from bench.render import build as whole  # pandas and matplotlib

    written = whole.build(design, store, reports, reload_s, again=again)
    freshness.stamp(design, reports, before, written, reload_s)
    return page


def verdicts(page: Path) -> list[dict[str, Any]]:
    """Return the verdicts of a report, in the study's order; [] where it judges nothing."""
    return (read_json(page.parent / "report.json") or {}).get("verdicts", [])
