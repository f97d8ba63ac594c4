"""The driver under Slurm against commands that stand in for it: what it submits, says and takes out.

What these commands do, real ones do in tests/slurm/test_submission_on_slurm.py, where nothing stands in for anything.
"""

import os
import sys

import pytest
from miniature import a_design, write_run
from tiny_study import tiny_study

from bench import cancel, run
from bench.command import exit_code
from bench.files import WriteError
from bench.launch import cluster, start
from bench.launch import slurm as slurm_module
from bench.launch.submission import folders
from bench.store import Store

STUDY = tiny_study(3, "{gpus: 0}")
SBATCH = """
id=$(($(ls "$STATE" | grep -c sh) + 1))
limit=$(cat "$STATE/limit")
[ "$limit" != "$((id - 1))" ] || { echo "Batch job submission failed: $(cat "$STATE/said")" >&2; exit 1; }
cp "$2" "$STATE/$id.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$2")
[ -z "$last" ] || seq -s, 0 "$last" > "$STATE/$id.tasks"
echo $id
"""
SCONTROL = """
case "$*" in
*config*) [ -e "$STATE/limit" ] || exit 1; echo "MaxArraySize = 5"; echo "GresTypes = (null)"; exit ;;
esac
for file in "$STATE"/*.sh; do
    [ -e "$file" ] || continue
    id=$(basename "$file" .sh)
    words="UserId=me($(id -u)) JobState=PENDING Reason=Priority Restarts=0 ExitCode=0:0"
    words="$words Comment=$(sed -n 's/^#SBATCH --comment=//p' "$file")"
    [ ! -e "$STATE/$id.tasks" ] || words="ArrayJobId=$id ArrayTaskId=$(cat "$STATE/$id.tasks") $words"
    echo "JobId=$id $words"
done
"""
SCANCEL = """
for job; do
    case $job in
    *_*) sed -i "s/,/,,/g; s/^/,/; s/$/,/; s/,${job#*_},//; s/,,*/,/g; s/^,//; s/,$//" "$STATE/${job%_*}.tasks" ;;
    *) rm "$STATE/$job.sh" ;;
    esac
done
"""


class StandIn:
    """Commands that keep jobs as files; every job waits for ever."""

    def __init__(self, folder):
        self.state = folder / "state"
        self.state.mkdir()
        self.allow(99)
        for name, body in {"sbatch": SBATCH, "scontrol": SCONTROL, "scancel": SCANCEL}.items():
            (folder / name).write_text(f"#!/bin/bash\nSTATE={self.state}\n{body}")
            (folder / name).chmod(0o755)

    def allow(self, jobs, otherwise="Job violates accounting/QOS policy"):
        """Accept so many jobs, and refuse the next."""
        (self.state / "limit").write_text(str(jobs))
        (self.state / "said").write_text(otherwise)

    def silence(self):
        """Answer no more."""
        (self.state / "limit").unlink()

    def tasks(self):
        """Tasks that wait, of each array."""
        return {path.stem: path.read_text().strip() for path in sorted(self.state.glob("*.tasks"))}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "tiny.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm'}:{os.environ['PATH']}")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return StandIn(tmp_path / "slurm")


@pytest.fixture
def command(slurm, monkeypatch, capsys):
    """Call a command on the study; return its exit code and what it said."""

    def call(*arguments, of=run):
        given = ["--executor", "slurm", *arguments] if of is run else list(arguments)
        monkeypatch.setattr(sys, "argv", ["bench", "tiny.yaml", *given])
        code = exit_code(of.main)
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def submissions(place):
    return folders(Store(place / "results"), "tiny")


def test_submitted_once_and_found_again(slurm, command, tmp_path):
    """6 runs, 4 tasks an array at most: 4 + 2, and the report's job."""
    code, said = command()
    assert code == 0, said
    assert "job 1: 4 tasks of 1 run, to train and score" in said and "job 2: 2 tasks" in said
    assert "job 3: rebuilds the report" in said
    assert slurm.tasks() == {"1": "0,1,2,3", "2": "0,1"}
    assert submissions(tmp_path)[0].noted_jobs() == {"0": "1", "1": "2", "report": "3"}
    code, said = command()
    assert code == 0 and "6 runs in the queue or at work already" in said
    assert slurm.tasks() == {"1": "0,1,2,3", "2": "0,1"}


