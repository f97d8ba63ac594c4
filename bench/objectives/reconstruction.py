"""FastGAN's decoders (Liu et al. 2021, section 3.2): D must rebuild the reals from its maps; fakes are never rebuilt.

The distance of each rebuilt image to what D saw is summed over the batch and over the decoders, as the released code
does, so that its weight grows with the batch.  Paper and code take LPIPS; which distance is a setting, and recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import ranks
from bench.models.fastgan import quadrant
from bench.setting import Setting

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images in [-1, 1], [B, C, S, S] → [B], 0 for equal images; differentiable."""

Rebuild = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""D, reals [B, C, R, R], quadrants [B] → logits of the reals, and the summed distance."""


def reconstruction(setting: Setting) -> Rebuild | None:
    """Return what judges the reals and rebuilds them; None where D has no decoders.

    Raises FileNotFoundError for `perceptual` without VGG's weights.
    """
    if setting.decoders == "none":
        return None
    distance = DISTANCES[setting.reconstruction]()

    def rebuild(D: nn.Module, real: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        logits, rebuilt = D.rebuild(real, part)  # type: ignore[operator]
        target = {"part": quadrant(real, part).detach()}
        total = logits.new_zeros(())
        for name, made in rebuilt.items():
            aim = F.interpolate(target.get(name, real.detach()), size=made.shape[2:], mode="nearest")
            total = total + distance(made, aim).sum()
        return logits, total * ranks.size()  # a sum over the whole batch, of which gradients are averaged over ranks

    return rebuild


# ---------------------------------------------------------------------------------------------------------
# Distances.


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each pair."""
    return (a - b).abs().mean(dim=(1, 2, 3))


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM of each pair (Wang et al. 2004): 11-tap Gaussian windows, sigma 1.5, that fit wholly into the image.

    `bench.metrics.ms_ssim.ssim` is the same number for uint8 images, but no gradient passes it.
    """
    channels = a.shape[1]
    offsets = torch.arange(11, device=a.device, dtype=a.dtype) - 5
    taps = torch.exp(-offsets.square() / (2 * 1.5**2))
    taps = taps / taps.sum()
    window = torch.outer(taps, taps).expand(channels, 1, -1, -1)

    def filtered(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=channels)

    mean_a, mean_b = filtered(a), filtered(b)
    variances = filtered(a * a) - mean_a.square() + filtered(b * b) - mean_b.square()
    covariance = filtered(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # values span 2; 1 is added for black to be 0
    brightness = (2 * (mean_a + 1) * (mean_b + 1) + c1) / ((mean_a + 1).square() + (mean_b + 1).square() + c1)
    return 1 - (brightness * (2 * covariance + c2) / (variances + c2)).mean(dim=(1, 2, 3))


VGG_FILE = "vgg16-397923af.pth"
"""As torchvision keeps VGG-16's weights in `checkpoints` of torch.hub's folder."""
VGG_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of its convs, stage by stage (Simonyan & Zisserman 2015, table 1, D)."""
VGG_STAGES = (4, 9, 16, 23, 30)
"""Where the stages end: behind their last ReLU, which LPIPS reads, before the pooling."""


def perceptual() -> Distance:
    """Make the distance of VGG-16's features (Zhang et al. 2018, eq. 1, with all weights 1).

    At each of five layers, features of unit length at each pixel, squared difference summed over channels and averaged
    over pixels.  LPIPS proper has a learned weight for each channel, which torchvision does not ship.
    Raises FileNotFoundError when torchvision's weights are not there.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    if not place.exists():
        raise FileNotFoundError(
            f"reconstruction: perceptual reads VGG-16's weights from {place}, which is not there; fetch them with "
            "python -c \"import torchvision; torchvision.models.vgg16(weights='IMAGENET1K_V1')\" "
            "or set reconstruction to ssim or l1"
        )
    layers = vgg16_layers()
    weights = torch.load(place, map_location="cpu", weights_only=True)
    prefix = "features."
    layers.load_state_dict({name[len(prefix) :]: w for name, w in weights.items() if name.startswith(prefix)})
    return feature_distance(layers)


def vgg16_layers() -> nn.Sequential:
    """Make the layers that torchvision calls `features`, in its order: (c3s1p1, ReLU)*, 2x2 max pooling, five times."""
    layers: list[nn.Module] = []
    inputs = 3
    for widths in VGG_WIDTHS:
        for width in widths:
            layers += [nn.utils.skip_init(nn.Conv2d, inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def feature_distance(layers: nn.Sequential) -> Distance:
    """Make the distance of the features behind `VGG_STAGES` of `layers`; images of one channel count as grey."""
    layers.requires_grad_(False).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def features(x: Tensor) -> list[Tensor]:
        h = ((x.expand(-1, 3, -1, -1) + 1) / 2 - mean.to(x.device)) / std.to(x.device)
        found, start = [], 0
        for stop in VGG_STAGES:
            h = layers[start:stop](h)
            found.append(F.normalize(h, dim=1, eps=1e-10))
            start = stop
        return found

    def distance(a: Tensor, b: Tensor) -> Tensor:
        layers.to(a.device)
        gaps = [(x - y).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(features(a), features(b), strict=True)]
        return torch.stack(gaps).sum(dim=0)

    return distance


DISTANCES: dict[str, Callable[[], Distance]] = {
    "l1": lambda: l1,
    "ssim": lambda: dissimilarity,
    "perceptual": perceptual,
}
