"""Probes and losses on their way from runs to table, figures and page."""

import json

import miniature as mini
import numpy as np
import pytest

from bench import figures, job, probes, traces
from bench.files import StoreError
from bench.orders import Orders
from bench.render import report
from bench.stop import Stop
from bench.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def design(tmp_path):
    return mini.a_design(tmp_path, text=mini.STUDY.replace("[fd, swd, ms_ssim]", "[ms_ssim]"))


def rows_of(store, run):
    return store.run(run.run_id).probe_log()


def test_the_log_over_attempts_has_no_gap_and_no_double(design, store):
    run = design.runs[0]
    mini.write_probes(store, run, (0.0, 8.0, 16.0), attempt=1)
    mini.write_probes(store, run, (16.0, 24.0), attempt=2)  # went on from a checkpoint before the last row
    assert [row["kimg"] for row in rows_of(store, run)] == [0.0, 8.0, 16.0, 24.0]
    path = store.run(run.run_id).attempt(2) / "probes.jsonl"
    path.write_bytes(path.read_bytes()[:-5])  # torn by a kill
    assert [row["kimg"] for row in rows_of(store, run)] == [0.0, 8.0, 16.0]


def test_the_tidy_table(design, store):
    run = design.runs[0]
    mini.write_run(store, run)
    mini.write_probes(store, run)
    table = traces.collect(design, store)
    assert list(table.columns) == list(traces.COLUMNS)
    assert set(table["run_id"]) == {run.run_id}
    # train.jsonl holds loss_D = -1 at kimg 0.08, 0.16, 0.24; the loss is Wasserstein's
    estimate = table[table["measure"] == "critic_estimate"]
    assert estimate["value"].tolist() == [1.0, 1.0, 1.0] and estimate["kimg"].tolist() == [0.08, 0.16, 0.24]
    first = table[table["measure"] == "activation_rms_G"]
    assert first["value"].tolist() == [1.0, 9.0, 17.0] and first["step"].tolist() == [0, 100, 200]
    assert set(traces.collect(design, store, ["loss_D"])["measure"]) == {"loss_D"}


def test_no_critic_estimate_without_a_critic(design):
    run = design.runs[0]
    other = run.__class__(**{**run.__dict__, "setting": run.setting.model_copy(update={"loss": "hinge"})})
    assert traces.of_log({"loss_D": -2.0}, "critic_estimate", run) == 2.0
    assert traces.of_log({"loss_D": -2.0}, "critic_estimate", other) is None
    assert traces.of_log({"loss_D": float("inf")}, "critic_estimate", run) is None
    assert traces.of_log({"loss_D": float("nan")}, "loss_D", run) is None and traces.of_log({}, "penalty", run) is None


def test_a_figure_for_each_probe(design, store):
    mini.write_probes(store, design.runs[0])
    rows = rows_of(store, design.runs[0])
    for name, what in probes.PROBES.items():
        ax = figures.probe(rows, name)
        assert ax is not None and ax.get_title(loc="left") == what.title and ax.get_xlabel() == "kimg shown to D"
        lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
        if what.layers:
            assert len(lines) == 6  # three layers of each net
            np.testing.assert_allclose(lines[0].get_ydata(), [1, 9, 17])
            assert {line.get_color() for line in lines} == set(figures.LEVELS[:2])
            assert lines[0].get_alpha() < lines[2].get_alpha() == 1
            assert {"G.blocks.0", "G.blocks.2", "D.blocks.0", "D.blocks.2"} == {text.get_text() for text in ax.texts}
            assert ax.get_yscale() == ("log" if what.scale == "log" else "linear")
        figures.settle(ax.figure)


def test_the_critics_gradient_has_its_target_and_logits_their_names(design, store):
    mini.write_probes(store, design.runs[0])
    rows = rows_of(store, design.runs[0])
    gradient = figures.probe(rows, "critic_gradient")
    assert any(np.allclose(line.get_ydata(), 1.0) for line in gradient.lines) and len(gradient.collections) == 1
    logits = figures.probe(rows, "logits")
    assert {text.get_text() for text in logits.texts} == {"training reals", "held-out reals", "fakes"}


