"""The command, as a user calls it: plan, run, again, go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tiny_study import tiny_study

from bench.store import Store

STUDY = "# Does AdaIN help?  A study of seconds.\n" + tiny_study(2, "{parallel: 2}", "[fd, swd, ms_ssim]")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return tmp_path


def bench(place, *arguments, command="run", **environment):
    return subprocess.run(
        [sys.executable, "-m", f"bench.{command}", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "BENCH_DATA": str(place / "data"), **environment},
    )


def trained(place, *arguments, **environment):
    """Run in one process, which imports torch once."""
    shown = bench(place, "tiny.yaml", "--executor", "inline", *arguments, **environment)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory):
    """The study with its seed 0 trained and its report written, for tests that take it from there."""
    folder = tmp_path_factory.mktemp("half")
    (folder / "tiny.yaml").write_text(STUDY)
    trained(folder, "--only", "seed=0")
    return folder


@pytest.fixture
def half(half_trained, tmp_path):
    """A copy of it of one's own."""
    shutil.copytree(half_trained, tmp_path / "half")
    return tmp_path / "half"


def files(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_from_yaml_to_report_and_only_what_is_missing(place):
    (place / "tiny.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 1"))
    first = bench(place, "tiny.yaml")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 runs: 2 done" in first.stdout
    assert (place / "reports/tiny/index.html").exists()
    results = place / "results"
    before = files(results)

    again = bench(place, "tiny.yaml")
    assert again.returncode == 0
    assert files(results) == before

    store = Store(results)
    run_ids = sorted(os.listdir(results / "runs"))
    weights = {run_id: store.run(run_id).state().trained["weights"] for run_id in run_ids}
    score = next((store.run(run_ids[0]).scores).iterdir())
    score.unlink()
    shutil.rmtree(store.run(run_ids[1]).path)
    third = bench(place, "tiny.yaml", "--executor", "inline")
    assert third.returncode == 0, third.stdout + third.stderr
    assert score.exists()
    assert {run_id: store.run(run_id).state().trained["weights"] for run_id in run_ids} == weights
    changed = {name.split("/")[1] for name, t in files(results).items() if before.get(name) != t and "runs/" in name}
    assert changed == {run_ids[0], run_ids[1]}
    # The first run was not trained again: only its attempt and that one score are new.
    new = {
        name for name, t in files(results / "runs" / run_ids[0]).items() if f"runs/{run_ids[0]}/{name}" not in before
    }
    assert all(name.startswith("attempts/2/") or name == f"scores/{score.name}" for name in new)


def test_dry_run_says_the_plan_and_starts_nothing(place):
    shown = bench(place, "tiny.yaml", "--dry-run")
    assert shown.returncode == 0
    assert "2 cells × 2 seeds = 4 runs" in shown.stdout
    assert "unknown until the first run" in shown.stdout
    assert len(re.findall(r"\b[01]:[0-9a-f]{16}\b", shown.stdout)) == 4
    assert not (place / "results").exists()


def test_dry_run_of_what_is_half_done(half):
    before = files(half)
    shown = bench(half, "tiny.yaml", "--dry-run")
    assert "2 runs to train: about" in shown.stdout
    assert "nothing to do" in bench(half, "tiny.yaml", "--only", "seed=0", "--dry-run").stdout
    assert files(half) == before
    # The report is the whole study's, with what is missing in it.
    assert "2 of 4" in (half / "reports/tiny/index.html").read_text()


