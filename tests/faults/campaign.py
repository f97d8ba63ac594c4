"""Hurts at random whoever works on a small study, and starts it again, until it is done; then looks what is lost.

    python tests/faults/campaign.py --rounds 100 [--seed 0] [--slurm] [--write docs/reliability.md]

A round is a study of two to four runs of a second.  The same command is given until it returns 0, sometimes by two
drivers at once; meanwhile workers, supervisors and drivers are hurt in moments that are drawn.  With --slurm the
command submits job arrays to a real Slurm, and tasks are hurt too.  Exits with 1 when anything was lost, made twice,
made otherwise, or left out.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import platform
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from ledger import Findings
from queue_of_slurm import on_slurm
from trial import Trial, undisturbed

CHECKED = {
    "lost": "results lost",
    "twice": "runs done twice",
    "differing": "differing weights, snapshots, samples or scores",
    "steps": "steps lost or repeated in logs",
}


class Tally:
    """What all rounds came to."""

    def __init__(self, command: str, seed: int) -> None:
        self.command, self.seed = command, seed
        self.began = time.monotonic()
        self.rounds, self.findings = 0, Findings()
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()

    def add(self, trial: Trial, found: Findings) -> None:
        """Count a round that is over."""
        self.rounds += 1
        self.counts.update(runs=len(trial.run_ids), drivers=trial.started, attempts=trial.attempts())
        self.faults.update(trial.faults)
        for kind, lines in vars(found).items():
            getattr(self.findings, kind).extend(f"round {self.rounds}: {line}" for line in lines)

    def table(self) -> str:
        """All counts, in Markdown."""
        rows = [("rounds", self.rounds), ("runs", self.counts["runs"])]
        rows += [("times the command was given", self.counts["drivers"]), ("attempts at runs", self.counts["attempts"])]
        rows += [("**faults**", self.faults.total()), *sorted(self.faults.items())]
        rows += [(f"**{words}**", len(getattr(self.findings, kind))) for kind, words in CHECKED.items()]
        return "\n".join(["| | |", "|---|--:|", *(f"| {name} | {count} |" for name, count in rows)])

    def report(self) -> str:
        """The table with where it comes from."""
        today = datetime.datetime.now(datetime.UTC).date()
        minutes = (time.monotonic() - self.began) / 60
        cores = len(os.sched_getaffinity(0))
        where = f"{today}, {cores} CPU cores ({platform.machine()}), seed {self.seed}, {minutes:.0f} minutes"
        return f"`{self.command}`, {where}:\n\n{self.table()}\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; return 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after so long")
    parser.add_argument("--seed", type=int, default=0, help="of what befalls whom, and when")
    parser.add_argument("--slurm", action="store_true", help="on a real Slurm, brought up here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table there, between the campaign's marks")
    given = parser.parse_args(arguments)
    words = [f"--rounds {given.rounds}", f"--seed {given.seed}"] + ["--slurm"] * given.slurm
    words += [f"--minutes {given.minutes:g}"] if given.minutes < float("inf") else []
    tally = Tally(f"python tests/faults/campaign.py {shlex.join(' '.join(words).split())}", given.seed)
    top = Path(tempfile.mkdtemp(prefix="campaign-"))
    with on_slurm(given.slurm) as cluster:
        reference = undisturbed(top)
        while tally.rounds < given.rounds and time.monotonic() - tally.began < 60 * given.minutes:
            chance = random.Random(f"{given.seed} {tally.rounds}")
            trial = Trial(top / f"round-{tally.rounds}", reference, chance, cluster)
            began = time.monotonic()
            found = trial.carry_out()
            tally.add(trial, found)
            said = ", ".join(f"{count} × {name}" for name, count in sorted(trial.faults.items())) or "no fault"
            print(
                f"round {tally.rounds}: {len(trial.run_ids)} runs in {time.monotonic() - began:.0f} s; {said}",
                flush=True,
            )
            for line in found.lines():
                print(f"  {line}", flush=True)
            if found:
                print(f"  kept: {trial.place}", flush=True)
            else:
                shutil.rmtree(trial.place)
    if not tally.findings:
        shutil.rmtree(top)
    print(tally.report())
    if given.write:
        write(given.write, "campaign on slurm" if given.slurm else "campaign", tally.report())
    return int(bool(tally.findings))


def write(page: Path, mark: str, text: str) -> None:
    """Put a text between its marks in a page.  Raises SystemExit where there are none."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    whole, count = re.subn(
        f"({re.escape(begin)}).*?(?={re.escape(end)})", lambda m: m[1] + text, page.read_text(), flags=re.DOTALL
    )
    if not count:
        raise SystemExit(f"{page} has no {begin.strip()} … {end}")
    page.write_text(whole)


if __name__ == "__main__":
    sys.exit(main())
