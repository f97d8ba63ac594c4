"""Factors × levels × seeds − exclusions, or rows × seeds: a study's list of runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench import datasets, fractions
from bench.own_modules import OWN_KEYS
from bench.recipes import RECIPES
from bench.rules import Verdict, verdicts
from bench.setting import Data, Setting, of_seeds, overlay, resolve
from bench.study import Combination, FractionDesign, Problem, Study, StudyError
from bench.yaml_places import nearest

CONFIRM_RUNS = 2_000
"""From so many runs on, the command asks for `--yes`: more often a typo than a plan."""


class Facts(NamedTuple):
    """What a plan knows of a data set."""

    fingerprint: str
    channels: int
    classes: int
    """0 where there are no labels."""


@dataclass(frozen=True)
class Cell:
    """One combination of levels."""

    name: str
    """`g_norm=bn,d_weight=none`, or the row's name."""
    levels: dict[str, str]
    """Factor → level; {"row": name} for a row."""
    settings: dict[str, Any]
    """Dotted, the recipe's and the fixed ones among them; without the seed."""
    warnings: tuple[str, ...]
    forced: str | None
    """Why a cell that the rules deny runs all the same."""


@dataclass(frozen=True)
class Run:
    """One replicate of a cell."""

    cell: Cell
    seed: int
    setting: Setting
    run_id: str


@dataclass(frozen=True)
class Exclusion:
    """A cell left out."""

    levels: dict[str, str]
    name: str
    why: str
    rule: int | None
    """Number in the table of `bench.rules`; None: the study's own."""


@dataclass(frozen=True)
class Design:
    """What a study runs."""

    study: Study
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    """Seed by seed, so that whole replicates finish first."""
    exclusions: tuple[Exclusion, ...]
    aliases: tuple[str, ...] = ()
    """Of a fraction: effects that it cannot tell apart, as `g_norm×d_weight = sle×mbstd`."""


def expand(study: Study, *, root: Path, cache: Path, only: Sequence[str] = (), limit: int | None = None) -> Design:
    """List a study's runs, with what their settings take from the data.

    `root` is where data sets lie, `cache` where a folder's content hash is remembered.
    `only` selects, as `g_norm=adain,seed=0`: one level or several of a factor, all named factors at once.
    Raises StudyError for a selection that matches nothing, a row or reference that the rules deny, or no cell
    left; DataError for data that is not there.
    """

    def facts(data: Data) -> Facts:
        source = datasets.describe(data, root)
        return Facts(datasets.fingerprint(data, root, cache), source.channels, len(source.classes))

    return expand_with(study, facts, only=only, limit=limit)


def expand_with(
    study: Study,
    facts: Callable[[Data], Facts],
    *,
    only: Sequence[str] = (),
    limit: int | None = None,
) -> Design:
    """Do what `expand` does, with `facts` to tell what a plan knows of a data set."""
    if limit is not None and limit < 1:
        raise StudyError([Problem(f"--limit {limit}", "", "a number of runs is due, at least 1")])
    chosen = selection(study, only)
    combinations, aliases = _combinations(study)
    known: dict[Data, Facts] = {}

    def told(data: Data) -> Facts:
        if data not in known:
            known[data] = facts(data)
        return known[data]

    cells: list[tuple[Cell, Setting]] = []
    exclusions: list[Exclusion] = []
    problems: list[Problem] = []
    for levels in combinations:
        if not matches(levels, chosen):
            continue
        judged = _judge(study, levels, told)
        if isinstance(judged, Problem):
            problems.append(judged)
        elif isinstance(judged, Exclusion):
            exclusions.append(judged)
        else:
            cells.append(_with_facts(judged, study, told))
    if not cells and not problems:
        problems += _nothing_left(study, exclusions, only)
    if problems:
        raise StudyError(problems)
    seeds = [seed for seed in study.seeds if str(seed) in chosen.get("seed", {str(seed)})]
    columns = [
        [Run(cell, one.seed, one, name) for one, name in of_seeds(setting, seeds[:limit])] for cell, setting in cells
    ]
    runs = tuple(itertools.islice(itertools.chain.from_iterable(zip(*columns, strict=True)), limit))
    kept = {run.cell.name for run in runs}
    return Design(study, tuple(cell for cell, _ in cells if cell.name in kept), runs, tuple(exclusions), aliases)


def needs_confirmation(study: Study) -> str | None:
    """Say how many runs a study makes when that many look like a typo, else None.  Lists nothing, so it is fast."""
    if study.rows:
        cells = len(study.rows)
    else:
        cells = math.prod(len(levels) for levels in study.factors.values())
        if study.design == "one_at_a_time":
            cells = 1 + sum(len(levels) - 1 for levels in study.factors.values())
        elif isinstance(study.design, FractionDesign):
            cells //= int(study.design.fraction[2:])
    runs = cells * len(study.seeds)
    if runs < CONFIRM_RUNS:
        return None
    return f"{study.name}: {cells:,} cells × {len(study.seeds):,} seeds = {runs:,} runs"


# ---------------------------------------------------------------------------------------------------------
# Cells.


def _combinations(study: Study) -> tuple[Iterable[dict[str, str]], tuple[str, ...]]:
    if study.rows:
        return [{"row": name} for name in study.rows], ()
    if study.design == "one_at_a_time":
        return _one_at_a_time(study), ()
    full = (
        dict(zip(study.factors, levels, strict=True))
        for levels in itertools.product(*(levels.keys() for levels in study.factors.values()))
    )
    if isinstance(study.design, FractionDesign):
        kept, aliases = fractions.fraction(study, study.design)
        return (levels for levels in full if tuple(levels.values()) in kept), aliases
    return full, ()


