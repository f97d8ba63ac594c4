"""sbatch: the text of a job script, what it is asked for, and what it answers.  All that knows submitit.

submitit makes the script and is the entry in the job; sbatch is called here, so that what it says can be told and a
driver that dies right after it leaves a job that finds all it needs.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.launch.submission import TaskResources
from bench.resources import Flags, Slurm

PATIENCE_S = 150.0
"""sbatch itself asks again for a while when the controller is busy."""
MARKS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_")
"""Variables of a job around us, or a user's defaults, that would change what is submitted."""
_DOUBTFUL = (
    "Unable to contact|connect failure|timed out|Connection refused|temporarily unable|not responding|"
    "Zero Bytes|standby mode|Transport endpoint|[Cc]ommunication|[Uu]nexpected message|Resource temporarily"
)
"""What is said where the controller could not be talked to: the job may even have been accepted."""


class SlurmError(Exception):
    """Slurm cannot be used as asked; the message has its own words and the remedy."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        """`passing`: it may well go on later just as it was asked, and may even have been accepted."""
        super().__init__(message)
        self.passing = passing


def environment() -> dict[str, str]:
    """What sbatch is started with: nothing of a job around us but where Slurm's configuration is."""
    return {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or not key.startswith(MARKS)}


def ask(command: Sequence[str]) -> str:
    """Run a Slurm command and return what it printed.  Raises SlurmError with what it said instead."""
    if shutil.which(command[0]) is None:
        raise SlurmError(
            f"{command[0]} is not installed here: start the study on a login node of the cluster, "
            "or work on this machine with --executor local"
        )
    try:
        ran = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {PATIENCE_S:.0f} s", passing=True) from error
    if ran.returncode != 0:
        said = " ".join((ran.stderr or ran.stdout).split()) or f"exit code {ran.returncode}"
        raise SlurmError(f"{command[0]} said: {said}", passing=bool(re.search(_DOUBTFUL, said)))
    return ran.stdout


def config() -> dict[str, str]:
    """`scontrol show config`, as far as it is `key = value`.  Raises SlurmError."""
    lines = (line.partition("=") for line in ask(["scontrol", "show", "config"]).splitlines())
    return {key.strip(): value.strip() for key, sign, value in lines if sign}


# ---------------------------------------------------------------------------------------------------------
# The text.

HOLD_BACK = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM]); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Starts what follows with these signals held back: before it can listen to them, SIGUSR2 would end it unheard."""


def array_script(
    folder: Path,
    resources: TaskResources,
    slurm: Slurm,
    setup: Sequence[str],
    *,
    name: str,
    comment: str,
    chunk: int,
    tasks: int,
    at_once: int | None,
    after: str | None = None,
) -> str:
    """Write the sbatch script of one array of `tasks` tasks.

    `folder`: where its logs and task files are; `at_once`: tasks that may run at a time; `after`: a dependency.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    # submitit looks for a task's file under the job's id, which nobody knows before sbatch has returned: the job
    # names it itself, so it needs no driver that lives on.
    place = shlex.quote(str(folder))
    link = f'ln -sf "task-{chunk}-$SLURM_ARRAY_TASK_ID.pkl" '
    link += place + '"/${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"'
    python = shlex.quote(sys.executable)
    command = f"{python} -SEc {shlex.quote(HOLD_BACK)} {python} -u -m submitit.core._submit {place}"
    # Since Slurm 22.05 srun does not take --cpus-per-task from sbatch: a step would be bound to one core.
    step = ["--export=ALL", "--ntasks=1", f"--cpus-per-task={resources.cpus}", "--open-mode=append"]
    if resources.nodes > 1:
        step += ["--nodes=1", "--relative=0"]
    return str(
        _make_sbatch_string(
            command=command,
            folder=folder,
            map_count=tasks,
            array_parallelism=at_once or tasks,
            setup=[*setup, link],
            srun_args=step,
            **_asked(resources, slurm, name, comment, after),
        )
    )


