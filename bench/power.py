"""What a design can show, before it runs: the smallest effects that it finds, and how many seeds an effect takes.

Imports neither NumPy nor pandas until it is asked: a plan answers at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench import protocol
from bench.design import Design
from bench.probes import MEASURES
from bench.store import Store
from bench.study import Problem, Study, StudyError

if TYPE_CHECKING:
    from bench.questions import Question
    from bench.readings import Reading

WANTED = 0.8
"""Power: the chance to find an effect that is there."""
LEVEL = 0.05
MOST_SEEDS = 10_000


class Spread(NamedTuple):
    """How far runs of one cell lie apart, and where that is known from."""

    measure: str
    scale: Literal["log", "raw"]
    """`log`: the sd is one of logarithms, about the relative spread; effects are ratios."""
    sd: float | None
    source: str

    def ratio(self, size: float) -> str:
        """Say an effect of this size on the scale, either way."""
        if self.scale == "raw":
            return f"± {size:.3g}"
        return f"× {math.exp(size):.3g} or × {math.exp(-size):.2g}" if size < 20 else "no ratio worth naming"


def spread(design: Design, store: Store, sd: float | None = None, measure: str | None = None) -> Spread:
    """Say how a measure spreads over seeds: as given, or pooled over the cells with two runs or more that are done.

    measure: unset, `default_measure`.  Raises StudyError for an sd that is none.
    """
    if sd is not None and not 0 < sd < math.inf:
        raise StudyError([Problem(f"--sd {sd:g}", "", "a spread is due, above 0")])
    name = measure or default_measure(design.study)
    scale = _scale(name)
    if sd is not None:
        return Spread(name, scale, sd, "as given")
    done = {
        run.cell.name for run in design.runs if (store.run(run.run_id).state().trained or {}).get("status") == "done"
    }
    if not done:
        return Spread(name, scale, None, "")
    from bench import table  # pandas
    from bench.readings import Readings

    found = pooled(Readings(design, store, table.collect(design, store)).of(name))
    return found if found.sd is not None else Spread(name, scale, None, "")


def default_measure(study: Study) -> str:
    """The measure that a study is about: that of the first claim that names a metric, else the first metric."""
    named = (claim.measure for claim in study.claims if claim.kind != "correlation" and claim.measure in study.metrics)
    return next(named, next(iter(study.metrics), ""))


def pooled(reading: Reading) -> Spread:
    """Pool the spread of runs over the cells with two values or more: the root of their mean variance within cells.

    `sd` is None where there is no such cell, or no spread.
    """
    groups = [list(values.values()) for values in reading.cells.values() if len(values) > 1]
    runs = sum(map(len, groups))
    squares = math.fsum((value - math.fsum(found) / len(found)) ** 2 for found in groups for value in found)
    if not squares:
        return Spread(reading.name, reading.scale, None, "")
    cells = f"{len(groups)} cells" if len(groups) > 1 else "1 cell"
    sd = math.sqrt(squares / (runs - len(groups)))
    return Spread(reading.name, reading.scale, sd, f"from {runs} runs in {cells}")


def _scale(name: str) -> Literal["log", "raw"]:
    if name in MEASURES:
        return MEASURES[name].scale
    if name in protocol.METRICS:
        return protocol.METRICS[name].scale
    try:
        return protocol.measure(name).scale
    except KeyError:
        return "raw"


def said(design: Design, found: Spread) -> list[str]:
    """Say what the design can show with its seeds, a line each."""
    from bench.contrasts import detectable, smallest_p

    n, claims = len(design.study.seeds), len(design.study.claims)
    if n < 2:
        return ["one seed: no interval, no test, no verdict; two are the least, five decide"]
    lines = []
    if found.sd is None:
        lines.append("effects in sd of a run within its cell (say --sd, or have runs done, for ratios):")
    else:
        unit = f"sd {found.sd:.3g} of log" if found.scale == "log" else f"sd {found.sd:.3g} of"
        lines.append(f"{unit} {found.measure} ({found.source}); smallest effects found with 80 % power at 5 %:")
    for what, norm in _sizes(design):
        size = detectable((found.sd or 1.0) * norm, n)
        assert size is not None  # two seeds or more
        lines.append(f"  {what}: {found.ratio(size) if found.sd is not None else f'{size:.2g} sd'}")
    if claims > 1:
        lines.append(f"{claims} claims are one family (Holm): the clearest of them needs p ≤ {LEVEL / claims:.2g}")
    if smallest_p(n) > LEVEL:
        lines.append(
            f"the exact randomisation test cannot reach 0.05 with this design: its least p with {n} seeds is "
            f"{smallest_p(n):.3g}"
        )
    worst = 1.959964**2 / (n + 1.959964**2)
    lines.append(f"failures: a cell whose {n} runs all succeed may fail up to {100 * worst:.0f} % of the time (Wilson)")
    return lines


def seeds_for(design: Design, found: Spread, size: float, wanted: float = WANTED) -> list[tuple[str, int | None]]:
    """Say how many seeds find an effect of `size` on the scale: (what, seeds), None beyond `MOST_SEEDS`.

    Each kind of question first, at 5 %; then each claim of an effect on this measure, at 5 % over the number of claims,
    which is Holm's first step.  An equivalence seeks no effect, and is not among them.
    found: with an sd.
    """
    from bench.claims import compared
    from bench.contrasts import seeds_needed

    assert found.sd is not None
    listed = [(what, seeds_needed(size, found.sd * norm, LEVEL, wanted, MOST_SEEDS)) for what, norm in _sizes(design)]
    claims = design.study.claims
    for claim in claims:
        if claim.kind not in ("difference", "interaction") or not _same_measure(claim.measure, found.measure):
            continue
        weights = compared(claim, design).weights
        if weights:
            norm = math.sqrt(math.fsum(weight**2 for weight in weights.values()))
            listed.append(
                (f"claim: {claim.says}", seeds_needed(size, found.sd * norm, LEVEL / len(claims), wanted, MOST_SEEDS))
            )
    return listed


def _same_measure(claimed: str, value: str) -> bool:
    """Whether two names mean one measure: they are equal, or one is a metric and the other a value that it yields."""
    if claimed == value:
        return True
    if {claimed, value} <= protocol.METRICS.keys():
        return False
    return any(
        metric in protocol.METRICS and not protocol.is_detail(one) and _carries(one, metric)
        for metric, one in ((claimed, value), (value, claimed))
    )


def _carries(value: str, metric: str) -> bool:
    """Whether a value's name is the metric's, with a count, an extractor or a resize behind it."""
    name = "fi?d" if metric == "fd" else re.escape(metric)  # on Inception's features fd is called fid
    return re.match(rf"{name}(?![a-z]|_(?!legacy_)[a-z])", value) is not None


def _sizes(design: Design) -> Iterator[tuple[str, float]]:
    """Kinds of questions with the sd of one seed's contrast, in sd of a run: √Σ weight².

    Runs of one seed count as independent here; what they share cancels in a contrast and makes it sharper.
    """
    from bench.questions import questions

    seen: dict[tuple[str, float], list[Question]] = {}
    for question in questions(design):
        norm = math.sqrt(math.fsum(weight**2 for weight in question.weights.values()))
        if question.kind in ("main", "interaction", "step", "reference"):
            seen.setdefault((question.kind, round(norm, 9)), []).append(question)
    for (kind, norm), found in seen.items():
        factors = list(dict.fromkeys(" × ".join(question.factors) for question in found))
        of = ", ".join(factors) if len(factors) <= 4 else f"{len(factors)} of them"
        words = {
            "main": f"main effect of {of}",
            "interaction": f"interaction {of}" if len(factors) <= 4 else f"interaction of two factors ({of})",
            "step": "a row against the one before it",
            "reference": "one cell against the reference",
        }
        yield words[kind], norm
