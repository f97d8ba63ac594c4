"""SNGAN, and SNDCGAN as Kurach et al. compare by it."""

from __future__ import annotations

from typing import Any

SNGAN: dict[str, Any] = {
    # Miyato et al. 2018, "Spectral Normalization for GANs": standard CNN (table 3) under setting C (table 1).
    "network": "sndcgan",
    "g_width": 64,  # table 3: 512, 256, 128, 64
    "d_width": 64,  # table 3: 64, 64, 128, 128, 256, 256, 512
    "z_dim": 128,  # table 3
    "z_dist": "normal",
    "init": "normal002",  # chainer-gan-lib common/net.py: wscale 0.02
    "g_norm": "bn",  # table 3
    "g_input_norm": "none",  # table 3 has batch norm from the first transposed conv on
    "d_norm": "none",
    "d_weight": "spectral",  # every layer, one power iteration
    "loss": "nonsaturating",  # section 4: the alternate cost of G, used for the standard CNN
    "train.batch": 64,
    "train.n_critic": 1,  # setting C
    "train.optimizer": "adam",
    "train.lr": 2e-4,  # setting C
    "train.betas": [0.5, 0.999],  # setting C
    "train.g_steps": 100_000,  # chainer-gan-lib train.py: max_iter
}

SNDCGAN_GAN_LANDSCAPE: dict[str, Any] = {
    # Kurach et al. 2019, "A Large-Scale Study on Regularization and Normalization in GANs": SNDCGAN as in
    # google/compare_gan, example_configs/sndcgan_celebahq128.gin: the setting that the paper recommends to begin with.
    **SNGAN,
    "sndcgan_form": "gan_landscape",  # architectures/sndcgan.py
    "z_dist": "uniform",  # gans/utils: U(-1, 1) unless a config says otherwise
    "g_input_norm": "same",  # g_bn1 after the dense layer; there over each of its values, here over each channel
    "train.g_steps": 100_000,  # training_steps; with n_critic 1 as many D steps, in which the paper counts
}
