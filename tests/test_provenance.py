"""Where a result comes from, and what is said when results of one study come from different places."""

import json
import shutil
import subprocess
import sys

import miniature as mini
import pytest
import torch
from test_imports import MODULES, imports

from bench import job, overview, provenance
from bench.files import read_json
from bench.orders import Orders
from bench.stop import Stop
from bench.store import Store


@pytest.fixture(autouse=True)
def fresh():
    """What is asked once a process is asked anew in each test."""
    yield
    provenance.code.cache_clear()
    provenance.git_state.cache_clear()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout of its own with this code in it, all committed; return its root."""
    root = tmp_path / "checkout"
    shutil.copytree(provenance.ROOT, root / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("__pycache__\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "all")
    monkeypatch.setattr(provenance, "ROOT", root / "bench")
    provenance.code.cache_clear()
    provenance.git_state.cache_clear()
    return root


def git(root, *arguments, **options):
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, **options).stdout


def code_now():
    provenance.code.cache_clear()
    return provenance.code()


def git_now():
    provenance.git_state.cache_clear()
    return provenance.git_state()


def test_the_hash_is_of_what_a_job_can_import():
    """As `ast` finds it, with the packages that importing a module runs first."""
    seen, waiting = set(), ["bench.job"]
    while waiting:
        name = waiting.pop()
        if name in MODULES and name not in seen:
            seen.add(name)
            waiting += [*imports(name, everywhere=True), name.rpartition(".")[0]]
    expected = {MODULES[name].relative_to(provenance.ROOT).as_posix() for name in seen}
    assert set(provenance.sources()) == expected
    assert "train.py" in expected and "render/page.py" not in expected and "overview.py" not in expected


def test_a_change_to_what_a_job_runs_changes_the_hash(checkout):
    before = code_now()
    page, train = checkout / "bench" / "render" / "page.py", checkout / "bench" / "train.py"
    page.write_text(page.read_text() + "\n# other\n")
    assert code_now() == before
    train.write_text(train.read_text() + "\n# other\n")
    assert code_now() != before


def test_the_diff_makes_the_tree_again(checkout, tmp_path, monkeypatch):
    head, changes = git_now()
    assert head == git(checkout, "rev-parse", "HEAD").decode().strip() and changes == b""
    train = checkout / "bench" / "train.py"
    train.write_text("x = 'ä'\n" + train.read_text())
    (checkout / "bench" / "models" / "mine.py").write_text("two\nlines\n")
    (checkout / "bench" / "notes.txt").write_text("no code")
    for name in ("GIT_DIR", "GIT_WORK_TREE"):  # as in a hook of another repository
        monkeypatch.setenv(name, str(tmp_path))
    _, changes = git_now()
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(checkout), str(other))
    git(other, "apply", "-", input=changes)
    for name in ("train.py", "models/mine.py"):
        assert (other / "bench" / name).read_bytes() == (checkout / "bench" / name).read_bytes()
    assert not (other / "bench" / "notes.txt").exists()


def test_a_long_diff_is_cut_and_says_so(checkout):
    big = checkout / "bench" / "big.py"
    big.write_text("# line\n" * 2**16)
    _, changes = git_now()
    assert provenance.DIFF_LIMIT < len(changes) < provenance.DIFF_LIMIT + 200
    assert b"[cut: " in changes.splitlines()[-1]


def test_outside_of_a_checkout_nothing_is_made_up(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "bench")
    assert git_now() == (None, None)
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "broken" / "bench")
    (tmp_path / "broken" / "bench").mkdir(parents=True)
    (tmp_path / "broken" / ".git").mkdir()
    assert git_now() == (None, None)


def test_an_attempt_says_code_machine_scheduler_and_command(checkout, tmp_path, monkeypatch):
    norms = checkout / "bench" / "norms" / "__init__.py"
    norms.write_text(norms.read_text() + "\n# mine\n")
    attempt = tmp_path / "run" / "attempts" / "1"
    job_of = {"SLURM_JOB_ID": "17", "SLURM_ARRAY_JOB_ID": "15", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": "3"}
    for name, value in job_of.items():
        monkeypatch.setenv(name, value)
    said = provenance.record(attempt, torch.device("cpu"))
    assert read_json(attempt / "provenance.json") == said
    assert said["dirty"] is True and b"+# mine" in (attempt / "changes.diff").read_bytes()
    assert said["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert said["slurm"]["id"] == "15_2" and said["slurm"]["restarts"] == 3
    assert said["command"][0].endswith(sys.orig_argv[0]) and said["gpu"] is None
    assert said["code"] == code_now() and said["earlier"] == {}


def test_a_run_taken_up_by_other_code_says_so(make_run, monkeypatch):
    folder, orders = make_run()
    stop = Stop()
    stop.reason = "now"
    monkeypatch.setattr(provenance, "code", lambda: "a" * 16)
    assert job.run(folder, Orders.read(orders), stop=stop) == 75
    store = Store(folder.path.parent.parent)
    assert provenance.of_run(folder.path.name, folder.state(), store)["code"] == ["a" * 16]
    monkeypatch.setattr(provenance, "code", lambda: "b" * 16)
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    trained = folder.state().trained
    assert trained["code"] == "b" * 16 and trained["earlier"] == {"code": ["a" * 16]}
    # What only scores, later, trained nothing.
    monkeypatch.setattr(provenance, "code", lambda: "c" * 16)
    assert job.run(folder, Orders.read(orders), stop=Stop()) == 0
    known = provenance.of_run(folder.path.name, folder.state(), store)
    assert known["code"] == ["a" * 16, "b" * 16] and known["scoring"] == ["b" * 16, "c" * 16]


# ---------------------------------------------------------------------------------------------------------
# What status and report say.


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The study in miniature, its runs done by one code but for what the test gives; return (design, store, write)."""
    monkeypatch.chdir(tmp_path)
    design, store = mini.a_design(tmp_path), Store(tmp_path / "results")

    def write(**stamps):
        for number, run in enumerate(design.runs):
            store.run(run.run_id).trained.unlink(missing_ok=True)
            own = {what: values[number % len(values)] for what, values in stamps.items()}
            mini.write_run(store, run, **{"code": "0" * 16, **own})

    return design, store, write


