"""How surely cells train and what they cost: numbers by hand, by other implementations, and as the page shows them."""

import json
import re
from collections import defaultdict
from html.parser import HTMLParser

import jinja2
import miniature as mini
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import survdiff
from statsmodels.stats.proportion import proportion_confint

from bench import figures, stats, summary, table, traces
from bench.figures.stability import ENDS
from bench.render import content, cost, page, stability
from bench.render.part import Given
from bench.store import Store

TEXT = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd, ms_ssim]")
HOUR = 3600.0


def log(store, run, attempt, rows):
    folder = store.run(run.run_id).attempt(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step, "kimg": step * 0.08, "loss_D": -1.0, "seconds": s}) for step, s in rows]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")


def prepare(design, store):
    """bn: 1 h, of which an attempt lost 720 s, 2 h, and half an hour to its divergence; bn · spectral: two threads,
    an hour each; adain: one collapsed; adain · spectral: one done, one failed after 0.1 h, one missing."""
    bn, spectral, adain, both = ([run for run in design.runs if run.cell == cell] for cell in design.cells)
    sizes = {"parameters": {"G": 1000, "D": 2000}, "peak_gpu_mib": None}
    for run, hours in zip(bn[:2], (1, 2), strict=True):
        mini.write_run(store, run, seconds=hours * HOUR, peak_rss_mib=500.0 + run.seed, attempt=2 - run.seed, **sizes)
    log(store, bn[0], 1, [(10, 360.0), (20, 720.0), (30, 1080.0), (40, 1440.0)])
    log(store, bn[0], 2, [(30, 1090.0), (400, HOUR)])
    mini.write_run(store, bn[2], status="diverged", cause="nan", labels=mini.LABELS[:2], seconds=HOUR / 2)
    for run in (*spectral, *adain, both[1]):
        many = {"threads": 2, "packed": True} if run in spectral else {}
        mini.write_run(store, run, seconds=HOUR if run in spectral else 4 * HOUR, **many)
    for run in (*bn[:2], *spectral, *adain, both[1]):
        mini.write_scores_of(store, run, design, ["fd", "ms_ssim"])
    mini.write_scores_of(store, bn[2], design, ["fd", "ms_ssim"], mini.LABELS[:2])
    for label in mini.LABELS[2:]:  # fakes alike from 24 kimg on
        mini.write_score(store, adain[0], design, label, "ms_ssim", {"ms_ssim_2s": 0.6}, real={"ms_ssim_2s": 0.25})
    mini.write_failed(store, both[0])
    log(store, both[0], 1, [(10, 360.0)])


class Rows(HTMLParser):
    """Cells' texts of the rows with an attribute, by its value."""

    def __init__(self, text, attribute):
        super().__init__()
        self.attribute, self.rows, self._row, self._open = attribute, {}, None, False
        self.feed(text)
        self.rows = {name: [text.strip() for text in texts] for name, texts in self.rows.items()}

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self._row = self.rows.setdefault(dict(attrs).get(self.attribute), [])
        if tag in ("td", "th") and self._row is not None:
            self._row.append("")
            self._open = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data):
        if self._row and self._open:
            self._row[-1] += data


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The design, both sections as the page has them, and what they give to report.json."""
    folder = tmp_path_factory.mktemp("stability")
    design, store = mini.a_design(folder, text=TEXT), Store(folder / "results")
    prepare(design, store)
    said, shown = {}, {}
    for part in (stability.part, cost.part):
        made = part(given(design, store))
        said |= made.content
        shown |= made.shown
    return design, sections(said, shown), json.loads(json.dumps(said, allow_nan=False))


def given(design, store):
    frame = table.collect(design, store)
    noise = table.evaluation_noise(design, store)
    said = content.content(design, store, frame, summary.summarise(frame, design), noise)
    return Given(design, store, frame, None, [], None, said, figures.looks(design), traces.Traces(design, store))


def sections(said, shown):
    """Render the two sections alone, by the page's own filters."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.render", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["swatch"] = page.swatch
    environment.filters["breakable"] = page._breakable
    text = '{% import "macros.html.j2" as m with context %}{% include "sections/stability.html.j2" %}'
    return environment.from_string(text + '{% include "sections/cost.html.j2" %}').render(
        **said, **shown, svgs=defaultdict(str)
    )


def test_before_any_run_has_ended_there_is_no_section(built, tmp_path):
    waiting = given(built[0], Store(tmp_path / "results"))
    assert stability.part(waiting).content == {"stability": None} and cost.part(waiting).content == {"cost": None}
    assert sections({"stability": None, "cost": None}, {}).strip() == ""


