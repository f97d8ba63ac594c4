"""Submitting to Slurm, as far as it goes without one: the plan of arrays, the text for sbatch, sites, refusals.

The texts are read back by Slurm's own rule: options of `#SBATCH` lines, split as a shell splits words.
"""

import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import site, study
from bench.launch import sbatch, slurm
from bench.launch.sbatch import SlurmError, array_script, report_script
from bench.launch.slurm import Limits, batches, dependency, task_resources, too_short
from bench.launch.start import chosen
from bench.launch.submission import TaskResources
from bench.resources import Flags, Reporting, Resources, Scoring, Slurm

KNOWN = Limits(tasks=1000, has_gpus=True)


def runs(count, ranks=1):
    """As much of runs as planning looks at."""
    train = SimpleNamespace(world_size=ranks)
    return [SimpleNamespace(run_id=f"r{n}x{ranks}", setting=SimpleNamespace(train=train)) for n in range(count)]


def plan(count, known=KNOWN, trained=(), ranks=1, **resources):
    return batches(runs(count, ranks), frozenset(trained), Resources(**resources), known)


def options(text):
    """The options of a job script."""
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]
    words = list(itertools.chain.from_iterable(map(shlex.split, lines)))
    assert len(words) == len(lines)
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def script(resources=None, slurm=None, **said):
    said = {"name": "s", "comment": "bench:x:0", "chunk": 0, "tasks": 3, "at_once": None} | said
    return array_script(Path("/results/sub"), resources or TaskResources(), slurm or Slurm(), (), **said)


# ---------------------------------------------------------------------------------------------------------
# The plan.


@pytest.mark.parametrize(("count", "most", "beside"), [(1, 1, 1), (7, 3, 1), (9, 2, 4), (2500, 1000, 1), (12, 5, 3)])
def test_every_run_is_in_one_task_and_every_task_in_one_chunk(count, most, beside):
    (batch,) = plan(count, Limits(most, True), gpus=1, runs_per_gpu=beside)
    assert [run for task in batch.tasks for run in task] == [run.run_id for run in runs(count)]
    assert all(1 <= len(task) <= beside for task in batch.tasks)
    covered = [task for first, tasks in batch.chunks for task in range(first, first + tasks)]
    assert covered == list(range(len(batch.tasks)))
    assert all(tasks <= most for _, tasks in batch.chunks)


def test_a_task_has_what_all_its_runs_side_by_side_need():
    resources = Resources(gpus=1, cpus=3, memory_gb=8.0, hours=1.5, runs_per_gpu=4, retries=2)
    has = task_resources(resources, 1, KNOWN)
    assert (has.gpus, has.cpus, has.memory_gb, has.minutes, has.side_by_side) == (1, 12, 32.0, 90, 4)
    assert has.retries == 2
    alone = task_resources(resources.model_copy(update={"gpus": 0}), 1, KNOWN)
    assert (alone.gpus, alone.cpus, alone.memory_gb, alone.side_by_side) == (0, 3, 8.0, 1)
    of_ranks = task_resources(resources, 2, KNOWN)
    assert (of_ranks.gpus, of_ranks.cpus, of_ranks.side_by_side) == (2, 6, 1)


@pytest.mark.parametrize(
    ("ranks", "each", "nodes", "on_one"), [(8, 4, 2, 4), (8, None, 1, 8), (6, 4, 2, 3), (2, 8, 1, 2)]
)
def test_ranks_of_one_run_may_be_on_several_nodes(ranks, each, nodes, on_one):
    """The task's own process is one step of the first node; rank 0 there starts the others by a step of theirs."""
    slurm = Slurm(ranks_per_node=each)
    has = task_resources(Resources(gpus=1, cpus=2, memory_gb=12.0, slurm=slurm), ranks, KNOWN)
    assert (has.nodes, has.gpus, has.cpus, has.memory_gb) == (nodes, on_one, 2 * on_one, 12.0 / nodes)
    text = script(has, slurm)
    assert {"nodes": str(nodes), "ntasks": str(nodes)}.items() <= options(text).items()
    (step,) = (line for line in text.splitlines() if line.startswith("srun "))
    assert "--ntasks=1 " in step and ("--relative=0" in step) == (nodes > 1)
    (scoring,) = batches(
        runs(1, ranks),
        frozenset(["r0x" + str(ranks)]),
        Resources(slurm=Slurm(ranks_per_node=each, scoring=Scoring())),
        KNOWN,
    )
    assert scoring.resources.nodes == 1


@pytest.mark.parametrize(("said", "there", "has"), [(None, True, 1), (None, False, 0), (0, True, 0), (1, False, 1)])
def test_gpus_unsaid_are_one_where_the_cluster_has_any(said, there, has):
    assert task_resources(Resources(gpus=said), 1, Limits(1000, there)).gpus == has


