"""One command that fills the table of docs/performance.md: what this machine can measure, as Markdown and as JSON.

    python tests/perf/table.py --mimicry ../mimicry --studiogan ../PyTorch-StudioGAN \\
        --stylegan2-ada ../stylegan2-ada-pytorch --with-python ../peers/bin/python --out measured
    python tests/perf/table.py --device cuda …

Each row is a command of its own, whose output is shown as it comes and whose JSON is kept in `--out`; rows whose JSON
is there are not measured again (`--again` does).  Rows of a GPU want `--device cuda` and a device; until then they say
"not yet measured".  `--only NAME …` takes some rows; `--list` names them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import turns

HERE = Path(__file__).resolve().parent
NOT_YET = "not yet measured"


class Row(NamedTuple):
    """A line of the table, or several: what one command finds."""

    name: str
    device: str
    what: str
    """Said while it is not measured."""
    bar: str
    command: tuple[str, ...]
    """Script and options."""
    needs: tuple[str, ...] = ()
    """Options of ours that the script is given too."""


PEERS, ADA = ("mimicry", "studiogan"), ("stylegan2_ada",)
ROWS = [
    Row("sngan32", "cpu", "SNGAN-32, width 64, batch 32, 5:1: mimicry's step over ours", "≥ 1.8",
        ("step.py", "--case", "sngan32"), PEERS),
    Row("wgan_gp32", "cpu", "WGAN-GP-32 ResNet: the plainest loop over ours", "≥ 1.0",
        ("step.py", "--case", "wgan_gp32", "--steps", "7", "--warmup", "1")),
    Row("dcgan64", "cpu", "DCGAN-64 WGAN-GP: the plainest loop over ours", "≥ 1.0",
        ("step.py", "--case", "dcgan64", "--steps", "7", "--warmup", "1")),
    Row("progan64", "cpu", "ProGAN 64 px: StyleGAN2-ADA's loop over ours", "stated",
        ("progan_loop.py", "--steps", "7", "--warmup", "1"), ADA),
    Row("pool", "cpu", "2 cores: 12-run quickstart, pool over one after another with two threads", "≥ 1.05",
        ("pool.py",)),
    Row("overhead", "cpu", "harness overhead over the bare loop", "≤ 2 %", ("overhead.py",)),
    Row("startup", "cpu", "run start-up, beyond a bare import of torch", "≤ import + 2 s", ("startup.py",)),
    Row("launching", "cpu", "planning 1,000 runs: Hydra and dora over ours", "stated", ("launching.py",),
        ("with_python",)),
    Row("memory", "cpu", "memory beside weights, optimizer and data; growth over 10,000 steps", "stated; none",
        ("memory_growth.py",)),
    Row("sngan32_gpu", "cuda", "SNGAN-32 ResNet: mimicry's, StudioGAN's step over ours", "≥ 4, ≥ 3",
        ("step.py", "--case", "sngan32", "--batch", "64"), PEERS),
    Row("wgan_gp32_gpu", "cuda", "WGAN-GP-32 ResNet: mimicry's step over ours", "≥ 4",
        ("step.py", "--case", "wgan_gp32"), PEERS[:1]),
    Row("dcgan64_gpu", "cuda", "DCGAN-64 WGAN-GP: the plainest loop over ours", "stated",
        ("step.py", "--case", "dcgan64")),
    Row("progan128_gpu", "cuda", "ProGAN 128 px: StyleGAN2-ADA's loop over ours", "stated",
        ("progan_loop.py", "--size", "128", "--width", "128"), ADA),
    Row("memory_gpu", "cuda", "memory beside weights, optimizer and data; growth over 10,000 steps", "stated; none",
        ("memory_growth.py",)),
    Row("packed32", "cuda", "packed study over the same runs one after another, DCGAN-32", "≥ 2.5", ("packed.py",)),
    Row("packed64", "cuda", "packed study over the same runs one after another, DCGAN-64", "≥ 2.5",
        ("packed.py", "--size", "64")),
    Row("cell", "cuda", "one Kwak & Ko cell at its paper's scale, by measured rate", "≤ 12 minutes", ("cell.py",)),
    Row("ceiling", "cuda", "share of the measured ceiling at 128 px, batch 256", "stated",
        ("cell.py", "--batch", "256")),
]  # fmt: skip


def measure(row: Row, given: argparse.Namespace) -> dict[str, Any] | None:
    """What a row's command finds; None where it cannot run here."""
    kept = given.out / f"{row.name}.json"
    asked = row.device == given.device and (not given.only or row.name in given.only)
    if not asked or (kept.exists() and not given.again):
        return dict(json.loads(kept.read_text())) if kept.exists() else None
    command = [sys.executable, str(HERE / row.command[0]), *row.command[1:], "--json", str(kept)]
    for name in row.needs:
        if folder := getattr(given, name):
            command += [f"--{name.replace('_', '-')}", str(folder)]
    if row.device == "cuda":
        command += ["--device", "cuda"]
    print(f"\n{row.name}: {' '.join(command[1:])}", flush=True)
    ran = subprocess.run(command)
    return dict(json.loads(kept.read_text())) if ran.returncode == 0 and kept.exists() else None