def test_other_scores_come_after_those_that_are_queued(slurm, command):
    assert command()[0] == 0
    code, said = command("--set", "metrics=[swd, ms_ssim]")
    assert code == 0 and "6 runs queued with other scores asked for: run this command again" in said
    assert slurm.tasks().keys() == {"1", "2"}


def test_other_resources_ask_for_the_same_scores(slurm, command):
    """What is queued stands, whatever the next command says of checkpoints and threads."""
    assert command()[0] == 0
    code, said = command("--set", "resources.checkpoint_minutes=5", "--set", "resources.cpu_threads=2")
    assert code == 0 and "6 runs in the queue or at work already" in said
    assert slurm.tasks().keys() == {"1", "2"}


def test_a_disk_that_fills_up_between_two_arrays_is_told_with_what_was_accepted(slurm, command, monkeypatch):
    real = slurm_module.write_bytes

    def full(path, content):
        if path.name == "1.sh":
            raise WriteError(f"{path}: cannot write: No space left on device")
        real(path, content)

    monkeypatch.setattr(slurm_module, "write_bytes", full)
    code, said = command()
    assert code == 1 and "job 1: 4 tasks" in said and "2 runs not submitted" in said and "No space left" in said


def test_dry_run_shows_what_sbatch_would_get(slurm, command, tmp_path):
    code, shown = command("--dry-run", "--set", "resources.hours=2", "--set", "resources.parallel=2")
    assert code == 0
    assert "array that trains and scores: 4 tasks of 1 run, 2 at a time; a task: 1 cores, 120 minutes" in shown
    assert "core-hours: unknown until the first run has ended, at most 12 before" in shown
    assert not (tmp_path / "results/studies").exists()
    assert command("--set", "resources.hours=2", "--set", "resources.parallel=2")[0] == 0
    (folder,) = submissions(tmp_path)
    for name in ("0", "1", "report"):
        text = (folder.submitit / f"{name}.sh").read_text().replace(folder.path.name, "SUBMISSION")
        for number in "12":
            text = text.replace(f"afterany:{number}", f"afterany:JOB{number}").replace(
                f":{number}\n", f":JOB{number}\n"
            )
        assert text.partition("--comment")[0] in shown and text.partition("# setup")[2] in shown
    assert "#SBATCH --dependency=afterany:JOB1\n" in shown
    assert "#SBATCH --dependency=afterany:JOB1:JOB2\n" in shown


def test_dry_run_counts_by_what_finished_runs_took(slurm, command, tmp_path):
    """2 of 6 runs are done, 48 images in 2 s, with snapshots of 2 MB: the other 4 take 4 s, 8 MB, and checkpoints.

    6 updates of G after 1 of D each, batch 4: 24 images are shown, so 1 s a run.  Two checkpoints of each of 4 runs,
    each of G_ema, and G and D with two moments: 7 times a snapshot.
    """
    store = Store(tmp_path / "results")
    design = a_design(tmp_path, name="tiny", text=STUDY.replace("{", "{{").replace("}", "}}"))
    for one in design.runs[:2]:
        write_run(store, one, labels=["000000.024"], nimg=48, seconds=2.0)
        store.run(one.run_id).snapshots.mkdir()
        (store.run(one.run_id).snapshots / "000000.024.pt").write_bytes(bytes(2_000_000))
    code, shown = command("--dry-run", "--set", "metrics=[]")
    assert code == 0, shown
    assert "core-hours: about 0.00111 of training" in shown
    assert "disk: about 8 MB of snapshots, and 112 MB of checkpoints while they train" in shown


def test_dry_run_without_slurm_says_so(slurm, command):
    slurm.silence()
    code, shown = command("--dry-run")
    assert code == 0 and "for a cluster without limits" in shown and "--array=0-5%6" in shown


