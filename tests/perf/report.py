"""The report of a study of many runs: seconds and memory to build it, and to build it again after one more run.

python tests/perf/report.py [--cells 20] [--seeds 25] [--profile]

Each run has four snapshots with three scores and a sheet of samples, a training log of 200 rows and 20 rows of
probes; one in ten diverged.  `--profile` prints where each build spends its time.
"""

import argparse
import cProfile
import json
import pstats
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import miniature as mini
import numpy as np

from bench.store import Store

LEVELS = {"g_norm": ["none", "bn", "in", "ln", "gn"], "d_weight": ["none", "spectral", "weight", "orthogonal"]}
LOSSES = ["wasserstein", "hinge", "nonsaturating", "minimax", "leastsquares"]
LOG_ROWS = 200


def text(cells: int) -> str:
    """The study: 4, 20 or 100 cells."""
    levels = LEVELS if cells > 4 else {"g_norm": ["bn", "adain"], "d_weight": ["none", "spectral"]}
    factors = "".join(f"  {name}: [{', '.join(found)}]\n" for name, found in levels.items())
    if cells > 20:
        factors += f"  loss: [{', '.join(LOSSES)}]\n"
    reference = "reference: {{g_norm: bn, d_weight: none" + (", loss: wasserstein" if cells > 20 else "") + "}}\n"
    said = mini.STUDY.replace("  g_norm: [bn, adain]\n  d_weight: [none, spectral]\n", factors)
    said = said.replace("reference: {{g_norm: bn, d_weight: none}}\n", reference + "probes: true\n")
    return said.replace("g_norm: adain", f"g_norm: {levels['g_norm'][-1]}")


def speckled(run, step):
    """A sheet that hardly compresses, as real samples do."""
    draws = np.random.default_rng([run.seed, step, *run.run_id.encode()])
    return draws.integers(0, 256, (256, 256, 3), dtype=np.uint8)


def write(design, store, run):
    """One run as training and scoring leave it."""
    place = [cell.name for cell in design.cells].index(run.cell.name)
    lost = (place + run.seed) % 10 == 9
    labels = mini.LABELS[:2] if lost else mini.LABELS
    mini.write_run(
        store, run, status="diverged" if lost else "done", cause="loss_D is nan" if lost else None, labels=labels
    )
    rows = [{"step": n, "nimg": n * 80, "kimg": n * 0.08, "loss_D": -1.0, "critic_estimate": 1.0 / n, "seconds": n / 10}
            for n in range(1, LOG_ROWS + 1)]  # fmt: skip
    (store.run(run.run_id).attempt(1) / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mini.write_probes(store, run, kimgs=np.linspace(0, 32, 20).tolist())
    mini.write_samples(store, run, labels, paint=speckled)
    for step, label in enumerate(labels, 1):
        fd = float(np.exp(4 + place / 50 + np.random.default_rng([run.seed, place]).normal(0, 0.1))) + 10 * (4 - step)
        mini.write_score(store, run, design, label, "fd", {"fd[random]": fd}, floor={"fd[random]": 5.0})
        swd = {"swd": fd / 2, "swd_32": fd / 2 + 1, "swd_16": fd / 2 - 1}
        mini.write_score(store, run, design, label, "swd", swd, floor={"swd": 4.0, "swd_32": 4.5, "swd_16": 3.5})
        mini.write_score(store, run, design, label, "ms_ssim", {"ms_ssim_2s": fd / 400}, real={"ms_ssim_2s": 0.25})


class Clock:
    """Prints what a build took: seconds on the wall, seconds of the processor, and the most memory so far."""

    def __init__(self, profiler):
        self.profiler = profiler
        self.begin()

    def begin(self):
        """Forget what was before."""
        if self.profiler:
            self.profiler.clear()
            self.profiler.enable()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def said(self, what):
        """Print, and begin anew."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{wall:7.2f} s  {cpu:6.2f} s of the processor  {peak:5.2f} GB  {what}", flush=True)
        if self.profiler:
            self.profiler.disable()
            pstats.Stats(self.profiler).sort_stats("cumulative").print_stats(70)
        self.begin()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--cells", type=int, choices=(4, 20, 100), default=20)
    asked.add_argument("--seeds", type=int, default=25)
    asked.add_argument("--profile", action="store_true", help="say where each build spends its time")
    asked.add_argument("--keep", type=Path, metavar="FOLDER", help="make the runs there, or take those that are there")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        measure(given.keep or Path(place), given)


def measure(folder, given) -> None:
    """Build the report of all runs but two as `--watch` does, then with one more; then whole, and with one more."""
    folder.mkdir(exist_ok=True)
    design, store = mini.a_design(folder, seeds=given.seeds, text=text(given.cells)), Store(folder / "results")
    *rest, next_to_last, last = design.runs
    for run in rest:
        if not store.run(run.run_id).trained.exists():
            write(design, store, run)
    for run in (next_to_last, last):
        shutil.rmtree(store.run(run.run_id).path, ignore_errors=True)
    mini.publish(store.study(design.study.name) / "reals.png", mini.png(speckled(last, 0)))
    print(f"{len(design.runs)} runs of {len(design.cells)} cells", flush=True)
    profiler = cProfile.Profile() if given.profile else None
    clock = Clock(profiler)
    from bench.render import report

    with tempfile.TemporaryDirectory() as place:
        watched, whole = Path(place) / "watched", Path(place) / "whole"
        report.build(design, store, watched, reload_s=30)
        clock.said("watched: from nothing, imports and all")
        write(design, store, next_to_last)
        clock.begin()
        report.build(design, store, watched, reload_s=30)
        clock.said("watched: after one more run")
        report.build(design, store, watched, reload_s=30)
        clock.said("watched: nothing has changed")
        page = report.build(design, store, whole)
        clock.said(f"whole: from nothing, with all that is for print; the page has {page.stat().st_size / 1e6:.1f} MB")
        write(design, store, last)
        clock.begin()
        report.build(design, store, whole)
        clock.said("whole: after one more run")


if __name__ == "__main__":
    main()
