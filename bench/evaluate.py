"""ReferenceSet and fakes → features once → every score.

What belongs to the reference set (features, statistics, floors, a stand-in's weights) is made once and kept in the
cache, by content.  A metric that cannot be computed is a record with its reason, not an end.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench import data as datasets
from bench import datasets as sets
from bench.batches import draw_z
from bench.data import Dataset
from bench.files import now
from bench.labelled import labelled
from bench.latents import images_at
from bench.metrics.accuracy import accuracy, reestimated
from bench.metrics.failure import MetricError
from bench.metrics.features import Extractor, weights_digest
from bench.metrics.inception import locate
from bench.metrics.latent import score_edits, score_paths
from bench.metrics.paired import inputs_of
from bench.metrics.reference import Arrays, kept
from bench.metrics.standins import VERSION, PlaneClassifier, SmallClassifier, train_classifier
from bench.metrics.suite import SCORERS, Result, Side, floor_count
from bench.models import set_chance
from bench.protocol import METRICS, Evaluate, Request, reference_set, requests
from bench.reals import ReferenceSet
from bench.setting import Data, Setting

log = logging.getLogger(__name__)

Record = dict[str, Any]


@functools.lru_cache(maxsize=2)
def reference(data: Data, part: str, root: Path, cache: Path) -> tuple[ReferenceSet, Sequence[str]]:
    """The reference set of a study, and its classes."""
    dataset = datasets.load(data, root, cache)
    images, labels = dataset.part(part)[:2]
    filled = data.model_copy(update={"fingerprint": dataset.fingerprint, "channels": images.shape[1]})
    said = reference_set(filled, part)

    def classifier() -> Extractor:
        return _classifier(filled, root, cache)

    known = len(dataset.classes) >= 2
    reals = ReferenceSet(
        images,
        said,
        root=root,
        cache=cache,
        labels=labels if known else None,
        classifier=classifier if known else None,
    )
    return reals, dataset.classes


def _classifier(data: Data, root: Path, cache: Path) -> Extractor:
    """Train the stand-in on the labels of the whole training part, once; of a stacked set, on its base's."""
    stacked = data.name in sets.STACKED
    of = sets.base_set(data) if stacked else data.model_copy(update={"subset": None})
    dataset = datasets.load(of, root, cache)
    images, labels = dataset.part("train")[:2]
    classes = len(dataset.classes)

    def make() -> Arrays:
        trained = train_classifier(images, labels, classes)
        return {name: tensor.numpy() for name, tensor in trained.state_dict().items()}

    said = reference_set(of.model_copy(update={"fingerprint": dataset.fingerprint}), "train")
    arrays = kept(cache, "extractors", {**said, "version": VERSION}, make)
    model = SmallClassifier(images.shape[1], classes)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    model.eval()
    model.weights = weights_digest(model)
    return PlaneClassifier(model) if stacked else model


class _Shape(NamedTuple):
    channels: int
    classes: Sequence[str]


def prepare(data: Data, evaluate: Evaluate, metrics: Sequence[str], *, root: Path, cache: Path) -> None:
    """Make once, before any run is scored, what all scores of a study share.

    This alone downloads Inception's weights.  A metric that cannot be prepared (say, they cannot be had) is said on
    the log; its scores will fail with that reason, and can be retried.  Raises DataError when the reals cannot be
    read, MetricError when an extractor of the user's own cannot be made.
    """
    reals, classes = reference(data, evaluate.part, root, cache)
    if ":" in evaluate.extractor:
        reals.extractor({"extractor": evaluate.extractor})
    shape = _Shape(reals.side.shape[1], classes)
    shared = [name for name in metrics if METRICS[name].of not in ("classifier", "latents")]
    for request in images_first(requests(shared, evaluate, data, "", "", shape)):
        try:
            if request.settings.get("extractor") == "inception":
                locate(root)
            reals.baseline(request)
        except Exception as error:
            log.warning("%s will have no score: %s", request.metric, reason(error))
    reals.rest()


def score(
    requests: Sequence[Request],
    fakes: Tensor,
    data: Data,
    evaluate: Evaluate,
    *,
    labels: Tensor | None = None,
    root: Path,
    cache: Path,
) -> Iterator[dict[str, Any]]:
    """Yield a score record for each request, on fakes uint8 [N, C, H, W] in the order that they were sampled
    (of pairs, made of the inputs that `paired.inputs_of` names).

    Metrics that read images come first, so that their memory and that of features are not held together.  One pass of
    an extractor serves all metrics that read it.  `labels`: the classes that fakes were asked to be, int64 [N].  A
    metric that raises yields a failed record.  The caller adds `run` and `snapshot`.  Raises DataError when the reals
    cannot be read.
    """
    reals, _ = reference(data, evaluate.part, root, cache)
    targets = inputs_of(len(fakes), len(reals.side)) if data.pairs != "none" else None
    side = Side(fakes, functools.partial(reals.extract, fakes), real=False, targets=targets, labels=labels)
    for request in images_first(requests):
        yield scored(request, reals, side)
    reals.rest()