def _one_at_a_time(study: Study) -> Iterator[dict[str, str]]:
    yield dict(study.reference)
    for factor, levels in study.factors.items():
        for level in levels:
            if level != study.reference[factor]:
                yield {**study.reference, factor: level}


def _judge(study: Study, levels: dict[str, str], facts: Callable[[Data], Facts]) -> Cell | Exclusion | Problem:
    """Make a combination a cell, an exclusion, or, where the user named it by hand, a problem."""
    name = levels["row"] if study.rows else ",".join(f"{factor}={level}" for factor, level in levels.items())
    by_hand = _by_hand(study, levels)
    if own := _covering(study.exclude, levels):
        if by_hand == ("reference",):
            return study.problem(("reference",), f"{name} is the reference and excluded: {own.why}")
        return Exclusion(levels, name, own.why, None)
    if study.rows:
        settings = study.rows[name]
    else:
        said = (study.factors[factor][level] for factor, level in levels.items())
        settings = overlay(RECIPES.get(study.recipe, {}), study.fixed, *said)
    found = verdicts(_counting(resolve(settings), facts))
    denied = [verdict for verdict in found if verdict.kind == "deny"]
    force = _covering(study.force, levels) if denied else None
    if denied and not force:
        if by_hand:
            message = f"{name}: {_said(denied[0])} (`force` runs it all the same, marked)"
            return study.problem(by_hand, message)
        return Exclusion(levels, name, denied[0].reason, denied[0].number)
    return Cell(name, levels, settings, tuple(_said(verdict) for verdict in found), force.why if force else None)


def _by_hand(study: Study, levels: dict[str, str]) -> tuple[str, ...]:
    """Return where the user named this very cell: as a row, as the reference; () where nowhere."""
    if study.rows:
        return ("rows", levels["row"])
    named = study.reference_said or study.design != "full"
    return ("reference",) if named and levels == study.reference else ()


def _covering(combinations: Iterable[Combination], levels: Mapping[str, str]) -> Combination | None:
    for combination in combinations:
        where = {key: {said} if isinstance(said, str) else set(said) for key, said in combination.where.items()}
        if matches(levels, where):
            return combination
    return None


def matches(levels: Mapping[str, str], where: Mapping[str, set[str]]) -> bool:
    """Whether a combination has, of each factor named in `where`, one of its levels."""
    return all(levels[factor] in said for factor, said in where.items() if factor in levels)


def _said(verdict: Verdict) -> str:
    return f"{verdict.reason} (rule {verdict.number})"


def _nothing_left(study: Study, exclusions: Sequence[Exclusion], only: Sequence[str]) -> Iterator[Problem]:
    if not exclusions:
        yield Problem(f"--only {','.join(only)}", "", f"{study.name} has no such cell in its design")
    told = (item.why if item.rule is None else f"{item.why} (rule {item.rule})" for item in exclusions)
    for why in dict.fromkeys(told):
        yield study.problem(("rows",) if study.rows else ("factors",), f"no cell is left: {why}")


# ---------------------------------------------------------------------------------------------------------
# Runs.


def noise_run(design: Design) -> Run | None:
    """The run whose last snapshot shows the noise of evaluation: the reference's first seed, else the first run."""
    references = [run for run in design.runs if run.cell.levels == design.study.reference]
    return next(iter(references or design.runs), None)


def _counting(setting: Setting, facts: Callable[[Data], Facts]) -> Setting:
    """Fill in the number of classes where labels are read; a set without labels has 0, which no setting says."""
    if not setting.reads_labels:
        return setting
    data = setting.data.model_copy(update={"classes": facts(setting.data).classes})
    return setting.model_copy(update={"data": data})


def _with_facts(cell: Cell, study: Study, facts: Callable[[Data], Facts]) -> tuple[Cell, Setting]:
    """Fill in what the plan knows: facts of the data, sources of own modules, the mark of force."""
    setting = resolve(cell.settings)
    fingerprint, channels, classes = facts(setting.data)
    of_data = {"data.fingerprint": fingerprint, "data.channels": channels}
    if setting.reads_labels:
        of_data["data.classes"] = classes
    named = {str(cell.settings.get(key, "")).partition(":")[0] for key in OWN_KEYS}
    sources = {module: study.sources[module] for module in sorted(named) if module in study.sources}
    filled = {**of_data, "forced": cell.forced is not None, "sources": sources}
    return cell, resolve(cell.settings, filled)


def selection(study: Study, only: Sequence[str], option: str = "--only") -> dict[str, set[str]]:
    """Read what `option` says: factor (or row, or seed) → the levels that are wanted.  Raises StudyError."""
    known = {"row": list(study.rows)} if study.rows else {name: list(levels) for name, levels in study.factors.items()}
    known["seed"] = [str(seed) for seed in study.seeds]
    chosen: dict[str, set[str]] = {}
    problems = []
    for said in only:
        for part in said.split(","):
            key, equals, level = (text.strip() for text in part.partition("="))
            place = f"{option} {said}"
            if not equals:
                problems.append(Problem(place, "", f"{part!r}: FACTOR=LEVEL is due, as g_norm=adain,seed=0"))
            elif key not in known:
                message = f"no factor {key!r}; there are {', '.join(known)}{nearest(key, known)}"
                problems.append(Problem(place, "", message))
            elif level not in known[key]:
                message = f"{key} has no level {level!r}; it has {', '.join(known[key])}{nearest(level, known[key])}"
                problems.append(Problem(place, "", message))
            else:
                chosen.setdefault(key, set()).add(level)
    if problems:
        raise StudyError(problems)
    return chosen
