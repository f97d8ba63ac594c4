"""What G's latent space is worth: edits along measured directions, and what lies halfway between two z.

Radford et al. 2016, section 6.3, asked the first by eye ("unstable" from one exemplar, stable from three) and section
6.1 the second.  Here both are numbers: of a G alone, and of its midpoints against the reals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.latents import ATTRIBUTES, edits, slerp
from bench.metrics.features import Features
from bench.metrics.frechet import frechet_distance, gaussian
from bench.metrics.nearest import nearest_distance
from bench.metrics.suite import Result, Side, named

AVERAGES = (1, 3, 10)
"""Exemplars that a concept is the mean of."""
TRIALS, FRESH = 10, 64
"""Independent directions, and images that each is tried on."""

Draw = Callable[[int, str], Tensor]
"""(n, stream) → z [n, z_dim] of the evaluation's own seed."""
Make = Callable[[Tensor], Tensor]
"""z [n, z_dim] → images uint8 [n, C, H, W]."""


def score_edits(make: Make, draw: Draw, settings: Mapping[str, Any]) -> Result:
    """`edits_<n>[attribute]`: share of images, in per cent, whose attribute rises when z moves from low to high.

    The direction is the mean z of n exemplars high in the attribute minus that of n low in it, from the quarters of a
    pool of `fakes` images.  `edit_cosine_<n>[attribute]`: mean cosine between directions from other exemplars.
    """
    attribute, seed = settings["edit_attribute"], settings["seed"]
    pool, fresh = draw(settings["fakes"], "edits_pool"), draw(FRESH, "edits_fresh")
    values = {}
    for average in AVERAGES:
        found = edits(make, ATTRIBUTES[attribute], pool, fresh, average=average, trials=TRIALS, seed=seed)
        values[f"edits_{average}[{attribute}]"] = 100 * found.correct
        values[f"edit_cosine_{average}[{attribute}]"] = found.cosine
    return Result(values, alone=values, stamp={"trials": TRIALS, "n_edited": FRESH})


def score_paths(
    make: Make, draw: Draw, settings: Mapping[str, Any], real: Side, extract: Callable[[Tensor], Features]
) -> Result:
    """`paths`: Fréchet distance of midpoints to the reals, over that of as many ends of the paths: 1 on the manifold.

    Midpoints of the arc (slerp) between two draws of z.  `paths_nearest`: mean distance of a midpoint's features to
    the nearest real's, over that of an end's: below 1, what lies between is nearer to a copy.
    """
    n = settings["fakes"] // 2
    ends, others = draw(n, "paths_from"), draw(n, "paths_to")
    half = torch.tensor([0.5])
    middle = torch.cat([slerp(a, b, half) for a, b in zip(ends, others, strict=True)])
    of_ends, of_middle = extract(make(ends)), extract(make(middle))
    distances = [frechet_distance(real.gaussian(settings), gaussian(side.features)) for side in (of_middle, of_ends)]
    nearest = [nearest_distance(real.features(settings).features, side.features) for side in (of_middle, of_ends)]
    values = {
        named("paths", settings, counted=False): distances[0] / distances[1],
        named("paths_nearest", settings, counted=False): nearest[0] / nearest[1],
    }
    return Result(values, stamp={"dtype": "float64", "n_fake": n})
