"""The snapshot selected on other seeds: what “the best snapshot” says when the choice cannot flatter the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench import protocol
from bench.render.content import plural


class Selection(NamedTuple):
    """One value a run, read at a snapshot in whose choice the run had no part."""

    cells: dict[str, dict[int, float]]
    """Cell → seed → value, on the metric's scale."""
    places: dict[str, dict[int, int]]
    """Cell → seed → place of the snapshot, from 0."""
    candidates: int

    @property
    def line(self) -> str:
        """Say what was chosen from, and how often it was the last."""
        places = [place for found in self.places.values() for place in found.values()]
        last = sum(place == self.candidates - 1 for place in places)
        return f"of {self.candidates} snapshots; the last one for {last} of {plural(len(places), 'run')}"


def selected(frame: pd.DataFrame, name: str) -> Selection | None:
    """Read each run that is done at the snapshot that is best, in the mean, for the other seeds of its cell.

    The best of a run's own snapshots is a minimum of noise.  Leaving the run out of the choice takes that away: what
    is read is as far from its expectation as any other value.  Best: by the metric's direction, or nearest to the real
    set's own value.  None unless all runs have as many snapshots, two or more, since a cell that is looked at more
    often finds better ones; cells with one run are left out.
    """
    what = protocol.measure(name)
    rows = frame[(frame["status"] == "done") & (frame["metric"] == name)].sort_values("kimg")
    real = rows["real"].dropna()
    tracks: dict[Any, np.ndarray] = {
        key: found["value"].to_numpy() for key, found in rows.groupby(["cell", "seed"], sort=False)
    }
    lengths = {len(track) for track in tracks.values()}
    if len(lengths) != 1 or min(lengths) < 2 or (what.direction == "reference" and real.empty):
        return None
    if not all(np.isfinite(track).all() and (what.scale == "raw" or (track > 0).all()) for track in tracks.values()):
        return None
    cells: dict[str, dict[int, np.ndarray]] = {}
    for (cell, seed), track in tracks.items():
        cells.setdefault(cell, {})[seed] = np.log(track) if what.scale == "log" else track
    places = {
        cell: {seed: _best([found[other] for other in found if other != seed], what, real) for seed in sorted(found)}
        for cell, found in cells.items()
        if len(found) > 1
    }
    values = {
        cell: {seed: float(cells[cell][seed][at]) for seed, at in found.items()} for cell, found in places.items()
    }
    return Selection(values, places, lengths.pop()) if values else None


def _best(others: Sequence[np.ndarray], what: protocol.Metric, real: pd.Series) -> int:
    """Place of the best mean; of equals the last."""
    mean = np.mean(others, axis=0)
    worse = {"lower": mean, "higher": -mean}.get(what.direction)
    badness = np.abs(mean - real.iloc[0]) if worse is None else worse
    return int(len(badness) - 1 - np.argmin(badness[::-1]))
