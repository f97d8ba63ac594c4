"""The local pool: runs side by side, deaths contained, interrupts orderly."""

import ast
import os
import signal
import subprocess
import sys
import time
from io import StringIO

import pytest
from rich.console import Console

from bench import overview
from bench.design import Cell, Run
from bench.files import read_json, write_json
from bench.launch import places as places_module
from bench.launch.inline import run_inline
from bench.launch.places import gpus, on_cpu, places_here, places_of_task
from bench.launch.pool import Pool, Terms
from bench.launch.start import worst
from bench.launch.submission import TaskResources
from bench.launch.todo import longest_first
from bench.launch.watch import Watch
from bench.resources import Resources
from bench.store import RunState, Store


def pool_of(tmp_path, orders, names, places=2, **terms):
    console = Console(file=StringIO(), width=200)
    watch = Watch({name: f"cell {i}" for i, name in enumerate(names)}, 0, console)
    store = Store(tmp_path / "results")

    def is_finished(name):
        return store.run(name).state().trained is not None

    return Pool(store, orders, on_cpu(places, 1), watch, Terms(is_finished, **terms)), console


def test_local_gives_the_same_weights_as_inline(make_run, tmp_path):
    settings = [{"g_norm": norm} for norm in ("bn", "adain")]
    runs = [make_run(**knobs) for knobs in settings]
    orders = runs[0][1]
    ids = [folder.path.name for folder, _ in runs]
    pool, console = pool_of(tmp_path, orders, ids)
    assert pool.run(ids) == dict.fromkeys(ids, 0)
    weights = {folder.path.name: folder.state().trained["weights"] for folder, _ in runs}
    assert len(set(weights.values())) == 2
    for folder, _ in runs:
        os.rename(folder.path, tmp_path / f"away-{folder.path.name}")
    for knobs in settings:
        make_run(**knobs)
    assert run_inline(Store(tmp_path / "results"), orders, ids) == dict.fromkeys(ids, 0)
    assert {i: Store(tmp_path / "results").run(i).state().trained["weights"] for i in ids} == weights
    assert console.file.getvalue().count("done") == 2


def test_a_run_that_dies_hurts_no_other(make_run, tmp_path):
    good, orders = make_run(seed=1)
    bad, _ = make_run(seed=2)
    (bad.path / "attempts").mkdir()
    bad_id, good_id = bad.path.name, good.path.name
    # Its snapshots cannot be published: a file stands where their folder is due.
    bad.snapshots.write_text("")
    pool, console = pool_of(tmp_path, orders, [bad_id, good_id])
    codes = pool.run([bad_id, good_id])
    assert codes[good_id] == 0
    assert codes[bad_id] not in (0, 75)
    assert good.state().status == "done"
    assert bad.state().status == "failed"
    assert "cannot write" in bad.state().cause
    assert "cannot write" in bad.log_tail()
    assert "failed" in console.file.getvalue()


def test_a_killed_child_is_recorded_and_tried_again(make_run, tmp_path, monkeypatch):
    folder, orders = make_run(train__g_steps=60)
    pool, console = pool_of(tmp_path, orders, [folder.path.name], retries=1)
    started = pool._start

    def start_and_kill_first(*asked):
        done = started(*asked)
        if len(folder.attempts()) == 1:
            pool.children[0].process.kill()
        return done

    monkeypatch.setattr(pool, "_start", start_and_kill_first)
    assert pool.run([folder.path.name]) == {folder.path.name: 0}
    assert folder.attempts() == [1, 2]
    assert "killed by SIGKILL" in (folder.attempt(1) / "ended.json").read_text()
    assert "trying again" in console.file.getvalue()


DRIVER = """
import sys
from pathlib import Path
from bench.launch.places import on_cpu
from bench.launch.pool import Pool, Terms
from bench.launch.watch import Watch
from bench.store import Store
root, orders, ids = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
store = Store(root)
done = lambda name: store.run(name).state().trained is not None
print(Pool(store, orders, on_cpu(2, 1), Watch(dict.fromkeys(ids, 'x'), 0), Terms(done)).run(ids))
"""


def drive(tmp_path, orders, ids):
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "results"), str(orders), *ids]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(folder):
    return folder.state().status == "running" and (folder.attempt(1) / "train.jsonl").exists()


def test_interrupt_stops_all_in_order(make_run, tmp_path):
    runs = [make_run(seed=seed, train__g_steps=100_000) for seed in range(3)]
    ids = [folder.path.name for folder, _ in runs]
    driver = drive(tmp_path, runs[0][1], ids)
    until(lambda: sum(running(folder) for folder, _ in runs) == 2)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert ast.literal_eval(output.splitlines()[-1]) == dict.fromkeys(ids, 75)
    statuses = sorted(folder.state().status for folder, _ in runs)
    assert statuses == ["missing", "stopped", "stopped"]
    stopped = [folder for folder, _ in runs if folder.state().status == "stopped"]
    assert all(list(folder.path.glob("attempts/1/checkpoints/*.pt")) for folder in stopped)


