"""Reals and fakes → features once → every score.

What belongs to the reference set (features, statistics, floors, a stand-in's weights) is made once and kept in the
cache, by content.  A metric that cannot be computed is a record with its reason, not an end.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import data as datasets
from bench.metrics.failure import MetricError
from bench.metrics.features import Extractor, Features, extract, own_extractor, weights_digest
from bench.metrics.frechet import Gaussian, gaussian, with_root
from bench.metrics.inception import Inception, locate
from bench.metrics.reference import Arrays, kept
from bench.metrics.standins import VERSION, RandomConv, SmallClassifier, train_classifier
from bench.metrics.suite import SCORERS, Result, Settings, Side, floor, floor_count, real_alone
from bench.protocol import METRICS, Evaluate, Request, reference_set, requests
from bench.setting import Data
from bench.store import now

log = logging.getLogger(__name__)


class _Reference:
    """The reals of one study: images, extractors, and what is kept of them."""

    def __init__(self, data: Data, part: str, root: Path, cache: Path) -> None:
        self.dataset = datasets.load(data, root, cache)
        images, _ = self.dataset.part(part)
        self.channels = images.shape[1]
        self.classes = self.dataset.classes
        filled = data.model_copy(update={"fingerprint": self.dataset.fingerprint, "channels": self.channels})
        self.said = reference_set(filled, part)
        self.root, self.cache = root, cache
        self.side = Side(images, self._features, real=True, fit=self._gaussian)
        self._extractors: dict[tuple[str, str | None], Extractor] = {}
        self._baselines: dict[str, dict[str, dict[str, float]]] = {}

    def extractor(self, settings: Settings) -> Extractor:
        """Build, or load, the extractor that the settings name.  Raises MetricError."""
        key = (settings["extractor"], settings.get("resize"))
        if key not in self._extractors:
            self._extractors[key] = self._build(*key)
        return self._extractors[key]

    def _build(self, name: str, resize: str | None) -> Extractor:
        built: Extractor
        if name == "inception":
            built = Inception(locate(self.root, download=False), resize or "clean")
        elif name == "random":
            built = RandomConv(self.channels)
        elif name == "classifier":
            built = self._classifier()
        else:
            return own_extractor(name, self.channels, self.said["size"])
        if isinstance(built, nn.Module):
            built.to(_device()).requires_grad_(False)
        return built

    def _classifier(self) -> SmallClassifier:
        classes = len(self.classes)
        if classes < 2:
            raise MetricError("a classifier needs a set with two classes or more")

        def make() -> Arrays:
            trained = train_classifier(*self.dataset.part("train"), classes)
            return {name: tensor.numpy() for name, tensor in trained.state_dict().items()}

        arrays = kept(self.cache, "extractors", {**self.said, "part": "train", "version": VERSION}, make)
        model = SmallClassifier(self.channels, classes)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        model.eval()
        model.weights = weights_digest(model)
        return model

    def _pass(self, settings: Settings) -> dict[str, Any]:
        """What the reals' features depend on."""
        return {
            **self.said,
            **_extractor_stamp(self.extractor(settings), settings),
            "batch": settings["batch"],
        }

    def _features(self, settings: Settings) -> Features:
        extractor = self.extractor(settings)

        def make() -> Arrays:
            seen = extract(extractor, self.side.images, settings["batch"], _device_of(extractor))
            return {"features": seen.features, **({} if seen.logits is None else {"logits": seen.logits})}

        arrays = kept(self.cache, "features", self._pass(settings), make)
        return Features(arrays["features"], arrays.get("logits"))

    def _gaussian(self, settings: Settings) -> Gaussian:
        def make() -> Arrays:
            fitted = with_root(gaussian(self.side.features(settings).features))
            said = {"n": np.array(fitted.n), "mean": fitted.mean, "factor": fitted.factor}
            said["covariance"] = fitted.covariance
            return {name: array for name, array in said.items() if array is not None}

        arrays = kept(self.cache, "statistics", {**self._pass(settings), "version": METRICS["fd"].version}, make)
        return Gaussian(int(arrays["n"]), arrays["mean"], arrays["factor"], arrays.get("covariance"))

    def baseline(self, request: Request) -> dict[str, dict[str, float]]:
        """The reals' own values and the noise floor of one metric: {"real": …, "floor": …}."""
        content: dict[str, Any] = {"metric": request.metric, "version": METRICS[request.metric].version, **self.said}
        content |= request.settings
        if "extractor" in request.settings:
            content |= self._pass(request.settings)

        def make() -> Arrays:
            found = {
                "real": real_alone(request.metric, self.side, request.settings),
                "floor": floor(request.metric, self.side, request.settings),
            }
            return {
                f"{kind}:{name}": np.array(value, dtype=np.float64)
                for kind, values in found.items()
                for name, value in values.items()
            }

        key = repr(sorted(content.items()))
        if key not in self._baselines:
            split: dict[str, dict[str, float]] = {"real": {}, "floor": {}}
            for name, value in kept(self.cache, "floors", content, make).items():
                kind, _, measure = name.partition(":")
                split[kind][measure] = float(value)
            self._baselines[key] = split
        return self._baselines[key]