def test_runs_of_unlike_shape_are_submitted_apart():
    planned = batches([*runs(3), *runs(2, ranks=4)], frozenset(), Resources(gpus=1), KNOWN)
    assert {(batch.resources.gpus, batch.runs) for batch in planned} == {(1, 3), (4, 2)}


def test_parallel_bounds_runs_at_a_time_over_all_arrays():
    """Each array lets parallel / side-by-side tasks run, and starts when the one before it has ended."""
    planned = plan(10, Limits(2, True), gpus=1, runs_per_gpu=2, parallel=4)
    assert [batch.at_once for batch in planned] == [2]
    [few] = plan(10, Limits(20, True), gpus=1, runs_per_gpu=4, parallel=2)
    assert (few.resources.side_by_side, few.at_once) == (2, 1)
    jobs: list[list[str]] = [[]]
    for chunk in range(len(planned[0].chunks)):
        assert dependency(planned, 0, chunk, jobs) == (f"afterany:{jobs[0][-1]}" if jobs[0] else None)
        jobs[0].append(str(10 + chunk))
    assert len(jobs[0]) == 3
    assert dependency(plan(10, Limits(2, True)), 0, 1, [["10"]]) is None


def test_scoring_of_its_own_follows_training_task_by_task():
    planned = plan(5, Limits(2, True), gpus=1, hours=2.0, slurm=Slurm(scoring=Scoring(gpus=0, cpus=2, hours=0.5)))
    train, score = planned
    assert (train.stage, score.stage, train.tasks) == ("train", "score", score.tasks)
    assert (score.resources.gpus, score.resources.cpus, score.resources.minutes) == (0, 2, 30)
    assert train.resources.minutes == 120
    jobs = [["7", "8", "9"], []]
    assert [dependency(planned, 1, chunk, jobs) for chunk in range(3)] == ["aftercorr:7", "aftercorr:8", "aftercorr:9"]


def test_runs_that_only_lack_scores_are_scored_at_once():
    planned = plan(3, trained={"r0x1"}, gpus=1, slurm=Slurm(scoring=Scoring(gpus=0)))
    shown = {(batch.stage, batch.follows is None): [run for task in batch.tasks for run in task] for batch in planned}
    assert shown == {
        ("train", True): ["r1x1", "r2x1"],
        ("score", False): ["r1x1", "r2x1"],
        ("score", True): ["r0x1"],
    }
    assert [batch.resources.gpus for batch in planned if batch.stage == "score"] == [0, 0]


@pytest.mark.parametrize(
    ("resources", "is_short"),
    [
        (Resources(), False),
        (Resources(hours=4 / 60), True),
        (Resources(hours=5 / 60), False),
        (Resources(hours=5 / 60, slurm=Slurm(lead_s=600)), True),
        (Resources(hours=1.0, slurm=Slurm(scoring=Scoring(hours=0.05))), True),
    ],
)
def test_jobs_too_short_to_work_in_are_refused(resources, is_short):
    assert (too_short(resources) is not None) == is_short


# ---------------------------------------------------------------------------------------------------------
# The text.


def test_script_asks_for_what_the_study_says():
    resources = TaskResources(gpus=2, cpus=6, memory_gb=1.5, minutes=45, lead_s=120)
    asked = Slurm(partition="gpu", account="lab", qos="long", constraint="a100|h100", exclude="n[1-3]", gpu_type="a100")
    asked = asked.model_copy(update={"reservation": "r", "flags": Flags(nice=7, exclusive=False, hold=True, hint="x")})
    said = options(script(resources, asked, tasks=4, at_once=2, after="afterany:9", name="a b/c"))
    assert said.pop("output").startswith("/results/sub/")
    assert said == {
        "array": "0-3%2",
        "comment": "bench:x:0",
        "cpus-per-task": "6",
        "mem": "1536M",
        "gres": "gpu:a100:2",
        "time": "45",
        "signal": "USR2@120",
        "dependency": "afterany:9",
        "kill-on-invalid-dep": "yes",
        "job-name": "a_b_c",
        "partition": "gpu",
        "account": "lab",
        "qos": "long",
        "constraint": "a100|h100",
        "exclude": "n[1-3]",
        "reservation": "r",
        "nice": "7",
        "hold": "",
        "hint": "x",
        "nodes": "1",
        "ntasks": "1",
        "requeue": "",
        "open-mode": "append",
    }


def test_unsaid_is_left_to_the_site():
    said = options(script())
    assert not said.keys() & {"time", "mem", "gres", "partition", "account", "qos", "wckey", "dependency", "error"}


def test_step_gets_the_cores_and_the_environment():
    """srun does not take them from sbatch since Slurm 22.05, and leaves variables behind on some sites."""
    (line,) = [line for line in script(TaskResources(cpus=6)).splitlines() if line.startswith("srun ")]
    assert {"--cpus-per-task=6", "--export=ALL", "--ntasks=1", "--open-mode=append"} <= set(shlex.split(line))