def mixtures(design, store):
    return overview.mixtures(design, store, store.states([run.run_id for run in design.runs]))


def test_nothing_is_said_when_all_is_alike_or_unknown(study):
    design, store, write = study
    assert mixtures(design, store) == []
    write()
    assert mixtures(design, store) == []
    write(code=["0" * 16, None])
    assert mixtures(design, store) == []


def test_seeds_cells_and_runs_that_differ(study):
    design, store, write = study
    cells = [run.cell.name for run in design.runs]
    write(code=["a" if name == cells[0] else "b" for name in cells])
    (mixed,) = mixtures(design, store)
    assert mixed.what == "code" and mixed.values == {"b": 9, "a": 3}
    assert (mixed.runs, mixed.cells, mixed.apart) == ([], [], True)
    assert "the cells differ from each other" in mixed.line()

    write(device=["gpu" if run.seed == 1 else "cpu" for run in design.runs])
    (mixed,) = mixtures(design, store)
    assert mixed.what == "device" and mixed.cells == list(dict.fromkeys(cells)) and not mixed.apart

    write(earlier=[{"threads": ["2"]}, *[{}] * 11])
    (mixed,) = mixtures(design, store)
    assert mixed.runs == [design.runs[0].run_id] and mixed.cells == [cells[0]]
    assert mixed.values == {"1": 12, "2": 1}


def test_the_instructions_of_a_cpu_beside_a_gpu_do_not_matter(study):
    design, store, write = study
    write(device=["H"], cpu=["x AVX2", "x AVX512"])
    assert mixtures(design, store) == []
    write(device=["cpu"], cpu=["x AVX2", "x AVX512"])
    assert [mixed.what for mixed in mixtures(design, store)] == ["cpu"]


def test_status_says_it_in_a_line_and_in_json(study, tmp_path):
    _, _, write = study
    write(code=["a" * 16, "b" * 16])
    command = [sys.executable, "-m", "bench.status", "miniature.yaml"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert f"trained by different code: {'a' * 16} (6 runs), {'b' * 16} (6 runs)" in shown
    shown = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [mixed["values"] for mixed in json.loads(shown)["mixed"]] == [{"a" * 16: 6, "b" * 16: 6}]
