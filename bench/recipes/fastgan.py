"""FastGAN."""

from __future__ import annotations

from typing import Any

FASTGAN: dict[str, Any] = {
    # Liu et al. 2021, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis".  Numbers
    # as in the released code, read in an early fork of it (hugobb/FastGAN-pytorch models.py, train.py); later
    # upstream versions differ.
    "network": "fastgan",
    "data.mirror": True,  # train.py: RandomHorizontalFlip
    "g_width": 64,  # ngf
    "d_width": 64,  # ndf
    "z_dim": 256,  # nz
    "z_dist": "normal",
    "init": "normal002",  # weights_init
    "g_norm": "bn",  # batch norm and spectral norm together, in both nets
    "d_norm": "bn",
    "g_weight": "spectral",
    "d_weight": "spectral",
    "g_noise": True,  # NoiseInjection
    "sle": "sle",
    "d_sle": "sle",  # se_2_16, se_4_32, se_8_64
    "decoders": "both",
    "reconstruction": "perceptual",  # LPIPS there; ssim or l1 where VGG's weights are not to be had
    "loss": "hinge",
    "hinge_jitter": 0.2,  # rand * 0.2 + 0.8
    "augment": ["color", "translation"],  # policy
    "d_batching": "separate",  # reals and fakes in two passes
    "ema": 0.999,
    "ema_buffers": "copy",  # parameters alone are averaged
    "sample_stats": "batch",  # eval.py leaves G in training mode
    "train.batch": 8,
    "train.n_critic": 1,
    "train.optimizer": "adam",
    "train.lr": 2e-4,  # nlr
    "train.betas": [0.5, 0.999],  # nbeta1
    "train.g_steps": 50_000,  # total_iterations
}
