"""What is read off the layers of a net: activations, dead units, spectral norms, gradients, drift of statistics."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from bench.models import set_chance
from bench.models.mlp import Maxout, StretchedSigmoid

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.GELU)
POWER_ITERATIONS = 2
"""Between two exact spectral norms."""


def still(net: nn.Module, seed: int) -> nn.Module:
    """Copy a net as it stands: in training mode, but no pass moves running statistics or power iterations.

    Its noise and dropout draw at an address of their own.
    """
    twin = copy.deepcopy(net).requires_grad_(False).train()
    for module in twin.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.0
        elif isinstance(module, parametrize.ParametrizationList):
            module.eval()
    set_chance(twin, seed, "probe", 0)
    return twin


def layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """List (path, module) of a net, without what is inside parametrizations."""
    for path, module in net.named_modules():
        if ".parametrizations" not in f".{path}":
            yield path, module


def has_weight(module: nn.Module) -> bool:
    """Say whether a layer's weight is a matrix: dense, convolutional or an embedding."""
    return isinstance(module, _ConvNd | nn.Linear | nn.Embedding)


def is_activation(module: nn.Module) -> bool:
    """Say whether a layer is a nonlinearity, torch's or ours."""
    return type(module).__module__ == "torch.nn.modules.activation" or isinstance(module, Maxout | StretchedSigmoid)


# ---------------------------------------------------------------------------------------------------------
# Activations, by hooks.


class Recorder:
    """Takes down what leaves the layers of a net, over all passes while it is open.  Values stay on the device.

    `rms`: sqrt(mean square) of what each dense or convolutional layer and each nonlinearity gives.
    `dead`: units (channels) of each nonlinearity that are dead, and how many there are.  A unit of a rectifier is dead
    when it is not positive for any sample at any position; of another nonlinearity, when it is constant.
    `drift`: of the batch's statistics from the running ones, where batch norm keeps some.
    """

    def __init__(self, net: nn.Module, *, activations: bool, drift: bool) -> None:
        self.squares: dict[str, list[Tensor]] = {}
        self.dead: dict[str, list[Tensor]] = {}
        self.drift: dict[str, list[Tensor]] = {}
        self._hooks = []
        for path, module in layers(net):
            if activations and (has_weight(module) or is_activation(module)):
                self._hooks.append(module.register_forward_hook(self._activation(path)))
            if drift and isinstance(module, _BatchNorm) and module.running_mean is not None:
                self._hooks.append(module.register_forward_pre_hook(self._statistics(path)))

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _activation(self, path: str):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, given: object, made: object) -> None:
            out = first_tensor(made)
            if out is None or not out.is_floating_point():
                return
            norm = torch.linalg.vector_norm(out)
            self.squares.setdefault(path, []).append(norm.square() / out.numel())
            if is_activation(module) and out.ndim > 1:
                self.dead.setdefault(path, []).append(dead(out, rectified=isinstance(module, RECTIFIERS)))

        return hook

    def _statistics(self, path: str):  # type: ignore[no-untyped-def]
        def hook(module: _BatchNorm, given: tuple[Tensor, ...]) -> None:
            assert module.running_mean is not None and module.running_var is not None
            value = batch_drift(given[0], module.running_mean, module.running_var, module.eps)
            self.drift.setdefault(path, []).append(value)

        return hook


def first_tensor(made: object) -> Tensor | None:
    """Return a net's or layer's main output: itself, or the first of several."""
    if isinstance(made, tuple | list):
        return first_tensor(made[0]) if made else None
    return made if isinstance(made, Tensor) else None


def dead(out: Tensor, *, rectified: bool) -> Tensor:
    """Say which units of an activation [B, C, ...] are dead, bool [C]."""
    others = tuple(axis for axis in range(out.ndim) if axis != 1)
    if rectified:
        return out.amax(dim=others) <= 0
    return out.amax(dim=others) == out.amin(dim=others)


