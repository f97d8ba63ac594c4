"""A checklist for a paper's reviewers, after NeurIPS's, answered from facts; what no file knows is left blank.

Blank means blank: nothing is guessed, least of all licences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from bench.render import methods
from bench.render.content import plural
from bench.render.part import Given, Part

Answer = Literal["yes", "no", "partly", ""]
"""`""`: the authors' to answer."""


def part(given: Given) -> Part:
    """Gather `checklist`: [{question, answer, why}]."""
    listed = [{"question": question, "answer": answer, "why": why} for question, answer, why in _answers(given)]
    return Part({"checklist": listed})


def _answers(given: Given) -> Iterator[tuple[str, Answer, str]]:
    runs, design = given.content["runs"], given.design
    yield _claims(given)
    yield "Limitations: are they discussed?", "", ""
    yield _reproducible(given)
    yield from _data_and_code(given, runs)
    yield (
        "Settings: are all of them said, data splits and hyperparameters among them?",
        "yes",
        f"{plural(len(given.content['design']['shared']), 'setting')} that all runs share stand under Design, those "
        "that differ beside each run; parts of the data and the evaluation stand in the methods.",
    )
    yield _selection(given)
    yield _errors(given)
    yield _tests(given)
    yield _failures(runs)
    yield _compute(runs)
    yield "Licences of data, code and pretrained weights: are they named and kept?", "", ""
    if design.study.sources:
        yield "New code of the study’s own: is it published?", "", f"Modules: {', '.join(design.study.sources)}."
    for question in (
        "Ethics, consent of people in the data, review boards",
        "Broader impacts and safeguards",
        "Where code and data can be had, after the review",
    ):
        yield question, "", ""


def _claims(given: Given) -> tuple[str, Answer, str]:
    question = "Claims: were they stated before the results, and do the results bear them out?"
    verdicts, claims = given.verdicts, given.design.study.claims
    if not claims:
        return question, "no", "The study file states no claim: every effect is exploratory."
    if not verdicts:
        why = f"The study file states {plural(len(claims), 'claim')}; this profile is no evidence and judges none."
        return question, "no", why
    counts = Counter(one["verdict"] for one in verdicts)
    words = ", ".join(f"{n} {word}" for word, n in sorted(counts.items()))
    changed = any("study file has changed" in one["text"] for one in given.content["design"]["deviations"])
    why = f"The study file states {plural(len(claims), 'claim')}: {words}."
    if changed:
        return question, "partly", f"{why} The file has changed since runs were launched."
    return question, "yes", f"{why} That it was written before the runs, only its history can show."


def _reproducible(given: Given) -> tuple[str, Answer, str]:
    question = "Reproducibility: can the main results be made again from what is here?"
    runs = [run for run in given.content["runs"] if run["status"] in ("done", "diverged")]
    if not runs:
        return question, "", ""
    unknown = [run for run in runs if not run["commit"]]
    dirty = [run for run in runs if run["dirty"]]
    if unknown or dirty:
        whence = ((dirty, "from a tree with changes in no commit"), (unknown, "from code of no known commit"))
        why = "; ".join(f"{plural(len(found), 'run')} {words}" for found, words in whence if found)
        return question, "partly", f"Commands, seeds and settings stand under Reproduce; but {why}."
    return question, "yes", "Study file, commit, versions, seeds and commands stand under Reproduce."


def _data_and_code(given: Given, runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Answer, str]]:
    named = [
        f"{one['name']} at {one['size']} px, fingerprint {one['fingerprint'] or 'unknown'}"
        for one in methods.sets(given.design)
    ]
    yield "Data: is it identified, with its parts?", "yes", f"{'; '.join(named)}."
    commits = sorted({run["commit"] for run in runs if run["commit"]})
    question = "Code: is its version known?"
    if not commits:
        yield question, "", ""
    else:
        yield (
            question,
            "yes" if len(commits) == 1 else "partly",
            f"{plural(len(commits), 'commit')}: {', '.join(commits)}.",
        )


def _selection(given: Given) -> tuple[str, Answer, str]:
    question = "Selection: is it said how snapshots, seeds and runs were chosen?"
    why = "Last snapshot at a fixed budget, all seeds, no run dropped; selected snapshots stand under Sensitivity only."
    if given.content["design"]["deviations"]:
        return question, "partly", why + " Departures from the plan are listed under Design."
    return question, "yes", why


def _errors(given: Given) -> tuple[str, Answer, str]:
    question = "Error bars: are there any, and of what?"
    seeds = given.design.study.seeds
    if len(seeds) < 2:
        return question, "no", "One seed: nothing is known of the spread over trainings, and no interval is printed."
    return (
        question,
        "yes",
        f"95 % t intervals over {len(seeds)} training seeds, each contrast with its own error; ± is the sample "
        "standard deviation over training seeds. The noise of evaluation is printed apart.",
    )


def _tests(given: Given) -> tuple[str, Answer, str]:
    question = "Significance: are tests named, and corrected for their number?"
    if len(given.design.study.seeds) < 2:
        return question, "no", "There are no tests from one seed."
    tests = given.verdicts[0]["tests"] if given.verdicts else 0
    primary = f"{plural(tests, 'claim')}, two-sided at 5 % after Holm" if tests else "no claim is judged"
    return question, "yes", f"Primary: {primary}. All else is exploratory, with Benjamini and Hochberg’s q."


def _failures(runs: Sequence[Mapping[str, Any]]) -> tuple[str, Answer, str]:
    question = "Failures: are failed and diverged runs reported?"
    counts = Counter(run["outcome"] or run["status"] for run in runs)
    words = ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in sorted(counts.items()))
    return question, "yes", f"All {plural(len(runs), 'run')} are listed: {words}."


def _compute(runs: Sequence[Mapping[str, Any]]) -> tuple[str, Answer, str]:
    question = "Compute: which machines, how many hours?"
    timed = [run for run in runs if run["seconds"] is not None]
    devices = sorted({run["device"] for run in timed if run["device"]})
    if not timed or not devices:
        return question, "", ""
    why = f"{methods.hours(timed):.3g} hours of training in {plural(len(timed), 'run')} on {', '.join(devices)}"
    packed = "; several runs shared a device" if any(run["packed"] for run in timed) else ""
    why += f"{packed}. Attempts given up, scoring, and what was tried before this study are not counted."
    return question, "partly", why
