"""Label budgets: which training images have a label that is shown, and batches of pools smaller than a batch.

Drawn from (seed, "labels") alone, so that all cells of a seed see the same labels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from bench import draws
from bench.data import DataError
from bench.setting import Data


def labelled(labels: Tensor, data: Data, seed: int) -> Tensor:
    """Return the positions, int64 [n] ascending, of the images of a training part whose label is shown.

    `labels_drawn: balanced` takes as many of each class, at random; where classes do not divide the budget, those
    that come first in a drawn order have one more.  `first` takes the part's first ones, whatever their classes, as
    Langr & Bok 2019 do.  Without `data.labels`, all.
    Raises DataError when the part, or a class, has fewer images.
    """
    budget = data.labels
    if budget is None:
        return torch.arange(len(labels))
    if budget > len(labels):
        raise DataError(f"data.labels={budget} is more than the {len(labels)} images in the train part")
    if data.labels_drawn == "first":
        return torch.arange(budget)
    classes = labels.unique()
    share, over = divmod(budget, len(classes))
    luckier = set(draws.permutation(len(classes), seed, "labels", "classes")[:over].tolist())
    chosen = []
    for place, label in enumerate(classes.tolist()):
        members = (labels == label).nonzero().flatten()
        due = share + (place in luckier)
        if due > len(members):
            raise DataError(f"data.labels={budget}: {due} of class {label} are due, and it has {len(members)} images")
        chosen.append(members[draws.permutation(len(members), seed, "labels", label)[:due]])
    return torch.cat(chosen).sort().values


def unlabelled(labels: Tensor, data: Data, seed: int) -> Tensor:
    """Return the positions, int64 [n] ascending, of all others; where all are labelled, those of the whole part."""
    others = torch.ones(len(labels), dtype=torch.bool)
    others[labelled(labels, data, seed)] = False
    return others.nonzero().flatten() if bool(others.any()) else torch.arange(len(labels))


def pool_indices(n: int, batch: int, step: int, seed: int, stream: str) -> Tensor:
    """Return int64 [batch] in 0 … n − 1: what update number `step` sees of a pool of n images.

    As `bench.data.batch_indices`, but the pool may be smaller than a batch, which then holds images twice.
    """
    first, last = step * batch // n, ((step + 1) * batch - 1) // n
    order = torch.cat([_permutation(n, seed, stream, epoch) for epoch in range(first, last + 1)])
    start = step * batch - first * n
    return order[start : start + batch]


@lru_cache(maxsize=8)
def _permutation(n: int, seed: int, stream: str, epoch: int) -> Tensor:
    return draws.permutation(n, seed, stream, epoch)