def test_refused_midway_keeps_what_was_accepted(slurm, command, tmp_path):
    slurm.allow(1)
    code, said = command()
    assert code == 2
    assert "job 1: 4 tasks" in said and "2 runs not submitted" in said
    assert "Job violates" in said and "resources.slurm.qos" in said
    assert "the report will not be rebuilt by itself" in said
    slurm.allow(99)
    assert command()[0] == 0
    assert {array: tasks for array, tasks in slurm.tasks().items() if array != "1"} == {"2": "0,1"}


def test_refused_at_once_leaves_nothing(slurm, command, tmp_path):
    slurm.allow(0, "invalid partition specified: x")
    code, said = command()
    assert code == 2 and "6 runs not submitted" in said and "sinfo -s" in said
    assert submissions(tmp_path) == []


def test_a_doubtful_refusal_keeps_what_a_job_may_need(slurm, command, tmp_path):
    slurm.allow(0, "Socket timed out on send/recv operation")
    code, said = command()
    assert code == 1 and "try the same command again" in said
    assert len(submissions(tmp_path)) == 1


def test_nobody_answers(slurm, command):
    slurm.silence()
    code, said = command()
    assert code == 2 and "scontrol said" in said
    assert slurm.tasks() == {}


def test_jobs_too_short_are_refused_at_their_place(slurm, command):
    code, said = command("--set", "resources.hours=0.05")
    assert code == 2 and "--set resources.hours=0.05: resources.hours: a Slurm job of 3 minutes" in said


def test_results_where_slurm_cannot_log_are_refused(slurm, command, tmp_path):
    code, said = command("--results", str(tmp_path / "50%"))
    assert code == 2 and "give --results another name" in said


def test_cancel_takes_out_what_is_asked(slurm, command, tmp_path):
    """Runs go seed by seed, cell by cell: adain has every other task."""
    assert command()[0] == 0
    code, said = command("--only", "g_norm=adain,seed=0", of=cancel)
    assert code == 0 and "1 runs taken out; cancelled in Slurm: 1_1" in said
    assert slurm.tasks() == {"1": "0,2,3", "2": "0,1"}
    assert command("--only", "seed=2", of=cancel)[1].startswith("2 runs taken out; cancelled in Slurm: 2")
    code, said = command(of=cancel)
    assert code == 0 and "3 runs taken out" in said
    assert list(slurm.state.glob("*.sh")) == []
    assert "nothing of it is in Slurm's queue" in command(of=cancel)[1]


def test_cancel_is_written_even_when_nobody_answers(slurm, command, tmp_path, monkeypatch):
    assert command()[0] == 0
    (tmp_path / "slurm" / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    code, said = command("--only", "seed=1", of=cancel)
    assert code == 1 and "no task shall work on these runs" in said
    assert len(submissions(tmp_path)[0].cancelled()) == 2


def test_following_ends_when_nothing_is_left_in_slurm(slurm, command, tmp_path, monkeypatch):
    """Its jobs are cancelled while it follows: nothing has an outcome, and the command says that it can go on."""
    looks = []

    def empties_the_queue(seconds):
        looks.append(seconds)
        for path in slurm.state.glob("*.sh"):
            path.unlink()

    monkeypatch.setattr(cluster, "time", type("Time", (), {"sleep": empties_the_queue, "monotonic": lambda: 0.0}))
    monkeypatch.setattr("bench.scheduler.FRESH_S", 0.0)
    monkeypatch.setattr("bench.render.report.build", lambda *given, **more: tmp_path / "index.html")
    monkeypatch.setattr("bench.render.report.verdicts", lambda page: [], raising=False)
    code, said = command("--wait")
    assert code == 75 and "the same command goes on" in said and len(looks) >= 2


@pytest.mark.parametrize(
    ("given", "is_needed"), [((), False), (("metrics=[fid]",), True), (("data={name: mnist, size: 32}",), True)]
)
def test_torch_is_started_here_only_for_what_jobs_cannot_get(slurm, command, monkeypatch, given, is_needed):
    called = []
    monkeypatch.setattr(start, "prepare", lambda *said: called.append(said[-1]) or 0)
    code, said = command(*(word for one in given for word in ("--set", one)))
    assert code == 0, said
    assert called == (["driver"] if is_needed else [])