# ---------------------------------------------------------------------------------------------------------
# Numbers.


def test_counts_wilson_and_survival(built):
    rows = built[2]["stability"]["cells"]
    assert [{end: n for end, n in row["counts"].items() if n} for row in rows] == [
        {"success": 2, "diverged": 1},
        {"success": 3},
        {"success": 2, "collapsed": 1},
        {"success": 1, "failed": 1, "unfinished": 1},
    ]
    assert all(sum(row["counts"].values()) == row["runs"] == 3 for row in rows)
    for row in rows:
        success = row["success"]
        expected = proportion_confint(success["k"], success["n"], method="wilson")
        assert (success["low"], success["high"]) == pytest.approx(expected, abs=1e-9)
    # Diverged at 18 kimg; collapsed from 24 on; the others reached 32.
    assert [[(step["kimg"], step["share"]) for step in row["survival"]] for row in rows] == [
        [(18.0, pytest.approx(2 / 3))],
        [],
        [(24.0, pytest.approx(2 / 3))],
        [],
    ]
    assert [row["censored"] for row in rows] == [[32.0] * 2, [32.0] * 3, [32.0] * 2, [32.0]]
    low, high = proportion_confint(0, 3, method="wilson")
    assert f"0 of 3 lost: Wilson [{low:.2f}, {high:.2f}]" in built[2]["stability"]["honesty"]


def test_what_each_cell_cost_by_hand(built):
    said = built[2]["cost"]
    bn, spectral, adain, both = said["cells"]
    assert said["unit"] == "CPU-hours" and (said["packed"], said["runs"]) == (3, 10)
    assert (bn["hours"]["value"], bn["hours"]["low"], bn["hours"]["high"]) == (1.5, 1.0, 2.0)
    # 1440 s of the first attempt, of which 720 stood at step 20, the last row before the second's first.
    assert bn["repeated"]["value"] == pytest.approx(0.2) and bn["spent"]["value"] == pytest.approx(1 + 2 + 0.5 + 0.2)
    assert spectral["hours"]["value"] == 2.0 and spectral["packed"] and not bn["packed"]  # two threads for an hour
    assert both["spent"]["value"] == pytest.approx(4 + 0.1) and both["runs"] == 2
    assert said["spent"]["value"] == pytest.approx(3.7 + 6 + 12 + 4.1)
    assert (bn["steps"]["value"], bn["memory"]["mib"], bn["parameters"]["D"]) == (400, 501.0, 2000)
    assert adain["per_kimg"]["value"] == pytest.approx(4 * HOUR / 32)
    # Medians with failures worst: bn has 100, 101 and a divergence, so 101; adain 81, 82 and a collapse, so 82.
    assert [row["score"]["value"] for row in said["cells"]] == [101.0, 91.0, 82.0, 71.0]
    # 1.5 h: 101; 2 h: 91; 4 h: 82 and 71.
    assert said["front"] == [bn["name"], spectral["name"], both["name"]]
    assert bn["points"] == [[1.0, 100.0], [2.0, 101.0]]


def test_a_log_without_repeats_has_lost_nothing(built, tmp_path):
    store, run = Store(tmp_path), built[0].runs[0]
    folder = store.run(run.run_id)
    assert cost.repeated(folder) == (0.0, 0.0)
    log(store, run, 1, [(10, 1.0), (20, 2.0)])
    assert cost.repeated(folder) == (0.0, 2.0)
    log(store, run, 2, [(30, 3.5)])  # went on from a checkpoint after the last row
    assert cost.repeated(folder) == (0.0, 3.5)
    log(store, run, 3, [(10, 1.5), (20, 2.5)])  # no checkpoint was good: 3.5 s in vain
    assert cost.repeated(folder) == (3.5, 2.5)


