"""Metrics as plain functions: features or uint8 images in, numbers out.  docs/metrics.md says what each is good for."""

from bench.metrics.colour import colour_distance, colour_moments
from bench.metrics.failure import MetricError
from bench.metrics.frechet import Gaussian, frechet_distance, frechet_infinity, gaussian, with_root
from bench.metrics.inception_score import inception_score
from bench.metrics.kid import kernel_distance
from bench.metrics.labels import agreement, modes, reverse_kl
from bench.metrics.ms_ssim import ms_ssim, ssim
from bench.metrics.paired import l1, psnr
from bench.metrics.prdc import prdc
from bench.metrics.swd import swd

__all__ = [
    "Gaussian",
    "MetricError",
    "agreement",
    "colour_distance",
    "colour_moments",
    "frechet_distance",
    "frechet_infinity",
    "gaussian",
    "inception_score",
    "kernel_distance",
    "l1",
    "modes",
    "ms_ssim",
    "prdc",
    "psnr",
    "reverse_kl",
    "ssim",
    "swd",
    "with_root",
]
