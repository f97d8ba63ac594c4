"""Small studies and runs that many tests share."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("BENCH_SITE", None)

import pytest

from bench.setting import Setting, resolve, run_id

TINY = {
    "data.name": "faces",
    "data.size": 16,
    "data.channels": 1,
    "network": "dcgan",
    "g_width": 4,
    "d_width": 4,
    "z_dim": 8,
    "train.batch": 4,
    "train.g_steps": 6,
    "train.n_critic": 2,
}
"""A run of well under a second."""


@pytest.fixture
def tiny(tmp_path):
    """Build a tiny resolved setting; keyword `a__b=1` stands for the dotted key `a.b`."""
    from bench import datasets

    def make(**knobs: object) -> Setting:
        layer = {key.replace("__", "."): value for key, value in knobs.items()}
        data = resolve(TINY, layer).data
        fingerprint = datasets.fingerprint(data, tmp_path / "data", tmp_path / "results" / "cache")
        return resolve(TINY, layer, {"data.fingerprint": fingerprint})

    return make


@pytest.fixture
def make_run(tmp_path, tiny):
    """Write a tiny run's folder and the orders for it; return (folder, orders path)."""
    from bench.orders import Orders
    from bench.store import Store

    def make(metrics=(), checkpoint_minutes=2.0, evaluate=None, **knobs):
        store = Store(tmp_path / "results")
        setting = tiny(**knobs)
        folder = store.run(run_id(setting))
        folder.write_setting(setting)
        orders = Orders(
            data_root=tmp_path / "data",
            metrics=tuple(metrics),
            checkpoint_minutes=checkpoint_minutes,
            **({"evaluate": evaluate} if evaluate else {}),
        )
        path = store.study("test") / "orders.json"
        orders.write(path)
        return folder, path

    return make


@pytest.fixture
def faulty(tmp_path_factory, monkeypatch):
    """A norm of the user's own that does harm when told to, importable here and in children."""
    from faulty import Faulty

    folder = tmp_path_factory.mktemp("lab")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield Faulty(folder)
    sys.modules.pop("faulty_norm", None)


@pytest.fixture
def make_faulty(faulty, make_run):
    """As `make_run`, with that norm in G."""
    from bench.own_modules import source_hash

    def make(**knobs):
        return make_run(g_norm=faulty.name, sources={"faulty_norm": source_hash(faulty.name)}, **knobs)

    return make
