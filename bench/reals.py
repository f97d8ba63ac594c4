"""The reals that fakes are scored against: images, extractors, and what is made once for them and kept by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.metrics.arrays import kept_on, on_host
from bench.metrics.dinov2 import DinoV2
from bench.metrics.failure import MetricError
from bench.metrics.features import Extractor, Features, extract, own_extractor
from bench.metrics.frechet import Gaussian, gaussian, with_root
from bench.metrics.inception import Inception, locate
from bench.metrics.reference import Arrays, kept
from bench.metrics.standins import RandomConv
from bench.metrics.suite import Settings, Side, device, floor, real_alone
from bench.protocol import METRICS, Request

HELD = 2**28
"""Bytes of features that stay in memory between snapshots; more is read again from the cache."""


class ReferenceSet:
    """A reference set.

    `said`: flat, all that its content depends on (name, fingerprint, size, part, …); the key of everything kept.
    `root`: where Inception's weights are looked for.  `cache`: None keeps nothing.  `labels`: classes of the images,
    int64 [N].  `classifier`: makes the stand-in of a labelled set.
    """

    def __init__(
        self,
        images: Tensor,
        said: Mapping[str, Any],
        *,
        root: Path,
        cache: Path | None,
        labels: Tensor | None = None,
        classifier: Callable[[], Extractor] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.said = dict(said)
        self.root, self.cache = root, cache
        self.side = Side(images, self._features, real=True, fit=self._gaussian, labels=labels)
        self._classifier, self._progress = classifier, progress
        self._extractors: dict[tuple[str, str | None], Extractor] = {}
        self._baselines: dict[str, dict[str, dict[str, float]]] = {}

    def extractor(self, settings: Settings) -> Extractor:
        """Build, or load, the extractor that the settings name.  Raises MetricError."""
        key = (settings["extractor"], settings.get("resize"))
        if key not in self._extractors:
            self._extractors[key] = self._build(*key)
        return self._extractors[key]

    def _build(self, name: str, resize: str | None) -> Extractor:
        _, channels, size, _ = self.side.shape
        built: Extractor
        if name == "inception":
            built = Inception(locate(self.root, download=False), resize or "clean")
        elif name == "dinov2":
            built = DinoV2()
        elif name == "random":
            built = RandomConv(channels)
        elif name == "classifier":
            if self._classifier is None:
                raise MetricError("a classifier needs a set with two classes or more")
            built = self._classifier()
        else:
            built = own_extractor(name, channels, size)
        if isinstance(built, nn.Module):
            built.to(device()).requires_grad_(False)
        return built

    def extract(self, images: Tensor, settings: Settings) -> Features:
        """Run images through the extractor that the settings name."""
        extractor = self.extractor(settings)
        return extract(extractor, images, settings["batch"], _device_of(extractor), self._progress)

    def extractor_stamp(self, settings: Settings) -> dict[str, Any]:
        """What the extractor adds to a score's protocol."""
        return {
            "extractor": settings["extractor"],
            "weights": self.extractor(settings).weights,
            "extractor_source": settings.get("extractor_source"),
            "extractor_resize": settings.get("resize"),
            **getattr(self.extractor(settings), "stamp", {}),
        }

    def _pass(self, settings: Settings) -> dict[str, Any]:
        """What the reals' features depend on."""
        return {**self.said, **self.extractor_stamp(settings), "batch": settings["batch"]}

    def _features(self, settings: Settings) -> Features:
        def make() -> Arrays:
            seen = self.extract(self.side.images, settings)
            made = {"features": on_host(seen.features)}
            return made if seen.logits is None else {**made, "logits": on_host(seen.logits)}

        arrays = kept(self.cache, "features", self._pass(settings), make)
        where = _device_of(self.extractor(settings))
        features, logits = (
            None if array is None else kept_on(torch.from_numpy(array), where)
            for array in (arrays["features"], arrays.get("logits"))
        )
        return Features(features, logits)

    def _gaussian(self, settings: Settings) -> Gaussian:
        def make() -> Arrays:
            fitted = with_root(gaussian(self.side.features(settings).features))
            said = {"mean": fitted.mean, "factor": fitted.factor, "covariance": fitted.covariance}
            made = {name: on_host(array) for name, array in said.items() if array is not None}
            return {"n": np.array(fitted.n), **made}

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

    def rest(self) -> None:
        """Let go of large features; the cache gives them back."""
        if self.cache is not None:
            self.side.forget(HELD)


def _device_of(extractor: Extractor) -> torch.device:
    """Our own extractors run where they can; a user's is given images on the CPU."""
    return device() if isinstance(extractor, nn.Module | Inception) else torch.device("cpu")
