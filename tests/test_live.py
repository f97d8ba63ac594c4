"""A report that follows its study: it is built as runs end, says how far it is, and ends as a report built once."""

import json
import sys

import miniature as mini
import pytest
from markup import check

from bench import datasets, live
from bench import report as command
from bench.command import INTERRUPTED, exit_code, orders_of
from bench.files import publish_json
from bench.render import report
from bench.store import Store
from bench.terminal import Terminal

ONE_SCORE = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]")
REFRESH = '<meta http-equiv="refresh"'


def passing(monkeypatch, *events):
    """Let something happen, in turn, whenever the watcher sleeps; return what it slept."""
    slept, left = [], list(events)

    def sleep(seconds):
        slept.append(seconds)
        left.pop(0)()

    monkeypatch.setattr(live.time, "sleep", sleep)
    return slept


def try_all(store, design):
    """Leave a failed score wherever one is asked for and not there: those of other evaluation seeds among them."""
    orders = orders_of(design)
    for run in design.runs:
        folder, source = store.run(run.run_id), datasets.describe(run.setting.data, datasets.data_root())
        for left in orders.unscored(folder, run.setting, folder.state().trained["snapshots"], source):
            for request in left.requests:
                publish_json(folder.scores / f"{request.id}.json", {"status": "failed", "reason": "no room"})


def interrupted():
    raise KeyboardInterrupt


@pytest.mark.slow
def test_it_is_built_as_runs_end_and_no_more_often(tmp_path, monkeypatch, capsys):
    design, store = mini.a_design(tmp_path, seeds=1, text=ONE_SCORE), Store(tmp_path / "results")
    first, *others = design.runs
    page = tmp_path / "reports" / "miniature" / "index.html"
    seen, printed = [], []

    def look(then=lambda: None):
        check(page)
        printed.extend(page.parent.glob("figures/*"))
        seen.append((page.stat().st_mtime_ns, page.read_text(), json.loads((page.parent / "report.json").read_text())))
        then()

    def one_ends():
        mini.write_run(store, first)
        mini.write_scores_of(store, first, design, ["fd"])

    def others_end_unscored():
        for run in others[:-1]:
            mini.write_run(store, run)
        mini.write_run(store, others[-1], status="diverged", cause="loss_D is nan", labels=())

    def scores_come():
        for run in others[:-1]:
            mini.write_scores_of(store, run, design, ["fd"])
        try_all(store, design)

    slept = passing(
        monkeypatch,
        lambda: look(one_ends),
        look,
        lambda: look(others_end_unscored),
        lambda: look(scores_come),
    )
    assert live.follow(design, store, tmp_path / "reports", Terminal(), 7.0) == page
    assert [line.partition(";")[0] for line in capsys.readouterr().out.splitlines()] == [
        "0 of 4 runs",
        "1 of 4 runs",
        "4 of 4 runs",  # trained, and not scored yet
        "4 of 4 runs",
    ]
    assert all(seconds >= 7.0 for seconds in slept)
    assert seen[1][0] == seen[2][0]  # nothing had changed: not built again
    assert [said["status"]["line"].partition(",")[0] for _, _, said in seen] == [
        "0 of 4 runs done",
        "1 of 4 runs done",
        "1 of 4 runs done",
        "3 of 4 runs done",
    ]
    assert all(REFRESH + ' content="30">' in text and "1 of 4 runs done" in text for _, text, _ in seen[1:3])
    assert REFRESH in seen[3][1] and REFRESH not in page.read_text()
    assert not printed and list(page.parent.glob("figures/*.pdf"))
    # What stands in the end is what one build makes of it.
    once = report.build(design, store, tmp_path / "once")
    assert page.read_bytes() == once.read_bytes()
    assert (page.parent / "report.json").read_bytes() == (once.parent / "report.json").read_bytes()


def test_ctrl_c_ends_it_in_order(tmp_path, monkeypatch, capsys):
    mini.a_design(tmp_path, seeds=1, text=ONE_SCORE)
    monkeypatch.chdir(tmp_path)
    passing(monkeypatch, interrupted)
    monkeypatch.setattr(sys, "argv", ["bench.report", "miniature.yaml", "--watch", "--every", "60"])
    assert exit_code(command.main) == INTERRUPTED
    shown = capsys.readouterr()
    page = tmp_path / "reports" / "miniature" / "index.html"
    assert shown.out.splitlines() == ["0 of 4 runs; written reports/miniature/index.html"]
    assert "interrupted" in shown.err and REFRESH + ' content="60">' in page.read_text()
    # The next report is not watched: it does not load itself anew.
    monkeypatch.setattr(sys, "argv", ["bench.report", "miniature.yaml"])
    assert exit_code(command.main) == 0
    assert REFRESH not in page.read_text()


def test_a_failed_score_has_been_tried_and_a_failed_run_may_come_back(tmp_path):
    design, store = mini.a_design(tmp_path, seeds=1, text=ONE_SCORE), Store(tmp_path / "results")
    *rest, last = design.runs
    for run in rest:
        mini.write_run(store, run, labels=mini.LABELS[:1])

    def over():
        return live.is_over(design, store, store.states([run.run_id for run in design.runs]), orders_of(design))

    mini.write_failed(store, last)
    assert not over()
    mini.write_run(store, last, labels=())
    assert not over()
    try_all(store, design)
    assert over()


@pytest.mark.parametrize("said", ["0", "-1", "nan", "soon"])
def test_an_interval_that_is_none(said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.report", "quickstart", "--watch", "--every", said])
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == 2 and "--every" in capsys.readouterr().err
