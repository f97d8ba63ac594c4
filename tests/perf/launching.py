"""Planning 1,000 runs: ours against Hydra's submitit launcher and dora, each by its own command, up to submission.

    python -m venv ../peers && ../peers/bin/pip install hydra-core hydra-submitit-launcher dora-search
    python tests/perf/launching.py --with-python ../peers/bin/python

The grid is one: 5 generator norms × 4 weight norms × 5 losses × 10 seeds.  Whole commands are timed, imports and all,
on the wall and of the processor, children too; in turns, medians.  What each does:

ours    `bench.run STUDY --dry-run`: reads and checks the file, resolves and validates every setting, judges it by the
        rules, hashes it to an id, asks the results what is done, and prints plan, cost, power and all ids.
hydra   `--multirun hydra/launcher=submitit_slurm`: its sweeper composes each job's configuration (which is how it finds
        mistakes before it submits) and its launcher lists the jobs.  An executor that submits nothing stands in for
        submitit's.  The configuration has the knobs of our setting.
dora    `dora grid --dry_run` of an argparse main with the same knobs as options, the cheaper of its two forms (the
        other composes by Hydra): it parses each XP's options, hashes them to a signature, asks what is scheduled, and
        prints a line an XP.  It needs torch, whose import is part of its command.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import turns

from bench.setting import DEFAULTS

FACTORS = {
    "g_norm": ["none", "bn", "in", "ln", "gn"],
    "d_weight": ["none", "spectral", "weight", "orthogonal"],
    "loss": ["wasserstein", "hinge", "nonsaturating", "minimax", "leastsquares"],
}
SEEDS = 10
STUDY = """
study: planned
recipe: wgan_gp
data: {name: faces, size: 32}
train: {kimg: 32}
factors:
  g_norm: [none, bn, in, ln, gn]
  d_weight: [none, spectral, weight, orthogonal]
  loss: [wasserstein, hinge, nonsaturating, minimax, leastsquares]
seeds: 10
reference: {g_norm: bn, d_weight: none, loss: wasserstein}
metrics: [swd]
"""
HYDRA = """
import hydra
import submitit

class Submits:
    def __init__(self, *given, **named): ...
    def update_parameters(self, **named): ...
    def map_array(self, work, *columns):
        print(len(columns[0]), "jobs to submit")
        return []

submitit.AutoExecutor = Submits

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config): ...

main()
"""
DORA = """
import argparse
from dora import argparse_main

parser = argparse.ArgumentParser("planned")
for name, default in {knobs!r}.items():
    parser.add_argument("--" + name, default=default)

@argparse_main(dir="out", parser=parser)
def main(): ...
"""
GRID = """
from itertools import product
from dora import Explorer

@Explorer
def explorer(launcher):
    for chosen in product(*{levels!r}):
        launcher(**dict(zip({names!r}, chosen)))
"""


def ours(place: Path) -> list[str]:
    """Write the study; return the command."""
    (place / "planned.yaml").write_text(STUDY)
    return [sys.executable, "-m", "bench.run", "planned.yaml", "--dry-run"]


def hydra(place: Path, python: Path) -> list[str]:
    """Write an application and its configuration; return the command."""
    (place / "app.py").write_text(HYDRA)
    (place / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in knobs().items()))
    sweep = [f"{name}={','.join(map(str, levels))}" for name, levels in axes().items()]
    return [str(python), "app.py", "--multirun", "hydra/launcher=submitit_slurm", *sweep]


def dora(place: Path, python: Path) -> list[str]:
    """Write a package with its grid; return the command."""
    (place / "planned" / "grids").mkdir(parents=True)
    for name in ("planned/__init__.py", "planned/grids/__init__.py"):
        (place / name).write_text("")
    (place / "planned" / "train.py").write_text(DORA.format(knobs=knobs()))
    levels, names = list(axes().values()), list(axes())
    (place / "planned" / "grids" / "every.py").write_text(GRID.format(levels=levels, names=names))
    return [str(python), "-m", "dora", "-P", "planned", "grid", "every", "--dry_run", "--no_monitoring"]


def knobs() -> dict[str, str]:
    """Our knobs, as words."""
    return {name.replace(".", "_"): str(value or "none") for name, value in DEFAULTS.items() if name != "sources"}


def axes() -> dict[str, list[str]]:
    """The grid's axes, seeds too."""
    return {**FACTORS, "seed": [str(seed) for seed in range(SEEDS)]}


def cost(command: list[str], place: Path) -> tuple[float, float]:
    """Seconds of a command, on the wall and of the processor.  Raises RuntimeError when it fails."""
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), str(place)])
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(command, cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode or not any(said in ran.stdout for said in ("1000 runs to train", "1000 jobs", "999  seed=9")):
        raise RuntimeError(f"{' '.join(command)}: exit {ran.returncode}\n{ran.stdout[-1000:]}\n{ran.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the seconds of each, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-python", type=Path, metavar="PYTHON", help="one that has Hydra, its launcher and dora")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        commands = {"ours": ours(place)}
        if given.with_python:
            python = given.with_python.absolute()  # a venv's link is not to be followed
            commands |= {"hydra": hydra(place, python), "dora": dora(place, python)}
        else:
            print("Hydra and dora are left out: --with-python, see --help")
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(given.rounds):
            for name, command in commands.items():
                taken[name].append(cost(command, place))
    rows = []
    for name, seconds in taken.items():
        wall, busy = (turns.quartiles([pair[i] for pair in seconds]) for i in (0, 1))
        print(f"{name:6} {wall[1]:7.2f} s [{wall[0]:.2f}, {wall[2]:.2f}]   {busy[1]:6.2f} s of the processor")
        if name != "ours":
            ratios = [theirs[1] / mine[1] for theirs, mine in zip(seconds, taken["ours"], strict=True)]
            print(f"       {name} over ours, of the processor: {statistics.median(ratios):.1f} ×")
            more = {"unit": "×", "seconds": {"ours": turns.quartiles([pair[0] for pair in taken["ours"]]), name: wall}}
            rows.append(turns.row(f"planning 1,000 runs: {name} over ours, processor time", "stated", ratios, **more))
    turns.write(given.json, rows, given)


if __name__ == "__main__":
    main()
