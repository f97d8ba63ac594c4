"""The Inception-v3 graph of the FID network (2015-12-05), randomly initialised: what its forward pass costs.

Szegedy et al. 2016, arXiv 1512.00567; average pools leave out the border, and the last block has a max pool.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    """Convolution, folded batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int], stride: int = 1, same: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class Pool(nn.Module):
    """Pool of 3 × 3 at stride 1."""

    def __init__(self, largest: bool) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, x: Tensor) -> Tensor:
        if self.largest:
            return F.max_pool2d(x, 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Branches(nn.Module):
    """Parallel branches, concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for branch in self.branches:
            found.append(branch(x))
        return torch.cat(found, dim=1)


def chain(c_in: int, *steps: tuple[int, tuple[int, int]], reduce: bool = False) -> nn.Sequential:
    """Convolutions one after another; `reduce`: the last one halves the side, without a border."""
    convs = []
    for number, (width, kernel) in enumerate(steps):
        last = reduce and number == len(steps) - 1
        convs.append(Conv(c_in, width, kernel, stride=2 if last else 1, same=not last))
        c_in = width
    return nn.Sequential(*convs)


P, Q, S, W7, H7, W3, H3 = (1, 1), (5, 5), (3, 3), (1, 7), (7, 1), (1, 3), (3, 1)


def pooled(c_in: int, width: int, largest: bool = False) -> nn.Sequential:
    return nn.Sequential(Pool(largest), Conv(c_in, width, P))


def block_a(c_in: int, pool: int) -> nn.Module:
    return Branches(
        chain(c_in, (64, P)), chain(c_in, (48, P), (64, Q)), chain(c_in, (64, P), (96, S), (96, S)), pooled(c_in, pool)
    )


def block_c(c: int) -> nn.Module:
    far = chain(768, (c, P), (c, H7), (c, W7), (c, H7), (192, W7))
    return Branches(chain(768, (192, P)), chain(768, (c, P), (c, W7), (192, H7)), far, pooled(768, 192))


def block_e(c_in: int, largest: bool) -> nn.Module:
    def fork() -> nn.Module:
        return Branches(chain(384, (384, W3)), chain(384, (384, H3)))

    near = nn.Sequential(chain(c_in, (384, P)), fork())
    far = nn.Sequential(chain(c_in, (448, P), (384, S)), fork())
    return Branches(chain(c_in, (320, P)), near, far, pooled(c_in, 192, largest))


def layers() -> nn.Sequential:
    """[B, 3, 299, 299] → [B, 2048]"""
    narrow = chain(288, (64, P), (96, S), (96, S), reduce=True)
    mixed_d = chain(768, (192, P), (192, W7), (192, H7), (192, S), reduce=True)
    return nn.Sequential(
        Conv(3, 32, S, 2, same=False), Conv(32, 32, S, same=False), Conv(32, 64, S), nn.MaxPool2d(3, 2),
        Conv(64, 80, P), Conv(80, 192, S, same=False), nn.MaxPool2d(3, 2),
        block_a(192, 32), block_a(256, 64), block_a(288, 64),
        Branches(chain(288, (384, S), reduce=True), narrow, nn.MaxPool2d(3, 2)),
        block_c(128), block_c(160), block_c(160), block_c(192),
        Branches(chain(768, (192, P), (320, S), reduce=True), mixed_d, nn.MaxPool2d(3, 2)),
        block_e(1280, False), block_e(2048, True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class Inception(nn.Module):
    """The published file's face: `layers`, `output`, resizing inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        x = F.interpolate(img.float(), size=[299, 299], mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128)
        return features if return_features else self.output(features).softmax(dim=1)


def save(path: Path) -> nn.Module:
    """Write a random network as TorchScript; return it."""
    torch.manual_seed(0)
    net = Inception().eval().requires_grad_(False)
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
    torch.jit.script(net).save(str(path))
    return net
