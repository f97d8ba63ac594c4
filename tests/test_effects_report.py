"""Effects in the report: figures, words and tables that say what report.json says."""

import dataclasses
import json
import math
import re

import miniature as mini
import pytest
from test_effects import FD, LOGS, ROWS, T2
from test_report import Page

from bench.protocol import other_evaluations
from bench.render import findings, report
from bench.store import Store

CLAIMLESS = FD[: FD.index("claims:")] + FD[FD.index("profiles:") :]
STEPS = {"a": (5, 6, 7), "b": (3, 5, 4), "c": (3, 6, 5)}


def a_report(folder, values, text, status=lambda run: "done", **study):
    """A study whose runs have one fd each, 2 to the power of values[cell][seed]."""
    design, store = mini.a_design(folder, text=text, **study), Store(folder / "results")
    for run in design.runs:
        state = status(run)
        mini.write_run(store, run, status=state, cause=None if state == "done" else "loss_D is nan")
        if state == "done":
            value = 2.0 ** values[run.cell.name][run.seed]
            mini.write_score(store, run, design, mini.LABELS[-1], "fd", {"fd[random]": value})
    # The first run of the reference is at 2⁶ or 2⁵: other evaluations double and halve it.
    base = 2.0 ** next(iter(values.values()))[0]
    for evaluate, factor in zip(other_evaluations(design.study.evaluate), (2, 0.5), strict=True):
        other = dataclasses.replace(design, study=dataclasses.replace(design.study, evaluate=evaluate))
        mini.write_score(store, design.runs[0], other, mini.LABELS[-1], "fd", {"fd[random]": base * factor})
    page = report.build(design, store, folder / "reports")
    return page, json.loads((page.parent / "report.json").read_text())


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """The worked 2×2 of test_effects."""
    return a_report(tmp_path_factory.mktemp("worked"), LOGS, CLAIMLESS)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    return a_report(tmp_path_factory.mktemp("ladder"), STEPS, ROWS)


def rows_of(said, kind):
    (one,) = [one for one in said["effects"] if one["metric"] == "fd[random]"]
    return {row["effect_of"]: row for group in one["groups"] if group["kind"] == kind for row in group["rows"]}


def test_the_seeds_are_those_of_the_estimate_by_hand(worked):
    """d_weight: −2, −3, −1 in powers of two; g_norm: −2, −1, −3; the interaction −2 in each seed (test_effects)."""
    main = rows_of(worked[1], "main")
    assert main["d_weight: spectral"]["by_seed"] == pytest.approx({"0": 2**-2, "1": 2**-3, "2": 2**-1})
    assert main["g_norm: adain"]["by_seed"] == pytest.approx({"0": 2**-2, "1": 2**-1, "2": 2**-3})
    (both,) = rows_of(worked[1], "interaction").values()
    assert both["by_seed"] == pytest.approx({"0": 0.25, "1": 0.25, "2": 0.25})
    for kind in ("main", "simple", "interaction", "reference"):
        for row in rows_of(worked[1], kind).values():
            logs = [math.log(value) for value in row["by_seed"].values()]
            assert math.exp(sum(logs) / len(logs)) == pytest.approx(row["effect"])


def test_the_noise_band_by_hand(worked):
    """Evaluations of 2⁶, 2⁷, 2⁵: the sd of their logarithms is log 2.  A main effect has weights of ½ on 4 cells of 3
    seeds: √(4 · ¼ / 3) of it; a simple effect, 1 on 2 cells: √(2/3)."""
    for kind, gain in (("main", math.sqrt(1 / 3)), ("simple", math.sqrt(2 / 3)), ("interaction", math.sqrt(4 / 3))):
        for row in rows_of(worked[1], kind).values():
            assert (row["noise_low"], row["noise_high"]) == pytest.approx((2**-gain, 2**gain))


def test_a_crossing_shows_the_means_seed_by_seed(worked):
    (one,) = [one for one in worked[1]["effects"] if one["metric"] == "fd[random]"]
    (crossing,) = one["crossings"]
    assert crossing["factors"] == ["g_norm", "d_weight"] and crossing["levels"] == [
        ["bn", "adain"],
        ["none", "spectral"],
    ]
    points = {tuple(point["levels"]): point for point in crossing["points"]}
    for cell, logs in LOGS.items():
        levels = tuple(part.partition("=")[2] for part in cell.split(","))
        assert points[levels]["value"] == pytest.approx(2 ** (sum(logs) / 3))
        assert list(points[levels]["by_seed"].values()) == pytest.approx([2.0**log for log in logs])
    text = worked[0].read_text()
    assert all(line in re.sub("<wbr>", "", text) for line in crossing["simple"] + crossing["together"])
    assert crossing["together"] == ["adain, spectral: × 0.25, n = 3: no interval"]


def test_the_page_says_what_report_json_says(worked):
    text = worked[0].read_text()
    shown = {}
    for attrs, cells in Page(text).rows:
        if "data-effect" in attrs:
            shown.setdefault(attrs["data-effect"], []).append(cells)
    wanted = [(g["kind"], row) for one in worked[1]["effects"] for g in one["groups"] for row in g["rows"]]
    assert sum(map(len, shown.values())) == len(wanted) >= 2 * 9
    for kind, row in wanted:
        found = [
            cells
            for cells in shown[f"{kind}/{row['effect_of']}"]
            if cells[1] == row["text"] + row["interval"] and cells[2] == str(row["n"])
        ]
        assert found and f"against {row['against']}" in found[0][0] and (row["note"] or "") in found[0][0]