def test_what_was_not_taken_or_not_finite_is_not_drawn():
    row = {"step": 0, "kimg": 0.0, "values": {"logit_train": None}, "layers": {}}
    assert figures.probe([row], "logits") is None and figures.probe([], "weights") is None
    known = {**row, "kimg": 1.0, "values": {"logit_train": 2.0}}
    (line,) = figures.probe([row, known], "logits").lines
    assert line.get_ydata().tolist() == [2.0]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A report with probes: one cell, two seeds, of which one collapsed and one is well."""
    folder = tmp_path_factory.mktemp("shown")
    text = (
        mini.STUDY.replace("[fd, swd, ms_ssim]", "[ms_ssim]")
        .replace("[bn, adain]", "[bn]")
        .replace("[none, spectral]", "[none]")
    )
    text = text[: text.index("claims:")] + text[text.index("profiles:") :]
    design, store = mini.a_design(folder, text=text, seeds=2), Store(folder / "results")
    for run, values in zip(design.runs, ([0.2, 0.2, 0.4, 0.4], [0.2] * 4), strict=True):
        mini.write_run(store, run)
        mini.write_probes(store, run, only=("activations", "logits"))
        for label, value in zip(mini.LABELS, values, strict=True):
            mini.write_score(store, run, design, label, "ms_ssim", {"ms_ssim_2s": value}, real={"ms_ssim_2s": 0.25})
    page = report.build(design, store, folder / "reports")
    return design, page, json.loads((page.parent / "report.json").read_text())


def test_the_page_shows_the_collapsed_run_from_inside(shown):
    _, page, said = shown
    text = page.read_text()
    lost = next(run for run in said["runs"] if run["outcome"] == "collapsed")
    assert (lost["status"], lost["collapsed_at_kimg"]) == ("done", 24.0)
    assert said["status"]["line"] == "2 of 2 runs done, 1 collapsed"
    assert said["cells"][0]["success"]["text"] == "1/2"
    assert "From 24 kimg on" in text and text.count("What its probes saw") == 1
    assert f"probe-{lost['run_id']}-activations" in text and 'id="probes"' in text
    for form in ("png", "svg"):
        assert (page.parent / "figures" / f"probe-{lost['run_id']}-logits.{form}").exists()
    assert (page.parent / "tables" / "probes.csv").exists()


def test_every_point_of_its_curves_is_in_the_json(shown):
    design, page, said = shown
    cell = design.cells[0].name
    assert said["traces"]["critic_estimate"][cell]["0"] == [[0.08, 1.0], [0.16, 1.0], [0.24, 1.0]]
    assert said["traces"]["activation_rms_G"][cell]["1"] == [[0.0, 2.0], [8.0, 10.0], [16.0, 18.0]]
    assert {"probe-critic-estimate", "probe-activation-rms-G"} <= set(
        part.partition('"')[0] for part in page.read_text().split('<figure id="')
    )


# ---------------------------------------------------------------------------------------------------------
# A job with probes.


def test_a_job_writes_them_beside_its_log_and_the_run_stays_the_same(make_run):
    folder, path = make_run(train__snapshots_g_steps=(3, 6))
    orders = Orders.read(path).model_copy(update={"probes": probes.NAMES})
    assert job.run(folder, orders, stop=Stop()) == job.OK
    rows = folder.probe_log()
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert {"logit_gap_held_out", "spectral_norm_D", "gradient_norm_G"} <= rows[-1]["values"].keys()
    assert (folder.attempt(1) / "probes.jsonl").exists()


def test_without_probes_there_is_no_file(make_run):
    folder, path = make_run()
    assert job.run(folder, Orders.read(path), stop=Stop()) == job.OK
    assert folder.probe_log() == [] and not (folder.attempt(1) / "probes.jsonl").exists()


def test_orders_hold_what_the_study_says(tmp_path):
    from bench.command import orders_of

    text = mini.STUDY + "probes: [logits, weights]\nprobe_every_kimg: 2\n"
    design = mini.a_design(tmp_path, text=text)
    orders = orders_of(design)
    assert (orders.probes, orders.probe_every_kimg) == (("weights", "logits"), 2.0)
    plain = mini.a_design(tmp_path, name="plain")
    assert [run.run_id for run in design.runs] == [run.run_id for run in plain.runs]  # no part of a run


def test_a_probe_that_does_not_exist_is_told_with_its_place(tmp_path):
    from bench.study import StudyError

    with pytest.raises(StudyError, match=r"probes.*logit.*logits"):
        mini.a_design(tmp_path, text=mini.STUDY + "probes: [logit]\n")


def test_claims_may_measure_probes_and_a_wrong_name_is_told(tmp_path):
    from bench.study import StudyError

    text = mini.STUDY.replace("measure: fd", "measure: critic_gradient_mean")
    assert mini.a_design(tmp_path, text=text).study.claims[0].measure == "critic_gradient_mean"
    with pytest.raises(StudyError, match="did you mean critic_gradient_mean"):
        mini.a_design(tmp_path, text=mini.STUDY.replace("measure: fd", "measure: critic_gradient_men"))


def test_a_row_that_cannot_be_written_as_json_is_refused(make_run):
    from bench.heartbeat import Heartbeat
    from bench.keeper import RunKeeper

    folder, _ = make_run()
    attempt = folder.claim()
    keeper = RunKeeper(folder, attempt, folder.setting(), Stop(), Heartbeat(folder.attempt(attempt)))
    with pytest.raises(ValueError, match="JSON"):
        keeper.probe({"step": 1, "value": float("nan")})
    keeper.close()
    assert not issubclass(ValueError, StoreError)