def test_task_file_is_found_under_the_jobs_id(tmp_path):
    """The script's own line, run as the job runs it: submitit's name leads to the file that was there before sbatch."""
    (tmp_path / "task-1-2.pkl").write_text("task 2 of chunk 1")
    text = array_script(tmp_path, TaskResources(), Slurm(), (), name="s", comment="c", chunk=1, tasks=3, at_once=None)
    (line,) = [line for line in text.splitlines() if line.startswith("ln ")]
    for _ in range(2):  # a requeued job runs it again
        environment = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "40", "PATH": os.environ["PATH"]}
        subprocess.run(["bash", "-c", line], check=True, env=environment)
    assert (tmp_path / "40_2_submitted.pkl").read_text() == "task 2 of chunk 1"


def test_report_is_a_small_job_of_its_own():
    asked = Slurm(partition="gpu", gpu_type="a100", account="lab", flags=Flags(hold=True, mail_user="me"))
    asked = asked.model_copy(update={"report": Reporting(partition="cpu", hours=1.0, memory_gb=2.0)})
    command = [sys.executable, "-m", "bench.report", "a study.yaml"]
    text = report_script(
        Path("/results/sub"), slurm.elsewhere(asked, "cpu"), (), command, name="s", comment="c", after="afterany:1:2"
    )
    said = options(text)
    assert said["partition"] == "cpu" and said["dependency"] == "afterany:1:2" and said["mail-user"] == "me"
    assert (said["mem"], said["time"], said["account"]) == ("2048M", "60", "lab")
    assert not said.keys() & {"gres", "hold", "array", "constraint"}
    assert shlex.split(text.splitlines()[-1]) == command


@pytest.mark.parametrize("field", ["partition", "account", "constraint", "exclude"])
def test_a_line_break_cannot_leave_its_option(tmp_path, field):
    (tmp_path / "s.yaml").write_text(
        "study: s\nrecipe: wgan_gp\ndata: {name: faces, size: 32}\nfactors: {g_norm: [bn, in]}\n"
        f'train: {{kimg: 1}}\nresources: {{slurm: {{{field}: "x\\nrm -rf ~"}}}}\n'
    )
    with pytest.raises(study.StudyError, match=r"s\.yaml:6:"):
        study.load(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{flags: {nise: 3}}", "did you mean nice?"),
        ("{flags: {wrap: rm}}", "unknown key"),
        ("{setup: [ls]}", "unknown key"),
        ("{gpu_type: 'a100 --x'}", "is not text like"),
        ("{lead_s: 5}", "5 is not a number >= 30"),
    ],
)
def test_unknown_or_unfit_options_are_refused_with_their_place(tmp_path, said, message):
    (tmp_path / "s.yaml").write_text(
        "study: s\nrecipe: wgan_gp\ndata: {name: faces, size: 32}\nfactors: {g_norm: [bn, in]}\n"
        f"train: {{kimg: 1}}\nresources: {{slurm: {said}}}\n"
    )
    with pytest.raises(study.StudyError, match=r"s\.yaml:6:") as caught:
        study.load(tmp_path / "s.yaml")
    assert message in str(caught.value)


# ---------------------------------------------------------------------------------------------------------
# Asking Slurm.


