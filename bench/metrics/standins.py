"""Stand-in extractors for sets that Inception does not fit, or where its weights cannot be had.

Their distances rank snapshots of one study; they mean nothing beside another extractor's, so names carry theirs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import draws
from bench.metrics.features import weights_digest

VERSION = 1
"""Of the stand-ins: raise it, and the versions of the metrics that read them, when their weights or features change."""
WIDEST = 64
"""Larger images are first shrunk to this side, antialiased."""


def _to_unit(images: Tensor) -> Tensor:
    x = images.float() / 127.5 - 1.0
    if x.shape[-1] > WIDEST:
        x = F.interpolate(x, size=(WIDEST, WIDEST), mode="bilinear", antialias=True, align_corners=False)
    return x


def _draw(module: nn.Module, name: str) -> None:
    """He-normal weights, each from its own address; biases zero."""
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                drawn = draws.normal(parameter.shape, 0, f"extractor.{name}", key)
                parameter.copy_(drawn * math.sqrt(2.0 / fan_in))
            else:
                parameter.zero_()


class RandomConv(nn.Module):
    """A fixed random convolutional net for unlabelled sets: the mean of each map at three scales, and of each channel.

    Its first filters sum to zero over each patch: a real set's spread of brightness would drown the rest.
    What they miss, the channel means keep.
    """

    name = "random"
    classes = 0
    dim: int
    weights: str

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 16, 32, 64)
        self.maps = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, 1 + (i > 0), 1, padding_mode="reflect", bias=False) for i in range(3)
        )
        _draw(self, self.name)
        with torch.no_grad():
            first = next(self.parameters())
            first.sub_(first.mean(dim=(1, 2, 3), keepdim=True))
        self.dim = sum(widths)
        self.weights = weights_digest(self)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features [B, dim] of uint8 [B, C, H, W]."""
        x = _to_unit(images)
        seen = [x.mean(dim=(2, 3))]
        for conv in self.maps:
            x = F.relu(conv(x))
            seen.append(x.mean(dim=(2, 3)))
        return torch.cat(seen, dim=1), None


class SmallClassifier(nn.Module):
    """A small convolutional classifier of the set's own labels; features: the mean of each map, and of each channel."""

    name = "classifier"

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = (channels, 16, 32, 64)
        self.classes = classes
        self.dim = sum(widths)
        self.weights = ""
        self.maps = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, 1 + (i > 0), 1, padding_mode="reflect") for i in range(3)
        )
        self.grid = 4
        self.output = nn.Linear(widths[-1] * self.grid**2, classes)
        _draw(self, self.name)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, dim] and logits [B, classes] of uint8 [B, C, H, W]."""
        x = _to_unit(images)
        seen = [x.mean(dim=(2, 3))]
        for conv in self.maps:
            x = F.relu(conv(x))
            seen.append(x.mean(dim=(2, 3)))
        return torch.cat(seen, dim=1), self.output(F.adaptive_avg_pool2d(x, self.grid).flatten(1))


class PlaneClassifier(nn.Module):
    """A classifier of grey images on each plane of a colour image: the modes of a stacked set (Metz et al. 2017).

    The logit of mode c0 + K c1 + K² c2 is the sum of the planes' log-probabilities of c0, c1, c2; features are the
    planes' side by side.
    """

    name = "classifier"
    PLANES = 3

    def __init__(self, plane: SmallClassifier) -> None:
        super().__init__()
        self.plane = plane
        self.classes = plane.classes**self.PLANES
        self.dim = plane.dim * self.PLANES
        self.weights = plane.weights
        self.stamp = {"extractor_of": f"each of {self.PLANES} planes"}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 3 dim] and logits [B, K³] of uint8 [B, 3, H, W]."""
        features, logits = self.plane(images.flatten(0, 1)[:, None])
        first, second, third = F.log_softmax(logits, dim=1).unflatten(0, (-1, self.PLANES)).unbind(dim=1)
        joint = third[:, :, None, None] + second[:, None, :, None] + first[:, None, None, :]
        return features.view(len(images), -1), joint.flatten(1)


BATCH = 64
STEPS = (200, 800)
"""Two passes over the set, but at least and at most so many steps."""
LEARNING_RATE = 2e-3


def train_classifier(images: Tensor, labels: Tensor, classes: int) -> SmallClassifier:
    """Train a `SmallClassifier` on uint8 [N, C, H, W] and int64 [N] in [0, classes): Adam, batches of 64, one thread.

    The same images and labels give the same weights, whatever the process's threads.
    """
    steps = min(max(2 * len(images) // BATCH, STEPS[0]), STEPS[1])
    model = SmallClassifier(images.shape[1], classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
            drawn = draws.uniform((BATCH,), 0, "extractor.classifier.data", step)
            index = (drawn.double() * len(images)).long()
            _, logits = model(images[index])
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits, labels[index]).backward()
            optimizer.step()
    finally:
        torch.set_num_threads(threads)
    model.eval().requires_grad_(False)
    model.weights = weights_digest(model)
    return model
