"""Each metric of `protocol.METRICS` as one function: two sides and its settings in, named values out.

The same functions score fakes against reals, and one half of the reals against the other for the noise floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.draws import address, permutation
from bench.metrics.colour import colour_distance, colour_moments
from bench.metrics.failure import MetricError
from bench.metrics.features import Features
from bench.metrics.frechet import Gaussian, frechet_distance, frechet_infinity, gaussian, with_root
from bench.metrics.inception_score import inception_score
from bench.metrics.kid import kernel_distance
from bench.metrics.labels import agreement, modes, reverse_kl
from bench.metrics.ms_ssim import ms_ssim, scales, shuffled_pairs, ssim, stream_pairs
from bench.metrics.nearest import nearest_distance
from bench.metrics.paired import edge_energy, l1, psnr, variance, variances
from bench.metrics.prdc import prdc
from bench.metrics.swd import IMAGES, levels, swd
from bench.protocol import count_label

Settings = Mapping[str, Any]


class Side:
    """One set of images, and what is derived from them, made when first asked for."""

    def __init__(
        self,
        images: Tensor,
        features: Callable[[Settings], Features],
        *,
        real: bool,
        fit: Callable[[Settings], Gaussian] | None = None,
        targets: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        """`targets`: the row of the reals that each image should be, int64 [N]; None where there are no pairs.

        `labels`: the classes of reals, or those that fakes were asked to be, int64 [N]; None where there are none.
        """
        self.targets = targets
        self.labels = labels
        self._images = images
        self._index: Tensor | None = None
        self.real = real
        self._make = features
        self._fit = fit
        self._features: dict[tuple[Any, ...], Features] = {}
        self._gaussians: dict[tuple[Any, ...], Gaussian] = {}

    @property
    def images(self) -> Tensor:
        """uint8 [N, C, H, W]"""
        if self._index is not None:
            self._images, self._index = self._images[self._index], None
        return self._images

    def pick(self, rows: Tensor) -> Tensor:
        """Copy the images of these rows, and no others."""
        return self._images[rows if self._index is None else self._index[rows]]

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, C, H, W]"""
        return (len(self), *self._images.shape[1:])

    def __len__(self) -> int:
        return len(self._images if self._index is None else self._index)

    def forget(self, held: int) -> None:
        """Let go of features when they are more than `held` bytes."""
        if sum(seen.features.nbytes for seen in self._features.values()) > held:
            self._features.clear()

    def features(self, settings: Settings) -> Features:
        """Features and logits by the extractor, resize and batch that the settings name: one pass, whoever asks."""
        key = _pass(settings)
        if key not in self._features:
            self._features[key] = self._make(settings)
        return self._features[key]

    def gaussian(self, settings: Settings) -> Gaussian:
        """The Gaussian fitted to the features; of reals, with its root."""
        key = _pass(settings)
        if key not in self._gaussians:
            self._gaussians[key] = (self._fit or self._fitted)(settings)
        return self._gaussians[key]

    def _fitted(self, settings: Settings) -> Gaussian:
        fitted = gaussian(self.features(settings).features)
        return with_root(fitted) if self.real else fitted

    def take(self, index: Tensor) -> Side:
        """The side made of these images alone; features are not extracted again."""

        def features(settings: Settings) -> Features:
            whole = self.features(settings)
            rows = index.numpy()  # which both arrays and tensors take
            return Features(whole.features[rows], None if whole.logits is None else whole.logits[rows])

        taken = Side(self.images, features, real=self.real, labels=None if self.labels is None else self.labels[index])
        taken._index = index  # images are copied when a metric asks for them
        return taken


def _pass(settings: Settings) -> tuple[Any, ...]:
    return tuple(settings.get(key) for key in ("extractor", "extractor_source", "resize", "batch"))