def batch_drift(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """KL(N(m, v) ‖ N(mean, var)) in nats, averaged over channels: m, v of x [B, C, ...], eps added to both variances.

    ½ (v/var + (m − mean)²/var − 1 − ln(v/var)): 0 where they agree, ½ δ² where the mean is off by δ sd.
    """
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    m = x.mean(dim=others)
    v = x.var(dim=others, correction=0) + eps
    kept = var + eps
    return 0.5 * (v / kept + (m - mean).square() / kept - 1 - (v / kept).log()).mean()


# ---------------------------------------------------------------------------------------------------------
# Weights.


class SpectralNorms:
    """The largest singular value of each layer's weight as a matrix [outputs, all else], as the layer uses it.

    That is with equalized rate, spectral or weight norm laid over it.  Of a convolution it is Miyato et al.'s matrix
    (2018, section 2.1), not the operator on maps.  Exact at snapshots; between, a lower bound from power iterations
    that go on from the last vector.
    """

    def __init__(self) -> None:
        self.vectors: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, net: nn.Module, name: str, *, exact: bool) -> dict[str, Tensor]:
        """Return path → σ, 0-d; NaN where a weight is not finite."""
        found = {}
        for path, module in layers(net):
            if has_weight(module):
                matrix = weight_matrix(module)
                found[path] = self._sigma(matrix, f"{name}.{path}", exact)
        return found

    def _sigma(self, matrix: Tensor, key: str, exact: bool) -> Tensor:
        if not bool(torch.isfinite(matrix).all()):
            self.vectors.pop(key, None)
            return matrix.new_full((), math.nan)
        v = self.vectors.get(key)
        if exact or v is None or v.shape[0] != matrix.shape[1]:
            sigma, v = largest_singular(matrix)
        else:
            sigma, v = power_iteration(matrix, v, POWER_ITERATIONS)
        self.vectors[key] = v
        return sigma


def weight_matrix(module: nn.Module) -> Tensor:
    """View a layer's weight as [outputs, all else]."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return (weight.transpose(0, 1) if isinstance(module, _ConvTransposeNd) else weight).flatten(1)


def largest_singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return σ₁, 0-d, and its right vector, of `matrix` [m, n]: by eigenvectors of its smaller Gram matrix, in float64.

    They are the singular vectors and their eigenvalues the squares of the singular values: many times faster than the
    SVD of a wide matrix, and for the largest one as exact.
    """
    wide = matrix.double()
    if wide.shape[0] <= wide.shape[1]:
        values, vectors = torch.linalg.eigh(wide @ wide.T)
        v = wide.T @ vectors[:, -1]
    else:
        values, vectors = torch.linalg.eigh(wide.T @ wide)
        v = vectors[:, -1]
    sigma = values[-1].clamp(min=0).sqrt()
    return sigma.to(matrix.dtype), nn.functional.normalize(v, dim=0).to(matrix.dtype)


def power_iteration(matrix: Tensor, v: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Return |W v| and v after so many steps v ← WᵀWv / |WᵀWv|: at most σ₁, and nearer with each step."""
    for _ in range(times):
        v = nn.functional.normalize(matrix.T @ (matrix @ v), dim=0)
    return torch.linalg.vector_norm(matrix @ v), v


# ---------------------------------------------------------------------------------------------------------
# Gradients.


@torch.no_grad()
def gradient_norms(net: nn.Module) -> dict[str, Tensor]:
    """Norm of the gradient that stands in each layer's own parameters, path → 0-d; layers without one are left out."""
    squares: dict[str, list[Tensor]] = {}
    for path, parameter in net.named_parameters():
        if parameter.grad is not None:
            layer = path.partition(".parametrizations.")[0] if ".parametrizations." in path else path.rpartition(".")[0]
            squares.setdefault(layer, []).append(torch.linalg.vector_norm(parameter.grad).square())
    return {layer: torch.stack(found).sum().sqrt() for layer, found in squares.items()}
