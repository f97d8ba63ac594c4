"""The plan and the status of a study, for a terminal."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import datasets, measured, outcomes, own_modules, provenance, standing
from bench.datasets import Source
from bench.design import Cell, Design, Run
from bench.measured import Rates
from bench.orders import Orders
from bench.rows import Rows
from bench.schedule import nimg_after, schedule
from bench.setting import Data, Setting, digest, resolved
from bench.store import RunState, Store

STYLES = {
    "done": "green",
    "diverged": "yellow",
    "running": "cyan",
    "queued": "blue",
    "stopped": "magenta",
    "failed": "red",
    "missing": "dim",
}
COST_FREE = ("seed", "loss", "clip_value", "gp_weight", "r1_weight", "train.lr", "train.d_lr", "train.betas")
"""Knobs that do not change what an image costs."""
LENGTHS = ("train.kimg", "train.epochs", "train.g_steps", "train.labelled_steps", "train.snapshots")


def plan(design: Design, store: Store, orders: Orders, sources: Mapping[Data, Source], places: int) -> RenderableType:
    """Cells, seeds, run ids, what is done and missing, what is left out and why, and the cost."""
    states = standing.states(design, store)
    parts: list[RenderableType] = [head(design, sources), cells(design, states)]
    if design.aliases:
        parts.append(notes("aliases (effects that this fraction cannot tell apart)", design.aliases))
    parts += left_out(design)
    if own := own_code(design):
        parts.append(notes("code of your own, imported only in the runs", own))
    if design.study.probes:
        parts.append(probing(design, store, states))
    parts.append(cost(design, store, states, orders, sources, places))
    return Group(*parts)


def own_code(design: Design) -> list[str]:
    """Every `pkg.module:Name` that the runs or their scores will import, with the file that it stands in."""
    names = {getattr(run.setting, key) for run in design.runs for key in own_modules.OWN_KEYS}
    names.add(design.study.evaluate.extractor)
    return [f"{name}  {own_modules.locate(name)}" for name in sorted(name for name in names if ":" in name)]


def head(design: Design, sources: Mapping[Data, Source]) -> RenderableType:
    """One line on the study, one on its data."""
    study, seeds = design.study, {run.seed for run in design.runs}
    lines = Text.assemble(
        (study.name, "bold"), f"  {len(design.cells)} cells × {len(seeds)} seeds = {len(design.runs)} runs"
    )
    if not study.rows:
        lines.append(f", recipe {study.recipe}")
    for source in {source.name: source for source in sources.values()}.values():
        train, held_out, test = (source.parts.get(part, 0) for part in ("train", "held_out", "test"))
        lines.append(f"\ndata {source.name}: {train:,} train, {held_out:,} held out, {test:,} test")
        if not source.present:
            lines.append(f"\n{source.name} is not here yet: {source.download_mb:.0f} MB go to {source.where}")
    return lines


def cells(design: Design, states: Mapping[str, RunState]) -> RenderableType:
    """A row for each cell: its levels, and each seed's run id in the colour of its status."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("cell", overflow="fold")
    for status in ("done", "running", "queued", "missing"):
        table.add_column(status, justify="right")
    table.add_column("runs, by seed", overflow="fold")
    reference = next((cell.name for cell in design.cells if cell.levels == design.study.reference), None)
    for cell in design.cells:
        runs = [run for run in design.runs if run.cell.name == cell.name]
        counts = collections.Counter(states[run.run_id].status for run in runs)
        ids = Text(" ").join(Text(f"{run.seed}:{run.run_id}", style=STYLES[states[run.run_id].status]) for run in runs)
        name = Text(f"{cell.name} (reference)" if cell.name == reference else short_name(cell, design))
        if cell.forced:
            name.append(f"  forced: {cell.forced}", style="yellow")
        n = [counts["done"] + counts["diverged"], counts["running"], counts["queued"]]
        table.add_row(name, *map(str, [*n, len(runs) - sum(n)]), ids)
    return table