@dataclass
class Result:
    """What a metric found."""

    values: dict[str, float]
    alone: dict[str, float] = field(default_factory=dict)
    """Those of `values` that the fakes have by themselves; the reals have their own."""
    spread: dict[str, dict[str, Any]] = field(default_factory=dict)
    stamp: dict[str, Any] = field(default_factory=dict)
    """What of the protocol this metric decides."""


def device() -> torch.device:
    """Where images are compared."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def named(stem: str, settings: Settings, *, counted: bool = True) -> str:
    """`fid2k` or `fid2k_legacy_pytorch` of Inception; `fd[random]` of another extractor."""
    if settings["extractor"] != "inception":
        return f"{'fd' + stem[3:] if stem.startswith('fid') else stem}[{settings['extractor']}]"
    resize = "" if settings["resize"] == "clean" else f"_{settings['resize']}"
    return f"{stem}{count_label(settings['fakes']) if counted else ''}{resize}"


def _rng(settings: Settings, purpose: str) -> np.random.Generator:
    return np.random.default_rng(address(settings["seed"], purpose))


def score_frechet(real: Side, fake: Side, settings: Settings) -> Result:
    """`fid<n>` of Inception, `fd[...]` of another extractor."""
    distance = frechet_distance(real.gaussian(settings), fake.gaussian(settings))
    return Result({named("fid", settings): distance}, stamp={"dtype": "float64"})


def score_frechet_infinity(real: Side, fake: Side, settings: Settings) -> Result:
    """`fid_infinity` of Inception, `fd_infinity[...]` of another extractor."""
    limit = frechet_infinity(real.gaussian(settings), fake.features(settings).features, _rng(settings, "fid_infinity"))
    return Result({named("fid_infinity", settings, counted=False): limit}, stamp={"dtype": "float64", "points": 15})


def score_inception_score(_real: Side, fake: Side, settings: Settings) -> Result:
    """`is<n>` of Inception, `is[...]` of another extractor with classes."""
    logits = fake.features(settings).logits
    if logits is None:
        raise MetricError(f"the extractor {settings['extractor']} tells no classes, so there is no Inception score")
    splits = settings["is_splits"]
    mean, sd = inception_score(logits, splits)
    name = named("is", settings)
    return Result(
        {name: mean},
        alone={name: mean},
        spread={name: {"sd": sd, "of": f"{splits} splits"}},
        stamp={"dtype": "float64", "splits": splits, "classes": logits.shape[1]},
    )


def score_kid(real: Side, fake: Side, settings: Settings) -> Result:
    """`kid` × 10³ of Inception, `kid[...]` of another extractor."""
    subsets, size = settings["kid_subsets"], min(settings["kid_subset_size"], len(real), len(fake))
    mean, sd = kernel_distance(
        real.features(settings).features, fake.features(settings).features, _rng(settings, "kid"), subsets, size
    )
    name = named("kid", settings, counted=False)
    return Result(
        {name: 1e3 * mean},
        spread={name: {"sd": 1e3 * sd, "of": f"{subsets} subsets"}},
        stamp={"dtype": "float64", "subsets": subsets, "subset_size": size},
    )


def score_prdc(real: Side, fake: Side, settings: Settings) -> Result:
    """`precision<n>` … of Inception, `precision[...]` … of another extractor."""
    found = prdc(real.features(settings).features, fake.features(settings).features, settings["prdc_k"])
    return Result(
        {named(stem, settings): value for stem, value in found.items()},
        stamp={"dtype": "float64", "k": settings["prdc_k"]},
    )


def score_nearest(real: Side, fake: Side, settings: Settings) -> Result:
    """`nearest` of Inception, `nearest[...]` of another extractor; of the reals themselves, 1."""
    name = named("nearest", settings, counted=False)
    own = fake is real
    value = 1.0 if own else nearest_distance(real.features(settings).features, fake.features(settings).features)
    return Result({name: value}, alone={name: value}, stamp={"dtype": "float64"})


def score_swd(real: Side, fake: Side, settings: Settings) -> Result:
    """`swd` and `swd_<side>`, on as many reals as fakes, 16,384 at most: of more, reals are drawn, fakes the first."""
    n = min(len(real), len(fake), IMAGES)
    reals, fakes = torch.arange(n), torch.arange(n)
    if n < len(real):
        reals = permutation(len(real), settings["seed"], "swd.reals", 0)[:n]
    values = swd(real.pick(reals).to(device()), fake.pick(fakes).to(device()), settings["seed"])
    sides = ",".join(str(side) for side in levels(real.shape[-1]))
    stamp = {"n_real": n, "n_fake": n, "dtype": "float32", "levels": sides, "patches": 128, "directions": 512}
    return Result(values, stamp=stamp)


def score_ms_ssim(_real: Side, fake: Side, settings: Settings) -> Result:
    """`ms_ssim_<scales>s`: fakes 0 with 1, 2 with 3, …; of reals, as many pairs, drawn."""
    pairs = settings["fakes"] // 2
    first, second = shuffled_pairs(len(fake), pairs, settings["seed"]) if fake.real else stream_pairs(len(fake))
    count = scales(fake.shape[-1])
    images = fake.images.to(device())
    value = float(ms_ssim(images[first.to(device())], images[second.to(device())]).mean())
    name = f"ms_ssim_{count}s"
    stamp = {"dtype": "float32", "pairs": pairs, "scales": count}
    return Result({name: value}, alone={name: value}, stamp=stamp)


def score_modes(real: Side, fake: Side, settings: Settings) -> Result:
    """`modes[...]`, classes that the fakes are taken for, and `reverse_kl[...]` against the reals'."""
    of_real, of_fake = real.features(settings).logits, fake.features(settings).logits
    if of_real is None or of_fake is None:
        raise MetricError(f"the extractor {settings['extractor']} tells no classes, so modes cannot be counted")
    classes = of_fake.shape[1]
    found = of_fake.argmax(axis=1)
    count = named("modes", settings)
    values = {
        count: float(modes(found)),
        named("reverse_kl", settings): reverse_kl(of_real.argmax(axis=1), found, classes),
    }
    return Result(values, alone={count: values[count]}, stamp={"dtype": "float64", "classes": classes})