def test_the_page_shows_report_json(built):
    _, text, said = built
    stable, priced = Rows(text, "data-stable").rows, Rows(text, "data-cost").rows
    kinds = [kind["key"] for kind in said["stability"]["kinds"]]
    assert kinds == ["success", "collapsed", "diverged", "failed", "unfinished"]
    for row in said["stability"]["cells"]:
        _, runs, share, *counts = stable[row["name"]]
        assert (runs, counts) == (str(row["runs"]), [str(row["counts"][kind]) for kind in kinds])
        assert share == row["success"]["text"] + row["success"]["interval"]
    for row in said["cost"]["cells"]:
        _, hours, spent, score, rate, per_kimg, steps, memory, parameters = priced[row["name"]]
        assert hours == row["hours"]["text"] + row["hours"]["range"] and spent.startswith(row["spent"]["text"])
        assert score.startswith(row["score"]["text"])
        assert ("not beaten" in score) == (row["name"] in said["cost"]["front"])
        assert rate.removeprefix("≈ ") == row["rate"]["text"] and rate.startswith("≈") == row["packed"]
        assert per_kimg.removeprefix("≈ ") == row["per_kimg"]["text"] and steps == row["steps"]["text"]
        assert (memory, parameters) == (row["memory"]["text"], row["parameters"]["text"])
    assert priced[said["cost"]["cells"][0]["name"]][-2:] == ["501 MiB", "1,000 + 2,000"]
    assert said["stability"]["honesty"] in text and "No measurement of speed" in text
    ids = sorted(re.findall(r'<(?:section|figure) id="([^"]+)"', text))
    charts = ["probe-loss-D", "score-by-hours", "stability", "stability-outcomes", "stability-survival"]
    assert ids == ["cost", *charts]


def test_log_rank_against_the_reference(built):
    # bn lost one of three at 18, adain one of three at 24: statsmodels says the same, as does q by hand.
    (first, second, third) = built[2]["stability"]["tests"]
    cells = built[2]["stability"]["cells"]
    assert [one["cell"] for one in (first, second, third)] == [row["name"] for row in cells[1:]]
    times, lost = [18.0, 32.0, 32.0, 24.0, 32.0, 32.0], [1, 0, 0, 1, 0, 0]
    _, p = survdiff(np.array(times), np.array(lost), np.array([0, 0, 0, 1, 1, 1]))
    assert second["p"] == pytest.approx(p) and second["q"] >= second["p"]


@pytest.mark.parametrize("seed", range(3))
def test_survival_and_its_test_are_those_of_others(seed):
    rng = np.random.default_rng(seed)
    ends = [(float(rng.integers(1, 9)), bool(rng.random() < 0.6)) for _ in range(14)]
    left, right = ends[:7], ends[7:]
    data = scipy_stats.CensoredData(uncensored=[t for t, f in left if f], right=[t for t, f in left if not f])
    known = scipy_stats.ecdf(data).sf
    steps = stats.survival(left)
    np.testing.assert_allclose([s.share for s in steps], known.evaluate([s.kimg for s in steps]))
    assert {s.kimg for s in steps} == {t for t, failed in left if failed}
    times, failed = np.array([t for t, _ in ends]), np.array([f for _, f in ends])
    assert stats.compare_survival(left, right) == pytest.approx(survdiff(times, failed, np.repeat([0, 1], 7))[1])
    assert stats.compare_survival([(8.0, False)], [(8.0, False)]) is None and stats.compare_survival(left, []) is None


def test_the_front_of_points_by_hand():
    points = [(1, 9), (2, 5), (2, 7), (3, 5), (4, 2), (5, 3), (4, 2)]
    # (2, 7) costs as (2, 5) and is worse; (3, 5) is as good and dearer; (5, 3) loses to (4, 2), which stands twice.
    assert stats.pareto(points, "lower") == [0, 1, 4, 6]
    assert stats.pareto([(1, 9), (2, 5), (3, 10)], "higher") == [0, 2]
    assert stats.pareto([], "lower") == [] and stats.pareto([(1, 1)], "higher") == [0]


def test_the_front_is_what_a_sweep_keeps():
    points = [tuple(point) for point in np.random.default_rng(0).random((60, 2))]
    best, kept = np.inf, []
    for cost_, value in sorted(points):
        if value < best:
            best = value
            kept.append((cost_, value))
    assert [points[place] for place in stats.pareto(points, "lower")] == kept


def test_thinned_means_over_stretches():
    trace = pd.DataFrame({"kimg": [1.0, 2, 3, 4], "value": [1.0, 2, 3, 4], "step": range(4), "nimg": range(4)})
    trace = trace.assign(cell="a", seed=0, run_id="r", status="done", measure="loss_D")
    thin = traces.thinned(trace, 2)
    assert thin["kimg"].tolist() == [1.0, 3.0] and thin["value"].tolist() == [1.5, 3.5]  # (0, 2] and (2, 4]
    assert traces.thinned(trace, 4) is trace and traces.thinned(trace.iloc[:0]).empty


