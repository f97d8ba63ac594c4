"""The copy for TensorBoard: each log row and score once, and whatever its writer does, no run and no report changes."""

import shutil
import sys
import types
from typing import ClassVar

import miniature as mini
import pytest

from bench import report as command
from bench.store import Store
from bench.tensorboard import Mirror

ONE_SCORE = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]")


class Writer:
    """Keeps what it is given."""

    written: ClassVar[dict] = {}

    def __init__(self, log_dir):
        self.into = self.written.setdefault(log_dir, [])

    def add_scalar(self, tag, value, step, walltime=None):
        self.into.append((tag, value, step))

    def flush(self):
        pass

    def close(self):
        pass


@pytest.fixture
def use(monkeypatch):
    """Give a stand-in for torch's SummaryWriter."""

    def chosen(writer):
        module = types.ModuleType("torch.utils.tensorboard")
        if writer is not None:
            module.SummaryWriter = writer
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)

    return chosen


def a_study(folder):
    design, store = mini.a_design(folder, seeds=1, text=ONE_SCORE), Store(folder / "results")
    for run in design.runs[:2]:
        mini.write_run(store, run)
        mini.write_scores_of(store, run, design, ["fd"])
    return design, store


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }


def test_each_row_and_score_is_there_once(tmp_path, use):
    use(Writer)
    Writer.written = {}
    design, store = a_study(tmp_path)
    first, second, third, _ = design.runs
    said = []
    mirror = Mirror(said.append)
    mirror(design, store)
    mirror(design, store)
    folder = store.study("miniature") / "tensorboard" / first.cell.name / "seed-0"
    # mini: three rows of 80 images a step; fd = base + seed + 10 (4 - step) at 8, 16, 24 and 32 kimg, base 100
    assert Writer.written[str(folder)] == [
        *(("train/loss_D", -1.0, step * 80) for step in (1, 2, 3)),
        *(("score/fd[random]", 100.0 + 10 * (4 - step), step * 8000) for step in (1, 2, 3, 4)),
    ]
    assert len(Writer.written) == 2 and mini.bases(design)[second.cell.name] == 90.0
    # Another process goes on where this one stopped: a new run, and a row more of an old one.
    mirror.close()
    mini.write_run(store, third, labels=())
    log = store.run(first.run_id).attempt(1) / "train.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "nimg": 320, "kimg": 0.32, "loss_D": -2.0}\n{"step": 5, "ni')
    Writer.written = {}
    Mirror(said.append)(design, store)
    assert {len(found) for found in Writer.written.values()} == {1, 3}
    assert Writer.written[str(folder)] == [("train/loss_D", -2.0, 320)]
    assert said == []


def no_writer(**_):
    raise OSError(28, "No space left on device")


class FullLater(Writer):
    def add_scalar(self, tag, value, step, walltime=None):
        raise OSError(28, "No space left on device")


class FullAtTheEnd(Writer):
    def close(self):
        raise RuntimeError("the writer's thread is gone")


@pytest.mark.parametrize("writer", [None, no_writer, FullLater, FullAtTheEnd])
def test_a_writer_that_fails_harms_nothing(tmp_path, use, writer):
    use(writer)
    design, store = a_study(tmp_path)
    before, said = files_of(tmp_path), []
    mirror = Mirror(said.append)
    for _ in range(3):
        mirror(design, store)
    mirror.close()
    assert len(said) == 1 and files_of(tmp_path) == before


@pytest.mark.slow
def test_a_sink_changes_no_number(tmp_path, use, monkeypatch, capsys):
    """The report and all that runs have left are equal to the byte with a copy, without, and with one that fails."""
    a_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = []
    for reports, writer in (("plain", None), ("copied", Writer), ("failing", FullLater)):
        use(writer)
        shutil.rmtree(tmp_path / "results" / "studies" / "miniature" / "tensorboard", ignore_errors=True)
        asked = ["--tensorboard"] if writer else []
        monkeypatch.setattr(sys, "argv", ["bench.report", "miniature.yaml", "--reports", reports, *asked])
        assert command.main() == 0
        made.append((files_of(tmp_path / reports), files_of(tmp_path / "results")))
    for (report, results), name in zip(made[1:], ("copied", "failing"), strict=True):
        assert results == made[0][1], name
        assert {path: report[path] for path in ("miniature/report.json", "miniature/index.html")} == {
            path: made[0][0][path] for path in ("miniature/report.json", "miniature/index.html")
        }
    (said,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in said


def test_what_tensorboard_reads(tmp_path):
    """With TensorBoard itself, where it is installed."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    design, store = a_study(tmp_path)
    said = []
    mirror = Mirror(said.append)
    mirror(design, store)
    mirror.close()
    assert said == []
    run = design.runs[0]
    read = reader.EventAccumulator(str(store.study("miniature") / "tensorboard" / run.cell.name / "seed-0")).Reload()
    found = [(event.step, event.value) for event in read.Scalars("score/fd[random]")]
    assert found == [(8000, 130.0), (16000, 120.0), (24000, 110.0), (32000, 100.0)]