def test_a_job_around_us_changes_nothing_but_where_slurm_is(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_CPU_BIND", "SBATCH_PARTITION", "SRUN_CPUS_PER_TASK", "SLURM_CONF", "OTHER"):
        monkeypatch.setenv(name, "x")
    kept = sbatch.environment().keys()
    assert {"SLURM_CONF", "OTHER", "PATH"} <= kept
    assert not {name for name in kept if name.startswith(("SLURM_", "SBATCH_", "SRUN_"))} - {"SLURM_CONF"}


def fake(folder, monkeypatch, name, body):
    """A command that stands for Slurm's."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_sbatch_missing_says_where_to_go(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="sbatch is not installed here: start the study on a login node") as caught:
        sbatch.sbatch(tmp_path / "x.sh")
    assert not caught.value.passing and "Remedy" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "remedy", "passing"),
    [
        ("Invalid job array specification", "MaxArraySize", False),
        ("invalid partition specified: x", "resources.slurm.partition", False),
        ("Invalid account or account/partition combination specified", "resources.slurm.account", False),
        ("Job violates accounting/QOS policy (job submit limit)", "wait for jobs", False),
        ("Requested node configuration is not available", "memory_gb", False),
        ("Unable to contact slurm controller (connect failure)", "try the same command again", True),
        ("Socket timed out on send/recv operation", "try the same command again", True),
        ("Zero Bytes were transmitted or received", "try the same command again", True),
        ("Slurm backup controller in standby mode", "try the same command again", True),
    ],
)
def test_refusals_are_told_with_what_to_do(monkeypatch, tmp_path, said, remedy, passing):
    fake(tmp_path, monkeypatch, "sbatch", f'echo "sbatch: error: Batch job submission failed: {said}" >&2; exit 1')
    with pytest.raises(SlurmError) as caught:
        sbatch.sbatch(tmp_path / "x.sh")
    assert said in str(caught.value) and remedy in str(caught.value)
    assert caught.value.passing == passing


def test_an_answer_without_a_job_is_an_error_that_may_hide_one(monkeypatch, tmp_path):
    fake(tmp_path, monkeypatch, "sbatch", "echo welcome")
    with pytest.raises(SlurmError, match="names no job") as caught:
        sbatch.sbatch(tmp_path / "x.sh")
    assert caught.value.passing


@pytest.mark.parametrize(
    ("size", "gres", "limits"),
    [
        ("1001", "gpu", (1000, True)),
        ("5", "(null)", (4, False)),
        ("4000001", "gpu,mps", (1000, True)),
        ("1", "", (1, False)),
    ],
)
def test_limits_are_the_clusters(monkeypatch, tmp_path, size, gres, limits):
    fake(tmp_path, monkeypatch, "scontrol", f'echo "MaxArraySize            = {size}\nGresTypes = {gres}"')
    assert slurm.limits() == limits


@pytest.mark.parametrize(("path", "fits"), [("/a b/results", True), ("/a%j/results", False), ("/a\nb", False)])
def test_paths_that_slurm_would_read_as_patterns_are_refused(path, fits):
    assert (sbatch.refused_path(Path(path)) is None) == fits


# ---------------------------------------------------------------------------------------------------------
# Sites, and which executor.


def a_site(tmp_path, monkeypatch, text):
    (tmp_path / "site.yaml").write_text(text)
    monkeypatch.setenv("BENCH_SITE", str(tmp_path / "site.yaml"))
    return site.load()


def test_a_study_goes_before_its_site(tmp_path, monkeypatch):
    text = "resources: {cpus: 8, memory_gb: 4, slurm: {partition: gpu, account: lab, flags: {nice: 5, hint: x}}}"
    found = a_site(tmp_path, monkeypatch, text)
    said = Resources(cpus=2, slurm=Slurm(partition="mine", flags=Flags(nice=1)))
    both = said.over(found.resources)
    assert (both.cpus, both.memory_gb, both.retries) == (2, 4.0, Resources().retries)
    assert both.slurm is not None
    assert (both.slurm.partition, both.slurm.account) == ("mine", "lab")
    assert (both.slurm.flags.nice, both.slurm.flags.hint) == (1, "x")
    assert Resources(slurm=None).over(found.resources).slurm is None
    assert Resources().over(Resources()) == Resources()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("executor: slrm\n", "1:11", "did you mean slurm?"),
        ("executer: slurm\n", "1:1", "did you mean executor?"),
        ("executor: slurm\nresources: {slurm: {partitoin: x}}\n", "2:21", "did you mean partition?"),
        ("- slurm\n", "1:1", "a map is due"),
        ('setup: ["a\\nb"]\n', "1:9", "setup[0]"),
    ],
)
def test_mistakes_of_a_site_have_their_place(tmp_path, monkeypatch, text, place, message):
    with pytest.raises(study.StudyError) as caught:
        a_site(tmp_path, monkeypatch, text)
    assert f"site.yaml:{place}: " in str(caught.value) and message in str(caught.value)


def test_a_site_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_SITE", str(tmp_path / "no.yaml"))
    with pytest.raises(study.StudyError, match="BENCH_SITE names it"):
        site.load()
    monkeypatch.delenv("BENCH_SITE")
    assert site.load() == site.Site()


@pytest.mark.parametrize(
    ("asked", "of_site", "resources", "there", "meant"),
    [
        ("auto", None, Resources(), True, "local"),
        ("auto", None, Resources(slurm=Slurm()), True, "slurm"),
        ("auto", None, Resources(slurm=Slurm()), False, "local"),
        ("auto", "slurm", Resources(), True, "slurm"),
        ("auto", "slurm", Resources(), False, "local"),
        ("auto", "local", Resources(slurm=Slurm()), True, "local"),
        ("inline", "slurm", Resources(slurm=Slurm()), True, "inline"),
        ("slurm", None, Resources(), False, "slurm"),
    ],
)
def test_executor_that_is_meant(tmp_path, monkeypatch, asked, of_site, resources, there, meant):
    monkeypatch.setenv("PATH", str(tmp_path))
    if there:
        fake(tmp_path, monkeypatch, "sbatch", "exit 1")
    design = SimpleNamespace(study=SimpleNamespace(resources=resources))
    assert chosen(asked, site.Site(executor=of_site), design) == meant
