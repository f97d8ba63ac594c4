"""`--executor inline`: one run after another in this process, for debugging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.orders import Orders
from bench.stop import Stop
from bench.store import Store


def run_inline(store: Store, orders_path: Path, run_ids: Sequence[str]) -> dict[str, int]:
    """Run each in turn; return exit codes.  A stop asked for by a signal ends the series with code 75."""
    from bench import job

    stop, codes = Stop(), {}
    with stop.installed():
        orders = Orders.read(orders_path)
        for run_id in run_ids:
            if stop.reason is not None:
                codes[run_id] = job.STOPPED
                continue
            print(f"run {run_id}", flush=True)
            codes[run_id] = job.run(store.run(run_id), orders, stop=stop)
    return codes
