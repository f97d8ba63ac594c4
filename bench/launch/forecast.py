"""What `--dry-run` says of Slurm: the arrays, GPU-hours, disk, and the very text that sbatch will get."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console

from bench import measured
from bench.design import Design, Run
from bench.launch import sbatch, slurm
from bench.launch.cluster import OnSlurm, Standing, Work, size, standing
from bench.launch.sbatch import SlurmError
from bench.launch.slurm import Batch, Limits, Submitter, dependency
from bench.overview import estimate, shape
from bench.resources import Slurm

SUBMISSION = "SUBMISSION"
"""Stands for the id that a submission will get."""
KEPT = 2
"""Checkpoints of a run under way."""
CHECKPOINT = 7
"""Times a snapshot, G_ema alone: G_ema, and G and D with two moments of each weight, D as large as G."""


def places(design: Design) -> int:
    """Runs that go side by side."""
    return min(len(design.runs), design.study.resources.parallel or len(design.runs))


def show(work: Work, on: OnSlurm, console: Console) -> None:
    """Print it."""
    left = work.left()
    try:
        known = slurm.limits()
        found = standing(work, left)
    except SlurmError as error:
        console.print(f"\n{error}; what follows is for a cluster without limits", soft_wrap=True, markup=False)
        known, found = Limits(), Standing(left, [], [], [])
    if refused := sbatch.refused_path(work.store.root):
        console.print(refused, soft_wrap=True, markup=False)
    elsewhere = len(left) - len(found.free)
    if elsewhere:
        console.print(f"{elsewhere} runs are in jobs or under way already", markup=False)
    resources = work.design.study.resources
    trained = frozenset(run.run_id for run in found.free if work.store.run(run.run_id).state().trained)
    planned = slurm.batches(found.free, trained, resources, known)
    for line in [*arrays(planned), hours(work, planned), disk(work, found.free, planned)]:
        console.print(line, soft_wrap=True, markup=False)
    sender = Submitter(work.store, work.design.study.name, "", resources.slurm or Slurm(), on.site, on.rebuild)
    for text in scripts(sender, planned):
        console.print(f"\n{text}", soft_wrap=True, markup=False, end="")


def arrays(planned: Sequence[Batch]) -> list[str]:
    """A line for each array."""
    what = {"all": "trains and scores", "train": "trains", "score": "scores"}
    lines = []
    for batch in planned:
        has = batch.resources
        needs = f"{has.nodes} nodes of " if has.nodes > 1 else ""
        needs += f"{has.gpus} GPU, " if has.gpus else ""
        needs += f"{has.cpus} cores" + (f", {has.memory_gb:g} GB" if has.memory_gb else "")
        needs += f", {has.minutes} minutes" if has.minutes else ""
        lines += [f"array that {what[batch.stage]}: {size(batch, tasks)}; a task: {needs}" for _, tasks in batch.chunks]
    return lines


def hours(work: Work, planned: Sequence[Batch]) -> str:
    """What the cluster is asked for: by the rates of finished runs, and at most by the time limit."""
    if not planned:
        return "nothing to submit"
    states = work.store.states([run.run_id for run in work.design.runs])
    training = next((batch for batch in planned if batch.stage != "score"), planned[0])
    unit = "GPU-hours" if training.resources.gpus else "core-hours"
    each = _units(training, unit) / training.resources.side_by_side
    study = work.design.study
    profiled = measured.rates(work.store.study(study.name), study.resources.cpu_threads)
    seconds = estimate(work.design, states, work.sources, profiled).seconds
    about = f"{unit}: unknown until the first run has ended"
    if seconds is not None:
        about = f"{unit}: about {seconds / 3600 * each:.3g} of training"
    most = [len(batch.tasks) * (batch.resources.minutes or 0) / 60 * _units(batch, unit) for batch in planned]
    limited = all(batch.resources.minutes is not None for batch in planned)
    return about + (f", at most {sum(most):.3g} before a task must be requeued" if limited else "")


def _units(batch: Batch, unit: str) -> int:
    return batch.resources.nodes * (batch.resources.gpus if unit == "GPU-hours" else batch.resources.cpus)


def disk(work: Work, free: Sequence[Run], planned: Sequence[Batch]) -> str:
    """What snapshots and checkpoints will take, from the snapshots of finished runs."""
    found: dict[object, list[tuple[int, int]]] = {}
    for run in work.design.runs:
        sizes = [path.stat().st_size for path in work.store.run(run.run_id).snapshots.glob("*.pt")]
        if sizes and work.store.run(run.run_id).trained.exists():
            found.setdefault(shape(run.setting), []).append((sum(sizes), max(sizes)))
    known = [sizes for each in found.values() for sizes in each]
    if not known or not free:
        return "disk: unknown until the first run has ended" if free else "disk: nothing more"
    of_runs = [found.get(shape(run.setting), known) for run in free]
    kept = sum(statistics.median(total for total, _ in sizes) for sizes in of_runs)
    tasks = [min(batch.at_once or len(batch.tasks), len(batch.tasks)) for batch in planned if batch.follows is None]
    at_work = min(len(free), sum(tasks) * max(batch.resources.side_by_side for batch in planned))
    largest = max(snapshot for sizes in of_runs for _, snapshot in sizes)
    passing = KEPT * CHECKPOINT * largest * at_work
    return f"disk: about {kept / 1e6:,.0f} MB of snapshots, and {passing / 1e6:,.0f} MB of checkpoints while they train"


def scripts(sender: Submitter, planned: Sequence[Batch]) -> list[str]:
    """What sbatch will get, with `SUBMISSION` for what is not known yet and `JOB1`, `JOB2`, … for its answers."""
    jobs, texts = list[list[str]](), list[str]()
    for number, batch in enumerate(planned):
        jobs.append([])
        for chunk in range(len(batch.chunks)):
            after = dependency(planned, number, chunk, jobs)
            texts.append(sender.script(sender.folder(SUBMISSION), batch, chunk, after))
            jobs[-1].append(f"JOB{len(texts)}")
    if texts:
        listed = [job for of_batch in jobs for job in of_batch]
        texts.append(sender.report_script(sender.folder(SUBMISSION), listed))
    return texts
