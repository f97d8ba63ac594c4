"""Reports of studies that went wrong, or whose names mean harm: they build, read, and say what is missing."""

import json
import math
import warnings

import miniature as mini
import pytest
from markup import check

from bench.render import report
from bench.store import Store

ONE_SCORE = mini.STUDY.replace("[fd, swd, ms_ssim]", "[fd]")
SCRIPT, TEX, LONG = "</script><img/src:x/onerror:alert(1)>", "a_b%c&d#e$f{g}~^", "very-long-" * 20
KOREAN, ARABIC = "배치정규화", "تطبيع"
SAYS = "</script><b>_ % & # $ {{ 7*7 }} 한국어 العربية " + "long-" * 50

KINDS = {"plain": "bn", SCRIPT: "adain", TEX: "in", LONG: "ln", KOREAN: "gn", ARABIC: "none"}


def claim(says, level, measure):
    sides = {"left": {"kind": level}, "right": {"kind": "plain"}}
    return {"says": says, "kind": "difference", **sides, "measure": measure, "expect": "lower"}


STUDY = {
    "study": "miniature",
    "recipe": "wgan_gp",
    "data": {"name": "faces", "size": 32},
    "g_width": 16,
    "d_width": 16,
    "train": {"batch": 16, "kimg": 32},
    "factors": {"kind": {level: {"g_norm": norm} for level, norm in KINDS.items()}},
    "seeds": 3,
    "metrics": ["fd", "swd"],
    "claims": [claim(SAYS, SCRIPT, "fd"), claim(ARABIC, ARABIC, "swd")],
}
NAMED = f"# {SAYS}\n{json.dumps(STUDY, ensure_ascii=False)}\n".replace("{", "{{").replace("}", "}}")
"""JSON is YAML; `miniature.a_design` formats it."""


def built(folder, prepare, **study):
    design, store = mini.a_design(folder, **study), Store(folder / "results")
    prepare(design, store)
    with warnings.catch_warnings(record=True) as heard:
        path = report.build(design, store, folder / "reports")
    assert [str(one.message) for one in heard] == []
    return design, path, json.loads((path.parent / "report.json").read_text())


def troubled(design, store):
    """The last cell was never run.  Of the others: a value that is NaN, one that is infinite, and a score that failed;
    logs with values that are not finite; a host with a hostile name."""
    for run in design.runs:
        place = [cell.name for cell in design.cells].index(run.cell.name)
        if place == len(design.cells) - 1:
            continue
        mini.write_run(store, run, host=SAYS, cause=SAYS)
        log = store.run(run.run_id).attempt(1) / "train.jsonl"
        log.write_text(log.read_text() + '{"step": 4, "nimg": 320, "kimg": 0.32, "critic_estimate": NaN}\n')
        mini.write_samples(store, run)
        for step, label in enumerate(mini.LABELS, 1):
            bad = {(1, 0): math.nan, (2, 1): math.inf, (3, 0): -math.inf}.get((place, run.seed))
            at_end = step == len(mini.LABELS)
            value = bad if bad is not None and at_end else 50.0 - 5 * place + run.seed + 10 * (4 - step)
            mini.write_score(store, run, design, label, "fd", {"fd[random]": value})
            if (place + run.seed) % 2:
                mini.write_score(store, run, design, label, "swd", {}, status="failed", reason=SAYS)
            else:
                mini.write_score(
                    store, run, design, label, "swd", {"swd": 9.0 + run.seed, "swd_32": 9.0, "swd_16": 9.0}
                )


@pytest.fixture(scope="module")
def worst(tmp_path_factory):
    return built(tmp_path_factory.mktemp("worst"), troubled, text=NAMED)


def test_hostile_names_of_a_study_file_are_text(worst):
    _, path, said = worst
    page = check(path)
    levels = [cell["levels"]["kind"] for cell in said["cells"]]
    assert levels == ["plain", SCRIPT, TEX, LONG, KOREAN, ARABIC]
    for name in levels[1:]:
        assert name in page.text.replace("\n", ""), name
    assert {one["says"] for one in said["verdicts"]} == {SAYS, ARABIC}
    assert [tag for tag, _ in page.tags].count("script") == 1 and "{{ 7*7 }}" in page.text


def test_a_cell_that_was_not_run_is_said_and_touches_no_other(worst, tmp_path_factory):
    _, path, said = worst
    gone, plain = said["cells"][-1], said["cells"][0]
    assert (gone["success"]["text"], gone["unfinished"]) == ("—", 3)
    assert gone["estimates"]["fd[random]"]["text"] == "—"
    # 50 + seed at the end of the reference
    assert plain["estimates"]["fd[random]"]["mean"] == 51.0
    (verdict,) = (one for one in said["verdicts"] if one["says"] == ARABIC)
    assert verdict["verdict"] == "not estimable" and "3 missing" in said["status"]["line"]
    assert "not run yet" in check(path).text


def test_values_that_are_not_finite_are_failed_scores_and_in_no_mean(worst):
    _, path, said = worst
    cells = {cell["levels"]["kind"]: cell["estimates"]["fd[random]"] for cell in said["cells"]}
    # 45 + seed without seed 0; 40 + seed without seed 1; 35 + seed without seed 0
    assert [(cells[name]["n"], cells[name]["mean"]) for name in (SCRIPT, TEX, LONG)] == [
        (2, 46.5),
        (2, 41.0),
        (2, 36.5),
    ]
    bad = [row for row in said["failed_scores"] if row["reason"] == "not a finite number"]
    assert sorted(row["seed"] for row in bad) == [0, 0, 1] and {row["metric"] for row in bad} == {"fd[random]"}
    assert check(path).text.count("not a finite number") >= 3
    # strict JSON: no NaN, no Infinity
    json.loads((path.parent / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_metric_that_some_runs_lack(worst):
    _, _, said = worst
    found = [cell["estimates"]["swd"]["n"] for cell in said["cells"][:-1]]
    # seeds 0 and 2 of cells 0, 2, 4, seed 1 of the others
    assert found == [2, 1, 2, 1, 2]
    lost = [row for row in said["failed_scores"] if row["metric"] == "swd"]
    assert {row["reason"] for row in lost} == {SAYS} and len(lost) == 4 * (1 + 2 + 1 + 2 + 1)


def nothing(design, store):
    pass


def first_alone(design, store):
    mini.write_run(store, design.runs[0])
    mini.write_scores_of(store, design.runs[0], design, ["fd"])
    mini.write_samples(store, design.runs[0])


def all_diverged(design, store):
    for run in design.runs:
        mini.write_run(store, run, status="diverged", cause="loss_D is nan", labels=())


@pytest.mark.parametrize(
    ("prepare", "seeds", "says"),
    [
        (nothing, 1, "0 of 4 runs done, 4 missing"),
        (first_alone, 1, "1 of 4 runs done, 3 missing"),
        (all_diverged, 2, "0 of 8 runs done, 8 diverged"),
        (mini.write_all, 1, "4 of 4 runs done"),
    ],
    ids=["nothing", "one_run", "all_diverged", "one_seed"],
)
def test_little_or_nothing_to_show_is_a_valid_page(tmp_path, prepare, seeds, says):
    _, path, said = built(tmp_path, prepare, seeds=seeds, text=ONE_SCORE)
    page = check(path)
    assert said["status"]["line"] == says and says in page.text
    assert all(one["verdict"] in ("not estimable", "undecided") and one["why"] in page.text for one in said["verdicts"])