# ---------------------------------------------------------------------------------------------------------
# Figures.


def test_bars_are_as_long_as_there_are_runs(built):
    drawn = figures.looks(built[0])
    names = list(drawn)
    counts = {
        names[0]: {"success": 20, "diverged": 5},
        names[1]: {"collapsed": 4, "failed": 3},
        names[3]: {"success": 2},
    }
    ax = figures.outcomes(counts, drawn, {name: "k/n" for name in names})
    bars = [patch for patch in ax.patches if patch.get_width()]
    for row, name in enumerate(counts):
        here = [bar for bar in bars if abs(bar.get_y() + bar.get_height() / 2 - row) < 0.4]
        area = sum(bar.get_width() * bar.get_height() for bar in here)
        assert area == pytest.approx(0.62 * sum(counts[name].values()))
    hatches = {bar.get_hatch() for bar in bars}
    assert {ENDS[end].hatch for end in ("diverged", "collapsed", "failed")} <= hatches
    # two halves, one of each level's colour; a hole of the machine's is grey
    assert {to_hex(bar.get_facecolor()) for bar in bars if bar.get_y() > 1.5} == set(drawn[names[3]].colours)
    assert {to_hex(bar.get_edgecolor()) for bar in bars if bar.get_hatch() == ENDS["failed"].hatch} == {figures.MUTED}
    blocks = figures.outcomes({names[0]: {"success": 3}}, drawn, {names[0]: ""})
    assert len(blocks.patches) == 3  # few runs: a block each


def test_survival_of_runs_that_all_failed_from_the_start_is_drawn(recwarn):
    looks = {"a": figures.Look(("#123456",), "o", "a")}
    ax = figures.survival({"a": [(0.0, 0.0)]}, {"a": []}, looks)
    assert ax.get_xlim()[1] > 1 and not recwarn.list


def test_survival_is_drawn_in_steps_with_ticks(built):
    drawn = figures.looks(built[0])
    names = list(drawn)
    ax = figures.survival(
        {names[0]: [(10.0, 0.8), (20.0, 0.4)], names[1]: []}, {names[0]: [15.0, 30.0], names[1]: [30.0]}, drawn
    )
    (curve,) = [line for line in ax.lines if line.get_label() == drawn[names[0]].label]
    assert curve.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(curve.get_xydata(), [[0, 1], [10, 0.8], [20, 0.4], [30, 0.4]])
    (ticks,) = [line for line in ax.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(ticks.get_xydata(), [[15, 0.8], [30, 0.4]])
    assert {text.get_text() for text in ax.texts} == {drawn[names[0]].label, drawn[names[1]].label}


def test_the_front_is_drawn_through_its_cells(built):
    drawn = figures.looks(built[0])
    names = list(drawn)
    places = {name: figures.Priced(hours, score, [(hours, score)]) for name, hours, score in zip(
        names, (1.0, 2.0, 30.0, 40.0), (9.0, 5.0, 6.0, 2.0), strict=True)}  # fmt: skip
    ax = figures.cost(places, drawn, [names[0], names[1], names[3]], title="FD", label="CPU-hours a run", scale="log")
    (front,) = [line for line in ax.lines if line.get_label() == "_front"]
    np.testing.assert_allclose(front.get_xydata(), [[1, 9], [2, 5], [40, 2]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")  # hours differ by more than four times
    assert len(ax.texts) == 4


def test_a_mean_over_fewer_seeds_is_dashed(built):
    drawn = figures.looks(built[0])
    name = next(iter(drawn))
    rows = [(seed, kimg) for seed in (0, 1) for kimg in (8.0, 16.0, 24.0) if (seed, kimg) != (1, 24.0)]
    values = pd.DataFrame(rows, columns=["seed", "kimg"]).assign(cell=name, status="done", value=1.0)

    def lines(**more):
        ax = figures.curves(values, drawn, title="FD", **more)
        thick = [line for line in ax.lines if line.get_linewidth() > 1]
        return {line.is_dashed(): line.get_xydata()[np.isfinite(line.get_ydata())][:, 0].tolist() for line in thick}

    assert lines() == {False: [8.0, 16.0], True: [16.0, 24.0]}
    # a third run that diverged before its first snapshot is missing everywhere
    assert lines(runs={name: 3}) == {False: [], True: [8.0, 16.0, 24.0]}
    whole = values[values["kimg"] < 20]
    assert all(not line.is_dashed() for line in figures.curves(whole, drawn, title="FD").lines)
