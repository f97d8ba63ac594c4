"""A run's folder and its orders, as a launch leaves them: faces at 32 px, the networks of the quickstart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.orders import Orders
from bench.recipes import RECIPES
from bench.setting import resolve, run_id
from bench.store import RunFolder, Store

QUICKSTART = {"data.name": "faces", "data.size": 32, "data.channels": 1, "g_width": 16, "d_width": 16,
              "train.batch": 16, "train.lr": 1e-3, "init": "normal002"}  # fmt: skip


def make(place: Path, threads: int, g_steps: int, **layer: Any) -> tuple[RunFolder, Path]:
    """Write both below `place`."""
    store = Store(place / "results")
    setting = resolve(RECIPES["wgan_gp"], QUICKSTART, {"train.g_steps": g_steps}, layer)
    folder = store.run(run_id(setting))
    folder.write_setting(setting)
    orders = store.study("perf") / "orders.json"
    Orders(data_root=place / "data", cpu_threads=threads).write(orders)
    return folder, orders
