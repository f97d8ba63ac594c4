"""Weight norms: parametrizations of a conv's or dense layer's weight, and the orthogonality that a loss can ask for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import precision

Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


def output_axis(layer: Layer) -> Literal[0, 1]:
    """Which axis of a layer's weight counts its output channels."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def matrix_of(weight: Tensor, axis: Literal[0, 1]) -> Tensor:
    """View a weight as [output channels, rest]; without a copy where it lies channels-last."""
    if weight.ndim == 2:
        return weight
    pixels_first = weight.permute(0, 2, 3, 1)
    return pixels_first.flatten(1) if axis == 0 else pixels_first.flatten(0, 2).t()


class EqualizedRate(nn.Module):
    """Equalized learning rate: w * gain / sqrt(fan_in) at run time, of weights drawn from N(0, 1).

    Karras et al. 2018, section 4.1.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


class SpectralNorm(nn.Module):
    """W / sigma(W), W as a matrix of output channels × all else.

    Miyato et al. 2018, algorithm 1: each training forward takes one power iteration, from the kept left vector
    u; sigma = u' W v with u and v constant in the gradient.  Only u is kept, so a state is the same whatever the
    memory format, which `torch.nn.utils.parametrizations.spectral_norm` (with its v, and fifteen iterations at the
    start from the global generator) does not offer.
    """

    u: Tensor

    def __init__(self, u: Tensor, axis: Literal[0, 1]) -> None:
        """Start from `u`, [output channels], of any length; `axis` is 1 for transposed convs."""
        super().__init__()
        self.axis = axis
        self.register_buffer("u", F.normalize(u, dim=0, eps=1e-12))

    def forward(self, weight: Tensor) -> Tensor:
        with precision.whole(weight.device):
            return self._divided(weight)

    def _divided(self, weight: Tensor) -> Tensor:
        matrix = matrix_of(weight, self.axis)
        with torch.no_grad():
            v = F.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=1e-12)
        stretched = torch.mv(matrix, v)
        u = self.u
        if self.training:
            # A new tensor for the graph: the next forward overwrites the kept one.
            u = F.normalize(stretched.detach(), dim=0, eps=1e-12)
            self.u.copy_(u)
        return weight / torch.dot(u, stretched)


class WeightNorm(nn.Module):
    """g v / |v| for each output channel (Salimans & Kingma 2016, eq. 2).

    v is the layer's own parameter.  g starts at |v|, so that the first weights are those without the norm; the
    paper's start from the data is left out, since a cell's first weights would then hang on its first batch.
    `gain` false: no g, each channel's weights of unit length (Miyato et al. 2018, section 4).
    """

    def __init__(self, weight: Tensor, axis: Literal[0, 1], *, gain: bool = True) -> None:
        super().__init__()
        self.others = tuple(i for i in range(weight.ndim) if i != axis)
        self.g = nn.Parameter(self._length(weight).detach().clone().flatten()) if gain else None

    def _length(self, weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight, dim=self.others, keepdim=True)

    def forward(self, weight: Tensor) -> Tensor:
        length = self._length(weight)
        return weight / length if self.g is None else weight * (self.g.view(length.shape) / length)


def orthogonality(net: nn.Module) -> Tensor:
    """Sum over the layers of `net` of |W W' - I|^2 (Frobenius), W as a matrix of output channels × all else.

    Brock et al. 2017, with the square that Miyato et al. 2018 ("orthonormal") and BigGAN give it, where Brock et al.
    sum absolute values.  Miyato et al. write W' W instead: the same, but for a constant.
    """
    found = []
    for module in net.modules():
        if isinstance(module, Layer):
            matrix = matrix_of(module.weight, output_axis(module))
            rows, columns = matrix.shape
            # |W W' - I|^2 = |W' W - I|^2 + rows - columns: the smaller product will do.
            with precision.whole(matrix.device):
                smaller = matrix @ matrix.t() if rows <= columns else matrix.t() @ matrix
            apart = smaller - torch.eye(len(smaller), device=matrix.device)
            found.append(apart.square().sum() + max(rows - columns, 0))
    return torch.stack(found).sum()
