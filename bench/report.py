"""`python -m bench.report STUDY`: rebuild the tables and the report from what is there; train and score nothing."""

from __future__ import annotations

import argparse
import sys

from bench import live, overview
from bench.command import OK, add_study_arguments, exit_code, open_design
from bench.harmless import complain
from bench.render import report
from bench.tensorboard import Mirror
from bench.terminal import Terminal


def main() -> int:
    """Build the report and print where it stands."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    add_study_arguments(parser, selection=False)
    parser.add_argument("--again", action="store_true", help="build it even when nothing has changed")
    parser.add_argument(
        "--watch", action="store_true", help="build it again as runs end, until all have; Ctrl-C ends it"
    )
    parser.add_argument(
        "--every", type=_seconds, default=10.0, metavar="SECONDS", help="with --watch: between two looks; default 10"
    )
    parser.add_argument("--tensorboard", action="store_true", help="copy logs and scores for TensorBoard as well")
    parser.add_argument("others", nargs="*", metavar="STUDY", help="further studies, with --compare")
    parser.add_argument("--compare", action="store_true", help="set the reports of several studies side by side")
    given = parser.parse_intermixed_args()
    if given.compare or given.others:
        return _compare(parser, given)
    design, store = open_design(given, whole=True)
    console = Terminal()
    mirror = Mirror(complain) if given.tensorboard else None
    if given.watch:
        page = live.follow(design, store, given.reports, console, given.every, mirror)
    else:
        if mirror is not None:
            mirror(design, store)
        page = report.build(design, store, given.reports, again=given.again)
    if mirror is not None:
        mirror.close()
    console.print(f"report: {page}", soft_wrap=True)
    if judged := report.verdicts(page):
        console.print(overview.verdicts(judged))
    return OK


def _compare(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    """Bring the report of each study up to date, and set them side by side."""
    asked = [given.study, *given.others]
    if not given.compare:
        parser.error(f"{len(asked)} studies are named: say --compare to set them side by side")
    folders = []
    for name in asked:
        design, store = open_design(argparse.Namespace(**{**vars(given), "study": name}), whole=True)
        folders.append(report.build(design, store, given.reports, again=given.again).parent)
    if len({*folders}) < 2:
        parser.error("--compare needs two studies or more")
    from bench.render import compare  # pandas

    page = compare.build([*dict.fromkeys(folders)], given.reports)
    Terminal().print(f"comparison: {page}", soft_wrap=True)
    return OK


def _seconds(said: str) -> float:
    seconds = float(said)
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("from 0.1 to 86400 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(exit_code(main))
