"""The factor studied: name → activation norm, name → weight norm.

An activation norm stands between a conv and its activation and keeps the shape [B, C, H, W].  A weight norm
is a parametrization of a conv's or dense layer's weight.  Both are looked up here by the words of a study.
"""

from __future__ import annotations

from bench.norms.activation import (
    WITHIN_SAMPLE,
    AdaIN,
    ConditionalBatchNorm,
    ImageStyle,
    InstanceNorm,
    Place,
    SelfModulatedBatchNorm,
    activation_norm,
    has_conv_bias,
    norm_at,
    normalized,
)
from bench.norms.own import NormError, OwnNorm, check_own, load_own
from bench.norms.weight import EqualizedRate, SpectralNorm, WeightNorm, orthogonality

__all__ = [
    "WITHIN_SAMPLE",
    "AdaIN",
    "ConditionalBatchNorm",
    "EqualizedRate",
    "ImageStyle",
    "InstanceNorm",
    "NormError",
    "OwnNorm",
    "Place",
    "SelfModulatedBatchNorm",
    "SpectralNorm",
    "WeightNorm",
    "activation_norm",
    "check_own",
    "has_conv_bias",
    "load_own",
    "norm_at",
    "normalized",
    "orthogonality",
]