def short_name(cell: Cell, design: Design) -> str:
    """Name a cell by its levels; with more than three factors, by those in which it differs from the reference."""
    reference = design.study.reference
    if len(cell.levels) <= 3:
        return cell.name
    if cell.levels == reference:
        return "reference"
    return ",".join(f"{factor}={level}" for factor, level in cell.levels.items() if level != reference.get(factor))


def left_out(design: Design) -> list[RenderableType]:
    """Excluded cells and warnings, each with its reason; equal reasons once."""
    parts: list[RenderableType] = []
    excluded = _by_reason(
        (f"rule {item.rule}: {item.why}" if item.rule is not None else item.why, item.name)
        for item in design.exclusions
    )
    if excluded:
        parts.append(notes(f"excluded: {len(design.exclusions)} cells", excluded))
    warned = _by_reason((warning, short_name(cell, design)) for cell in design.cells for warning in cell.warnings)
    if warned:
        parts.append(notes("warnings", warned))
    return parts


def probing(design: Design, store: Store, states: Mapping[str, RunState]) -> RenderableType:
    """Say which probes are on; they are taken while training, so a run that is trained already keeps what it has."""
    trained = [run.run_id for run in design.runs if states[run.run_id].trained]
    without = sum(not store.run(identifier).probe_log() for identifier in trained)
    line = ", ".join(design.study.probes)
    return notes("probes", [line, *([f"{without} of the trained runs were trained without"] if without else [])])


def _by_reason(pairs: collections.abc.Iterable[tuple[str, str]]) -> list[str]:
    names = collections.defaultdict(list)
    for reason, name in pairs:
        names[reason].append(name)
    return [
        f"{reason} — " + (", ".join(found) if len(found) <= 3 else f"{', '.join(found[:2])} and {len(found) - 2} more")
        for reason, found in names.items()
    ]


def notes(title: str, lines: Sequence[str]) -> RenderableType:
    """A titled list."""
    text = Text(title, style="bold")
    for line in lines:
        text.append(f"\n  {line}", style="not bold")
    return text