def test_children_die_with_a_killed_supervisor(make_run, tmp_path):
    folder, orders = make_run(train__g_steps=100_000)
    driver = drive(tmp_path, orders, [folder.path.name])
    until(lambda: running(folder))
    driver.kill()
    driver.communicate()
    until(lambda: folder.state().status == "stopped")


def test_two_drivers_share_the_work(make_run, tmp_path, monkeypatch):
    runs = [make_run(seed=seed) for seed in range(4)]
    ids = [folder.path.name for folder, _ in runs]
    drivers = [drive(tmp_path, runs[0][1], ids) for _ in range(2)]
    for driver in drivers:
        driver.communicate(timeout=120)
        assert driver.returncode == 0
    assert [folder.attempts() for folder, _ in runs] == [[1]] * 4


def test_a_terminal_sees_progress_and_ends(tmp_path):
    """On a terminal: a row for each running run, with its share and rate, and the time to go."""
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system=None)
    folder = tmp_path / "1"
    write_json(folder / "alive", {"step": 30, "steps": 40, "kimg": 6.0, "images_per_second": 321.0, "loss_D": -1.25})
    with Watch({"a": "bn, seed 0", "b": "adain, seed 0", "c": "in, seed 0"}, 1, console) as watch:
        watch.tick([("b", folder), ("c", tmp_path / "2")])
        ended = RunState("done", 1, trained={"kimg": 8.0, "images_per_second": 400.0})
        watch.finished("a", ended, 0, "1 scores failed")
        watch.finished("b", RunState("diverged", 1, "the loss of D is not finite at step 3", {}), 0)
        watch.finished("c", RunState("stopped", 1, "stopped by SIGTERM"), 75)
        assert watch.done == 3
        shown = Console(file=StringIO(), width=120)
        shown.print(watch._table({"b": read_json(folder / "alive") or {}, "c": {}}))
    table = shown.file.getvalue()
    assert "3 of 3 runs have an outcome" in table
    assert "6.0 kimg" in table
    assert "321 img/s" in table
    assert "D -1.25" in table
    assert "starting" in table
    said = console.file.getvalue()
    for part in (
        "✓ bn, seed 0  done  8 kimg, 400 img/s  1 scores failed",
        "✗ adain, seed 0  diverged",
        "not finite",
        "it can go on",
    ):
        assert part in said


def test_places_on_cpu_and_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(places_module, "cores", lambda: 8)
    for said, number in (({}, 8), ({"cpu_threads": 3}, 2), ({"cpu_threads": 16}, 1), ({"parallel": 3}, 3)):
        assert len(places_here(Resources(**said))) == number
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert gpus() == ["2", "5"]
    shared = places_here(Resources(runs_per_gpu=2))
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in shared] == ["2", "2", "5", "5"]
    assert all(place.environment["OMP_NUM_THREADS"] == "1" for place in shared)
    assert sum(place.gpu_share for place in shared) <= 2
    assert [place.gpu_share for place in places_here(Resources())] == [1, 1]
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places_here(Resources(gpus=0, parallel=1))] == [""]


def test_places_of_a_slurm_task(monkeypatch):
    """A task has what Slurm gave it: its cores are no reason to start more runs than it was made for."""
    monkeypatch.setattr(places_module, "cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert len(places_of_task(TaskResources(cpus=8))) == 1
    three = places_of_task(TaskResources(side_by_side=3, gpus=1, cpu_threads=2))
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in three] == ["3"] * 3
    assert {place.environment["OMP_NUM_THREADS"] for place in three} == {"2"}
    assert [round(place.gpu_share, 3) for place in three] == [0.3] * 3


@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 0], 0), ([0, 75], 75), ([75, 2], 2), ([0, 2, -9, 75], 1), ([1], 1)]
)
def test_worst_code(codes, code):
    assert worst(codes) == code


def test_the_longest_runs_start_first(tiny):
    """Shapes that were timed go by their seconds an image, others by their pixels; equals stay as planned."""
    kinds = {"small": tiny(), "wide": tiny(g_width=8), "large": tiny(data__size=32)}
    runs = [Run(Cell(name, {}, {}, (), None), seed, made, name) for name, made in kinds.items() for seed in (0, 1)]
    sources = {made.data: type("Source", (), {"parts": {"train": 20}}) for made in kinds.values()}

    def order(rates):
        named = {overview.shape_digest(kinds[name]): rate for name, rate in rates.items()}
        return [(run.cell.name, run.seed) for run in longest_first(runs, named, sources)]

    def both(*names):
        return [(name, seed) for name in names for seed in (0, 1)]

    assert order({}) == both("large", "small", "wide")
    # Four times the pixels at wide's rate; small as wide, and planned before it.
    assert order({"wide": 1.0}) == both("large", "small", "wide")
    assert order({"small": 2.0, "wide": 3.0, "large": 1.0}) == both("wide", "small", "large")