def lines(row: Row, found: dict[str, Any] | None) -> list[str]:
    """The row as lines of Markdown."""
    where = "CPU" if row.device == "cpu" else "GPU"
    if not found or not found["rows"]:
        return [f"| {where}: {row.what} | {row.bar} | {NOT_YET} | |"]
    made = []
    for one in found["rows"]:
        low, high = one["quartiles"]
        verdict = {True: "reached", False: "**missed**", None: ""}[one["met"]]
        busy = f", of the processor {one['of_processor']:.2f}" if "of_processor" in one and where == "CPU" else ""
        value = f"{one['median']:.2f} {one['unit']} [{low:.2f}, {high:.2f}]{busy}"
        made.append(f"| {where}: {one['what']} | {one['bar']} | {value} | {verdict} |")
    return made


def environment(found: dict[str, dict[str, Any]]) -> str:
    """Say what the figures were found on: hardware and versions, and each row's threads and load."""
    kinds = {}
    for one in found.values():
        known = one["environment"]
        gpu = f", {known['gpu']}, CUDA {known['cuda']}" if known["gpu"] else ""
        head = f"{known['cpu']}, {known['cores']} cores{gpu}; Python {known['python']}, torch {known['torch']}"
        kinds[head] = kinds.get(head, 0) + 1
    said = "; ".join(f"{head} ({count} commands)" for head, count in kinds.items())
    rows = ", ".join(f"{name} {one['environment']['threads'] or '-'} threads at load {one['environment']['load']}"
                     for name, one in found.items())  # fmt: skip
    return f"Measured on: {said}.  {rows}."


def main() -> None:
    """Measure what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("measured"), metavar="FOLDER", help="where the JSON is kept")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="*", metavar="NAME")
    parser.add_argument("--again", action="store_true", help="measure rows that stand, too")
    parser.add_argument("--list", action="store_true", help="name the rows")
    for name in (*PEERS, "stylegan2-ada"):
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help="its checkout")
    parser.add_argument("--with-python", type=Path, metavar="PYTHON", help="one that has Hydra and dora")
    given = parser.parse_args()
    if given.list:
        print("\n".join(f"{row.name:14} {row.device:5} {row.what}" for row in ROWS))
        return
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here")
    given.out.mkdir(parents=True, exist_ok=True)
    results = {row.name: measure(row, given) for row in ROWS}
    found = {name: one for name, one in results.items() if one}
    table = ["| what | bar | found: median [quartiles] | |", "|---|---|---|---|"]
    for row in ROWS:
        table += lines(row, results[row.name])
    text = "\n".join([*table, "", environment(found) if found else "Nothing is measured yet."])
    print(f"\n{text}")
    (given.out / "table.md").write_text(text + "\n")
    summary = {"rows": found, "environment": turns.environment(given)}
    (given.out / "table.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