@functools.lru_cache(maxsize=2)
def _reference(data: Data, part: str, root: Path, cache: Path) -> _Reference:
    return _Reference(data, part, root, cache)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device_of(extractor: Extractor) -> torch.device:
    """Our own extractors run where they can; a user's is given images on the CPU."""
    return _device() if isinstance(extractor, nn.Module | Inception) else torch.device("cpu")


def _extractor_stamp(extractor: Extractor, settings: Settings) -> dict[str, Any]:
    return {
        "extractor": settings["extractor"],
        "weights": extractor.weights,
        "extractor_source": settings.get("extractor_source"),
        "extractor_resize": settings.get("resize"),
    }


def prepare(data: Data, evaluate: Evaluate, metrics: Sequence[str], *, root: Path, cache: Path) -> None:
    """Make once, before any run is scored, what all scores of a study share.

    This alone downloads Inception's weights.  A metric that cannot be prepared (say, they cannot be had) is said on
    the log; its scores will fail with that reason, and can be retried.  Raises DataError when the reals cannot be
    read.
    """
    reference = _reference(data, evaluate.part, root, cache)
    for request in requests(metrics, evaluate, data, "", "", reference):
        try:
            if request.settings.get("extractor") == "inception":
                locate(root)
            reference.baseline(request)
        except Exception as error:
            log.warning("%s will have no score: %s", request.metric, _reason(error))


def score(
    requests: Sequence[Request], fakes: Tensor, data: Data, evaluate: Evaluate, *, root: Path, cache: Path
) -> Iterator[dict[str, Any]]:
    """Yield a score record for each request, on fakes uint8 [N, C, H, W] in the order that they were sampled.

    One pass of an extractor serves all metrics that read it.  A metric that raises yields a failed record.  The
    caller adds `run` and `snapshot`.  Raises DataError when the reals cannot be read.
    """
    reference = _reference(data, evaluate.part, root, cache)

    def features(settings: Settings) -> Features:
        extractor = reference.extractor(settings)
        return extract(extractor, fakes, settings["batch"], _device_of(extractor))

    side = Side(fakes, features, real=False)
    for request in requests:
        started = time.perf_counter()
        try:
            record = _scored(request, reference, side)
        except Exception as error:
            record = failed(request, _reason(error))
        yield {**record, "seconds": round(time.perf_counter() - started, 3)}


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


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MetricError) else f"{type(error).__name__}: {error}"


def _scored(request: Request, reference: _Reference, fake: Side) -> dict[str, Any]:
    expected = (request.settings["fakes"], *reference.side.images.shape[1:])
    if tuple(fake.images.shape) != expected or fake.images.dtype != torch.uint8:
        raise MetricError(f"fakes are {fake.images.dtype} {list(fake.images.shape)}, not uint8 {list(expected)}")
    result = SCORERS[request.metric](reference.side, fake, request.settings)
    for name, value in result.values.items():
        if not math.isfinite(value):
            raise MetricError(f"{name} is {value}")
    return {
        **failed(request, ""),
        "status": "ok",
        "reason": None,
        "values": result.values,
        "spread": result.spread,
        **reference.baseline(request),
        "protocol": _stamp(request, reference, fake, result),
    }


def _stamp(request: Request, reference: _Reference, fake: Side, result: Result) -> dict[str, Any]:
    """All that this score's number depends on beside the fakes: flat, and equal for runs that may be compared."""
    settings = request.settings
    stamp = {
        "metric": request.metric,
        "version": METRICS[request.metric].version,
        **{key if key == "part" else f"data_{key}": value for key, value in reference.said.items()},
        "n_real": len(reference.side),
        "n_fake": len(fake),
        "n_floor": floor_count(len(reference.side), settings),
        "quantisation": "rounded to uint8 from [-1, 1]",
        "batch": settings["batch"],
        "seed": settings["seed"],
        "extractor": None,
        "weights": None,
    }
    if "extractor" in settings:
        stamp |= _extractor_stamp(reference.extractor(settings), settings)
    return {**stamp, **result.stamp}
