"""What is left to do of a design."""

from __future__ import annotations

from collections.abc import Mapping

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
