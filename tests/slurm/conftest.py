"""A real one-node Slurm for the tests marked `slurm`; they are skipped where its packages are not installed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import pytest
from one_node import OneNode, missing
from tiny_study import tiny_study


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[..., OneNode]]:
    """`clusters(max_array=5)`: a cluster with these options, brought up once a session."""
    with contextlib.ExitStack() as stack:
        up: dict[str, OneNode] = {}

        def make(**options: object) -> OneNode:
            if absent := missing(accounting=bool(options.get("accounting"))):
                pytest.skip(f"not installed: {', '.join(absent)}")
            key = json.dumps(options, sort_keys=True)
            if key not in up:
                up[key] = stack.enter_context(OneNode(**options))  # type: ignore[arg-type]
            return up[key]

        yield make


@pytest.fixture
def reach(clusters, monkeypatch) -> Iterator[Callable[..., OneNode]]:
    """`reach(**options)`: such a cluster, empty, and the one that this test's commands find.  Emptied afterwards."""
    used: list[OneNode] = []

    def make(**options: object) -> OneNode:
        cluster = clusters(**options)
        for name, value in cluster.env.items():
            monkeypatch.setenv(name, value)
        used.append(cluster)
        cluster.clear()
        return cluster

    yield make
    for cluster in used:
        cluster.clear()


@pytest.fixture
def slurm(reach) -> OneNode:
    """A cluster without accounting: sacct does not answer."""
    return reach()


@pytest.fixture
def slurm_accounted(reach) -> OneNode:
    """A cluster with accounting: sacct answers."""
    return reach(accounting=True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder, made the current one, with a study of eight runs of a second whose jobs are held."""
    held = "{gpus: 0, memory_gb: 1, slurm: {partition: low, flags: {hold: true}}}"
    (tmp_path / "tiny.yaml").write_text(tiny_study(4, held))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path
