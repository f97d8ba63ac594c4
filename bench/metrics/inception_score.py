"""Inception score (Salimans et al. 2016, arXiv 1606.03498, section 4)."""

from __future__ import annotations

import numpy as np

from bench.metrics.arrays import Array, float64, names
from bench.metrics.failure import MetricError


def inception_score(logits: Array, splits: int = 10) -> tuple[float, float]:
    """exp of the mean KL(p(y|x) ‖ p(y)), mean and population sd over contiguous splits, unshuffled.

    `logits` [n, classes], an array or a tensor; of Inception: 1008 outputs without the bias.  Between 1 and the number
    of classes.  Raises MetricError with fewer images than splits.
    """
    n = len(logits)
    if n < splits:
        raise MetricError(f"{splits} splits need as many images, there are {n}")
    wide = float64(logits)
    xp = names(wide)
    log_p = wide - _log_sum_exp(wide, axis=1)
    scores = []
    for split in range(splits):
        part = log_p[split * n // splits : (split + 1) * n // splits]
        log_marginal = _log_sum_exp(part, axis=0) - np.log(len(part))
        scores.append(np.exp(float((xp.exp(part) * (part - log_marginal)).sum(axis=1).mean())))
    return float(np.mean(scores)), float(np.std(scores))


def _log_sum_exp(values: Array, axis: int) -> Array:
    """log Σ exp along an axis, which is kept; nothing overflows."""
    xp = names(values)
    largest = xp.amax(values, axis=axis, keepdims=True)
    return largest + xp.log(xp.exp(values - largest).sum(axis=axis, keepdims=True))
