"""`python -m bench.plan STUDY --detect 0.9`: how many seeds find an effect; without it, what the study's seeds find."""

from __future__ import annotations

import argparse
import math
import sys

from bench import power
from bench.command import OK, add_study_arguments, exit_code, open_design
from bench.study import Problem, StudyError


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__)
    add_study_arguments(parser, selection=False)
    parser.add_argument(
        "--detect",
        type=float,
        metavar="EFFECT",
        help="the effect to find: a ratio (0.9), or for measures that are no ratios a difference",
    )
    parser.add_argument("--sd", type=float, help="spread of runs within a cell: of logarithms where effects are ratios")
    parser.add_argument("--power", type=float, default=power.WANTED, help="chance to find it; default 0.8")
    parser.add_argument("--measure", help="a metric; unset: that of the first claim")
    return parser.parse_args()


def main() -> int:
    """Print the seeds that each question takes, or what the study's seeds can show."""
    given = arguments()
    design, store = open_design(given, whole=True)
    if not 0 < given.power < 1:
        raise StudyError([Problem(f"--power {given.power:g}", "", "a chance between 0 and 1 is due")])
    found = power.spread(design, store, given.sd, given.measure)
    if given.detect is None:
        print(*power.said(design, found), sep="\n")
        return OK
    size = _size(given.detect, found)
    if found.sd is None:
        said = "no cell has two runs with this value yet: say the spread, e.g. 0.1 where runs of a cell differ by 10 %"
        raise StudyError([Problem("--sd", "", said)])
    effect = f"× {given.detect:g}" if found.scale == "log" else f"{given.detect:+g}"
    about = f"{100 * given.power:.0f} % power, sd {found.sd:.3g} ({found.source})"
    print(f"seeds that find {effect} in {found.measure} with {about}:")
    for what, seeds in power.seeds_for(design, found, size, given.power):
        print(f"  {seeds if seeds else f'more than {power.MOST_SEEDS}':>6}  {what}")
    print(f"the study has {len(design.study.seeds)}")
    return OK


def _size(effect: float, found: power.Spread) -> float:
    """The effect on the measure's scale.  Raises StudyError for one that is none."""
    if found.scale == "log" and (effect <= 0 or effect == 1):
        raise StudyError([Problem(f"--detect {effect:g}", "", f"{found.measure} has ratios: one is due, e.g. 0.9")])
    if effect == 0:
        raise StudyError([Problem("--detect 0", "", "a difference is due, not nothing")])
    return math.log(effect) if found.scale == "log" else effect


if __name__ == "__main__":
    sys.exit(exit_code(main))