def test_dry_run_is_quick_and_imports_no_torch(place):
    code = (
        "import sys, time; started = time.monotonic(); sys.argv = ['run', 'normalization', '--dry-run']\n"
        "from bench import run\n"
        "assert run.main() == 0\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'scipy.stats'} & set(sys.modules)\n"  # power needs scipy.special
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "8 cells × 5 seeds = 40 runs" in shown.stdout


def test_a_shared_cell_shares_the_run(half):
    other = STUDY.replace("study: tiny", "study: other").replace("[bn, adain]", "[bn, in]")
    (half / "other.yaml").write_text(other)
    shown = bench(half, "other.yaml", "--dry-run", "--only", "g_norm=bn,seed=0")
    assert "nothing to do" in shown.stdout


def test_interrupted_study_goes_on(place):
    long = STUDY.replace("g_steps: 6", "g_steps: 4000")
    (place / "tiny.yaml").write_text(long)
    command = [sys.executable, "-m", "bench.run", "tiny.yaml", "--only", "seed=0"]
    environment = {**os.environ, "BENCH_DATA": str(place / "data")}
    driver = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not list(place.glob("results/runs/*/attempts/1/train.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75, output
    assert "the same command goes on" in output
    shown = json.loads(bench(place, "tiny.yaml", "--json", "--only", "seed=0", command="status").stdout)
    assert {run["status"] for run in shown["runs"]} <= {"stopped", "missing"}
    assert "stopped" in {run["status"] for run in shown["runs"]}


def test_status_in_words_and_json(place, half):
    assert "4 runs: 4 missing" in bench(place, "tiny.yaml", command="status").stdout
    words = bench(half, "tiny.yaml", command="status").stdout
    assert "2 done" in words
    assert "2 missing" in words
    shown = json.loads(bench(half, "tiny.yaml", "--json", command="status").stdout)
    assert [run["status"] for run in shown["runs"]].count("done") == 2


def test_clean_lists_and_deletes_only_what_is_asked(half):
    runs = half / "results" / "runs"
    kept = files(runs)
    # Another study shares these runs and trained none of them: losing the first study's folder loses no run.
    (half / "other.yaml").write_text(STUDY.replace("study: tiny", "study: other"))
    assert bench(half, "other.yaml", "--only", "seed=0").returncode == 0
    shutil.rmtree(half / "results" / "studies" / "tiny")
    orphan = runs / ("0" * 16)
    orphan.mkdir()
    (orphan / "setting.json").write_text("{}")
    stale = runs / ".x.json.abc.tmp"
    stale.write_text("half")
    os.utime(stale, (0, 0))
    listed = bench(half, "temporary", "unreferenced", command="clean")
    assert str(stale) in listed.stdout
    assert str(orphan) in listed.stdout
    assert stale.exists()
    assert bench(half, "temporary", "unreferenced", "caches", "checkpoints", "--yes", command="clean").returncode == 0
    assert not stale.exists()
    assert not orphan.exists()
    assert not (half / "results" / "cache").exists()
    assert files(runs) == kept
    assert bench(half, "nonsense", command="clean").returncode == 2


# ---------------------------------------------------------------------------------------------------------
# Bad input: exit code 2, the place, the remedy, no traceback, nothing lost.


def refused(place, *arguments, command="run", **environment):
    shown = bench(place, *arguments, command=command, **environment)
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr
    return shown.stderr


def test_mistakes_of_a_file_all_at_once(place):
    (place / "tiny.yaml").write_text(STUDY.replace("recipe: dcgan", "recipe: dcgam").replace("adain]", "adian]"))
    said = refused(place, "tiny.yaml")
    assert "tiny.yaml:3:9: recipe" in said
    assert "dcgan" in said
    assert "tiny.yaml:10:16: factors.g_norm[1]" in said
    assert "adain" in said


def test_no_such_study_selection_or_override(place):
    assert "quickstart" in refused(place, "quickstrat")
    assert "adain" in refused(place, "tiny.yaml", "--only", "g_norm=adian")
    assert "did you mean g_steps" in refused(place, "tiny.yaml", "--set", "train.g_step=3")
    assert "profile" in refused(place, "tiny.yaml", "--profile", "smok")


def test_batch_larger_than_the_set(place):
    assert "train.batch" in refused(place, "tiny.yaml", "--set", "train.batch=81")
    assert not (place / "results" / "runs").exists()


def test_snapshot_beyond_the_end(place):
    assert "beyond the end" in refused(place, "tiny.yaml", "--set", "train.snapshots_g_steps=[9]")
    # 6 G updates at batch 4 are 24 images: 0.3 epochs of the 80 training images.
    assert "beyond the run's end" in refused(place, "tiny.yaml", "--set", "train.snapshots_epochs=[1]")


def test_a_size_the_network_cannot_make(place):
    assert "data.size" in refused(place, "tiny.yaml", "--set", "data.size=20")


def test_thousands_of_runs_need_a_yes(place):
    said = refused(place, "tiny.yaml", "--set", "seeds=5000", "--dry-run")
    assert "--yes" in said


def test_unlike_reals_in_one_table_are_refused_before_training(place):
    sizes = STUDY.replace("  g_norm: [bn, adain]", "  data.size: [16, 32]").replace(", size: 16", "")
    (place / "tiny.yaml").write_text(sizes)
    assert "cannot stand in one table" in refused(place, "tiny.yaml")
    assert not (place / "results" / "runs").exists()


def test_folder_in_a_row_and_under_home(place):
    """A folder may be said where any setting may, with ~ for the home folder; its place is no part of the run."""
    Image = pytest.importorskip("PIL.Image")
    (place / "pictures").mkdir()
    for shade in range(20):
        Image.new("L", (20, 20), shade * 12).save(place / "pictures" / f"{shade}.png")
    rows = "rows:\n  a: {data: {name: folder, folder: ~/pictures, size: 16}}\n  b: {from: a, set: {g_norm: adain}}\n"
    text = STUDY.replace("factors:\n  g_norm: [bn, adain]\n", rows).replace("data: {name: faces, size: 16}\n", "")
    (place / "tiny.yaml").write_text(text)
    assert "1 runs: 1 done" in trained(place, "--limit", "1", HOME=str(place)).stdout


def test_folder_of_images_missing_or_empty(place):
    assert "nowhere" in refused(place, "tiny.yaml", "--set", "data={name: folder, folder: nowhere, size: 16}")
    (place / "empty").mkdir()
    assert "empty" in refused(place, "tiny.yaml", "--set", "data={name: folder, folder: empty, size: 16}")


OWN = """
from torch import nn

class Half(nn.Module):
    def __init__(self, channels):
        super().__init__()
    def forward(self, x):
        return x / 2

class Shrinks(Half):
    def forward(self, x):
        return x[:, :1]

Number = 3
"""


def test_a_run_s_id_is_of_the_source_of_the_users_norm(place):
    (place / "mylab.py").write_text(OWN)
    where = {"PYTHONPATH": str(place)}
    only = ("--set", "factors={g_norm: [bn, 'mylab:Half']}", "--only", "seed=0")
    plan = bench(place, "tiny.yaml", *only, "--dry-run", **where).stdout
    assert "mylab" in plan
    ids = set(re.findall(r"[0-9a-f]{16}", plan))
    (place / "mylab.py").write_text(OWN.replace("x / 2", "x / 4"))
    assert (
        len(ids - set(re.findall(r"[0-9a-f]{16}", bench(place, "tiny.yaml", *only, "--dry-run", **where).stdout))) == 1
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mylab:Half, mylab:Shrinks", "shape"),
        ("mylab:Missing", "no Missing"),
        ("nolab:Half", "nolab"),
    ],
)
def test_own_norm_that_is_no_norm(place, name, says):
    (place / "mylab.py").write_text(OWN)
    levels = ", ".join(f"'{one}'" for one in name.split(", "))
    only = ("--set", f"factors={{g_norm: [bn, {levels}]}}")
    assert says in refused(place, "tiny.yaml", *only, PYTHONPATH=str(place))
    assert not list(place.glob("results/runs/*/attempts"))


def test_own_extractor_that_cannot_be_made(place):
    (place / "mylab.py").write_text(OWN)
    said = refused(place, "tiny.yaml", "--set", "evaluate.extractor='mylab:Number'", PYTHONPATH=str(place))
    assert "mylab:Number" in said
    assert not list(place.glob("results/runs/*/attempts"))


def test_planning_does_not_run_the_users_module(place):
    (place / "mylab.py").write_text("raise SystemExit('imported')\nclass Half: pass\n")
    only = ("--set", "factors={g_norm: [bn, 'mylab:Half']}", "--dry-run")
    shown = bench(place, "tiny.yaml", *only, PYTHONPATH=str(place))
    assert shown.returncode == 0, shown.stderr
    assert "imported" not in shown.stderr


def test_results_folder_that_cannot_be_written(place):
    (place / "file").write_text("")
    assert "--results" in refused(place, "tiny.yaml", "--results", "file")


def test_edited_setting_is_refused(half):
    path = next(half.glob("results/runs/*/setting.json"))
    path.write_text(path.read_text().replace('"z_dim": 8', '"z_dim": 9'))
    shutil.rmtree(path.parent / "scores")
    assert "edited" in refused(half, "tiny.yaml", "--only", "seed=0")


def test_schema_is_json(place):
    shown = bench(place, "--schema")
    assert shown.returncode == 0
    assert "factors" in json.loads(shown.stdout)["properties"]