def report_script(
    folder: Path, slurm: Slurm, setup: Sequence[str], command: Sequence[str], *, name: str, comment: str, after: str
) -> str:
    """Write the sbatch script of the job that rebuilds the report by `command`; flags for the work are not its."""
    from submitit.slurm.slurm import _make_sbatch_string

    asked = slurm.report
    resources = TaskResources(cpus=asked.cpus, memory_gb=asked.memory_gb, minutes=math.ceil(60 * asked.hours))
    flags = slurm.flags.model_dump(include={"nice", "mail_type", "mail_user", "wckey"})
    said = _asked(resources, slurm.model_copy(update={"flags": Flags(**flags)}), name, comment, after)
    said["additional_parameters"] |= {"output": str(folder / "report-%j.log")}
    return str(
        _make_sbatch_string(command=shlex.join(command), folder=folder, setup=list(setup), use_srun=False, **said)
    )


def _asked(resources: TaskResources, slurm: Slurm, name: str, comment: str, after: str | None) -> dict[str, Any]:
    """What both kinds of jobs are asked for, in submitit's words."""
    gres = ":".join(filter(None, ("gpu", slurm.gpu_type, str(resources.gpus)))) if resources.gpus else None
    more: dict[str, Any] = {"ntasks": resources.nodes, "requeue": True, "signal": f"USR2@{resources.lead_s}"}
    if slurm.reservation:
        more["reservation"] = slurm.reservation
    if after:
        # A dependency that can no longer be met would leave the job in the queue for ever.
        more["kill-on-invalid-dep"] = "yes"
    flags = {key: value for key, value in slurm.flags.model_dump().items() if value not in (None, False)}
    more |= {key.replace("_", "-"): value for key, value in flags.items()}
    return {
        "job_name": re.sub(r"[^\w.+-]", "_", name),
        "comment": comment,
        "time": resources.minutes,
        "cpus_per_task": resources.cpus,
        "mem": None if resources.memory_gb is None else f"{math.ceil(1024 * resources.memory_gb)}M",
        "gres": gres,
        "nodes": resources.nodes,
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "exclude": slurm.exclude,
        "dependency": after,
        "wckey": None,
        "stderr_to_stdout": True,
        "additional_parameters": more,
    }


def write_tasks(folder: Path, submission: Path, chunk: int, first: int, tasks: int) -> None:
    """Write what submitit starts in each task of a chunk: `bench.launch.task.work(submission, task)`, no more."""
    from submitit.core.utils import DelayedSubmission

    from bench.launch.task import work

    for number in range(tasks):
        DelayedSubmission(work, str(submission), first + number).dump(folder / f"task-{chunk}-{number}.pkl")


REMEDIES = {
    "qos|job violates|limit on|limits? exceeded": "resources.slurm.qos, or a limit of the site: wait for jobs to end",
    "array": "the site allows smaller arrays: `scontrol show config | grep MaxArraySize`",
    "account": "resources.slurm.account: `sacctmgr show assoc user=$USER format=account,partition,qos` lists yours",
    "partition": "resources.slurm.partition: `sinfo -s` lists the partitions",
    "time limit": "resources.hours: `sinfo -o '%P %l'` shows how long each partition lets jobs run",
    "generic resource|gres": "resources.gpus, resources.slurm.gpu_type: `sinfo -o '%P %G'` shows what there is",
    "memory": "resources.memory_gb",
    "reservation": "resources.slurm.reservation",
    "feature|constraint": "resources.slurm.constraint: `sinfo -o '%P %f'` shows what there is",
    "node": "no node has what resources asks for: cpus, memory_gb and gpus are times runs_per_gpu",
}
"""What sbatch says → where to look."""


def sbatch(script: Path) -> str:
    """Submit a script; return the job's id.  Raises SlurmError with what sbatch said and where to look."""
    try:
        said = ask(["sbatch", "--parsable", str(script)])
    except SlurmError as error:
        words = str(error).partition(" said: ")[2]
        found = [remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, words, re.IGNORECASE)]
        remedy = ["try the same command again in a while"] if error.passing else found[:1]
        raise SlurmError(". Remedy: ".join([str(error), *remedy]), passing=error.passing) from error
    job = re.match(r"\d+", said.strip())
    if job is None:
        raise SlurmError(f"sbatch said {said.strip()!r}, which names no job", passing=True)
    return job[0]


def refused_path(path: Path) -> str | None:
    """Why Slurm cannot write logs under this path; None where it can."""
    if re.search(r"[%\x00-\x1f\x7f\\]", str(path)):
        return f"{path!s:.200}: Slurm reads % and \\ in a path as patterns: give --results another name"
    return None
