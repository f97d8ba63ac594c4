"""What a score is: the metrics that a study may ask for, their settings, and the identity of one score.

A score's id says run, snapshot, metric, the settings that this metric reads, the reference set and the
metric's version.  Whatever else changes, the score stands.  This module imports no torch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from bench import own_modules
from bench.knobs import OwnName
from bench.setting import Data, PositiveInt, Setting, Strict, digest

ExtractorName = Literal["auto", "inception", "dinov2", "classifier", "random"]
Part = Literal["train", "held_out", "test"]
ResizeMode = Literal["clean", "legacy_pytorch", "legacy_tensorflow"]


class Evaluate(Strict):
    """How the snapshots of a study are scored; the same for all its cells."""

    fakes: Annotated[int, Field(ge=2)] = 2000
    """Fakes drawn from each snapshot."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Draws the evaluation z, SWD's directions and patch positions, KID's subsets."""
    extractor: ExtractorName | OwnName = "auto"
    """Features for fd, is, kid, prdc, nearest and modes; `auto`: `classifier` with two classes or more, else `random`.
    `fid` always reads Inception."""
    batch: PositiveInt = 64
    """Images in one pass of G and of the extractor."""
    part: Part = "train"
    """Which reals are the reference; of pairs, unless it is said, `test`."""
    resize: ResizeMode = "clean"
    """clean-fid's resize before Inception."""
    is_splits: PositiveInt = 10
    """Contiguous splits of the Inception score."""
    kid_subsets: PositiveInt = 100
    """Subsets that KID is averaged over."""
    kid_subset_size: Annotated[int, Field(ge=2)] = 1000
    """Images in one subset; at most as many as there are."""
    prdc_k: PositiveInt = 5
    """Neighbours that make the radius of precision, recall, density and coverage."""
    edit_attribute: Literal["intensity", "contrast", "thickness", "slant"] = "intensity"
    """What `edits` tries to raise, as measured from the pixels."""


EVALUATIONS = 3
"""Evaluation seeds, the study's own among them, by which one snapshot is scored: the noise of evaluation."""


def other_evaluations(evaluate: Evaluate) -> list[Evaluate]:
    """The settings of that snapshot's further evaluations: other fakes, directions, patches, subsets."""
    seeds = [(evaluate.seed + step) % 2**31 for step in range(1, EVALUATIONS)]
    return [evaluate.model_copy(update={"seed": seed}) for seed in seeds]


# ---------------------------------------------------------------------------------------------------------
# Metrics, and the values that they yield.

Direction = Literal["lower", "higher", "reference"]


class Metric(NamedTuple):
    """A metric that a study may ask for, or one value that it yields."""

    label: str
    direction: Direction
    """Which way is better; `reference`: nearer to the real set's own value."""
    scale: Literal["log", "raw"]
    """How its contrasts are taken: ratios or differences."""
    unit: str
    version: int
    """Of the code that computes it: raise it when numbers change."""
    reads: tuple[str, ...] = ()
    """Fields of `Evaluate` that it reads, beside fakes, seed, batch and part."""
    of: Literal["fakes", "asked", "targets", "classifier", "latents"] = "fakes"
    """What it looks at: fakes; fakes with the class that each was asked to be, or with the target of its input; D as a
    classifier of the test part; what G makes of chosen z."""


_FEATURES = ("extractor",)

METRICS: dict[str, Metric] = {
    "fid": Metric("FID", "lower", "log", "", 2, ("resize",)),
    "fd": Metric("Fréchet distance", "lower", "log", "", 2, _FEATURES),
    "fid_infinity": Metric("FID∞", "lower", "raw", "", 2, _FEATURES),
    "is": Metric("Inception score", "higher", "raw", "", 1, (*_FEATURES, "is_splits")),
    "kid": Metric("KID × 10³", "lower", "raw", "10⁻³", 1, (*_FEATURES, "kid_subsets", "kid_subset_size")),
    "prdc": Metric("precision, recall, density, coverage", "higher", "raw", "", 1, (*_FEATURES, "prdc_k")),
    "nearest": Metric("distance to the nearest real", "reference", "raw", "", 1, _FEATURES),
    "modes": Metric("modes found", "higher", "raw", "classes", 1, _FEATURES),
    "label_agreement": Metric("label agreement", "higher", "raw", "%", 1, _FEATURES, "asked"),
    "accuracy": Metric("accuracy", "higher", "raw", "%", 1, (), "classifier"),
    "edits": Metric("edits that go the right way", "higher", "raw", "%", 2, ("edit_attribute",), "latents"),
    "paths": Metric("distance of midpoints over that of ends", "lower", "log", "", 2, _FEATURES, "latents"),
    "swd": Metric("SWD × 10³", "lower", "log", "10⁻³", 2),
    "ms_ssim": Metric("MS-SSIM between fakes", "reference", "raw", "", 2),
    "colour": Metric("colour distance", "lower", "log", "grey levels", 1),
    "edge_energy": Metric("edge energy over the reals'", "reference", "raw", "", 1),
    "l1": Metric("L1 to the target", "lower", "log", "grey levels", 1, (), "targets"),
    "psnr": Metric("PSNR to the target", "higher", "raw", "dB", 1, (), "targets"),
    "ssim": Metric("SSIM to the target", "higher", "raw", "", 1, (), "targets"),
    "input_dependence": Metric("variance across inputs over the targets'", "reference", "raw", "", 1, (), "targets"),
}
"""What `metrics:` of a study may name."""

