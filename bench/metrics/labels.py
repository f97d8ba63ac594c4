"""What a classifier says of fakes: modes found, their frequencies, agreement with the class that was asked for.

Modes and reverse KL: Metz et al. 2017, arXiv 1611.02163; Lin et al. 2018, arXiv 1712.04086.
"""

from __future__ import annotations

import numpy as np

from bench.metrics.arrays import Array, beside, names, on_host
from bench.metrics.failure import MetricError


def modes(labels: Array) -> int:
    """Count the classes that images [n] are taken for, however rarely."""
    return len(names(labels).unique(labels))


def reverse_kl(real: Array, fake: Array, classes: int) -> float:
    """KL(fakes ‖ reals) of class frequencies in nats, from labels [n] and [m] in 0 … classes − 1; at least 0.

    A class that no fake is taken for adds nothing; what is lost shows in the others.  Raises MetricError when a set
    is empty or fakes have a class that no real has: the divergence is infinite.
    """
    if not len(real) or not len(fake):
        raise MetricError("class frequencies need an image of each set")
    of_real, of_fake = (on_host(names(x).bincount(x, minlength=classes)) / len(x) for x in (real, fake))
    seen = of_fake > 0
    strange = np.flatnonzero(seen & (of_real == 0))
    if len(strange):
        raise MetricError(f"no real image is taken for class {strange[0]}, but fakes are: the reverse KL is infinite")
    return max(float((of_fake[seen] * np.log(of_fake[seen] / of_real[seen])).sum()), 0.0)


def agreement(logits: Array, asked: Array) -> float:
    """Share of images that a classifier takes for the class they were asked to be: `logits` [n, classes], `asked` [n].

    Raises MetricError without images, or when there are not as many labels.
    """
    if not len(logits) or len(logits) != len(asked):
        raise MetricError(f"agreement needs a class asked for each image: {len(logits)} images, {len(asked)} classes")
    return float((logits.argmax(axis=1) == beside(asked, logits)).sum()) / len(logits)