def score_net(
    request: Request,
    nets: Mapping[str, nn.Module],
    setting: Setting,
    dataset: Dataset,
    asked: Evaluate,
    *,
    root: Path,
    cache: Path,
    device: torch.device | str = "cpu",
) -> Record:
    """Return the score record of a request that looks at a snapshot's nets, not at fakes of the usual z.

    D as a classifier of the test part, see `bench.metrics.accuracy`; G's latent space, see `bench.metrics.latent`.
    """
    started = time.perf_counter()
    try:
        if METRICS[request.metric].of == "classifier":
            record = _accuracy(request, nets["D"], setting, dataset)
        else:
            G = nets["G"].to(device).train(setting.sample_stats == "batch")
            record = _latents(request, G, setting, asked, root, cache, device)
    except Exception as error:
        record = failed(request, reason(error))
    return {**record, "seconds": round(time.perf_counter() - started, 3)}


def _latents(
    request: Request, G: nn.Module, setting: Setting, asked: Evaluate, root: Path, cache: Path, device: Any
) -> Record:
    """Edits and paths of G, sampled as its fakes are; each set of images meets the same noise."""
    reals, _ = reference(setting.data, asked.part, root, cache)
    settings = request.settings

    def make(z: Tensor) -> Tensor:
        set_chance(G, settings["seed"], request.metric, 0)
        return images_at(G, z, setting.data.size, batch=settings["batch"], device=device)

    def draw(n: int, stream: str) -> Tensor:
        return draw_z(setting, n, settings["seed"], stream, 0)

    if request.metric == "edits":
        result = score_edits(make, draw, settings)
    else:
        result = score_paths(make, draw, settings, reals.side, lambda images: reals.extract(images, settings))
    stamp = _stamp(request, reals, settings["fakes"], result)
    return {**failed(request, ""), "status": "ok", "reason": None, "values": result.values, "protocol": stamp}


def _accuracy(request: Request, D: nn.Module, setting: Setting, dataset: Dataset) -> Record:
    """`accuracy_reestimated`: with D's batch statistics re-estimated on the labelled images, in batches of the run."""
    train, (images, labels) = dataset.part("train"), dataset.part(request.settings["part"])[:2]
    shown = train.images[labelled(train.labels, setting.data, setting.seed)]
    batch, n = request.settings["batch"], len(images)
    values = {
        "accuracy": accuracy(D, images, labels, batch),
        "accuracy_reestimated": accuracy(reestimated(D, shown, setting.train.batch), images, labels, batch),
    }
    spread = {name: {"sd": (value * (100 - value) / n) ** 0.5, "of": f"{n} images"} for name, value in values.items()}
    said = reference_set(setting.data, request.settings["part"])
    stamp = {
        "metric": request.metric,
        "version": METRICS[request.metric].version,
        **{key if key == "part" else f"data_{key}": value for key, value in said.items()},
        "n_real": n,
        "batch": batch,
        "dtype": "float32",
    }
    done = {"status": "ok", "reason": None, "values": values, "spread": spread, "protocol": stamp}
    return {**failed(request, ""), **done}


def images_first(requests: Iterable[Request]) -> list[Request]:
    """Order requests so that the memory of metrics that read images is free again when features are made."""
    return sorted(requests, key=lambda request: "extractor" in request.settings)


def scored(request: Request, reals: ReferenceSet, fake: Side) -> dict[str, Any]:
    """Compute one score: its record, with status `failed` and the reason when it cannot be had."""
    started = time.perf_counter()
    try:
        record = _scored(request, reals, fake)
    except Exception as error:
        record = failed(request, reason(error))
    return {**record, "seconds": round(time.perf_counter() - started, 3)}


def failed(request: Request, reason: str) -> dict[str, Any]:
    """The record of a score that could not be had."""
    return {
        "id": request.id,
        "metric": request.metric,
        "status": "failed",
        "reason": reason,
        "values": {},
        "spread": {},
        "real": {},
        "floor": {},
        "protocol": {},
        "seconds": 0.0,
        "finished": now(),
    }


def reason(error: Exception) -> str:
    """Why a metric has no value."""
    return str(error) if isinstance(error, MetricError) else f"{type(error).__name__}: {error}"


def _scored(request: Request, reals: ReferenceSet, fake: Side) -> dict[str, Any]:
    expected = (request.settings["fakes"], *reals.side.shape[1:])
    if fake.shape != expected or fake.images.dtype != torch.uint8:
        raise MetricError(f"fakes are {fake.images.dtype} {list(fake.shape)}, not uint8 {list(expected)}")
    result = SCORERS[request.metric](reals.side, fake, request.settings)
    for name, value in result.values.items():
        if not math.isfinite(value):
            raise MetricError(f"{name} is {value}")
    return {
        **failed(request, ""),
        "status": "ok",
        "reason": None,
        "values": result.values,
        "spread": result.spread,
        **reals.baseline(request),
        "protocol": _stamp(request, reals, len(fake), result),
    }


def _stamp(request: Request, reals: ReferenceSet, n_fake: int, result: Result) -> dict[str, Any]:
    """All that this score's number depends on beside the fakes: flat, and equal for runs that may be compared."""
    settings = request.settings
    stamp = {
        "metric": request.metric,
        "version": METRICS[request.metric].version,
        **{key if key == "part" else f"data_{key}": value for key, value in reals.said.items()},
        "n_real": len(reals.side),
        "n_fake": n_fake,
        "n_floor": floor_count(len(reals.side), settings),
        "quantisation": "rounded to uint8 from [-1, 1]",
        "batch": settings["batch"],
        "seed": settings["seed"],
        "extractor": None,
        "weights": None,
    }
    if "extractor" in settings:
        stamp |= reals.extractor_stamp(settings)
    return {**stamp, **result.stamp}