def _pairs(real: Side, fake: Side) -> tuple[Tensor, Tensor]:
    """Targets and outputs, one to one."""
    if fake.targets is None:
        raise MetricError("each image is compared with its target: that takes pairs, or as many images in both sets")
    return real.pick(fake.targets), fake.images


def score_l1(real: Side, fake: Side, _settings: Settings) -> Result:
    """`l1`: mean over outputs."""
    return Result({"l1": float(l1(*_pairs(real, fake)).mean())}, stamp={"dtype": "float64"})


def score_psnr(real: Side, fake: Side, _settings: Settings) -> Result:
    """`psnr`: mean over outputs."""
    return Result({"psnr": float(psnr(*_pairs(real, fake)).mean())}, stamp={"dtype": "float64"})


def score_ssim(real: Side, fake: Side, _settings: Settings) -> Result:
    """`ssim`: mean over outputs."""
    a, b = (images.to(device()) for images in _pairs(real, fake))
    return Result({"ssim": float(ssim(a, b).mean())}, stamp={"dtype": "float32"})


def score_input_dependence(real: Side, fake: Side, _settings: Settings) -> Result:
    """`input_dependence` and `dropout_variance`: variance across inputs, and within one, over that of the targets."""
    _, outputs = _pairs(real, fake)
    assert fake.targets is not None
    across, within = variances(outputs, fake.targets)
    first = torch.unique(fake.targets)
    of_targets = variance(real.pick(first))
    values = {"input_dependence": across / of_targets, "dropout_variance": within / of_targets}
    return Result(values, stamp={"dtype": "float64", "inputs": len(first)})


