"""What a run needs and what Slurm is asked for: `resources:` of a study file and of a site file.

Nothing here is part of a run's identity.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bench.setting import PositiveFloat, PositiveInt, Strict

Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
"""One line: a line break would end the `#SBATCH` comment that it stands in."""


class Flags(Strict):
    """Further options of sbatch, by their long names with `_` for `-`."""

    begin: Word | None = None
    cluster_constraint: Word | None = None
    contiguous: bool | None = None
    core_spec: PositiveInt | None = None
    cpu_freq: Word | None = None
    deadline: Word | None = None
    distribution: Word | None = None
    exclusive: bool | Word | None = None
    gpu_freq: Word | None = None
    gres_flags: Word | None = None
    hint: Word | None = None
    hold: bool | None = None
    licenses: Word | None = None
    mail_type: Word | None = None
    mail_user: Word | None = None
    mem_bind: Word | None = None
    network: Word | None = None
    nice: int | None = None
    nodelist: Word | None = None
    oversubscribe: bool | None = None
    power: Word | None = None
    prefer: Word | None = None
    priority: PositiveInt | None = None
    sockets_per_node: PositiveInt | None = None
    spread_job: bool | None = None
    switches: Word | None = None
    threads_per_core: PositiveInt | None = None
    time_min: Word | None = None
    tmp: Word | None = None
    use_min_nodes: bool | None = None
    wckey: Word | None = None


class Scoring(Strict):
    """Scoring as jobs of their own, after those that train."""

    partition: Word | None = None
    """Unset: that of the training."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of one task; unset: as training has."""
    cpus: PositiveInt | None = None
    """CPU cores of one task; unset: as training has."""
    memory_gb: PositiveFloat | None = None
    """Memory of one task, in GB; unset: as training has."""
    hours: PositiveFloat | None = None
    """Time limit of one task, in hours; unset: the partition's."""


class Reporting(Strict):
    """The job that rebuilds the report when all others have ended."""

    partition: Word | None = None
    """Unset: that of the training."""
    cpus: PositiveInt = 1
    memory_gb: PositiveFloat = 4.0
    hours: PositiveFloat = 0.5


class Slurm(Strict):
    """What sbatch is asked for; unset keys are the site's."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    reservation: Word | None = None
    gpu_type: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """As in `--gres=gpu:TYPE:1`."""
    exclude: Word | None = None
    """Nodes to stay away from, in Slurm's notation."""
    flags: Flags = Flags()
    """Further sbatch options."""
    runs_per_task: PositiveInt | None = None
    """Runs that one task of the array works through, in turn; unset: those that share its GPU."""
    ranks_per_node: PositiveInt | None = None
    """With `train.world_size`: ranks of a run on one node; unset: all of them."""
    lead_s: Annotated[int, Field(ge=30, le=3600)] = 90
    """How long before the time limit a task is told to keep checkpoints and leave."""
    scoring: Scoring | None = None
    """Unset: the jobs that train a run score it as well."""
    report: Reporting = Reporting()


class Resources(Strict):
    """What one run needs; never part of its identity."""

    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    """GPUs of one run, or of each of its ranks; unset: one where there is one, else none."""
    cpus: PositiveInt = 1
    """CPU cores of one run, or of each of its ranks."""
    cpu_threads: PositiveInt = 1
    """Threads of one run's arithmetic, the same under every executor: the results' last bits depend on it."""
    memory_gb: PositiveFloat | None = None
    """Memory of one run, in GB."""
    hours: PositiveFloat | None = None
    """Time limit of one job, in hours; a run that needs longer goes on in the next job."""
    runs_per_gpu: PositiveInt = 1
    """Runs that share one GPU."""
    cuda_graphs: bool = True
    """On CUDA, record each kind of update and launch it as one: the same weights, sooner.  Off: to look for a fault."""
    parallel: PositiveInt | None = None
    """Runs side by side at most."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Further attempts at a run that failed."""
    checkpoint_minutes: PositiveFloat = 2.0
    """Wall-clock time between two checkpoints of a run."""
    slurm: Slurm | None = None

    def over(self, site: Resources) -> Resources:
        """These resources, with the site's where they say nothing."""
        return Resources.model_validate(_laid_over(_said(site), _said(self)))


def _said(resources: Resources) -> dict[str, Any]:
    return resources.model_dump(exclude_unset=True, mode="python")


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