_VALUES: dict[str, Metric] = {
    r"fid[0-9.]+k?(_legacy_\w+)?": METRICS["fid"],
    r"fd\[.+\]": METRICS["fd"],
    r"(fid_infinity|fd_infinity\[.+\])(_legacy_\w+)?": METRICS["fid_infinity"],
    r"is([0-9.]+k?(_legacy_\w+)?|\[.+\])": METRICS["is"],
    r"kid(_legacy_\w+|\[.+\])?": METRICS["kid"],
    r"precision.*": METRICS["prdc"]._replace(label="precision"),
    r"recall.*": METRICS["prdc"]._replace(label="recall"),
    r"density.*": METRICS["prdc"]._replace(label="density", direction="reference"),
    r"coverage.*": METRICS["prdc"]._replace(label="coverage"),
    r"nearest(_legacy_\w+|\[.+\])?": METRICS["nearest"],
    r"modes.*": METRICS["modes"],
    r"reverse_kl.*": METRICS["modes"]._replace(label="reverse KL", direction="lower", unit="nats"),
    r"label_agreement.*": METRICS["label_agreement"],
    r"accuracy": METRICS["accuracy"],
    r"accuracy_reestimated": METRICS["accuracy"]._replace(label="accuracy, statistics re-estimated"),
    r"edits_\d+\[.+\]": METRICS["edits"],
    r"edit_cosine_\d+\[.+\]": METRICS["edits"]._replace(label="agreement of edits' directions", unit=""),
    r"paths(_legacy_\w+|\[.+\])?": METRICS["paths"],
    r"paths_nearest(_legacy_\w+|\[.+\])?": METRICS["paths"]._replace(
        label="nearest real of midpoints over that of ends", direction="reference", scale="raw"
    ),
    r"swd": METRICS["swd"],
    r"swd_\d+": METRICS["swd"],
    r"ms_ssim_\d+s": METRICS["ms_ssim"],
    r"colour": METRICS["colour"],
    **{name: METRICS[name] for name in ("edge_energy", "l1", "psnr", "ssim", "input_dependence")},
    "dropout_variance": Metric("variance across dropout over the targets'", "higher", "raw", "", 1, (), "targets"),
    r"colour_(mean|sd)(_[rgb])?": METRICS["colour"]._replace(direction="reference", scale="raw"),
}


def measure(value: str) -> Metric:
    """Describe one value by its name in a score's record: `fid2k`, `fd[random]`, `swd_16`, `ms_ssim_5s`.

    The label carries what the name carries: `SWD × 10³, 16 px`.  Raises KeyError for a name that no
    metric yields.
    """
    for pattern, metric in _VALUES.items():
        if re.fullmatch(pattern, value):
            return metric._replace(label=_label(value, metric))
    raise KeyError(value)


def _label(value: str, metric: Metric) -> str:
    if found := re.search(r"\[(.+)\]", value):
        return f"{metric.label} [{found[1]}]"
    if found := re.fullmatch(r"swd_(\d+)", value):
        return f"{metric.label}, {found[1]} px"
    if found := re.fullmatch(r"ms_ssim_(\d+)s", value):
        return f"{metric.label}, {found[1]} scales"
    if found := re.fullmatch(r"colour_(mean|sd)(?:_([rgb]))?", value):
        return " ".join(["colour", found[1], *filter(None, [found[2]])])
    if found := re.search(r"(\d[0-9.]*k?)(_legacy_\w+)?$", value):
        return f"{metric.label} ({found[1]}{(found[2] or '').replace('_', ' ')})"
    return metric.label