def test_figures_stand_in_the_page_and_beside_it(worked):
    text, folder = worked[0].read_text(), worked[0].parent / "figures"
    for ident in ("effects-fd-random", "interaction-fd-random-g-norm-d-weight"):
        assert f'id="{ident}"' in text and all((folder / f"{ident}.{form}").exists() for form in ("pdf", "svg", "png"))
    # No run failed: a forest of differences of nothing is not drawn.
    assert not (folder / "effects-success.pdf").exists()
    assert "Band: evaluation noise" in text and "over 3 evaluation seeds (0.69)" in text  # log 2


def test_without_claims_the_report_opens_with_answers(worked):
    half = T2 / math.sqrt(3)
    low, high = (f"{2 ** (-2 + sign * half):.3g}" for sign in (-1, 1))
    said = [one["says"] for one in worked[1]["answers"]["sentences"]]
    assert (
        f"Whether d_weight: spectral instead of none changes Fréchet distance [random] is open: × 0.25 [{low}, {high}]"
        in (next(one for one in said if "d_weight" in one))
    )
    text = worked[0].read_text()
    assert all(one in text for one in said) and 'href="#verdicts">Answers</a>' in text
    assert text.index("Answers</h2>") < text.index('id="results"')
    assert worked[1]["answers"]["sentences"][0]["success"] == "6/6 : 6/6"


def test_a_ladder_is_read_from_row_to_row_by_hand(ladder):
    """Geometric means 2⁶, 2⁴, 2^(14/3); steps 2⁻² and 2^(2/3), seed by seed (−2, −1, −3) and (0, 1, 1)."""
    page, said = ladder
    (one,) = said["ladder"]["measures"]
    assert [row["value"] for row in one["rows"]] == pytest.approx([2**6, 2**4, 2 ** (14 / 3)])
    assert [row["step"] and row["step"]["effect"] for row in one["rows"]] == [
        None,
        *map(pytest.approx, (0.25, 2 ** (2 / 3))),
    ]
    assert one["rows"][2]["step"]["by_seed"] == pytest.approx({"0": 1, "1": 2, "2": 2})
    assert [column["settings"] for column in said["ladder"]["columns"]] == [["d_weight"], ["g_norm"]]
    assert [row["on"] for row in said["ladder"]["rows"]] == [[False, False], [True, False], [True, True]]
    assert said["ladder"]["rows"][2]["changes"] == [{"setting": "g_norm", "before": "bn", "after": "adain"}]
    text = page.read_text()
    assert said["ladder"]["confounded"] in text and 'id="ladder-fd-random"' in text
    assert (page.parent / "figures" / "ladder-fd-random.pdf").exists()
    table = text.partition('<table class="ladder">')[2].partition("</table>")[0]
    for row, told in zip(said["ladder"]["rows"], one["rows"], strict=True):
        line = next(cells for attrs, cells in Page(f"<table>{table}").rows if attrs.get("data-row") == row["name"])
        assert line[3].startswith(told["text"]) and told["interval"] in line[3]
        assert line[4] == (told["step"]["text"] + told["step"]["interval"] if told["step"] else "")


def test_a_ladder_has_answers_and_no_forest(ladder):
    page, said = ladder
    assert [one["effect_of"] for one in said["answers"]["sentences"]] == ["b", "c"]
    assert said["answers"]["about"].strip() == said["ladder"]["confounded"]
    assert not list((page.parent / "figures").glob("effects-fd*"))


def test_settings_that_change_together_share_a_column():
    from bench.render.ladder import _columns, _label

    rows = {
        "a": {"x": "0", "y": "off", "lr": "1", "z": "p"},
        "b": {"x": "1", "y": "off", "lr": "1", "z": "p"},
        "c": {"x": "1", "y": "on", "lr": "2", "z": "q"},
        "d": {"x": "0", "y": "on", "lr": "2", "z": "r"},
    }
    assert _columns(rows) == [["x"], ["y", "lr"], ["z"]]
    assert _label(["train.lr", "y"]) == "lr, y" and _label(["x", "y", "z", "w"]) == "x and 3 more"


def test_failures_grey_what_they_touch(tmp_path):
    """adain with none always diverges: what compares it is absent, and success has a forest."""
    gone = "g_norm=adain,d_weight=none"
    page, said = a_report(tmp_path, LOGS, CLAIMLESS, lambda run: "diverged" if run.cell.name == gone else "done")
    main = rows_of(said, "main")
    assert main["d_weight: spectral"]["note"].startswith("over 1 of 2 settings")
    (one,) = [one for one in said["effects"] if one["metric"] == "fd[random]"]
    assert one["crossings"] == [] and not rows_of(said, "interaction")
    assert (page.parent / "figures" / "effects-success.pdf").exists()
    assert "Differences in the share of runs that succeed" in page.read_text()


def test_one_seed_and_no_evidence(tmp_path):
    page, said = a_report(tmp_path, LOGS, CLAIMLESS, seeds=1)
    assert all(one["says"].endswith("one seed says nothing of the spread.") for one in said["answers"]["sentences"])
    trial = mini.a_design(tmp_path, text=CLAIMLESS, seeds=1, profile="smoke")
    page = report.build(trial, Store(tmp_path / "results"), tmp_path / "reports")
    assert json.loads((page.parent / "report.json").read_text())["answers"] is None
    assert 'id="verdicts"' not in page.read_text() and 'id="ladder"' not in page.read_text()


def test_a_threshold_has_one_side():
    one = {"method": "paired", "left_runs": [3, 3], "right_runs": [0, 0]}
    assert findings._runs(one) == [(3, 3)]
    assert findings._runs({**one, "right_runs": [0, 2]}) == [(3, 3), (0, 2)]
