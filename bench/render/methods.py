"""A methods section for a paper's appendix, written from a study's facts, and the definitions of its metrics."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import datasets, outcomes
from bench.design import Design
from bench.files import read_json
from bench.render import citations
from bench.render.content import APART, plain, plural
from bench.render.latex import escaped
from bench.render.part import Given, Part
from bench.setting import Data
from bench.store import Store

SHORT = 12
"""Hex digits shown of a checksum."""


def part(given: Given) -> Part:
    """Gather `methods`, and write it beside the page as `methods.md` and `methods.tex`."""
    metrics = _definitions(given)
    software = versions(given.design, given.store)
    cited = [citations.RECIPES.get(given.design.study.recipe, ""), *(metric["source"] for metric in metrics)]
    said = {
        "paragraphs": [{"title": title, "text": text} for title, text in _paragraphs(given, software, metrics)],
        "metrics": metrics,
        "software": software,
        "references": list(dict.fromkeys(one for source in cited for one in source.split("; ") if one)),
    }
    written = {"methods.md": markdown(said).encode(), "methods.tex": latex(said).encode()}
    return Part({"methods": {**said, "markdown": written["methods.md"].decode()}}, files=written)


# ---------------------------------------------------------------------------------------------------------
# Facts.


def versions(design: Design, store: Store) -> dict[str, list[str]]:
    """Python and the packages that took part in training, each with its versions, as attempts recorded them."""
    found: dict[str, dict[str, None]] = {}
    for run in sorted(design.runs, key=lambda run: run.run_id):
        folder = store.run(run.run_id)
        trained = read_json(folder.trained) or {}
        if not trained:
            continue
        made_by = read_json(folder.attempt(int(trained.get("attempt") or 1)) / "provenance.json") or {}
        packages = made_by.get("packages") or {"torch": made_by.get("torch") or trained.get("torch")}
        for name, version in {"python": made_by.get("python"), **packages}.items():
            if version:
                found.setdefault(name, {})[str(version)] = None
    return {name: sorted(known) for name, known in found.items()}


def sets(design: Design) -> list[dict[str, Any]]:
    """The data sets of a study with their parts, each once."""
    found: dict[Data, dict[str, Any]] = {}
    for run in design.runs:
        data = run.setting.data
        if data not in found:
            source = datasets.describe(data, datasets.data_root())
            found[data] = {
                "name": data.name,
                "size": data.size,
                "channels": source.channels,
                "classes": len(source.classes),
                "parts": dict(source.parts),
                "resize": data.resize_filter,
                "fingerprint": data.fingerprint,
                "subset": data.subset,
                "mirror": data.mirror,
                "pairs": data.pairs,
            }
    return sorted(found.values(), key=str)


def hours(runs: Sequence[Mapping[str, Any]]) -> float:
    """Hours of training of all runs with an outcome, one after the other."""
    return sum(run["seconds"] or 0.0 for run in runs) / 3600


def _definitions(given: Given) -> list[dict[str, Any]]:
    """What each metric is; of each of its values which way is better, how it is compared, and by which protocol."""
    found: dict[str, dict[str, Any]] = {}
    for metric in given.content["metrics"]:
        if metric["detail"]:
            continue
        known = citations.METRICS.get(metric["asked"], citations.Definition("A metric of the study’s own."))
        defined = {"name": metric["asked"], "definition": known.text, "source": known.source, "values": []}
        value = {
            "name": metric["name"],
            "label": metric["label"],
            "direction": metric["meaning"],
            "compared": "ratios" if metric["scale"] == "log" else "differences",
            "stamp": _stamp(metric["name"], given),
        }
        found.setdefault(metric["asked"], defined)["values"].append(value)
    return list(found.values())


def values_of(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All values of the metrics in use."""
    return [value for metric in metrics for value in metric["values"]]


def _stamp(name: str, given: Given) -> dict[str, str]:
    """The protocol of a value's first score, as text."""
    frame = given.frame
    rows = frame[(frame["metric"] == name) & (frame["score_status"] == "ok")]
    if not len(rows):
        return {}
    first = rows.iloc[0]
    record = read_json(given.store.run(first["run_id"]).scores / f"{first['score_id']}.json") or {}
    return {key: plain(value) for key, value in (record.get("protocol") or {}).items() if value is not None}