def verdicts(judged: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The claims of a report, each with its verdict and its numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for one in judged:
        decided = one["verdict"] in ("supported", "refuted")
        table.add_row(
            Text(one["verdict"], style="bold" if decided else "dim"), Text(one["says"]), Text(one["why"], style="dim")
        )
    return table


# ---------------------------------------------------------------------------------------------------------
# Cost.


def shape(setting: Setting) -> tuple[tuple[str, str], ...]:
    """What makes one image cost what it costs: all knobs but the seed, step sizes and lengths."""
    return tuple(
        (key, repr(value))
        for key, value in sorted(resolved(setting).items())
        if key not in COST_FREE and not key.startswith(LENGTHS)
    )


def shape_digest(setting: Setting) -> str:
    """A name for a shape, as a profile keeps it."""
    return digest(shape(setting))


class Estimate(NamedTuple):
    """What the training that is left will take."""

    runs: int
    seconds: float | None
    """Of training, one run after another; None: unknown until the first run."""
    unlike: int = 0
    """Runs of a shape that has not been run yet: the study's median rate stands for theirs."""
    profiled: int = 0
    """Runs of a shape that only `bench.profile` has timed."""


def estimate(
    design: Design, states: Mapping[str, RunState], sources: Mapping[Data, Source], profiled: Rates
) -> Estimate:
    """Estimate what the missing runs will take, from finished runs of the same shape, else from the last profile."""
    todo = [run for run in design.runs if states[run.run_id].trained is None]
    return estimate_of(todo, rates_of(design, states), profiled, sources)


def rates_of(design: Design, states: Mapping[str, RunState]) -> dict[str, list[float]]:
    """Seconds an image of finished runs, by the digest of their shape."""
    finished: dict[str, list[float]] = collections.defaultdict(list)
    shapes = shapes_of(design.runs)
    for run in design.runs:
        trained = states[run.run_id].trained
        if trained and trained["status"] == "done" and trained["nimg"]:
            finished[shapes[run.cell.name]].append(trained["seconds"] / trained["nimg"])
    return finished


def shapes_of(runs: Sequence[Run]) -> dict[str, str]:
    """Digest of each cell's shape: a cell's runs are of one."""
    settings = {run.cell.name: run.setting for run in runs}
    return {cell: shape_digest(setting) for cell, setting in settings.items()}


def estimate_of(
    todo: Sequence[Run], finished: Mapping[str, Sequence[float]], profiled: Rates, sources: Mapping[Data, Source]
) -> Estimate:
    """Do what `estimate` does, by the seconds an image of finished runs of each shape."""
    everywhere = [rate for found in finished.values() for rate in found] or list(profiled.seconds.values())
    if not everywhere:
        return Estimate(len(todo), None)
    shapes = shapes_of(todo)
    known = known_rates(finished, profiled)
    of_others = statistics.median(everywhere)
    seconds = sum(
        known.get(shapes[run.cell.name], of_others) * images_of(run, sources[run.setting.data].parts["train"])
        for run in todo
    )
    unlike = sum(shapes[run.cell.name] not in known for run in todo)
    by_profile = sum(shapes[run.cell.name] in profiled.seconds.keys() - finished.keys() for run in todo)
    return Estimate(len(todo), seconds, unlike, by_profile)


def known_rates(finished: Mapping[str, Sequence[float]], profiled: Rates) -> dict[str, float]:
    """Seconds an image by the digest of the shape: the median of what has run, else what was timed."""
    return {**profiled.seconds, **{name: statistics.median(found) for name, found in finished.items()}}


def cost(
    design: Design,
    store: Store,
    states: Mapping[str, RunState],
    orders: Orders,
    sources: Mapping[Data, Source],
    places: int,
) -> RenderableType:
    """Say what the missing runs will take; else that it is unknown."""
    study = design.study
    profiled = measured.rates(store.study(study.name), study.resources.cpu_threads)
    found = estimate(design, states, sources, profiled)
    unscored = sum(
        len(left.requests)
        for run in design.runs
        if (trained := states[run.run_id].trained)
        for left in orders.unscored(store.run(run.run_id), run.setting, trained["snapshots"], sources[run.setting.data])
    )
    if not found.runs:
        return Text(f"nothing to train; {unscored} scores to compute" if unscored else "nothing to do")
    if found.seconds is None:
        return Text(f"{found.runs} runs to train; cost unknown until the first run, or python -m bench.profile")
    text = f"{found.runs} runs to train: about {span(found.seconds)} of training, "
    text += f"{span(found.seconds / places)} on {places} {'place' if places == 1 else 'places'}"
    if found.profiled:
        of_them = "" if found.profiled == found.runs else f"{found.profiled} of them "
        text += f" ({of_them}by {profiled.source})"
    if found.unlike:
        text += f" ({found.unlike} of them of a shape not run yet: the study's median rate stands for theirs)"
    return Text(text)


def images_of(run: Run, n_train: int) -> int:
    """Real images that a run shows to D."""
    return nimg_after(run.setting, schedule(run.setting, n_train).steps)


def span(seconds: float) -> str:
    """Write a time for people: `95 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------------------------------------------------
# Status.


def counts_line(states: Mapping[str, RunState], found: Mapping[str, outcomes.Label]) -> Text:
    """`12 runs: 8 done, 2 running, 2 missing; of the done: 1 collapsed`."""
    counts = collections.Counter(state.status for state in states.values())
    said = [Text(f"{n} {status}", style=STYLES[status]) for status, n in counts.most_common()]
    line = Text.assemble(f"{len(states)} runs: ", Text(", ").join(said))
    labelled = collections.Counter(label.outcome for label in found.values() if label.outcome)
    if labelled:
        words = ", ".join(f"{n} {outcome.replace('_', ' ')}" for outcome, n in sorted(labelled.items()))
        line.append(f"; of the done: {words}", style="yellow")
    return line


def labels(design: Design, store: Store, states: Mapping[str, RunState]) -> dict[str, outcomes.Label]:
    """What the scores say of each run that is done, by its id: collapsed, never learned, or nothing."""
    study, found = design.study, dict[str, outcomes.Label]()
    sources: dict[Data, Source] = {}
    for run in design.runs:
        state, data = states[run.run_id], run.setting.data
        if state.status == "done":
            if data not in sources:
                sources[data] = datasets.describe(data, datasets.data_root())
            folder = store.run(run.run_id)
            found[run.run_id] = outcomes.of_run(
                folder, state, study.metrics, study.evaluate, run.setting, sources[data], study.collapse
            )
    return found


TAILS = 10
"""Logs of so many failed runs are shown in a status."""


def status_table(design: Design, store: Store, states: Mapping[str, RunState] | None = None) -> RenderableType:
    """A row for each run, with progress, label or cause, and the log's tail of what failed.

    `states`: as `standing.states` found them, which are looked up where they are not given.
    """
    if states is None:
        states = standing.states(design, store)
    found = labels(design, store, states)
    names = {cell.name: short_name(cell, design) for cell in design.cells}
    rows = []
    for run in design.runs:
        state = states[run.run_id]
        said = detail(state, found.get(run.run_id))
        rows.append([run.run_id, names[run.cell.name], str(run.seed), state.status, str(state.attempt or ""), said])
    styles = [STYLES[states[run.run_id].status] for run in design.runs]
    table = Rows(("run", "cell", "seed", "status", "attempt", ""), rows, folded=(5, 1), styled=3, styles=styles)
    parts: list[RenderableType] = [counts_line(states, found), table]
    if unanswered := standing.unanswered(design, store, states):
        parts.append(Text(unanswered, style="yellow"))
    parts += [Text(mixture.line(), style="yellow") for mixture in mixtures(design, store, states)]
    if design.study.probes:
        parts.append(Text(f"probes: {', '.join(design.study.probes)}", style="dim"))
    failed = [run for run in design.runs if states[run.run_id].status == "failed"]
    for run in failed[:TAILS]:
        parts.append(Text(f"\n{run.run_id} {run.cell.name}, seed {run.seed}:", style="bold red"))
        parts.append(Text(store.run(run.run_id).log_tail(), style="dim"))
    if len(failed) > TAILS:
        where = store.root / "runs" / "RUN" / "attempts" / "N" / "log.txt"
        parts.append(Text(f"\n{len(failed) - TAILS} more have failed: their logs are {where}", style="bold red"))
    return Group(*parts)


def mixtures(design: Design, store: Store, states: Mapping[str, RunState]) -> list[provenance.Mixture]:
    """What should be the same in all runs of a design, and is not: code, torch, device, threads."""
    return provenance.mixtures({run.run_id: run.cell.name for run in design.runs}, states, store)


def detail(state: RunState, label: outcomes.Label | None = None) -> str:
    """What there is to say of a run beside its status."""
    if label is not None and label.outcome == "collapsed":
        return f"collapsed at {label.at_kimg:g} kimg"
    if label is not None and label.outcome == "never_learned":
        return "never learned"
    if state.status == "running":
        where = [f"job {state.job}"] if state.job else []
        if not state.alive.get("steps"):
            return ", ".join(where)
        share = state.alive["step"] / state.alive["steps"]
        rate = f"{state.alive['images_per_second']:.0f} img/s"
        return ", ".join([f"{share:.0%}", f"{state.alive['kimg']:.1f} kimg", rate, *where])
    if state.cause:
        return state.cause
    if state.trained:
        return f"{state.trained['kimg']:g} kimg in {span(state.trained['seconds'])}"
    return ""
