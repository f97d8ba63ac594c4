"""Inception score (Salimans et al. 2016, arXiv 1606.03498, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from bench.metrics.failure import MetricError


def inception_score(logits: NDArray[np.floating], splits: int = 10) -> tuple[float, float]:
    """exp of the mean KL(p(y|x) ‖ p(y)), mean and population sd over contiguous splits, unshuffled.

    `logits` [n, classes]; of Inception: 1008 outputs without the bias.  Between 1 and the number of classes.
    Raises MetricError with fewer images than splits.
    """
    n = len(logits)
    if n < splits:
        raise MetricError(f"{splits} splits need as many images, there are {n}")
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    scores = []
    for split in range(splits):
        part = log_p[split * n // splits : (split + 1) * n // splits]
        log_marginal = logsumexp(part, axis=0, keepdims=True) - np.log(len(part))
        scores.append(np.exp((np.exp(part) * (part - log_marginal)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