def is_detail(value: str) -> bool:
    """Whether a value is a part of another one (a level of SWD, a colour moment): shown apart."""
    return re.match(r"swd_\d+|colour_", value) is not None


def count_label(n: int) -> str:
    """Write a count as names carry it: 2000 → `2k`, 2500 → `2.5k`, 500 → `500`."""
    return f"{n / 1000:.10g}k" if n >= 1000 else str(n)


# ---------------------------------------------------------------------------------------------------------
# Requests.


class Reals(Protocol):
    """What is read of a set: `datasets.Source` and `data.Dataset` both have it."""

    @property
    def channels(self) -> int: ...
    @property
    def classes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Request:
    """One score asked for: a metric on a snapshot's fakes against a reference set."""

    metric: str
    """A key of `METRICS`."""
    id: str
    """Sixteen hex digits; the score's file name."""
    settings: dict[str, Any]
    """What this metric reads, flat: fakes, seed, batch, part, its own settings, the extractor resolved."""


def resolve_extractor(name: str, classes: int) -> str:
    """Turn `auto` into the stand-in that fits a set with so many classes."""
    if name != "auto":
        return name
    return "classifier" if classes >= 2 else "random"


TRAINING_ONLY = {"folder", "input_folder", "mirror", "jitter", "labels", "labels_drawn", "classes"}
SELDOM = ("subset", "pairs", "direction")


def reference_set(data: Data, part: str, channels: int | None = None) -> dict[str, Any]:
    """Say what the reals are, wherever they lie: the part, and all of `data` but paths and what training alone reads.

    Of what sets seldom have, only what is said: scores keep their ids when such a knob is added.
    """
    said = data.model_dump(mode="json", exclude=TRAINING_ONLY)
    for name in SELDOM:
        if said[name] == Data.model_fields[name].default:
            del said[name]
    said["channels"] = data.channels or channels
    return {**said, "part": part}


_reference_set = functools.lru_cache(maxsize=256)(reference_set)


def askable(metrics: Sequence[str], setting: Setting) -> list[str]:
    """List those of the metrics that a run can have: others want fakes, labels, targets or a classifier."""
    has = {
        "fakes": setting.objective != "supervised",
        "asked": setting.objective != "supervised" and setting.gives_labels,
        "targets": setting.data.pairs != "none",
        "classifier": setting.classifies,
        "latents": setting.has_latents,
    }
    return [name for name in metrics if has[METRICS[name].of]]


def requests(
    metrics: Sequence[str], evaluate: Evaluate, data: Data, run_id: str, snapshot: str, source: Reals
) -> list[Request]:
    """List the scores that `metrics` ask of one snapshot.

    With `extractor: inception`, `fd` is `fid`, once.  Raises KeyError for a name that is not in `METRICS` and
    OwnModuleError when an extractor of the user's own cannot be located (it is not imported).
    """
    extractor = resolve_extractor(evaluate.extractor, len(source.classes))
    asked = {"fid" if name == "fd" and extractor == "inception" else name: None for name in metrics}
    listed = []
    for name in asked:
        settings = _metric_settings(name, evaluate, "inception" if name == "fid" else extractor)
        reference = _reference_set(data, settings["part"], source.channels)
        identity = {
            "run": run_id,
            "snapshot": snapshot,
            "metric": name,
            "settings": settings,
            "reference": reference,
            "version": METRICS[name].version,
        }
        listed.append(Request(metric=name, id=digest(identity), settings=settings))
    return listed


@functools.lru_cache(maxsize=64)
def _dumped(evaluate: Evaluate) -> Mapping[str, Any]:
    return evaluate.model_dump(mode="json")


def _metric_settings(name: str, evaluate: Evaluate, extractor: str) -> dict[str, Any]:
    said = _dumped(evaluate)
    if METRICS[name].of == "classifier":
        return {"batch": said["batch"], "part": "test"}
    settings = {key: said[key] for key in ("fakes", "seed", "batch", "part", *METRICS[name].reads)}
    if name == "fid" or "extractor" in settings:
        settings["extractor"] = extractor
        if ":" in extractor:
            settings["extractor_source"] = own_modules.source_hash(extractor)
        if extractor == "inception":
            settings["resize"] = said["resize"]
    return settings