def score_edge_energy(real: Side, fake: Side, _settings: Settings) -> Result:
    """`edge_energy`: that of the fakes over that of the reals; of the reals by themselves it is 1."""
    energy = edge_energy(fake.images) / edge_energy(real.images)
    return Result({"edge_energy": energy}, alone={"edge_energy": energy}, stamp={"dtype": "float64"})


def score_label_agreement(_real: Side, fake: Side, settings: Settings) -> Result:
    """`label_agreement[...]`: per cent of images that the extractor takes for the class that they were asked to be."""
    logits = fake.features(settings).logits
    if logits is None or fake.labels is None:
        raise MetricError(f"the extractor {settings['extractor']} tells no classes, or none were asked for")
    name = named("label_agreement", settings, counted=False)
    share = 100 * agreement(logits, fake.labels)
    return Result({name: share}, alone={name: share}, stamp={"dtype": "float32", "classes": logits.shape[1]})


def score_colour(real: Side, fake: Side, _settings: Settings) -> Result:
    """`colour`, and each channel's `colour_mean_<c>` and `colour_sd_<c>` (no suffix when grey)."""
    of_real, of_fake = colour_moments(real.images), colour_moments(fake.images)
    suffixes = [""] if of_fake.shape[1] == 1 else ["_r", "_g", "_b"]
    alone = {
        f"colour_{moment}{suffix}": float(of_fake[row, channel])
        for row, moment in enumerate(("mean", "sd"))
        for channel, suffix in enumerate(suffixes)
    }
    return Result({"colour": colour_distance(of_real, of_fake), **alone}, alone=alone, stamp={"dtype": "float64"})


SCORERS: dict[str, Callable[[Side, Side, Settings], Result]] = {
    "fid": score_frechet,
    "fd": score_frechet,
    "fid_infinity": score_frechet_infinity,
    "is": score_inception_score,
    "kid": score_kid,
    "prdc": score_prdc,
    "nearest": score_nearest,
    "modes": score_modes,
    "label_agreement": score_label_agreement,
    "swd": score_swd,
    "ms_ssim": score_ms_ssim,
    "colour": score_colour,
    "edge_energy": score_edge_energy,
    "l1": score_l1,
    "psnr": score_psnr,
    "ssim": score_ssim,
    "input_dependence": score_input_dependence,
}


def floor_count(n_real: int, settings: Settings) -> int:
    """Reals in each side of the noise floor: half of them, but no more than the fakes they stand for."""
    return min(n_real // 2, int(settings["fakes"]))


def halves(real: Side, settings: Settings) -> tuple[Side, Side]:
    """Draw two disjoint sides of `floor_count` reals each."""
    order = permutation(len(real), settings["seed"], "floor", 0)
    count = floor_count(len(real), settings)
    return real.take(torch.sort(order[:count]).values), real.take(torch.sort(order[count : 2 * count]).values)


def real_alone(metric: str, real: Side, settings: Settings) -> dict[str, float]:
    """The real set's own value of each name that a set has by itself; {} where that cannot be computed."""
    try:
        return SCORERS[metric](real, real, settings).alone if metric in ALONE else {}
    except MetricError:
        return {}


ALONE = frozenset({"is", "nearest", "modes", "label_agreement", "ms_ssim", "colour", "edge_energy"})
"""Metrics of which some value belongs to one set."""


def floor(metric: str, real: Side, settings: Settings) -> dict[str, float]:
    """Noise of each value between disjoint halves of the reals; {} where halves are too small for the metric.

    Of a value between two sets: the first half against the second.  Of one that a set has by itself: the absolute
    difference of the halves' values.
    """
    if floor_count(len(real), settings) < 1:
        return {}
    try:
        a, b = halves(real, settings)
        between = SCORERS[metric](a, b, settings)
        if not between.alone:
            return between.values
        swapped = SCORERS[metric](b, a, settings).alone
    except MetricError:
        return {}
    return {name: abs(value - swapped[name]) if name in swapped else value for name, value in between.values.items()}
