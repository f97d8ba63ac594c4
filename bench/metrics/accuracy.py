"""How well a run's own D classifies images that it was not trained on."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.data import to_float
from bench.metrics.failure import MetricError
from bench.models.conditions import Judge


@torch.no_grad()
def accuracy(D: nn.Module, images: Tensor, labels: Tensor, batch: int) -> float:
    """Per cent of uint8 images [N, C, H, W] that D, in evaluation mode, takes for their class, int64 [N].

    Raises MetricError for a D that tells no classes, and where a logit is not finite.
    """
    classifier = _classifier(D)
    classifier.eval()
    right = 0
    for shown, due in zip(images.split(batch), labels.split(batch), strict=True):
        logits = classifier.see(to_float(shown)).classes
        if logits is None:
            raise MetricError("this D tells no classes")
        if not bool(logits.isfinite().all()):
            raise MetricError("class logits are not finite")
        right += int((logits.argmax(dim=1) == due).sum())
    return 100 * right / len(images)


@torch.no_grad()
def reestimated(D: nn.Module, images: Tensor, batch: int) -> nn.Module:
    """Copy D with running statistics that are the plain mean over batches of uint8 images [N, C, H, W].

    At momentum 0.99, as Keras has it, they lag hundreds of updates behind the weights.  Nothing else is in training
    mode: dropout is off.
    """
    copied = copy.deepcopy(_classifier(D)).eval()
    norms = [module for module in copied.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the cumulative mean
        norm.train()
    for shown in images.split(batch):
        if len(shown) > 1:  # one image has no variance in a layer of single pixels
            copied.see(to_float(shown))
    return copied.eval()


def _classifier(D: nn.Module) -> Judge:
    if not isinstance(D, Judge):
        raise MetricError(f"{type(D).__name__} tells no classes")
    return D