# ---------------------------------------------------------------------------------------------------------
# Paragraphs.


def _paragraphs(
    given: Given, software: Mapping[str, list[str]], metrics: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    shared = given.content["design"]["shared"]
    yield "Design", _design(given)
    yield "Model", _model(given, shared)
    yield "Data", " ".join(_data(one) for one in sets(given.design))
    yield "Training", _training(given, shared)
    if metrics:
        yield "Evaluation", _evaluation(given, values_of(metrics))
        yield "Estimates", _estimates(given, values_of(metrics))
    yield "Failures", _failures(given)
    yield "Compute and software", _compute(given, software)


def _design(given: Given) -> str:
    design, said, study = given.design, given.content["design"], given.design.study
    factors = [f"{one['name']} ({', '.join(level['name'] for level in one['levels'])})" for one in said["factors"]]
    seeds = ", ".join(map(str, said["seeds"]))
    text = f"We compare {plural(len(design.cells), 'cell')} ({said['kind']}): {' × '.join(factors)}. "
    planned = plural(len(said["seeds"]), "training seed")
    text += f"Each was planned with {planned} ({seeds}), {plural(len(design.runs), 'run')} in all. "
    text += (
        "Within a seed all cells see the same images in the same order, the same z and, where they share parameters, "
        "the same initial weights, so that seeds are pairs. "
    )
    text += f"The reference is {', '.join(f'{key}={level}' for key, level in study.reference.items())}."
    if design.exclusions:
        text += f" {plural(len(design.exclusions), 'cell')} of the crossing were left out, with reasons in the report."
    if said["aliases"]:
        text += f" The fraction cannot tell apart: {'; '.join(said['aliases'])}."
    return text


def _model(given: Given, shared: Mapping[str, str]) -> str:
    study = given.design.study
    paper = citations.RECIPES.get(study.recipe)
    text = f"Settings are those of the recipe {study.recipe}" + (f" ({paper})" if paper else "")
    changed = [f"{key} = {plain(value)}" for key, value in study.fixed.items() if key not in APART]
    text += f", but for what the study fixes: {', '.join(changed)}." if changed else "."
    listed = _listed(shared, _MODEL)
    return text + (f" The cells share: {listed}." if listed else "") + " All others are listed in the report."


_MODEL = {
    "network": "network {}",
    "g_width": "width {} of G",
    "d_width": "width {} of D",
    "z_dim": "z of {} numbers",
    "z_dist": "{} z",
    "loss": "{} loss",
    "penalty": "penalty {}",
    "g_norm": "{} in G",
    "d_norm": "{} in D",
    "g_weight": "weight norm {} in G",
    "d_weight": "weight norm {} in D",
    "condition": "condition {}",
    "init": "initial weights {}",
}
_TRAINING = {
    "train.batch": "batches of {}",
    "train.optimizer": "{}",
    "train.lr": "step size {}",
    "train.d_lr": "step size {} of D",
    "train.betas": "betas ({})",
    "train.n_critic": "{} updates of D in one of G",
    "train.lr_decay": "decay of the step {}",
    "train.precision": "{} arithmetic",
    "penalty_every": "the penalty in every {}th update of D, as many times as heavy",
    "ema": "exponential mean of G’s weights with decay {}",
}


_OFF = ("none", "0.0")
"""What is switched off is not said."""


def _listed(shared: Mapping[str, str], phrases: Mapping[str, str]) -> str:
    """Say those of the knobs that all runs share; others are the factors, or vary with them."""
    return ", ".join(
        phrase.format(shared[key]) for key, phrase in phrases.items() if shared.get(key, _OFF[0]) not in _OFF
    )


def _data(one: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{one['parts'].get(part, 0):,} {part.replace('_', ' ')}" for part in datasets.PARTS)
    text = f"{one['name']} at {one['size']} × {one['size']} px, {plural(one['channels'], 'channel')}: {parts} images"
    text += f"; resized by {one['resize']}; fingerprint {one['fingerprint'] or 'unknown'}"
    if one["subset"]:
        text += f"; {one['subset']:,} training images are used"
    if one["mirror"]:
        text += "; reals are mirrored at random"
    if one["pairs"] != "none":
        text += f"; pairs: {one['pairs']}"
    return text + "."


def _training(given: Given, shared: Mapping[str, str]) -> str:
    lengths = sorted({run["kimg"] for run in given.content["runs"] if run["status"] == "done"})
    ends = " or ".join(f"{length:g}" for length in lengths)
    text = f"Every run has the same budget: {ends} thousand real images shown to D" if len(lengths) == 1 else ""
    if len(lengths) > 1:
        text = f"Runs last {ends} thousand real images shown to D"
    text = text or "No run has reached its end yet; the length is set by the study file"
    listed = _listed(shared, _TRAINING)
    text += f"; {listed}." if listed else "."
    labels = sorted(set(given.frame["kimg"].dropna()))
    if labels:
        kept = ", ".join(f"{label:g}" for label in labels)
        text += f" G (its running mean, where there is one) was kept at {kept} kimg."
    return text


def _evaluation(given: Given, metrics: Sequence[Mapping[str, Any]]) -> str:
    evaluate = given.design.study.evaluate
    known: dict[str, str] = next((metric["stamp"] for metric in metrics if "n_fake" in metric["stamp"]), {})
    fakes, reals = int(known.get("n_fake", evaluate.fakes)), int(known.get("n_real", 0))
    against = f"{reals:,} reals" if reals else "reals"
    text = f"The last snapshot of each run is scored by {', '.join(metric['label'] for metric in metrics)}, "
    text += f"on {fakes:,} fakes against {against} of the {evaluate.part} part; "
    text += f"evaluation seed {evaluate.seed}, the same z for all runs. "
    extractors = {
        metric["stamp"]["extractor"]: metric["stamp"].get("weights", "")[:SHORT]
        for metric in metrics
        if metric["stamp"].get("extractor")
    }
    for name, weights in extractors.items():
        text += f"Features: {name}" + (f" (weights {weights})" if weights else "")
        text += f", resize {evaluate.resize}. " if name == "inception" else ". "
    text += "Images are compared as uint8. No snapshot was chosen by its score."
    moved = [metric for metric in given.content["metrics"] if metric["noise"]["evaluations"] and not metric["detail"]]
    if moved:
        evaluations = moved[0]["noise"]["evaluations"]
        text += f" The noise of evaluation is the spread of one snapshot over {evaluations} evaluation seeds."
    return text


def _estimates(given: Given, metrics: Sequence[Mapping[str, Any]]) -> str:
    seeds = len(given.design.study.seeds)
    ratios = [metric["label"] for metric in metrics if metric["compared"] == "ratios"]
    text = f"Effects on {', '.join(ratios)} are ratios, taken on logarithms" if ratios else ""
    if len(ratios) < len(metrics):
        text += "; all others are differences" if ratios else "Effects are differences"
    text += ". "
    text += (
        "An effect is a contrast of cells, averaged over the settings of all other factors alike. It is one number a "
        "seed, and its 95 % interval is a t interval over seeds with n − 1 degrees of freedom, by this contrast’s own "
        "error; where cells lack seeds, from the cells’ own variances with Satterthwaite’s degrees of freedom. "
        if seeds > 1
        else "There is one seed: nothing is known of the spread over trainings, and there is no interval and no test. "
    )
    text += "± is the sample standard deviation over training seeds. " if seeds > 1 else ""
    verdicts = given.verdicts
    if verdicts:
        tests = verdicts[0]["tests"]
        text += f"{plural(tests, 'claim')} of the study file {'is' if tests == 1 else 'are'} judged in both directions "
        text += "at 5 % after Holm’s correction"
        text += f", with simultaneous intervals (Bonferroni, each at 1 − 0.05 / {tests})" if tests > 1 else ""
        text += "; everything else is exploratory, with Benjamini and Hochberg’s q. "
    else:
        text += "No claim is judged here. "
    return text.strip()


def _failures(given: Given) -> str:
    runs, study, unjudged = given.content["runs"], given.design.study, given.content["collapse"]["unjudged"]
    counts = Counter(run["outcome"] for run in runs if run["outcome"])
    ended, k = sum(counts.values()), counts["done"]
    words = ", ".join(f"{n} {label.replace('_', ' ')}" for label, n in sorted(counts.items()) if label != "done")
    text = f"Of {plural(ended, 'run')} with an outcome {k} {'reached the end' if unjudged else 'succeeded'}"
    text += (f" ({words})" if words else "") + ". "
    text += (
        "A run that diverges is an outcome and is never replaced by another seed; a run that the machine failed is "
        "repeated with its seed. "
    )
    if unjudged:
        text += f"Collapse was not judged ({unjudged}): success means that a run reached its end. "
    else:
        text += (
            "A run has collapsed when its last two snapshots meet the criterion after an earlier one did not, and "
            f"never learned when all do: {outcomes.words(study.collapse)}. "
        )
    text += "Means are over the runs that reached the end, collapsed ones included; "
    text += "shares of success have Wilson’s 95 % interval."
    return text


def _compute(given: Given, software: Mapping[str, list[str]]) -> str:
    runs = [run for run in given.content["runs"] if run["seconds"] is not None]
    if not runs:
        return "No run has ended yet."
    devices = Counter(run["device"] or "an unknown device" for run in runs)
    where = ", ".join(f"{name} ({plural(n, 'run')})" for name, n in sorted(devices.items()))
    minutes = statistics.median(run["seconds"] for run in runs) / 60
    text = f"Trained on {where}: {hours(runs):.3g} hours in all, {minutes:.3g} minutes in the median run"
    text += ", with several runs on one device at a time" if any(run["packed"] for run in runs) else ""
    text += "; attempts that were given up, and scoring, come on top. "
    if software:
        text += ", ".join(f"{name} {' and '.join(known)}" for name, known in software.items()) + ". "
    commits = sorted({run["commit"] for run in runs if run["commit"]})
    text += f"Code: commit {', '.join(commits)}." if commits else "The commit of the code is not known."
    return text


# ---------------------------------------------------------------------------------------------------------
# Files.

_HEAD = "Written by the bench from the study’s own records; to be read, and cut, before use."


def markdown(said: Mapping[str, Any]) -> str:
    """The section as Markdown."""
    lines = ["# Methods", "", f"<!-- {_HEAD} -->", ""]
    for one in said["paragraphs"]:
        lines += [f"**{one['title']}.** {one['text']}", ""]
    if said["metrics"]:
        lines += ["## Metrics", ""]
        lines += [f"- **{_labels(one)}**. {_defined(one)}" for one in said["metrics"]]
        lines += [""]
    if said["references"]:
        lines += ["## References", "", *(f"- {one}" for one in said["references"]), ""]
    return "\n".join(lines)


def latex(said: Mapping[str, Any]) -> str:
    """The section as LaTeX, to be \\input; whatever names hold is escaped."""
    lines = [f"% {_HEAD}".replace("’", "'"), r"\section*{Methods}"]
    for one in said["paragraphs"]:
        lines += [rf"\paragraph{{{escaped(one['title'])}.}} {escaped(one['text'])}", ""]
    if said["metrics"]:
        lines += [r"\paragraph{Metrics.}", r"\begin{itemize}"]
        for one in said["metrics"]:
            lines += [rf"\item \textbf{{{escaped(_labels(one))}.}} {escaped(_defined(one))}"]
        lines += [r"\end{itemize}"]
    if said["references"]:
        lines += [r"\paragraph{References.}", r"\begin{itemize}"]
        lines += [rf"\item {escaped(one)}" for one in said["references"]]
        lines += [r"\end{itemize}"]
    return "\n".join(lines) + "\n"


def _labels(one: Mapping[str, Any]) -> str:
    return ", ".join(value["label"] for value in one["values"])


def _defined(one: Mapping[str, Any]) -> str:
    ways = dict.fromkeys((value["direction"], value["compared"]) for value in one["values"])
    if len(ways) == 1:
        about = [f"{way}, compared by {compared}" for way, compared in ways]
    else:
        about = [f"{value['label']}: {value['direction']}" for value in one["values"]] + [
            f"compared by {' and '.join(dict.fromkeys(compared for _, compared in ways))}"
        ]
    text = f"{one['definition']} ({'; '.join(about)}.)"
    return text + (f" {one['source']}." if one["source"] else "")
