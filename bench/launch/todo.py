"""What is left to do of a design."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench import overview
from bench.datasets import Source
from bench.design import Design, Run
from bench.orders import Orders
from bench.setting import Data
from bench.store import Store


def unfinished(design: Design, store: Store, orders: Orders, sources: Mapping[Data, Source]) -> list[Run]:
    """Runs without an outcome, or with scores that are asked for and do not stand."""
    left = []
    for run in design.runs:
        folder = store.run(run.run_id)
        trained = folder.state().trained
        if trained is None or orders.unscored(folder, run.setting, trained["snapshots"], sources[run.setting.data]):
            left.append(run)
    return left


def longest_first(runs: Sequence[Run], rates: Mapping[str, float], sources: Mapping[Data, Source]) -> list[Run]:
    """Order runs by what they will take, so that no place is idle while the longest is worked on; equals as planned.

    rates: seconds an image of shapes that have been timed.  A shape that has not goes by its pixels.
    """
    shapes = overview.shapes_of(runs)
    timed = [rates[shapes[run.cell.name]] / _pixels(run) for run in runs if shapes[run.cell.name] in rates]
    of_a_pixel = statistics.median(timed) if timed else 1.0

    def seconds(run: Run) -> float:
        rate = rates.get(shapes[run.cell.name], of_a_pixel * _pixels(run))
        return rate * overview.images_of(run, sources[run.setting.data].parts["train"])

    return sorted(runs, key=seconds, reverse=True)


def _pixels(run: Run) -> int:
    size: int = run.setting.data.size
    return size * size
